"""Alignment and uniformity of embeddings on the unit sphere (Wang & Isola, 2020)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 2048


def alignment(x: Float[Tensor, "pairs dim"], y: Float[Tensor, "pairs dim"], *, power: float = 2.0) -> float:
    """Mean ‖x − y‖^power over positive pairs; 0 is perfect.

    Args:
        x: of norm 1.
        y: of norm 1.
        power: their α.
    """
    return float(torch.linalg.vector_norm(x.double() - y.double(), dim=1).pow(power).mean())


def uniformity(x: Float[Tensor, "samples dim"], *, t: float = 2.0) -> float:
    """Log mean exp(−t·‖x_i − x_j‖²) over all i ≠ j; the lower, the more evenly spread.

    Args:
        x: of norm 1, at least two.
        t: their t.
    """
    assert len(x) > 1, len(x)
    # On the unit sphere −t‖a − b‖² = 2t(a·b − 1).
    sums = []
    for begin in range(0, len(x), CHUNK):
        exponents = 2 * t * (x[begin : begin + CHUNK].double() @ x.double().T - 1)
        rows = torch.arange(len(exponents), device=x.device)
        exponents[rows, begin + rows] = -torch.inf
        sums.append(exponents.flatten().logsumexp(dim=0))
    return float(torch.stack(sums).logsumexp(dim=0)) - math.log(len(x) * (len(x) - 1))
