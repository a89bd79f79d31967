"""Normal draws that are redrawn, in effect, until they lie within a limit: what GenRep samples latents from."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def truncated_normal(shape: tuple[int, ...], limit: float, rng: torch.Generator) -> Float[Tensor, "..."]:
    """Draw from N(0, 1) on condition that |x| ≤ ``limit``, float32, on the device of ``rng``.

    By the inverse of the distribution function in float64: x = √2·erf⁻¹(u·erf(limit/√2)), u uniform in (−1, 1).
    """
    uniform = 2 * torch.rand(shape, generator=rng, device=rng.device, dtype=torch.float64) - 1
    draws = math.sqrt(2) * torch.erfinv(uniform * math.erf(limit / math.sqrt(2)))
    return draws.float().clamp_(-limit, limit)
