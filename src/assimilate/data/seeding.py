"""Generators of random numbers that are seeded by names."""

import torch

from assimilate.data.seed import derive_seed


def generator(*parts: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` that is seeded by ``derive_seed(*parts)``.

    Generators of two device types give different streams for one seed: draw on the CPU what must not depend on it.
    """
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))
