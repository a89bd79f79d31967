"""f as the search sees it: GAN images in, points on the unit sphere out."""

import contextlib
from collections.abc import Iterator
from typing import cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from assimilate.encoder.encoder import EmbeddingOf, Encoder
from assimilate.generator.protocol import to_pixels as to_pixels


class FrozenEmbedding(nn.Module):
    """f(x): images in [−1, 1] → projector output of norm 1, in eval mode and without weight gradients.

    Calling it takes floats [batch, 3, height, width] to [batch, dim]; `FrozenEmbedding.of(encoder)` makes one.

    Args:
        encoder: maps normalised images to projector outputs; it is frozen in place.
        mean: of the images in [0, 1] on which the encoder was trained, a channel.
        std: likewise.
    """

    def __init__(
        self, encoder: nn.Module, *, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        # Channels last is the faster layout for convolutions on CPUs and GPUs alike.
        self.encoder = encoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        # (x + 1)/2 and the normalisation in one multiply-add; in float64, so that networks in float64 are just that.
        spread = torch.tensor(std, dtype=torch.float64).view(1, 3, 1, 1)
        self.register_buffer("scale", 0.5 / spread)
        self.register_buffer("shift", (0.5 - torch.tensor(mean, dtype=torch.float64).view(1, 3, 1, 1)) / spread)

    @classmethod
    def of(cls, encoder: Encoder) -> "FrozenEmbedding":
        """f as W-search and MINE use it: the encoder's predictor output if it has one, else its projector's.

        Args:
            encoder: frozen in place; its own `mean` and `std` normalise.
        """
        return cls(EmbeddingOf(encoder), mean=encoder.mean, std=encoder.std)

    def train(self, mode: bool = True) -> "FrozenEmbedding":
        """Stays in eval mode: f is frozen."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Embed images in [−1, 1]; gradients flow to the images alone.

        Where no gradient is asked for, which is where something is measured, a GPU computes in full float32: torch lets
        its convolutions round to TF32 otherwise, as a search's steps may.
        """
        if torch.is_grad_enabled():
            return self._embed(images)
        with _full_float32():
            return self._embed(images)

    def _embed(self, images: Tensor) -> Tensor:
        scale, shift = (cast(Tensor, buffer).to(images.dtype) for buffer in (self.scale, self.shift))
        return F.normalize(self.encoder(torch.addcmul(shift, images, scale)), dim=1)


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def from_pixels(
    pixels: UInt8[Tensor, "... 3 height width"], dtype: torch.dtype = torch.float32
) -> Float[Tensor, "... 3 height width"]:
    """Inverse of `to_pixels` on its levels: uint8 to floats in [−1, 1]."""
    return pixels.to(dtype).div_(127.5).sub_(1)
