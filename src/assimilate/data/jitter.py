"""Colour jitter of a batch: per-image factors in a per-image order, equal to torchvision's functional operations."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from assimilate.data.crop import PerImage

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
# ITU-R 601-2 luma as torchvision rounds it.
_LUMA = (0.2989, 0.587, 0.114)
# Below the smallest difference of two float32 values that matters; only keeps grey pixels from dividing by zero.
_TINY = 1e-12
# The channels of a batch, each [batch, height, width].
_Planes = tuple[Tensor, ...]


@dataclass(frozen=True)
class JitterParameters(PerImage):
    """Per image: the order of the four operations (as torchvision numbers them), their factors, and two switches."""

    order: Int64[Tensor, "batch 4"]
    factors: Float[Tensor, "batch 4"]
    jittered: Bool[Tensor, " batch"]
    grayscale: Bool[Tensor, " batch"]

    def to(self, device: torch.device) -> "JitterParameters":
        """Return the parameters on ``device``."""
        return JitterParameters(
            self.order.to(device, non_blocking=True),
            self.factors.to(device, non_blocking=True),
            self.jittered.to(device, non_blocking=True),
            self.grayscale.to(device, non_blocking=True),
        )


def draw_jitter(
    count: int,
    *,
    strength: tuple[float, float, float, float],
    jitter_probability: float,
    grayscale_probability: float,
    rng: torch.Generator,
) -> JitterParameters:
    """Draw with the distribution of ``ColorJitter.get_params``, on the generator's device.

    ``strength`` = brightness, contrast, saturation (factors uniform in [max(0, 1 - s), 1 + s]) and hue (a shift
    uniform in [-s, s] of a full turn).
    """
    device = rng.device
    low = torch.tensor([max(0.0, 1 - s) for s in strength[:3]] + [-strength[HUE]], device=device, dtype=torch.float32)
    high = torch.tensor([1 + s for s in strength[:3]] + [strength[HUE]], device=device, dtype=torch.float32)
    uniform = torch.rand(count, 4, generator=rng, device=device)
    # Sorting independent uniforms gives every order the same probability.
    order = torch.rand(count, 4, generator=rng, device=device, dtype=torch.float64).argsort(dim=1)
    switches = torch.rand(2, count, generator=rng, device=device)
    return JitterParameters(
        order=order,
        factors=torch.lerp(low, high, uniform),
        jittered=switches[0] < jitter_probability,
        grayscale=switches[1] < grayscale_probability,
    )


def by_first_operation(parameters: JitterParameters) -> tuple[Int64[Tensor, " batch"], int]:
    """Return the indices that sort images by their first operation, those without jitter last, and how many have it."""
    first = torch.where(parameters.jittered, parameters.order[:, 0], parameters.order.shape[1])
    return first.sort(stable=True).indices, int(parameters.jittered.sum())


def jitter_by_operation(
    images: Float[Tensor, "batch 3 height width"], parameters: JitterParameters, jittered: int, group_size: int
) -> tuple[Float[Tensor, "batch 3 height width"], Int64[Tensor, " batch"]]:
    """Apply each image's operations in its own order, four times four operations in all; for the CPU.

    At each of the four places the images move beside those whose turn it is to get the same operation, however many of
    the 24 orders a batch has. They come sorted by ``by_first_operation``, the first ``jittered`` of them to be changed,
    and are overwritten. Kernels run over at most ``group_size`` images. Returns the images as they lie at the end, and
    of each the index in the arguments.
    """
    assert bool(parameters.jittered[:jittered].all()), "images without jitter come last"
    assert bool((parameters.order[:jittered, 0].diff() >= 0).all()), "sort images by their first operation"
    spare, lying = torch.empty_like(images), torch.arange(len(images))
    spare[jittered:] = images[jittered:]
    for place in range(4):
        turns, moved = parameters.order[lying[:jittered], place].sort(stable=True)
        if place:
            torch.index_select(images[:jittered], 0, moved, out=spare[:jittered])
            images, spare, lying[:jittered] = spare, images, lying[moved]
        factors = parameters.factors[lying]
        stop = 0
        for number, count in enumerate(torch.bincount(turns, minlength=len(_OPERATIONS)).tolist()):
            start, stop = stop, stop + count
            for first in range(start, stop, group_size):
                group = slice(first, min(first + group_size, stop))
                _OPERATIONS[number](images[group], factors[group, number].view(-1, 1, 1))
    return images, lying


def jitter_one(image: Float[Tensor, "1 3 height width"], parameters: JitterParameters) -> None:
    """Apply an image's operations in its own order, and grayscale, in place."""
    if bool(parameters.jittered):
        for number in parameters.order[0].tolist():
            _OPERATIONS[number](image, parameters.factors[:, number].view(-1, 1, 1))
    if bool(parameters.grayscale):
        image.copy_(to_grayscale(image))


def jitter_by_position(
    images: Float[Tensor, "batch 3 height width"], parameters: JitterParameters
) -> Float[Tensor, "batch 3 height width"]:
    """Apply each image's operations in its own order, and grayscale, with a fixed number of kernels and no sync.

    Brightness, contrast and saturation blend the image with black, its mean luma and its luma; at each of the four
    places every image does its own blend, and the hue is turned where its place has come (zero shift elsewhere).
    """
    one = torch.ones((), device=images.device)
    for place in range(4):
        operation = torch.where(parameters.jittered, parameters.order[:, place], -1).view(-1, 1, 1)
        factor = parameters.factors.gather(1, parameters.order[:, place : place + 1]).view(-1, 1, 1)
        blend = torch.where((operation >= 0) & (operation != HUE), factor, one)
        luma = _luma(images)
        mean = luma.mean(dim=(1, 2), keepdim=True)
        other = torch.where(operation == CONTRAST, mean, luma) * (operation != BRIGHTNESS)
        images = torch.addcmul(((1 - blend) * other)[:, None], images, blend[:, None]).clamp_(0, 1)
        turned = images.clone()
        _hue(turned, factor)
        images = torch.where((operation == HUE)[:, None], turned, images)
    return torch.where(parameters.grayscale.view(-1, 1, 1, 1), _luma(images)[:, None], images)


