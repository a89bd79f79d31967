"""The settings under which others measure linear accuracy: one named protocol each."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# The share of lr at an update, counted from 0, by the updates of an epoch and the epochs.
Schedule = Callable[[int, int, int], float]


def _cosine(step: int, steps_per_epoch: int, num_epochs: int) -> float:
    """Every step, to 0."""
    return 0.5 * (1 + math.cos(math.pi * step / (num_epochs * steps_per_epoch)))


def _cosine_per_epoch(step: int, steps_per_epoch: int, num_epochs: int) -> float:
    return 0.5 * (1 + math.cos(math.pi * (step // steps_per_epoch) / num_epochs))


def _exponential(step: int, steps_per_epoch: int, num_epochs: int) -> float:
    """Every epoch, to 1e-4 of lr at the end."""
    return 1e-4 ** (step // steps_per_epoch / num_epochs)


def _falling(gamma: float, *milestones: float) -> Schedule:
    """×gamma at each milestone, a share of the epochs.

    SupContrast's epochs count from 1 and its rate falls once the epoch exceeds 60, 75, 90 of 100.
    """
    return lambda step, steps_per_epoch, num_epochs: (
        gamma ** sum(step // steps_per_epoch >= share * num_epochs for share in milestones)
    )


@dataclass(frozen=True)
class ProbeProtocol:
    """How a linear classifier is trained on frozen features.

    Attributes:
        name: `probe.name`.
        label: what a report prints beside the number.
        augments: whether training images are flipped, and cropped where there is a `crop_scale`.
        crop_scale: of RandomResizedCrop, its area; the ratio is 3/4-4/3.
        enlarges_test: test images are resized by 9/8, then cropped to the centre.
        crops_test: test images are the central 7/8; training crops are as large.
        optimizer: its class in torch.optim, and `arguments` beside lr; weight decay is added to the gradient.
        reports_best: the best epoch is reported, which is optimistic because the test set chooses; else the last.
        label_last: the label of the last epoch's accuracies, which are reported beside the best ones.
    """

    name: str
    label: str
    lr: float
    num_epochs: int
    batch_size: int
    schedule: Schedule
    augments: bool = True
    crop_scale: tuple[float, float] | None = (0.2, 1.0)
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    enlarges_test: bool = False
    crops_test: bool = False
    drop_last: bool = False
    reports_best: bool = False
    optimizer: str = "SGD"
    arguments: Mapping[str, Any] = field(default_factory=lambda: {"momentum": 0.9})
    label_last: str = ""


_STEPS = _falling(0.2, 0.6, 0.75, 0.9)
_ESSL: dict[str, Any] = {"lr": 30.0, "num_epochs": 100, "batch_size": 256, "drop_last": True, "schedule": _cosine}
_SUPCONTRAST: dict[str, Any] = {"lr": 1.0, "num_epochs": 100, "batch_size": 512, "schedule": _STEPS}
_ADAM: dict[str, Any] = {"optimizer": "Adam", "arguments": {"weight_decay": 5e-6}}
_SUPCONTRAST_LAST = "SupContrast: RRC(.2-1)+flip, lr 1, last epoch"

_SHIPPED = (
    ProbeProtocol(
        name="essl",
        label="E-SSL as intended: RRC(.08-1, bicubic)+flip, lr 30, last epoch",
        crop_scale=(0.08, 1.0),
        interpolation="bicubic",
        enlarges_test=True,
        **_ESSL,
    ),
    # The authors' code trains without augmentation but tests on resized crops.
    ProbeProtocol(
        name="essl_as_coded",
        label="E-SSL as coded: no train augmentation, resized test crops, lr 30, last epoch",
        augments=False,
        enlarges_test=True,
        **_ESSL,
    ),
    ProbeProtocol(
        name="supcontrast_best",
        label="SupContrast: RRC(.2-1)+flip, lr 1, best epoch on the test set (optimistic)",
        label_last=_SUPCONTRAST_LAST,
        reports_best=True,
        **_SUPCONTRAST,
    ),
    ProbeProtocol(name="supcontrast_last", label=_SUPCONTRAST_LAST, **_SUPCONTRAST),
    ProbeProtocol(
        name="htdt",
        label="htdt: un-augmented features, Adam, lr 1e-2 to 1e-6, 500 epochs, last epoch",
        lr=1e-2,
        num_epochs=500,
        batch_size=1000,
        schedule=_exponential,
        augments=False,
        **_ADAM,
    ),
    ProbeProtocol(
        name="genrep",
        label="GenRep: RRC(.2-1)+flip to 7/8 of the side, centre crop, lr .3, last epoch",
        lr=0.3,
        num_epochs=100,
        batch_size=256,
        schedule=_STEPS,
        crops_test=True,
    ),
    ProbeProtocol(
        name="dkobak_precomputed",
        label="dkobak lin precomp: un-augmented features, Adam, lr .01, 500 epochs, last epoch",
        lr=0.01,
        num_epochs=500,
        batch_size=1000,
        schedule=_cosine_per_epoch,
        augments=False,
        **_ADAM,
    ),
    ProbeProtocol(
        name="dkobak_augmented",
        label="dkobak lin augm: RRC(.2-1)+flip, Adam, lr .1, 100 epochs, last epoch",
        lr=0.1,
        num_epochs=100,
        batch_size=512,
        schedule=_cosine_per_epoch,
        **_ADAM,
    ),
    ProbeProtocol(
        name="clsp",
        label="CLSP: flip, SGD without momentum, lr 1, last epoch",
        lr=1.0,
        num_epochs=100,
        batch_size=256,
        schedule=_falling(0.1, 0.6, 0.8),
        crop_scale=None,
        arguments={"momentum": 0.0},
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _SHIPPED}
