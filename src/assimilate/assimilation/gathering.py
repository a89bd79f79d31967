"""Gathering embeddings from all ranks so that gradients flow back to the rank of each."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


class _AllGather(torch.autograd.Function):
    """Concatenates the ranks' batches in rank order; the gradient of a slice is its sum over all ranks' losses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # gloo has no reduce_scatter; the all-reduce costs the same order of traffic as the gather itself.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_with_gradient(x: Float[Tensor, "local_batch dim"]) -> Float[Tensor, "global_batch dim"]:
    """All ranks' rows in rank order (every rank holds equally many); `x` itself when there is one rank.

    DDP averages gradients over ranks, so a loss that is the mean over *local* anchors against gathered keys has
    exactly the gradient of one process with the global batch.
    """
    return _AllGather.apply(x) if is_distributed() else x


def first_global_row(x: Float[Tensor, "local_batch dim"]) -> int:
    """The row of the gathered tensor at which this rank's rows begin."""
    return dist.get_rank() * len(x) if is_distributed() else 0
