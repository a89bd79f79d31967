"""Random resized crops and flips: one box an image, resampled as torchvision's crop-then-resize."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

Images = UInt8[Tensor, "batch 3 height width"]
Views = Float[Tensor, "batch 3 size size"]
Interpolation = Literal["bilinear", "bicubic"]

# torchvision.transforms.RandomResizedCrop gives up after ten boxes that do not fit and takes a central one.
_ATTEMPTS = 10
# Keys' cubic as Pillow and torchvision's antialiased resize use it; torch's plain bicubic has -0.75.
_CUBIC = -0.5
# Floats of a group on the CPU, found by trying: with its few temporaries it stays in the caches, and it is large enough
# that its kernels outweigh the calls of them.
_GROUP_FLOATS = 3 * 2**18


class PerImage:
    """A dataclass of tensors, or of such dataclasses, with a row an image; an index chooses images."""

    def __getitem__(self, index: Tensor | slice) -> Self:
        return type(self)(*(getattr(self, field.name)[index] for field in fields(self)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class CropParameters(PerImage):
    """The box of each image in pixels, and whether what is cut out is mirrored left to right."""

    top: Int64[Tensor, " batch"]
    left: Int64[Tensor, " batch"]
    height: Int64[Tensor, " batch"]
    width: Int64[Tensor, " batch"]
    flip: Bool[Tensor, " batch"]

    def to(self, device: torch.device) -> "CropParameters":
        """Return the parameters on ``device``, in one transfer."""
        if self.top.device == device:
            return self
        stacked = torch.stack((self.top, self.left, self.height, self.width, self.flip.long()))
        top, left, height, width, flip = stacked.to(device, non_blocking=True).unbind()
        return CropParameters(top, left, height, width, flip.bool())


def draw_flips(count: int, probability: float, rng: torch.Generator) -> Bool[Tensor, " count"]:
    """Draw whether each image is mirrored, on the generator's device."""
    return torch.rand(count, generator=rng, device=rng.device) < probability


