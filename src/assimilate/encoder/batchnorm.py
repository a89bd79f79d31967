"""BatchNorm whose statistics are those of the global batch, on any device.

torch's SyncBatchNorm refuses CPU tensors, so under gloo the sums travel through a differentiable all-reduce. Ranks hold
equal shares of the batch (the data module sees to that), and every rank reaches the same layers in the same order.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


@contextlib.contextmanager
def keep_running_statistics(module: nn.Module) -> Iterator[None]:
    """Within the block, BatchNorm in train mode normalises by its batch and leaves its running statistics alone."""
    layers = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    tracked = [layer.track_running_stats for layer in layers]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer, track in zip(layers, tracked, strict=True):
            layer.track_running_stats = track


class _AllReduceSum(torch.autograd.Function):
    """y = Σ_ranks x. Each rank's loss depends on every x, so the gradients are summed over ranks too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class SynchronizedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """BatchNorm over the union of all ranks' batches in train mode; ordinary BatchNorm in eval mode or alone.

    The same parameters, buffers and names as BatchNorm1d/2d. With R ranks of B/R samples, outputs, running statistics
    and (after DDP's mean over ranks) gradients are those of one process with B samples.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.dim() >= 2, f"BatchNorm needs at least 2 dimensions, got {input.dim()}"

    def forward(self, input: Float[Tensor, "batch channels ..."]) -> Float[Tensor, "batch channels ..."]:
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        reduced = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        # Half-precision sums over a batch lose digits; statistics are kept in fp32 as torch's own kernels do.
        x = input if input.dtype == torch.float64 else input.float()
        count = x.numel() // x.shape[1] * dist.get_world_size()
        mean = _AllReduceSum.apply(x.sum(reduced)) / count
        centered = x - mean.view(shape)
        # The second pass around the global mean avoids the cancellation of E[x²] − E[x]².
        variance = _AllReduceSum.apply(centered.square().sum(reduced)) / count
        if self.track_running_stats:
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None, "a cumulative average (momentum=None) is not supported"
            with torch.no_grad():
                self.num_batches_tracked += 1
                unbiased = variance.detach() * (count / max(count - 1, 1))
                self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        normalized = centered * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        return normalized.to(input.dtype)


def synchronize_batchnorm(module: nn.Module) -> nn.Module:
    """Replaces every BatchNorm inside `module` (in place, sharing parameters and buffers) by a synchronised one.

    Returns `module`, or its replacement where `module` itself is a BatchNorm.
    """
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, SynchronizedBatchNorm):
        replacement = SynchronizedBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        replacement._parameters.update(module._parameters)
        replacement._buffers.update(module._buffers)
        return replacement.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, synchronize_batchnorm(child))
    return module
