"""StyleGAN2 and BigBiGAN as LatentGenerators: frozen, truncated, with fixed noise."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.generator.bigbigan import BigBiGAN
from assimilate.generator.state import GeneratorState
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated_normal import truncated_normal


class TruncatedStyleGAN2(nn.Module):
    """g(w) of the frozen g_ema at mean + ψ·(w − mean), with the registered noise maps.

    ``truncation`` is ψ in (0, 1]; gradients reach the codes [batch, codes, dim] only. Raises ValueError for another ψ.
    """

    latent_mean: Tensor

    def __init__(self, network: Generator, latent_mean: Float[Tensor, " dim"], *, truncation: float = 0.7) -> None:
        super().__init__()
        if not 0 < truncation <= 1:
            raise ValueError(f"generator.truncation={truncation}: must be in (0, 1]; 1 switches truncation off")
        self.network = copy.deepcopy(network).eval().freeze()
        self.register_buffer("latent_mean", latent_mean.detach().clone())
        self.truncation = truncation

    @classmethod
    def from_state(cls, state: GeneratorState, *, truncation: float = 0.7) -> "TruncatedStyleGAN2":
        """Freeze a copy of the moving average of ``state``."""
        mean = state.latent_mean.to(state.generator_ema.input.input.device)
        return cls(state.generator_ema, mean, truncation=truncation)

    @property
    def image_size(self) -> int:
        return self.network.architecture.image_size

    @property
    def num_codes(self) -> int:
        return self.network.architecture.num_codes

    @property
    def latent_dim(self) -> int:
        return self.network.architecture.latent_dim

    def sample_latents(self, count: int, rng: torch.Generator) -> Float[Tensor, "batch dim"]:
        """Draw z from N(0, I) on the device of ``rng``."""
        return torch.randn(count, self.latent_dim, generator=rng, device=rng.device)

    def map(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Map z to w, before truncation."""
        return self.network.map(latents)

    def synthesize(self, codes: Float[Tensor, "batch codes dim"]) -> Float[Tensor, "batch 3 size size"]:
        """Make images, about [-1, 1] and not clamped, from pre-truncation W+ codes."""
        return self.network.synthesize(torch.lerp(self.latent_mean, codes, self.truncation), self.network.fixed_noise())


class TruncatedBigBiGAN(nn.Module):
    """g(z) of a frozen generator at ψ·z; codes are [batch, 1, dim].

    It has no mapping network: a code is a latent, and an image has one. ``latent_limit`` truncates the normal
    distribution of ``sample_latents`` at ±limit (GenRep: 2); None leaves it whole. ``truncation`` is ψ in (0, 1].
    Gradients reach the codes only. Raises ValueError for settings out of range.
    """

    latent_mean: Tensor

    def __init__(self, network: BigBiGAN, *, truncation: float = 1.0, latent_limit: float | None = None) -> None:
        super().__init__()
        if not 0 < truncation <= 1:
            raise ValueError(f"generator.truncation={truncation}: must be in (0, 1]; 1 switches truncation off")
        if latent_limit is not None and latent_limit <= 0:
            raise ValueError(f"generator.latent_limit={latent_limit}: must be above 0, or null for N(0, I)")
        self.network = copy.deepcopy(network).eval().freeze()
        self.truncation, self.latent_limit = truncation, latent_limit
        self.register_buffer("latent_mean", torch.zeros(network.architecture.latent_dim))

    @property
    def image_size(self) -> int:
        return self.network.architecture.image_size

    @property
    def num_codes(self) -> int:
        """Always 1."""
        return 1

    @property
    def latent_dim(self) -> int:
        return self.network.architecture.latent_dim

    def sample_latents(self, count: int, rng: torch.Generator) -> Float[Tensor, "batch dim"]:
        """Draw z from N(0, I), truncated at ±latent_limit, on the device of ``rng``."""
        if self.latent_limit is None:
            return torch.randn(count, self.latent_dim, generator=rng, device=rng.device)
        return truncated_normal((count, self.latent_dim), self.latent_limit, rng)

    def map(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Return the latents: they are codes."""
        return latents

    def synthesize(self, codes: Float[Tensor, "batch 1 dim"]) -> Float[Tensor, "batch 3 size size"]:
        """Make images in [-1, 1] from pre-truncation codes."""
        return self.network(self.truncation * codes.squeeze(1))
