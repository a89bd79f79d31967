"""A LatentGenerator that is no StyleGAN2: what inversion needs is the protocol alone."""

import torch
from torch import Tensor

from assimilate.generator.architecture import Architecture
from assimilate.generator.state import GeneratorState, mean_latent
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2


class LinearGenerator:
    """Images of 8×8 that are linear in their codes [4, 3]: x = A·w."""

    image_size = 8
    num_codes = 4
    latent_dim = 3

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(12, 3 * 8 * 8, generator=rng) / 4
        self.latent_mean = torch.zeros(3)

    def sample_latents(self, count: int, rng: torch.Generator) -> Tensor:
        return torch.randn(count, 3, generator=rng)

    def map(self, latents: Tensor) -> Tensor:
        return latents

    def synthesize(self, codes: Tensor) -> Tensor:
        return (codes.flatten(1) @ self.matrix).view(-1, 3, 8, 8)


def tiny_stylegan2() -> TruncatedStyleGAN2:
    """An untrained StyleGAN2 of 8×8 images, always the same one."""
    architecture = Architecture(image_size=8, latent_dim=8, num_mapping_layers=2, channels=(16, 16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Generator(architecture)
    return TruncatedStyleGAN2.from_state(GeneratorState(architecture, network, mean_latent(network, seed=0)))
