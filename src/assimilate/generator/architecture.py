"""The sizes that determine a StyleGAN2: chosen by the user, or read from the shapes in a checkpoint."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SIZES = (8, 16, 32, 64, 128, 256)
# Widths up to 32², and those above for a multiplier of 1.
_WIDE = 512
_NARROWING = {64: 256, 128: 128, 256: 64}


def resolutions(image_size: int) -> list[int]:
    """Return 4, 8, … ``image_size``."""
    return [2**power for power in range(2, int(math.log2(image_size)) + 1)]


def check_image_size(image_size: int) -> None:
    """Raise ValueError unless a StyleGAN2 of that size can be built."""
    if image_size not in IMAGE_SIZES:
        allowed = ", ".join(str(size) for size in IMAGE_SIZES)
        raise ValueError(
            f"dataset.image_size={image_size}: StyleGAN2 makes square images of {allowed} pixels; "
            "set dataset.image_size to one of them and the images are resized to it"
        )


@dataclass(frozen=True)
class Architecture:
    """A StyleGAN2 for square RGB images.

    ``channels[i]`` is the width at resolution 4·2^i, the last one at ``image_size``.
    """

    image_size: int
    latent_dim: int
    num_mapping_layers: int
    channels: tuple[int, ...]

    def __post_init__(self) -> None:
        check_image_size(self.image_size)
        assert len(self.channels) == len(resolutions(self.image_size)), (self.image_size, self.channels)
        for key, value in (("latent_dim", self.latent_dim), ("num_mapping_layers", self.num_mapping_layers)):
            if value < 1:
                raise ValueError(f"generator.{key}={value}: must be at least 1")

    @property
    def num_codes(self) -> int:
        """L, the number of W+ codes of an image."""
        return num_codes(self.image_size)


def num_codes(image_size: int) -> int:
    """L, the number of W+ codes of an image: two for each size from 8 on, and two for 4."""
    return 2 * int(math.log2(image_size)) - 2


def stylegan2_channels(
    image_size: int, *, channel_multiplier: int = 2, max_channels: int = 512, channel_base: int | None = None
) -> tuple[int, ...]:
    """Return rosinality's widths, cut at ``max_channels`` and, if given, at ``channel_base``/resolution.

    Up to 32² there are 512 channels, at 64² 256·multiplier, and half as many with each further doubling. Narrow
    networks spend most of their time at the full size, which ``channel_base`` makes narrower than the rest.
    Raises ValueError for a size that StyleGAN2 cannot make and for widths below 1.
    """
    check_image_size(image_size)
    for key, value in (("channel_multiplier", channel_multiplier), ("max_channels", max_channels)):
        if value < 1:
            raise ValueError(f"generator.{key}={value}: must be at least 1")
    if channel_base is not None and channel_base < image_size:
        raise ValueError(f"generator.channel_base={channel_base}: must be at least dataset.image_size={image_size}")
    return tuple(
        min(
            max_channels,
            _WIDE if size <= 32 else _NARROWING[size] * channel_multiplier,
            max_channels if channel_base is None else channel_base // size,
        )
        for size in resolutions(image_size)
    )


def channel_multiplier_of(architecture: Architecture) -> int:
    """Return the multiplier with which other programs build this network: what its last width is of the plain one.

    Up to 32² no width depends on it, and narrower networks are none of theirs: then it is the usual 2.
    """
    if architecture.image_size <= 32:
        return 2
    multiplier, remainder = divmod(architecture.channels[-1], _NARROWING[architecture.image_size])
    return multiplier if multiplier and not remainder else 2


def architecture_of(state_dict: "Mapping[str, Tensor]") -> Architecture:
    """Read the architecture from the shapes of a generator's state dict. Raises ValueError if it is none of ours."""
    try:
        num_mapping_layers = sum(key.startswith("style.") and key.endswith(".weight") for key in state_dict)
        num_convolutions = sum(key.startswith("convs.") and key.endswith(".conv.weight") for key in state_dict)
        channels = [state_dict["input.input"].shape[1]]
        channels += [state_dict[f"convs.{index}.conv.weight"].shape[1] for index in range(0, num_convolutions, 2)]
        latent_dim = state_dict["conv1.conv.modulation.weight"].shape[1]
    except (KeyError, IndexError) as error:
        raise ValueError(f"no StyleGAN2 generator in the rosinality layout: {error} is missing") from None
    if num_convolutions % 2:
        raise ValueError(f"no StyleGAN2 generator in the rosinality layout: {num_convolutions} convs, not two a size")
    image_size = 4 * 2 ** (num_convolutions // 2)
    if image_size not in IMAGE_SIZES:
        supported = f"{IMAGE_SIZES[0]} to {IMAGE_SIZES[-1]} pixels"
        raise ValueError(f"makes images of {image_size}×{image_size}; supported are StyleGAN2s of {supported}")
    return Architecture(
        image_size=image_size, latent_dim=latent_dim, num_mapping_layers=num_mapping_layers, channels=tuple(channels)
    )
