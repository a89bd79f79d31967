"""Differentiable augmentation of real and generated images alike, which does not leak (Zhao et al. 2020)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from assimilate.data.crop import PerImage


@dataclass(frozen=True)
class DiffAugmentParameters(PerImage):
    """What is done to each image; colours first, in this order, then translation, then cutout."""

    brightness: Float[Tensor, " batch"]
    """Added to all channels, in [-0.5, 0.5)."""
    saturation: Float[Tensor, " batch"]
    """Factor on a pixel's distance from its grey, in [0, 2)."""
    contrast: Float[Tensor, " batch"]
    """Factor on the distance from the image's mean, in [0.5, 1.5)."""
    translation: Int64[Tensor, "batch 2"]
    """Pixels down and to the right; zeros move in."""
    cutout: Int64[Tensor, "batch 2"]
    """First row and column of the square that is set to 0; may lie outside, the square is then cut."""


@dataclass(frozen=True)
class DiffAugment:
    """Colour, translation by up to ``translation`` of the side, and a cutout of ``cutout`` of the side.

    The shares are those of the paper's experiments. 0 is mid-grey: images are in [-1, 1].
    """

    translation: float = 0.125
    cutout: float = 0.5

    def draw(self, count: int, size: int, rng: torch.Generator) -> DiffAugmentParameters:
        """Draw parameters for ``count`` images of ``size`` × ``size`` on the device of ``rng``."""
        device = rng.device
        brightness, saturation, contrast = torch.rand(3, count, generator=rng, device=device).unbind()
        reach, hole = int(size * self.translation + 0.5), self.hole(size)
        translation = torch.randint(-reach, reach + 1, (count, 2), generator=rng, device=device)
        # The centre may be any pixel; an even square has a place more, so that both borders are met equally often.
        centre = torch.randint(0, size + 1 - hole % 2, (count, 2), generator=rng, device=device)
        return DiffAugmentParameters(brightness - 0.5, saturation * 2, contrast + 0.5, translation, centre - hole // 2)

    def hole(self, size: int) -> int:
        """Return the side of the cutout in pixels."""
        return int(size * self.cutout + 0.5)

    def apply(
        self, images: Float[Tensor, "batch 3 size size"], parameters: DiffAugmentParameters
    ) -> Float[Tensor, "batch 3 size size"]:
        """Augment images; twice differentiable in them."""
        images = images + _spread(parameters.brightness)
        grey = images.mean(dim=1, keepdim=True)
        images = grey + (images - grey) * _spread(parameters.saturation)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = mean + (images - mean) * _spread(parameters.contrast)
        size = images.shape[-1]
        places = torch.arange(size, device=images.device)
        # Row and column that each pixel comes from [batch, size]; those outside are read from the border and hidden.
        rows, columns = (places - shift[:, None] for shift in parameters.translation.unbind(1))
        visible = _inside(rows, 0, size)[:, :, None] & _inside(columns, 0, size)[:, None, :]
        top, left = (first[:, None] for first in parameters.cutout.unbind(1))
        hole = self.hole(size)
        cut = _inside(places, top, top + hole)[:, :, None] & _inside(places, left, left + hole)[:, None, :]
        images = images.gather(2, rows.clamp(0, size - 1)[:, None, :, None].expand_as(images))
        images = images.gather(3, columns.clamp(0, size - 1)[:, None, None, :].expand_as(images))
        return images * (visible & ~cut)[:, None]


def _spread(values: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1 1 1"]:
    return values.view(-1, 1, 1, 1)


def _inside(places: Tensor, first: Tensor | int, stop: Tensor | int) -> Tensor:
    return (places >= first) & (places < stop)
