"""The settings under which others measure linear accuracy: one named protocol each."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ProbeProtocol:
    """How a linear classifier is trained on frozen features.

    Attributes:
        name: `probe.name`.
        label: what a report prints beside the number.
        schedule: "cosine" (every step, to 0), "cosine_per_epoch", "step" (×`gamma` at each of `milestones`, shares of
            the epochs) or "exponential" (every epoch, to lr·`final` at the end).
        train: "none", "flip" or "crop" (RandomResizedCrop of area `crop_scale`, ratio 3/4-4/3, and a flip).
        test: "whole" image, "resized" (by 9/8, then the centre) or "centre" (7/8 of it; train crops are as large).
        optimizer: "sgd" or "adam"; `weight_decay` is added to the gradient in either.
        report: "last" epoch, or "best" over epochs, which is optimistic because the test set chooses.
        label_last: the label of the last epoch's accuracies, which are reported beside the "best" ones.
    """

    name: str
    label: str
    lr: float
    num_epochs: int
    batch_size: int
    schedule: Literal["cosine", "cosine_per_epoch", "step", "exponential"]
    train: Literal["none", "flip", "crop"]
    drop_last: bool = False
    report: Literal["last", "best"] = "last"
    test: Literal["whole", "resized", "centre"] = "whole"
    crop_scale: tuple[float, float] = (0.2, 1.0)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    milestones: tuple[float, ...] = (0.6, 0.75, 0.9)
    gamma: float = 0.2
    final: float = 1e-4
    label_last: str = ""

    def learning_rate(self, step: int, *, lr: float, num_epochs: int, steps_per_epoch: int) -> float:
        """The rate of an update, counted from 0."""
        epoch = step // steps_per_epoch
        if self.schedule == "cosine":
            return lr * 0.5 * (1 + math.cos(math.pi * step / (num_epochs * steps_per_epoch)))
        if self.schedule == "cosine_per_epoch":
            return lr * 0.5 * (1 + math.cos(math.pi * epoch / num_epochs))
        if self.schedule == "exponential":
            return lr * self.final ** (epoch / num_epochs)
        # SupContrast's epochs count from 1 and its rate falls once the epoch exceeds 60, 75, 90 of 100.
        return lr * self.gamma ** sum(epoch >= share * num_epochs for share in self.milestones)


_ESSL = {"lr": 30.0, "num_epochs": 100, "batch_size": 256, "drop_last": True, "schedule": "cosine"}
_SUPCONTRAST = {"lr": 1.0, "num_epochs": 100, "batch_size": 512, "schedule": "step", "train": "crop"}
_SUPCONTRAST_LAST = "SupContrast: RRC(.2-1)+flip, lr 1, last epoch"

_SHIPPED = (
    ProbeProtocol(
        name="essl",
        label="E-SSL as intended: RRC(.08-1, bicubic)+flip, lr 30, last epoch",
        train="crop",
        crop_scale=(0.08, 1.0),
        interpolation="bicubic",
        test="resized",
        **_ESSL,  # type: ignore[arg-type]
    ),
    # The authors' code trains without augmentation but tests on resized crops.
    ProbeProtocol(
        name="essl_as_coded",
        label="E-SSL as coded: no train augmentation, resized test crops, lr 30, last epoch",
        train="none",
        test="resized",
        **_ESSL,  # type: ignore[arg-type]
    ),
    ProbeProtocol(
        name="supcontrast_best",
        label="SupContrast: RRC(.2-1)+flip, lr 1, best epoch on the test set (optimistic)",
        label_last=_SUPCONTRAST_LAST,
        report="best",
        **_SUPCONTRAST,  # type: ignore[arg-type]
    ),
    ProbeProtocol(
        name="supcontrast_last",
        label=_SUPCONTRAST_LAST,
        **_SUPCONTRAST,  # type: ignore[arg-type]
    ),
    ProbeProtocol(
        name="htdt",
        label="htdt: un-augmented features, Adam, lr 1e-2 to 1e-6, 500 epochs, last epoch",
        lr=1e-2,
        num_epochs=500,
        batch_size=1000,
        schedule="exponential",
        train="none",
        optimizer="adam",
        weight_decay=5e-6,
    ),
    ProbeProtocol(
        name="genrep",
        label="GenRep: RRC(.2-1)+flip to 7/8 of the side, centre crop, lr .3, last epoch",
        lr=0.3,
        num_epochs=100,
        batch_size=256,
        schedule="step",
        train="crop",
        test="centre",
    ),
    ProbeProtocol(
        name="dkobak_precomputed",
        label="dkobak lin precomp: un-augmented features, Adam, lr .01, 500 epochs, last epoch",
        lr=0.01,
        num_epochs=500,
        batch_size=1000,
        schedule="cosine_per_epoch",
        train="none",
        optimizer="adam",
        weight_decay=5e-6,
    ),
    ProbeProtocol(
        name="dkobak_augmented",
        label="dkobak lin augm: RRC(.2-1)+flip, Adam, lr .1, 100 epochs, last epoch",
        lr=0.1,
        num_epochs=100,
        batch_size=512,
        schedule="cosine_per_epoch",
        train="crop",
        optimizer="adam",
        weight_decay=5e-6,
    ),
    ProbeProtocol(
        name="clsp",
        label="CLSP: flip, SGD without momentum, lr 1, last epoch",
        lr=1.0,
        num_epochs=100,
        batch_size=256,
        schedule="step",
        train="flip",
        momentum=0.0,
        milestones=(0.6, 0.8),
        gamma=0.1,
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _SHIPPED}
