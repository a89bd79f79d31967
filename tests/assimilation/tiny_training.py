"""A training run of a second: 24 images of 8×8, a ResNet-18 of width 2."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.contrastive import A1, A2, ContrastiveModule, SimCLR
from assimilate.assimilation.loss import BYOL, BarlowTwins, InfoNCE, MoCo, SimSiamLoss, VICReg
from assimilate.assimilation.optimizers import SGD, CosineWithWarmup, Schedule
from assimilate.data.augmentation import Identity
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot

MODULES: dict[str, type[ContrastiveModule]] = {"simclr": SimCLR, "a1": A1, "a2": A2, "simsiam": A2}
SIMSIAM = {
    "encoder": {"width": 2, "projector": "simsiam", "hidden_dim": 8, "output_dim": 8, "predictor_dim": 4},
    "loss": SimSiamLoss(),
}
METHODS: dict[str, dict[str, Any]] = {
    "moco": {"loss": MoCo(queue_size=20)},
    "byol": {"encoder": SIMSIAM["encoder"], "loss": BYOL(momentum=0.9)},
    "vicreg": {"loss": VICReg()},
    "barlowtwins": {"loss": BarlowTwins()},
}
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
BOTH = Alignment(alpha=0.5, align_anchors=[0, 1])


def sgd(lr: float = 0.1, schedule: Schedule | None = None, weight_decay: float = 5e-4) -> SGD:
    """E-SSL's kind, with a warm-up of one epoch."""
    schedule = schedule or CosineWithWarmup(warmup_epochs=1)
    return SGD(lr=lr, momentum=0.9, weight_decay=weight_decay, schedule=schedule)


def tiny_images(count: int = 24) -> ImageArrays:
    rng = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.int64) % 3
    images = rng.integers(0, 100, (count, 3, 8, 8)) + 50 * labels[:, None, None, None]
    return ImageArrays(images.astype(np.uint8), labels)


class FixedViews:
    """The image itself, brighter: the same views whatever the generator, hence for any number of ranks."""

    num_views = 3

    def __init__(self, arrays: ImageArrays) -> None:
        self.images = torch.from_numpy(arrays.images)

    def gather(self, indices: Tensor, num_sampled: int, rng: torch.Generator) -> Tensor:
        shifts = [self.images[indices].roll(view + 1, dims=-1) // 2 + 20 * view for view in range(num_sampled)]
        return torch.stack(shifts, dim=1)


def tiny_module(assim: str = "simclr", **overrides: Any) -> ContrastiveModule:
    settings: dict[str, Any] = {
        "encoder": {"width": 2, "projector": "essl", "hidden_dim": 8, "output_dim": 8},
        "loss": InfoNCE(temperature=0.5),
        "alignment": BOTH,
        "optimizer": sgd(),
        "epochs": 3,
        "mean": MEAN,
        "std": STD,
    }
    return MODULES[assim](**(settings | (SIMSIAM if assim == "simsiam" else {}) | overrides))


def tiny_data(assim: str = "simclr", *, fixed: bool = False, batch_size: int = 8) -> ContrastiveDataModule:
    arrays = tiny_images()
    transform = Identity() if fixed else make_transform("expert", 8, flip=0.5, expert={})
    generated = {"simclr": 0, "a1": 1, "a2": 2, "simsiam": 1}[assim] + (1 if fixed and assim != "a1" else 0)
    num_image = 1 if fixed or assim == "a1" else 2
    slots = [ViewSlot("image", transform)] * num_image + [ViewSlot("generated", Identity())] * generated
    return ContrastiveDataModule(
        arrays,
        mean=MEAN,
        std=STD,
        slots=slots,
        batch_size=batch_size,
        seed=0,
        view_source=FixedViews(arrays) if generated else None,
        drop_last=True,
    )


def fit_tiny(module: ContrastiveModule, data: ContrastiveDataModule, workdir: Path, **settings: Any) -> Any:
    from assimilate.assimilation.fit import fit

    return fit(module, data, workdir=workdir, **({"max_epochs": 3, "accelerator": "cpu"} | settings))


class StopAt(pl.Callback):
    """Kills the run after a number of optimiser steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyError("killed")


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
