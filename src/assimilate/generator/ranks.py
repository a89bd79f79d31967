"""How several processes share a step of adversarial training so that it equals the step of one process.

Every rank draws for the whole batch and computes its share of it; gradients are averaged by hand after each backward.
A wrapper that reduces inside backward is no use here: R1 and the path length differentiate twice, and each network
takes part in passes that leave some of its parameters out.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.generator.discriminator import STDDEV_GROUP

Places = Tensor | slice
"""Places in a batch, as an index."""


class _MeanOverRanks(torch.autograd.Function):
    """y = mean of x over ranks. Every rank's loss depends on every x, so gradients are averaged over ranks too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _mean(gradients[0])


def _mean(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()


@dataclass(frozen=True)
class Ranks:
    """This process among ``count`` that train together; it is the one with the number ``index``."""

    index: int = 0
    count: int = 1

    @classmethod
    def current(cls) -> "Ranks":
        """Return this process's place in torch's default process group; alone where there is none."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size())
        return cls()

    def share(self, batch: int, *, group: int, device: torch.device) -> Places:
        """Return the places of this rank's images in a batch of ``batch``: whole groups of ``group`` images.

        Image i belongs to group i mod (batch/group), as in the discriminator's minibatch standard deviation, whose
        statistics are therefore those of one process.
        """
        if self.count == 1:
            return slice(None)
        by_group = torch.arange(batch, device=device).view(group, batch // group)
        return by_group.chunk(self.count, dim=1)[self.index].flatten()

    def mean(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the mean of ``values`` over ranks, differentiable."""
        return values if self.count == 1 else _MeanOverRanks.apply(values)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over ranks; the same parameters have one on every rank."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        # One message for all of them: a network has a hundred small tensors.
        mean = _mean(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = mean.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


ALONE = Ranks()
# While rank 0 writes or measures, the others wait for it; one that dies is noticed by the launcher.
_PATIENCE = timedelta(hours=2)


@contextlib.contextmanager
def joined(count: int, device: str) -> Iterator[None]:
    """Within the block this process is one of ``count`` that torch's launcher started; alone where that is 1.

    ``device`` is "cpu", or "cuda": the GPU that is this process's current one.
    """
    if count == 1:
        yield
        return
    own = torch.device("cuda", torch.cuda.current_device()) if device == "cuda" else None
    dist.init_process_group("gloo" if own is None else "nccl", timeout=_PATIENCE, device_id=own)
    yield
    # Not in a process that failed: it would wait for the others.
    dist.barrier()
    dist.destroy_process_group()


def check_ranks(count: int, *, batch_size: int, path_length_batch: int) -> None:
    """Raise ValueError unless ``count`` ranks can share a batch of ``batch_size`` and one of ``path_length_batch``."""
    if count == 1:
        return
    alone = "or train the generator first, with train_generator on another trainer.devices"
    if batch_size % (STDDEV_GROUP * count):
        raise ValueError(
            f"generator.batch_size={batch_size} is global: trainer.devices={count} share it in whole groups of "
            f"{STDDEV_GROUP}, which the discriminator compares; use a multiple of {STDDEV_GROUP * count}, {alone}"
        )
    if path_length_batch % count:
        raise ValueError(
            f"generator.path_length_batch_shrink leaves {path_length_batch} of {batch_size} images for the path "
            f"length, which must divide by trainer.devices={count}; set it to 1 or 2, {alone}"
        )
