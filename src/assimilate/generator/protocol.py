"""What inversion and views know of a generator; any object with these members can take StyleGAN2's place."""

from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor


class LatentGenerator(Protocol):
    """A frozen generator of square RGB images that is differentiable in its codes.

    Codes are *pre-truncation*: ``synthesize`` itself applies truncation. The same codes always give the same image, and
    an image depends on its own codes alone.
    """

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        ...

    @property
    def num_codes(self) -> int:
        """L, the number of codes of an image."""
        ...

    @property
    def latent_dim(self) -> int:
        """D, the width of a latent and of a code."""
        ...

    @property
    def latent_mean(self) -> Float[Tensor, " dim"]:
        """The mean code, on the generator's device."""
        ...

    def sample_latents(self, count: int, rng: torch.Generator) -> Float[Tensor, "batch dim"]:
        """Draw latents z on the device of ``rng``."""
        ...

    def map(self, latents: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Map latents z to codes w, before truncation."""
        ...

    def synthesize(self, codes: Float[Tensor, "batch codes dim"]) -> Float[Tensor, "batch 3 size size"]:
        """Make images, about [-1, 1] and not clamped."""
        ...
