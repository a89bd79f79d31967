"""The machine that a job runs on: its devices and threads."""

import contextlib
import os
from collections.abc import Iterator

import torch

from assimilate.errors import UserError


def choose_device(accelerator: str) -> str:
    """ "cuda" or "cpu".

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "trainer=gpu, but torch sees no CUDA device: use trainer=cpu, or trainer=auto to take what is there"
        )
    return "cuda" if accelerator in ("auto", "gpu") and torch.cuda.is_available() else "cpu"


def describe_device(device: str) -> str:
    """What a device is called, e.g. "CPU (2 threads)"."""
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"CPU ({threads} thread{'' if threads == 1 else 's'})"


def use_threads(count: int | None) -> None:
    """Limit torch's CPU threads; None leaves them."""
    if count is not None:
        torch.set_num_threads(count)


def num_gpus() -> int:
    """GPUs that this process sees."""
    return torch.cuda.device_count()


def take_gpu(device: str) -> torch.device | None:
    """Make this rank's own GPU the one that "cuda" means in this process; None where the ranks are on the CPU."""
    if device != "cuda":
        return None
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


@contextlib.contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Within the block cuDNN adds up in one order: of its transposed convolutions and gradients some do not.

    Nor does it choose an algorithm by timing, which a training before it with trainer.cudnn_benchmark leaves on: the
    fastest of a run need not be that of its restart.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
