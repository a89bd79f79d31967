"""The denominators of contrastive losses, with their gradients in closed form.

A contrastive loss is a mean log-sum-exp over a matrix of similarities, less the positives. The gradient of the former
is a softmax times the embeddings: it is computed with the value, so no matrix of similarities outlives the forward
pass and autograd keeps no copies of it. Blocks of a symmetric matrix are computed once for both of their triangles.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd.function import once_differentiable

# exp of anything in ±this, and sums and reciprocals of it, are ordinary numbers.
_SAFE_EXPONENT = {torch.float32: 40.0, torch.float64: 300.0}
# Rows of a block: on the CPU, large enough for the matrix product's full rate; elsewhere, few kernels.
_BLOCK_ROWS = {"cpu": 2048}
_BLOCK_ROWS_ELSEWHERE = 8192


def _blocks(num_rows: int, z: Tensor) -> Iterator[slice]:
    size = _BLOCK_ROWS.get(z.device.type, _BLOCK_ROWS_ELSEWHERE)
    return (slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size))


def _is_safe(z: Tensor, temperature: float) -> bool:
    """Whether exp(z_i·z_j/τ) of unit vectors needs no shift."""
    return 1 / temperature <= _SAFE_EXPONENT[z.dtype]


class _Scaled(torch.autograd.Function):
    """Base of functions whose gradients are known with the value, up to the factor that arrives in the backward."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *factors: Tensor) -> Any:
        return tuple(None if gradient is None else gradient * factors[0] for gradient in ctx.gradients)


class _AmongThemselves(_Scaled):
    @staticmethod
    def forward(ctx: Any, z: Tensor, temperature: float) -> Tensor:
        wanted, count = ctx.needs_input_grad[0], len(z)
        scaled, safe = z / temperature, _is_safe(z, temperature)
        rows = list(_blocks(count, z))
        kept: list[tuple[slice, slice, Tensor]] = []
        # Sums of exponentials where those are safe, else their logarithms.
        total = z.new_zeros(count) if safe else z.new_full((count,), float("-inf"))
        for number, own in enumerate(rows):
            for other in rows[number:]:
                block = scaled[own] @ z[other].T
                if own is other:
                    block.fill_diagonal_(float("-inf"))
                if safe:
                    block.exp_()
                    total[own] += block.sum(1)
                    if own is not other:
                        total[other] += block.sum(0)
                else:
                    total[own] = torch.logaddexp(total[own], block.logsumexp(1))
                    if own is not other:
                        total[other] = torch.logaddexp(total[other], block.logsumexp(0))
                if wanted:
                    kept.append((own, other, block))
        value = (total.log() if safe else total).mean()
        if not wanted:
            return value
        # Row i's softmax pulls at z_i and, through its keys, row j's pulls at z_i too: P + Pᵀ.
        gradient = torch.zeros_like(z)
        weight = total.reciprocal() if safe else total
        while kept:
            own, other, block = kept.pop()
            if safe:
                block *= weight[own, None] + weight[other]
            else:
                block = (block - weight[own, None]).exp_() + (block - weight[other]).exp_()
            gradient[own].addmm_(block, z[other])
            if own is not other:
                gradient[other].addmm_(block.T, z[own])
        ctx.gradients = (gradient.div_(temperature * count), None)
        return value


def log_denominator_among(z: Float[Tensor, "count dim"], *, temperature: float) -> Float[Tensor, ""]:
    """mean_i log Σ_{a≠i} exp(z_i·z_a/τ): every row an anchor, every other row a key (Eq. 1, 13).

    Args:
        z: unit vectors, fp32 or fp64.
    """
    return _AmongThemselves.apply(z, temperature)


class _BothWays(_Scaled):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, temperature: float) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        scaled, safe = a / temperature, _is_safe(a, temperature)
        of_a = a.new_empty(len(a))
        of_b = a.new_zeros(len(b)) if safe else a.new_full((len(b),), float("-inf"))
        kept: list[tuple[slice, Tensor]] = []
        for rows in _blocks(len(a), a):
            block = scaled[rows] @ b.T
            if safe:
                of_a[rows] = block.exp_().sum(1)
                of_b += block.sum(0)
            else:
                of_a[rows] = block.logsumexp(1)
                of_b = torch.logaddexp(of_b, block.logsumexp(0))
            if wanted:
                kept.append((rows, block))
        value = 0.5 * ((of_a.log() if safe else of_a).mean() + (of_b.log() if safe else of_b).mean())
        if not wanted:
            return value
        if safe:
            of_a, of_b = of_a.reciprocal(), of_b.reciprocal()
        gradient_a, gradient_b = torch.empty_like(a), torch.zeros_like(b)
        while kept:
            rows, block = kept.pop()
            if safe:
                block *= of_a[rows, None] + of_b
            else:
                block = (block - of_a[rows, None]).exp_() + (block - of_b).exp_()
            gradient_a[rows] = block @ b
            gradient_b.addmm_(block.T, a[rows])
        factor = 1 / (2 * temperature * len(a))
        ctx.gradients = (gradient_a.mul_(factor), gradient_b.mul_(factor), None)
        return value


def log_denominator_between(
    a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"], *, temperature: float
) -> Float[Tensor, ""]:
    """½·mean_i log Σ_j exp(a_i·b_j/τ) + ½·mean_j log Σ_i exp(a_i·b_j/τ): each view the other's keys (Eq. 12).

    Args:
        a, b: unit vectors, fp32 or fp64, equally many.
    """
    assert len(a) == len(b), (a.shape, b.shape)
    return _BothWays.apply(a, b, temperature)


class _AgainstKeys(_Scaled):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, keys: Tensor, itself: Tensor | None, temperature: float) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        scaled = anchors / temperature
        gradients = torch.empty_like(anchors), torch.zeros_like(keys)
        total = anchors.new_zeros((), dtype=torch.float64)
        for rows in _blocks(len(anchors), anchors):
            block = scaled[rows] @ keys.T
            if itself is not None:
                block.scatter_(1, itself[rows, None], float("-inf"))
            denominators = block.logsumexp(1)
            total += denominators.sum()
            if wanted:
                block.sub_(denominators[:, None]).exp_()
                gradients[0][rows] = block @ keys
                gradients[1].addmm_(block.T, anchors[rows])
        factor = 1 / (temperature * len(anchors))
        ctx.gradients = (gradients[0].mul_(factor), gradients[1].mul_(factor), None, None)
        return (total / len(anchors)).to(anchors.dtype)


def log_denominator_against(
    anchors: Float[Tensor, "anchors dim"],
    keys: Float[Tensor, "keys dim"],
    *,
    temperature: float,
    itself: Int64[Tensor, " anchors"] | None = None,
) -> Float[Tensor, ""]:
    """mean_i log Σ_a exp(z_i·k_a/τ) over keys that were gathered from all ranks.

    Args:
        anchors, keys: unit vectors, fp32 or fp64.
        itself: for each anchor the key that it is itself, and that is left out; None leaves out none.
    """
    return _AgainstKeys.apply(anchors, keys, itself, temperature)