def draw_crops(
    count: int,
    image_height: int,
    image_width: int,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
    rng: torch.Generator,
) -> CropParameters:
    """Draw boxes with the distribution of ``RandomResizedCrop.get_params``, on the generator's device.

    The area is uniform in ``scale`` (a fraction of the image), the aspect log-uniform in ``ratio`` (width over height).
    """
    device = rng.device
    uniform = torch.rand(4, _ATTEMPTS, count, generator=rng, device=device, dtype=torch.float64)
    area = image_height * image_width * torch.lerp(*_ends(scale, uniform), uniform[0])
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(torch.lerp(*_ends((low, high), uniform), uniform[1]))
    # torch.round rounds halves to even, as Python's round does in torchvision.
    width = torch.round(torch.sqrt(area * aspect)).long()
    height = torch.round(torch.sqrt(area / aspect)).long()
    fits = (width > 0) & (width <= image_width) & (height > 0) & (height <= image_height)
    first = fits.int().argmax(dim=0, keepdim=True)
    height, width = height.gather(0, first)[0], width.gather(0, first)[0]
    # A uniform index among the n positions of a box; float64 keeps floor(u * n) below n.
    top = (uniform[2].gather(0, first)[0] * (image_height - height + 1)).long()
    left = (uniform[3].gather(0, first)[0] * (image_width - width + 1)).long()
    central_height, central_width = _central_box(image_height, image_width, ratio)
    none_fits = ~fits.any(dim=0)
    return CropParameters(
        top=torch.where(none_fits, (image_height - central_height) // 2, top),
        left=torch.where(none_fits, (image_width - central_width) // 2, left),
        height=torch.where(none_fits, central_height, height),
        width=torch.where(none_fits, central_width, width),
        flip=draw_flips(count, flip, rng),
    )


def unit_floats(images: Images) -> Float[Tensor, "batch 3 height width"]:
    """Return images of bytes as new floats in [0, 1]."""
    # Floats would be divided where they lie, and they may be the data set's own.
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images are bytes, not {images.dtype}: for floats in [0, 1] give (255 * images).round().byte()"
        )
    return images.to(torch.float32).div_(255)


def resample(images: Tensor, crops: CropParameters, size: int, *, interpolation: Interpolation) -> Views:
    """Cut each image's box out, resize it to ``size`` x ``size`` and mirror it if asked; the result is in [0, 1].

    ``images`` are uint8, or floats in [0, 1], of [batch, 3, height, width]. Taps never leave the box. Matches
    torchvision's crop followed by ``resize(antialias=True)``, which is its default and what PIL images always get:
    where a box shrinks the filter widens with it; where it grows, bilinear is the plain one, and bicubic is Pillow's
    (a = -0.5, taps outside dropped and the rest renormalised), clamped as uint8 would clamp it. Call it within
    ``full_precision``.
    """
    rows, columns = _axes(crops, images.shape[-2], images.shape[-1], size)
    return _resampled(images, rows, columns, interpolation).contiguous()


def resample_groups(
    images: Tensor, crops: CropParameters, size: int, group_size: int, *, interpolation: Interpolation
) -> Views:
    """Do what ``resample`` does, ``group_size`` images at a time."""
    views = torch.empty(len(images), 3, size, size, device=images.device)
    rows, columns = _axes(crops, images.shape[-2], images.shape[-1], size)
    with full_precision(images.device):
        for start in range(0, len(images), group_size):
            group = slice(start, start + group_size)
            views[group] = _resampled(images[group], rows[group], columns[group], interpolation)
    return views


def resample_one(
    image: Tensor, crops: CropParameters, size: int, *, interpolation: Interpolation
) -> Float[Tensor, "1 3 size size"]:
    """Do what ``resample`` does to a batch of one, with torch's antialiased resize, which reads the taps alone.

    For the CPU: of large images taps are few among the entries of a dense matrix.
    """
    top, left, height, width = (int(each) for each in (crops.top, crops.left, crops.height, crops.width))
    box = image[..., top : top + height, left : left + width]
    box = unit_floats(box) if box.dtype == torch.uint8 else box
    view = functional.interpolate(box, size=(size, size), mode=interpolation, antialias=True)
    if interpolation != "bilinear":
        view = view.clamp_(0, 1)
    return view.flip(-1) if bool(crops.flip) else view


def _resampled(images: Tensor, rows: "_Axis", columns: "_Axis", interpolation: Interpolation) -> Views:
    """Return the views, in memory their rows outside their channels."""
    batch, channels, height, width = images.shape
    size = rows.center.shape[1]
    down = _tap_weights(rows, interpolation)
    across = _tap_weights(columns, interpolation, source_first=True)
    if images.dtype == torch.uint8:
        down.div_(255)
    # Two products of small dense matrices cost less than gathering taps, and any filter width is the same to them. With
    # rows outside channels one product serves all three channels; bytes become floats first, as they are: transposing
    # bytes is slow.
    by_row = images.to(torch.float32).transpose(1, 2).reshape(batch, height * channels, width)
    horizontal = torch.bmm(by_row, across)
    views = torch.bmm(down, horizontal.view(batch, height, channels * size))
    return views.clamp_(0, 1).view(batch, size, channels, size).transpose(1, 2)


def cache_sized(images: Tensor, size: int) -> int:
    """Return how many images to augment at a time: all on an accelerator, what a core's cache holds on the CPU."""
    if images.device.type != "cpu":
        return max(1, len(images))
    return max(1, _GROUP_FLOATS // (3 * max(size * size, images.shape[-2] * images.shape[-1])))


def check_probability(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` is a probability."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; allowed: a probability from 0 to 1")


def check_crop(image_size: int, scale: tuple[float, float], ratio: tuple[float, float], interpolation: str) -> None:
    """Raise ValueError unless the settings describe a random resized crop."""
    if image_size < 1:
        raise ValueError(f"image_size is {image_size}; allowed: at least 1")
    if not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
        raise ValueError(f"the crop scale is {scale}; allowed: (low, high) with 0 < low ≤ high ≤ 1")
    if not (len(ratio) == 2 and 0 < ratio[0] <= ratio[1]):
        raise ValueError(f"the crop ratio is {ratio}; allowed: (low, high) with 0 < low ≤ high")
    if interpolation not in get_args(Interpolation):
        raise ValueError(f"interpolation is {interpolation!r}; allowed: {', '.join(get_args(Interpolation))}")


@dataclass(frozen=True)
class _Axis:
    """One axis of the boxes, in source pixels from where the box begins.

    torchvision measures from there too: from the edge of the image float32 would be coarser, and the views would differ
    from its own by more than 1e-5 unless the output is as long as a power of two.
    """

    pixel: Float[Tensor, "batch source"]
    """Where the centre of every source pixel lies; one outside the box is infinitely far from everything in it."""
    center: Float[Tensor, "batch size"]
    """Where the centre of every output pixel lies."""
    step: Float[Tensor, " batch"] | None
    """Source pixels an output pixel; None where a box cannot be longer than the output."""

    def __getitem__(self, index: slice) -> "_Axis":
        return _Axis(self.pixel[index], self.center[index], None if self.step is None else self.step[index])


def _axes(crops: CropParameters, height: int, width: int, size: int) -> tuple[_Axis, _Axis]:
    """Return the vertical and the horizontal axis; a mirrored box has its output pixels in reverse."""
    return _axis(crops.top, crops.height, None, height, size), _axis(crops.left, crops.width, crops.flip, width, size)


def _axis(
    start: Int64[Tensor, " batch"],
    length: Int64[Tensor, " batch"],
    mirror: Bool[Tensor, " batch"] | None,
    source: int,
    size: int,
) -> _Axis:
    output = torch.arange(size, device=start.device, dtype=torch.float32)
    pixel = torch.arange(source, device=start.device, dtype=torch.float32)
    first, extent = start.to(torch.float32)[:, None], length.to(torch.float32)[:, None]
    step = extent / size
    if mirror is not None:
        output = torch.where(mirror[:, None], size - 1 - output, output)
    pixel = pixel - first
    inside = torch.where((pixel >= 0) & (pixel < extent), pixel + 0.5, torch.inf)
    return _Axis(inside, step * (output + 0.5), step[:, 0] if source > size else None)


def _tap_weights(
    axis: _Axis, interpolation: Interpolation, *, source_first: bool = False
) -> Float[Tensor, "batch size source"] | Float[Tensor, "batch source size"]:
    """Return the weight of every source pixel in every output pixel; those of an output pixel sum to one."""
    sources, outputs = (1, 2) if source_first else (2, 1)
    distance = (axis.pixel.unsqueeze(outputs) - axis.center.unsqueeze(sources)).abs_()
    if axis.step is not None:
        distance.mul_(axis.step.clamp(min=1.0).reciprocal()[:, None, None])
    weights = _KERNELS[interpolation](distance)
    return weights.div_(weights.sum(dim=sources, keepdim=True))


@contextlib.contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Keep a run's bf16 or TF32 setting out of the resampling: TF32 weights are off by a tenth of a grey level."""
    precision = torch.get_float32_matmul_precision()
    with torch.autocast(device.type, enabled=False):
        if precision == "highest":
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(precision)


def _cubic(distance: Tensor) -> Tensor:
    a = _CUBIC
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((distance - 5) * distance + 8) * distance * a - 4 * a
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def _linear(distance: Tensor) -> Tensor:
    return distance.neg_().add_(1.0).clamp_(min=0.0)


# The weight of a source pixel by its distance from an output pixel, which is overwritten.
_KERNELS: dict[Interpolation, Callable[[Tensor], Tensor]] = {"bilinear": _linear, "bicubic": _cubic}


def _ends(interval: tuple[float, float], like: Tensor) -> tuple[Tensor, Tensor]:
    low, high = interval
    return like.new_tensor(low), like.new_tensor(high)


def _central_box(image_height: int, image_width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    aspect = image_width / image_height
    if aspect < min(ratio):
        return round(image_width / min(ratio)), image_width
    if aspect > max(ratio):
        return image_height, round(image_height * max(ratio))
    return image_height, image_width
