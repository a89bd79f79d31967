"""Moves from the codes of an anchor to those of a view, one forward pass each and no search.

W-perturb (Section 3.2) adds noise to the inverted latent. W-mix is style mixing (Karras et al., 2019): the anchor's
codes in the coarse layers, those of a random latent in the fine ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from assimilate.generator.protocol import LatentGenerator
from assimilate.generator.truncated_normal import truncated_normal

Codes = Float[Tensor, "batch codes dim"]
Latents = Float[Tensor, "batch dim"]


@dataclass(frozen=True)
class Perturbation:
    """W-perturb: adds Gaussian noise to the whole W+, codes [batch, codes, dim]; see `move_codes`.

    Attributes:
        sigma: standard deviation of each element, one number or one a code (layer).
        projected: rescale the noise to the radius that it has on average, √(Σ_l σ_l²·dim): the footnote of
            Section 3.2 and Table 16's σ√(codes·dim) where σ is one number.
        noise_limit: truncates the normal distribution that σ scales at ±noise_limit (GenRep's neighbours: 2), so that
            no element exceeds noise_limit·σ; None: it is not truncated.

    Raises:
        ValueError: a σ is negative, or a limit not positive or beside `projected`, which fixes the radius.
    """

    sigma: float | tuple[float, ...]
    projected: bool = False
    noise_limit: float | None = None

    purpose = "perturb"

    def __post_init__(self) -> None:
        if min(self._sigmas) < 0:
            raise ValueError(f"view.sigma={self.sigma}: a standard deviation must not be negative")
        if self.noise_limit is not None and (self.noise_limit <= 0 or self.projected):
            raise ValueError(f"view.noise_limit={self.noise_limit}: must be above 0, and null with view.projected=true")

    @property
    def _sigmas(self) -> tuple[float, ...]:
        return self.sigma if isinstance(self.sigma, tuple) else (self.sigma,)

    def draw(self, generator: LatentGenerator, count: int, shape: torch.Size, rng: torch.Generator) -> Codes:
        """Noise for `count` views.

        Raises:
            ValueError: there is one σ a code, but not as many as codes.
        """
        if len(self._sigmas) not in (1, shape[0]):
            raise ValueError(
                f"view.sigma={list(self._sigmas)} has {len(self._sigmas)} numbers, but the generator has {shape[0]} "
                "codes: give one number, or one a code"
            )
        sigma = torch.tensor(self._sigmas, device=rng.device)[:, None].expand(shape[0], 1)
        if self.noise_limit is None:
            noise = sigma * torch.randn((count, *shape), generator=rng, device=rng.device)
        else:
            noise = sigma * truncated_normal((count, *shape), self.noise_limit, rng)
        if self.projected:
            radius = (sigma.square().sum() * shape[1]).sqrt()
            norm = torch.linalg.vector_norm(noise, dim=(1, 2), keepdim=True)
            noise = torch.where(norm > 0, noise * (radius / norm), noise)
        return noise

    def apply(self, generator: LatentGenerator, codes: Codes, drawn: Codes) -> Codes:
        """Codes plus noise."""
        return codes + drawn


@dataclass(frozen=True)
class Mixing:
    """W-mix: keeps the first `split` of the anchor's codes [batch, codes, dim], takes the others from a random latent.

    See `move_codes`.

    Attributes:
        split: codes (layers, from the coarsest) that stay the anchor's. The strength of the view: all of them give the
            reconstruction, 0 an image that has nothing to do with the anchor.
        strength: how far the others go from the anchor's to those of the random latent, 0 to 1.
    """

    split: int
    strength: float = 1.0

    purpose = "mix"

    def draw(self, generator: LatentGenerator, count: int, shape: torch.Size, rng: torch.Generator) -> Latents:
        """Latents z of the generator's own distribution.

        Raises:
            ValueError: `split` exceeds the number of codes.
        """
        if not 0 <= self.split <= shape[0]:
            raise ValueError(f"view.split={self.split}: the generator has {shape[0]} codes, allowed is 0 to {shape[0]}")
        return generator.sample_latents(count, rng)

    def apply(self, generator: LatentGenerator, codes: Codes, drawn: Latents) -> Codes:
        """Coarse codes of the anchor, fine ones of the mapped latent; truncation comes later and for all alike."""
        sampled = generator.map(drawn)[:, None].expand(-1, codes.shape[1] - self.split, -1)
        if self.strength < 1:
            sampled = torch.lerp(codes[:, self.split :], sampled, self.strength)
        return torch.cat([codes[:, : self.split], sampled], dim=1)
