"""What a probe does to its images."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from assimilate.data.augmentation import Augmentation, BasicAugmentation, FlipAugmentation, Identity
from assimilate.probes.protocol import ProbeProtocol


@dataclass(frozen=True)
class ResizedCenterCrop:
    """Bicubic resize by 9/8, then the central crop of the original size: 32 → 36 → 32 at CIFAR's size (E-SSL)."""

    def __call__(
        self, images: UInt8[Tensor, "batch 3 size size"], rng: torch.Generator
    ) -> Float[Tensor, "batch 3 size size"]:
        """Draws nothing."""
        size = images.shape[-1]
        larger = round(size * 9 / 8)
        # antialias=True selects Pillow's cubic (a = −.5); torch's plain bicubic has −.75.
        resized = F.interpolate(images.float().div_(255), size=(larger, larger), mode="bicubic", antialias=True)
        start = round((larger - size) / 2)
        return resized[..., start : start + size, start : start + size].clamp(0, 1)


@dataclass(frozen=True)
class CenterCrop:
    """The central 7/8 of an image: 112 of 128 (GenRep)."""

    def __call__(
        self, images: UInt8[Tensor, "batch 3 size size"], rng: torch.Generator
    ) -> Float[Tensor, "batch 3 crop crop"]:
        """Draws nothing."""
        size = images.shape[-1]
        start = round(size / 16)
        return images[..., start : size - start, start : size - start].float().div_(255)


def train_transform(protocol: ProbeProtocol, image_size: int, flip: float) -> Augmentation:
    """What a protocol does to a training image."""
    if not protocol.augments:
        return Identity()
    if protocol.crop_scale is None:
        return FlipAugmentation(flip)
    size = image_size - 2 * round(image_size / 16) if protocol.crops_test else image_size
    return BasicAugmentation(size, scale=protocol.crop_scale, flip=flip, interpolation=protocol.interpolation)


def test_transform(protocol: ProbeProtocol) -> Augmentation:
    """What a protocol does to a test image."""
    if protocol.enlarges_test:
        return ResizedCenterCrop()
    return CenterCrop() if protocol.crops_test else Identity()
