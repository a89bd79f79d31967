"""Losses of dimensions rather than images: VICReg (Bardes et al., 2022) and Barlow Twins (Zbontar et al., 2021).

Both compare the covariances of a whole batch. With `gather=True` and several ranks that is the global batch: every rank
computes the same loss of all ranks' embeddings, and the mean over ranks of the gradients is that of one process.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.assimilation.gathering import gather_with_gradient
from assimilate.assimilation.losses import Embedding, check_batches, in_full_precision

# As torch's BatchNorm, which normalises the embeddings in Barlow Twins' code.
_BATCHNORM_EPSILON = 1e-5
_VARIANCE_EPSILON = 1e-4


def _whole(z: Tensor, gather: bool) -> Tensor:
    z = in_full_precision(z)
    return gather_with_gradient(z) if gather else z


def _off_diagonal(matrix: Float[Tensor, "dim dim"]) -> Float[Tensor, ""]:
    """Sum of the squares beside the diagonal."""
    return matrix.square().sum() - matrix.diagonal().square().sum()


def vicreg(
    z1: Embedding,
    z2: Embedding,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """λ·s(z1, z2) + μ·[v(z1) + v(z2)] + ν·[c(z1) + c(z2)] (VICReg's Eq. 6).

    s is the mean squared error over images and dimensions, v the mean over dimensions of (1 − √(var + 1e-4))⁺, c the
    sum of the squared covariances beside the diagonal, divided by the dimensions. The authors' code halves v.

    Args:
        z1, z2: [batch, dim], row i of both showing image i; not normalised.
        invariance, variance, covariance: λ, μ and ν.
        gather: under several ranks, of all ranks' embeddings.

    Raises:
        ValueError: the shapes differ.
    """
    check_batches((z1, z2))
    with torch.autocast(z1.device.type, enabled=False):
        z1, z2 = _whole(z1, gather), _whole(z2, gather)
        total = invariance * (z1 - z2).square().mean()
        for z in (z1, z2):
            centered = z - z.mean(0)
            products = centered.T @ centered / (len(z) - 1)
            spread = (products.diagonal() + _VARIANCE_EPSILON).sqrt()
            total = total + variance * (1 - spread).relu().mean() + covariance * _off_diagonal(products) / z.shape[1]
        return total


def mean_squared_error(anchors: Sequence[Embedding], appended: Sequence[Embedding]) -> Float[Tensor, ""]:
    """Mean of (z − z')² over anchors z, appended views z', images and dimensions."""
    check_batches((*anchors, *appended))
    with torch.autocast(anchors[0].device.type, enabled=False):
        pairs = [(in_full_precision(z), in_full_precision(other)) for z in anchors for other in appended]
        # Nothing is compared across images: the mean over ranks is that of the whole batch.
        return torch.stack([(z - other).square().mean() for z, other in pairs]).mean()


def _standardized(z: Embedding, gather: bool) -> Embedding:
    z = _whole(z, gather)
    centered = z - z.mean(0)
    return centered / (centered.square().mean(0) + _BATCHNORM_EPSILON).sqrt()


def barlow_twins(z1: Embedding, z2: Embedding, *, redundancy: float = 0.005, gather: bool = False) -> Float[Tensor, ""]:
    """Σ_i (1 − C_ii)² + λ·Σ_{i≠j} C_ij², C being the cross-correlation of the dimensions over the batch (Eq. 1, 2).

    Variances are divided by N, as in the authors' code (BatchNorm), so that equal views have C_ii = 1; by N − 1 in the
    paper's pseudocode.

    Args:
        z1, z2: [batch, dim], row i of both showing image i; not normalised.
        redundancy: λ.
        gather: under several ranks, of all ranks' embeddings.

    Raises:
        ValueError: the shapes differ.
    """
    check_batches((z1, z2))
    with torch.autocast(z1.device.type, enabled=False):
        first, second = _standardized(z1, gather), _standardized(z2, gather)
        correlation = first.T @ second / len(first)
        return (1 - correlation.diagonal()).square().sum() + redundancy * _off_diagonal(correlation)


def diagonal_term(
    anchors: Sequence[Embedding], appended: Sequence[Embedding], *, gather: bool = False
) -> Float[Tensor, ""]:
    """Mean over anchors z and appended views z' of Σ_i (1 − C_ii(z, z'))², the diagonal term of Barlow Twins."""
    check_batches((*anchors, *appended))
    with torch.autocast(anchors[0].device.type, enabled=False):
        others = [_standardized(z, gather) for z in appended]
        terms = []
        for anchor in [_standardized(z, gather) for z in anchors]:
            terms += [(1 - (anchor * other).mean(0)).square().sum() for other in others]
        return torch.stack(terms).mean()
