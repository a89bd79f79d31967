"""The expert view of contrastive learning: crop, flip, colour jitter, grayscale, each image with its own draws."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from assimilate.data.crop import (
    CropParameters,
    Images,
    Interpolation,
    PerImage,
    Views,
    cache_sized,
    check_crop,
    check_probability,
    draw_crops,
    full_precision,
    resample,
    resample_groups,
    resample_one,
    unit_floats,
)
from assimilate.data.jitter import (
    JitterParameters,
    by_first_operation,
    draw_jitter,
    jitter_by_operation,
    jitter_by_position,
    jitter_one,
    jitter_planes,
    to_grayscale,
)

Order = Literal["crop_first", "jitter_first"]

# Enough for the four operations to fill their groups.
_GROUPS_AT_ONCE = 16
# With fewer images than that in a core's cache, calls of kernels cost less than moving images; found by trying.
_FEW = 32


@dataclass(frozen=True)
class ExpertParameters(PerImage):
    """What the expert augmentation does to each image."""

    crops: CropParameters
    jitter: JitterParameters


@dataclass(frozen=True)
class ExpertAugmentation:
    """The expert view of the protocols: random crop, flip, colour jitter and grayscale, each image with its own draws.

    Calling it takes uint8 `[batch, 3, height, width]` to floats in [0, 1] `[batch, 3, image_size, image_size]`, equal
    to torchvision's operations to 1e-5 when given the same parameters.
    ``order="crop_first"``: RandomResizedCrop, flip, jitter, grayscale. ``order="jitter_first"``:
    jitter, grayscale, RandomResizedCrop, flip. PIL rounds to uint8 after every operation; this does not.
    ``compiled`` hands the whole-batch form to torch.compile, once for every batch shape: seconds to a minute of
    compiling, then the same views to rounding.

    ``jitter`` holds the strengths of brightness, contrast, saturation (at least 0) and hue (0 to 0.5); ``crop_scale``
    is in shares of the image's area, probabilities lie in [0, 1]. Raises ValueError for settings out of range.
    """

    image_size: int
    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_probability: float = 0.8
    grayscale_probability: float = 0.2
    interpolation: Interpolation = "bilinear"
    order: Order = "crop_first"
    compiled: bool = False

    def __post_init__(self) -> None:
        check_crop(self.image_size, self.crop_scale, self.crop_ratio, self.interpolation)
        check_probability("flip", self.flip)
        check_probability("jitter_probability", self.jitter_probability)
        check_probability("grayscale_probability", self.grayscale_probability)
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise ValueError(
                f"jitter is {self.jitter}; allowed: brightness, contrast and saturation of at least 0, hue in [0, 0.5]"
            )
        if self.order not in get_args(Order):
            raise ValueError(f"order is {self.order!r}; allowed: {', '.join(get_args(Order))}")

    def draw(self, count: int, height: int, width: int, rng: torch.Generator) -> ExpertParameters:
        """Draw boxes, flips, factors and orders for ``count`` images of ``height`` x ``width``."""
        crops = draw_crops(count, height, width, scale=self.crop_scale, ratio=self.crop_ratio, flip=self.flip, rng=rng)
        jitter = draw_jitter(
            count,
            strength=self.jitter,
            jitter_probability=self.jitter_probability,
            grayscale_probability=self.grayscale_probability,
            rng=rng,
        )
        return ExpertParameters(crops, jitter)

    @property
    def crops_first(self) -> bool:
        """Whether what is jittered is the crop, rather than the whole image."""
        return self.order == "crop_first"

    def apply(self, images: Images, parameters: ExpertParameters) -> Views:
        """Apply the parameters: in cache-sized groups of one operation on the CPU, in whole-batch kernels elsewhere."""
        if self.compiled:
            crops, jitter = parameters.crops.to(images.device), parameters.jitter.to(images.device)
            with full_precision(images.device):
                return _compiled(self)(images, crops, jitter)
        if images.device.type != "cpu":
            return self.apply_by_position(images, parameters)
        if cache_sized(images, self.image_size) < _FEW:
            return self.apply_by_image(images, parameters)
        if self.crops_first:
            return self.apply_by_operation(images, parameters)
        # Whole images are jittered here, of any size: two float copies of a batch of them would be large.
        at_once = _GROUPS_AT_ONCE * cache_sized(images, self.image_size)
        views = torch.empty(len(images), 3, self.image_size, self.image_size)
        for start in range(0, len(images), at_once):
            some = slice(start, start + at_once)
            views[some] = self.apply_by_operation(images[some], parameters[some])
        return views

    def __call__(self, images: Images, rng: torch.Generator | None = None) -> Views:
        """uint8 [batch, 3, height, width] to views [batch, 3, image_size, image_size] in [0, 1].

        Without ``rng`` torch's global generator draws.
        """
        return self.apply(
            images, self.draw(len(images), images.shape[-2], images.shape[-1], rng or torch.default_generator)
        )

    def apply_by_image(self, images: Images, parameters: ExpertParameters) -> Views:
        """Apply to one image after the other, each while in cache: for the CPU, and images so large that few are."""
        views = torch.empty(len(images), 3, self.image_size, self.image_size)
        crop = functools.partial(resample_one, size=self.image_size, interpolation=self.interpolation)
        for index in range(len(images)):
            image, own = images[index : index + 1], parameters[index : index + 1]
            if self.crops_first:
                view = crop(image, own.crops)
                jitter_one(view, own.jitter)
            else:
                whole = unit_floats(image)
                jitter_one(whole, own.jitter)
                view = crop(whole, own.crops)
            views[index] = view[0]
        return views

    def apply_by_operation(self, images: Images, parameters: ExpertParameters) -> Views:
        """Apply with kernels over groups of images that get the same operation, each group while in cache."""
        group_size = cache_sized(images, self.image_size)
        # Sorted while they are bytes, a quarter of what they become.
        by_first, jittered = by_first_operation(parameters.jitter)
        images, own = images.index_select(0, by_first), parameters[by_first]
        plain = self._crop(images, own.crops, group_size) if self.crops_first else unit_floats(images)
        colored, lying = jitter_by_operation(plain, own.jitter, jittered, group_size)
        # Into the buffer that is free again: another one would cost as much in page faults as it takes to fill.
        views = torch.index_select(colored, 0, by_first[lying].argsort(), out=plain)
        grey = parameters.jitter.grayscale.nonzero().squeeze(1)
        views[grey] = to_grayscale(views[grey])
        return views if self.crops_first else self._crop(views, parameters.crops, group_size)

    def apply_by_position(self, images: Images, parameters: ExpertParameters) -> Views:
        """Apply with a number of kernels that does not depend on the draws, and without waiting for the device."""
        crops, jitter = parameters.crops.to(images.device), parameters.jitter.to(images.device)
        with full_precision(images.device):
            return self.apply_in_context(images, crops, jitter)

    def apply_in_context(self, images: Images, crops: CropParameters, jitter: JitterParameters) -> Views:
        """Do what ``apply_by_position`` does, all on one device and within the caller's ``full_precision``."""
        jitter_images = jitter_planes if self.compiled else jitter_by_position
        crop = functools.partial(resample, size=self.image_size, interpolation=self.interpolation)
        if self.crops_first:
            return jitter_images(crop(images, crops), jitter)
        return crop(jitter_images(unit_floats(images), jitter), crops)

    def _crop(self, images: Tensor, crops: CropParameters, group_size: int) -> Views:
        return resample_groups(images, crops, self.image_size, group_size, interpolation=self.interpolation)


@functools.cache
def _compiled(augmentation: ExpertAugmentation) -> Callable[[Images, CropParameters, JitterParameters], Views]:
    return torch.compile(augmentation.apply_in_context, dynamic=False)
