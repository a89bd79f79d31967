"""The settings under which others measure linear accuracy: one named protocol each (PROTOCOLS 1, 2)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from assimilate.data.augmentation import Augmentation, BasicAugmentation, Identity
from assimilate.data.crop import Interpolation


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
class ProbeProtocol:
    """How a linear classifier is trained on frozen features; SGD with momentum .9 and no weight decay.

    Attributes:
        label: what a report prints beside the number.
        crop_scale: area of RandomResizedCrop on train images (ratio 3/4–4/3); None trains without augmentation.
        resized_test: test images are resized by 9/8 and centre-cropped.
        schedule: "cosine" (every step, to 0) or "step" (×.2 after 60, 75 and 90% of the epochs).
        report: "last" epoch, or "best" over epochs, which is optimistic because the test set chooses.
    """

    label: str
    lr: float
    num_epochs: int
    batch_size: int
    drop_last: bool
    schedule: Literal["cosine", "step"]
    report: Literal["last", "best"]
    crop_scale: tuple[float, float] | None
    interpolation: Interpolation = "bilinear"
    resized_test: bool = False

    def train_transform(self, image_size: int, flip: float) -> Augmentation:
        """What is done to a training image."""
        if self.crop_scale is None:
            return Identity()
        return BasicAugmentation(image_size, scale=self.crop_scale, flip=flip, interpolation=self.interpolation)

    def test_transform(self) -> Augmentation:
        """What is done to a test image."""
        return ResizedCenterCrop() if self.resized_test else Identity()


_ESSL = {"lr": 30.0, "num_epochs": 100, "batch_size": 256, "drop_last": True, "schedule": "cosine", "report": "last"}
_SUPCONTRAST = {"lr": 1.0, "num_epochs": 100, "batch_size": 512, "drop_last": False, "schedule": "step"}

PROTOCOLS: dict[str, ProbeProtocol] = {
    "essl": ProbeProtocol(
        label="E-SSL as intended: RRC(.08-1, bicubic)+flip, lr 30, last epoch",
        crop_scale=(0.08, 1.0),
        interpolation="bicubic",
        resized_test=True,
        **_ESSL,  # type: ignore[arg-type]
    ),
    # The authors' code trains without augmentation but tests on resized crops (PROTOCOLS, trap 2).
    "essl_as_coded": ProbeProtocol(
        label="E-SSL as coded: no train augmentation, resized test crops, lr 30, last epoch",
        crop_scale=None,
        resized_test=True,
        **_ESSL,  # type: ignore[arg-type]
    ),
    "supcontrast_best": ProbeProtocol(
        label="SupContrast: RRC(.2-1)+flip, lr 1, best epoch on the test set (optimistic)",
        crop_scale=(0.2, 1.0),
        report="best",
        **_SUPCONTRAST,  # type: ignore[arg-type]
    ),
    "supcontrast_last": ProbeProtocol(
        label="SupContrast: RRC(.2-1)+flip, lr 1, last epoch",
        crop_scale=(0.2, 1.0),
        report="last",
        **_SUPCONTRAST,  # type: ignore[arg-type]
    ),
}
