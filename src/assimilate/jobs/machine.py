"""The machine that a job runs on: its devices and threads."""

import contextlib
import os
import time
from collections.abc import Iterator

import torch
from torch import nn

from assimilate.errors import UserError
from assimilate.files.cpus import usable_cpus
from assimilate.graph.cost import USUAL, Speed


def choose_device(accelerator: str) -> str:
    """ "cuda" or "cpu".

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError(
            "trainer=gpu, but torch sees no CUDA device: use trainer=cpu, or trainer=auto to take what is there"
        )
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"


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


# Channels of the layers whose training is timed: the published networks' first ones, and a quarter of them.
PUBLISHED, NARROW = 64, 16


def measure_speed(device: str, *, seconds: float = 3.0) -> Speed:
    """Train convolutions of two widths on 32×32 pixels for so many seconds each; the fastest step of each counts.

    It is what the device can do: another process that happens to be busy now need not be tomorrow. So a CPU is judged
    by the time that it spent on this process.
    """
    wide, narrow = (_gflops(device, channels, seconds) for channels in (PUBLISHED, NARROW))
    penalty = max(1.0, 1 + (wide / narrow - 1) / (1 - NARROW / PUBLISHED))
    return Speed(wide, penalty, is_measured=True, step_seconds=USUAL[device].step_seconds)


def _gflops(device: str, channels: int, seconds: float, *, side: int = 32, depth: int = 4) -> float:
    batch = 64 if device == "cpu" else 512
    with torch.random.fork_rng(devices=[]):
        layers = [
            layer
            for _ in range(depth)
            for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
        ]
        network = nn.Sequential(*layers).to(device)
        images = torch.randn(batch, channels, side, side).to(device).requires_grad_()

    # More threads than CPUs take turns.
    cpus = min(torch.get_num_threads(), usable_cpus())

    def now() -> float:
        return time.process_time() / cpus if device == "cpu" else time.perf_counter()

    def step() -> float:
        started = now()
        network(images).sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        return now() - started

    step()
    ended = time.perf_counter() + seconds
    spent = [step()]
    while time.perf_counter() < ended:
        spent.append(step())
    return 3 * depth * batch * 2 * 9 * channels**2 * side**2 / 1e9 / min(spent)


@contextlib.contextmanager
def repeatable_kernels() -> Iterator[None]:
    """Within the block cuDNN is deterministic; some of its transposed convolutions and gradients otherwise are not.

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