def to_grayscale(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Return the luma of each image in all three channels."""
    return _luma(images)[:, None].expand(-1, 3, -1, -1)


def _luma(images: Tensor) -> Float[Tensor, "batch height width"]:
    red, green, blue = images.unbind(dim=1)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _brightness(images: Tensor, factor: Tensor) -> None:
    images.mul_(factor[:, None]).clamp_(0, 1)


def _contrast(images: Tensor, factor: Tensor) -> None:
    mean = _luma(images).mean(dim=(1, 2), keepdim=True)
    images.mul_(factor[:, None]).add_(((1 - factor) * mean)[:, None]).clamp_(0, 1)


def _saturation(images: Tensor, factor: Tensor) -> None:
    luma = _luma(images).mul_(1 - factor)
    images.mul_(factor[:, None]).add_(luma[:, None]).clamp_(0, 1)


def _hue(images: Tensor, shift: Tensor) -> None:
    """Turn the hue by ``shift`` of a full turn through exact HSV.

    Value and saturation stay, so the largest and the smallest channel do, and each channel is the smallest plus the
    chroma times a trapezoid of the hue. The hue in sixths, less 3, is 2 + (r + smallest - g - b) / chroma with the
    sign of b - g (a grey pixel has any hue: its chroma is 0). Algebraically this is torchvision's conversion there and
    back, without its six cases.
    """
    red, green, blue = images.unbind(dim=1)
    smallest = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(smallest)
    hue = (red + smallest).sub_(green).sub_(blue).div_(chroma.clamp(min=_TINY)).add_(2)
    hue.copysign_(blue - green).add_(shift * 6)
    hue.sub_((hue / 6).round_().mul_(6))
    for channel, middle in enumerate((0.0, -1.0, 1.0)):
        trapezoid = (hue - middle).abs_()
        trapezoid = trapezoid.sub_(1) if channel == 0 else trapezoid.neg_().add_(2)
        torch.addcmul(smallest, chroma, trapezoid.clamp_(0, 1), out=images[:, channel])


_OPERATIONS = (_brightness, _contrast, _saturation, _hue)


def jitter_planes(
    images: Float[Tensor, "batch 3 height width"], parameters: JitterParameters
) -> Float[Tensor, "batch 3 height width"]:
    """Do what ``jitter_by_position`` does in a form for torch.compile: channels apart, nothing written in place.

    Written in place or stacked between the operations, channels keep the compiler from fusing a place into one loop.
    The hue costs several blends, so it is turned once, between the three places that may come before it and the three
    that may come after: six blends, of which each image does three.
    """
    planes = images.unbind(dim=1)
    before = parameters.order.argsort(dim=1)[:, HUE]
    for place in range(3):
        planes = _blended(planes, parameters, place, parameters.jittered & (place < before))
    # A shift of zero turns nothing, to rounding.
    planes = _chosen(parameters.jittered, _turned(planes, parameters.factors[:, HUE].view(-1, 1, 1)), planes)
    for place in range(1, 4):
        planes = _blended(planes, parameters, place, parameters.jittered & (place > before))
    luma = _luma_of(planes)
    return torch.stack(_chosen(parameters.grayscale, (luma, luma, luma), planes), dim=1)


def _blended(planes: _Planes, parameters: JitterParameters, place: int, wanted: Tensor) -> _Planes:
    """Blend the ``wanted`` images with black, their mean luma or their luma, whichever stands at ``place``."""
    operation = torch.where(wanted, parameters.order[:, place], -1).view(-1, 1, 1)
    factor = parameters.factors.gather(1, parameters.order[:, place : place + 1]).view(-1, 1, 1)
    luma = _luma_of(planes)
    mean = luma.mean(dim=(1, 2), keepdim=True)
    blend = torch.where(operation >= 0, factor, 1.0)
    other = torch.where(operation == CONTRAST, mean, torch.where(operation == BRIGHTNESS, 0.0, luma)) * (1 - blend)
    return tuple((plane * blend + other).clamp(0, 1) for plane in planes)


def _chosen(condition: Tensor, new: _Planes, old: _Planes) -> _Planes:
    """Take each image's planes from ``new`` where the condition holds for it."""
    condition = condition.view(-1, 1, 1)
    return tuple(torch.where(condition, one, other) for one, other in zip(new, old, strict=True))


def _luma_of(planes: _Planes) -> Tensor:
    red, green, blue = planes
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]


def _turned(planes: _Planes, shift: Tensor) -> _Planes:
    """Return the channels that ``_hue`` writes."""
    red, green, blue = planes
    smallest = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue) - smallest
    hue = (red + smallest - green - blue) / chroma.clamp(min=_TINY) + 2
    hue = torch.where(blue >= green, hue, -hue) + shift * 6
    hue = hue - (hue * (1 / 6)).round() * 6
    trapezoids = (hue.abs() - 1, 2 - (hue + 1).abs(), 2 - (hue - 1).abs())
    return tuple(smallest + chroma * trapezoid.clamp(0, 1) for trapezoid in trapezoids)
