"""Augmentation of whole batches: per-image parameters, drawn first and applied after."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from assimilate.data.crop import (
    CropParameters,
    Images,
    Interpolation,
    Views,
    cache_sized,
    check_crop,
    check_probability,
    draw_crops,
    draw_flips,
    resample_groups,
    unit_floats,
)


class Augmentation(Protocol):
    """Turns a batch of stored images into views in [0, 1], each image with parameters of its own.

    Images are uint8 [batch, 3, height, width], views floats [batch, 3, size, size].
    """

    def __call__(
        self, images: UInt8[Tensor, "batch 3 height width"], rng: torch.Generator
    ) -> Float[Tensor, "batch 3 size size"]:
        """Draw parameters from ``rng`` and apply them.

        ``rng`` may live on the CPU while ``images`` do not: the draws are then equal on every device. The result is
        the caller's, who normalises it in place: it must not share memory with anything that is kept.
        """
        ...


def central(images: Images, size: int | None) -> Images:
    """Return the central ``size`` x ``size`` pixels of larger images, of others (or with size None) all.

    So whole images can stand beside crops of them: GenRep's 112 of 128.
    """
    height, width = images.shape[-2:]
    if size is None or min(height, width) <= size:
        return images
    top, left = (height - size) // 2, (width - size) // 2
    return images[..., top : top + size, left : left + size]


@dataclass(frozen=True)
class Identity:
    """No change but to floats in [0, 1], and to the centre of what is larger than ``image_size``.

    Calling it takes uint8 [batch, 3, height, width].
    """

    image_size: int | None = None

    def __call__(self, images: Images, rng: torch.Generator | None = None) -> Float[Tensor, "batch 3 size size"]:
        """uint8 [batch, 3, height, width] to floats in [0, 1]; draws nothing."""
        return unit_floats(central(images, self.image_size))


@dataclass(frozen=True)
class FlipAugmentation:
    """A horizontal flip with ``probability``: what a generated view gets by default.

    Of what is larger than ``image_size`` only the centre is shown. Calling it takes uint8 [batch, 3, height, width] to
    floats in [0, 1]. Raises ValueError for a probability outside [0, 1].
    """

    probability: float = 0.5
    image_size: int | None = None

    def __post_init__(self) -> None:
        check_probability("flip", self.probability)

    def draw(self, count: int, rng: torch.Generator) -> Bool[Tensor, " count"]:
        """Draw which of ``count`` images are mirrored."""
        return draw_flips(count, self.probability, rng)

    def apply(self, images: Images, flip: Bool[Tensor, " batch"]) -> Float[Tensor, "batch 3 size size"]:
        """Mirror the images where ``flip`` says so."""
        views = unit_floats(central(images, self.image_size))
        return torch.where(flip.to(images.device, non_blocking=True).view(-1, 1, 1, 1), views.flip(-1), views)

    def __call__(self, images: Images, rng: torch.Generator | None = None) -> Float[Tensor, "batch 3 size size"]:
        """uint8 [batch, 3, height, width] to views in [0, 1]; without ``rng`` torch's global generator draws."""
        return self.apply(images, self.draw(len(images), rng or torch.default_generator))


@dataclass(frozen=True)
class BasicAugmentation:
    """RandomResizedCrop, then a horizontal flip; the default box is that of "basic" (Tables 5 and 19).

    Calling it takes uint8 `[batch, 3, height, width]` to floats in [0, 1] `[batch, 3, image_size, image_size]`, each
    image with a box of its own: ``scale`` its area as a share of the image's, ``ratio`` its width over its height.
    Raises ValueError for settings out of range.
    """

    image_size: int
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        check_crop(self.image_size, self.scale, self.ratio, self.interpolation)
        check_probability("flip", self.flip)

    def draw(self, count: int, height: int, width: int, rng: torch.Generator) -> CropParameters:
        """Draw boxes and flips for ``count`` images of ``height`` x ``width``."""
        return draw_crops(count, height, width, scale=self.scale, ratio=self.ratio, flip=self.flip, rng=rng)

    def apply(self, images: Images, crops: CropParameters) -> Views:
        """Cut, resize and mirror."""
        group_size = cache_sized(images, self.image_size)
        crops = crops.to(images.device)
        return resample_groups(images, crops, self.image_size, group_size, interpolation=self.interpolation)

    def __call__(self, images: Images, rng: torch.Generator | None = None) -> Views:
        """uint8 [batch, 3, height, width] to views [batch, 3, image_size, image_size] in [0, 1].

        Without ``rng`` torch's global generator draws.
        """
        return self.apply(
            images, self.draw(len(images), images.shape[-2], images.shape[-1], rng or torch.default_generator)
        )


def normalize(
    images: Float[Tensor, "batch 3 height width"],
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    out: Float[Tensor, "batch 3 height width"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Return (images - mean) / std a channel of images [batch, 3, height, width], in one pass over the batch.

    ``mean`` and ``std`` are three numbers each; ``out`` may be ``images`` themselves.
    """
    scale = torch.tensor(std, dtype=images.dtype).reciprocal_().view(1, 3, 1, 1)
    shift = -torch.tensor(mean, dtype=images.dtype).view(1, 3, 1, 1) * scale
    device = images.device
    return torch.addcmul(shift.to(device, non_blocking=True), images, scale.to(device, non_blocking=True), out=out)
