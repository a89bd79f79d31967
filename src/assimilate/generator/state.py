"""A trained or half-trained StyleGAN2."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.data.seeding import generator as seeded
from assimilate.generator.architecture import Architecture
from assimilate.generator.discriminator import Discriminator
from assimilate.generator.stylegan2 import Generator

NUM_MEAN_LATENTS = 4096


@dataclass
class GeneratorState:
    """The networks of a StyleGAN2 after ``step`` steps.

    ``generator_ema`` is the one that is used; ``generator`` and ``discriminator`` are None where a checkpoint has none.
    ``latent_mean`` [D] is the point towards which truncation moves codes. ``history`` holds one record of mean losses a
    logging interval. ``optimizers`` and ``mean_path_length`` let training go on. ``notes`` tell the
    user what a checkpoint lacked, and what stands in its place.
    """

    architecture: Architecture
    generator_ema: Generator
    latent_mean: Float[Tensor, " dim"]
    generator: Generator | None = None
    discriminator: Discriminator | None = None
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    optimizers: dict[str, dict[str, Any]] = field(default_factory=dict)
    mean_path_length: float = 0.0
    notes: tuple[str, ...] = ()


def mean_latent(network: Generator, *, seed: int) -> Float[Tensor, " dim"]:
    """Return the mean of 4096 mapped latents, drawn on the CPU from ``seed``."""
    latents = torch.randn(NUM_MEAN_LATENTS, network.architecture.latent_dim, generator=seeded(seed, "latent mean"))
    with torch.no_grad():
        return network.map(latents.to(network.input.input.device)).mean(dim=0)
