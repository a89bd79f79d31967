"""StyleGAN2 as a LatentGenerator: frozen moving average, truncation, fixed noise."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assimilate.generator.state import GeneratorState
from assimilate.generator.stylegan2 import Generator


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
