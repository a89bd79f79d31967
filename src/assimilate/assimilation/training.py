"""The training of an encoder in this process, alone or as one of several ranks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from assimilate.assimilation.contrastive import ContrastiveModule
from assimilate.assimilation.fit import fit
from assimilate.assimilation.training_settings import Training
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.transform import Transform
from assimilate.data.views import ViewSlot
from assimilate.encoder.curves import CURVE, HISTORY, write_rows
from assimilate.graph.called import Called
from assimilate.graph.place import Place
from assimilate.probes.monitor import KNNMonitor


def train_encoder(training: Training, into: Path, at: Place, *, title: str, subject: str) -> None:
    """Train, from the last checkpoint in the folder if there is one; leave the encoder, its losses and its kNN curve.

    Args:
        training: what decides the weights.
        into: the folder.
        at: the job.
        title: what the progress bar says.
        subject: what its curves are called.

    Raises:
        ValueError: the images or views do not fit, or training is not finite.
    """
    job = at.settings
    hardware, ranks = job.trainer, job.trainer.devices
    datamodule = serve_views(training, at)
    if note := datamodule.describe_left_out(ranks):
        at.say(f"  {note}")
    module = _module(training, at)
    monitors = _monitors(training, at)
    with at.bar(title) as progress:
        record = fit(
            module,
            datamodule,
            max_epochs=training.epochs,
            workdir=into,
            accelerator="gpu" if at.device == "cuda" else "cpu",
            devices=ranks,
            strategy="ddp" if ranks != 1 else "auto",
            precision=hardware.precision,
            accumulate_grad_batches=training.accumulate_grad_batches,
            cudnn_benchmark=hardware.cudnn_benchmark,
            checkpoint_every_n_epochs=hardware.checkpoint_every_n_epochs,
            callbacks=[*monitors, *at.tracker.callbacks(subject), *_called(training.callbacks)],
            loggers=[*at.tracker.loggers(subject), *_called(job.loggers)],
            log_every_n_steps=job.logger.every_n_steps,
            progress=progress,
            options=training.trainer.given,
        )
    if not module.trainer.is_global_zero:
        return
    module.save(into)
    write_rows(into / HISTORY, record.rows)
    write_rows(
        into / CURVE, [{"epoch": epoch, "knn5": value} for monitor in monitors for epoch, value in monitor.curve]
    )


def _called(attached: Mapping[str, Called]) -> list[Any]:
    return [made.call() for made in attached.values()]


def serve_views(training: Training, at: Place) -> ContrastiveDataModule:
    """The data module of a training: its images, and the views of each."""
    mean, std = training.normalization
    return ContrastiveDataModule(
        at.dataset.train,
        mean=mean,
        std=std,
        slots=_slots(training, compiled=at.settings.data.compile_augmentation),
        batch_size=training.batch_size,
        seed=training.seed,
        view_source=None if training.view is None else training.view.source(at),
        drop_last=training.drop_last,
        placement=at.settings.data.placement,
    )


def _slots(training: Training, *, compiled: bool) -> list[ViewSlot]:
    """The views of a step. Of one that is made within the step, the images that it is made of."""
    generated = None
    if training.view is not None and training.view.given_images is not None:
        generated = ViewSlot("image", training.view.given_images.augmentation(compiled=compiled))
    elif training.generated_transform is not None:
        otherwise = None if training.otherwise is None else training.otherwise.augmentation(compiled=compiled)
        changed = training.generated_transform.augmentation(compiled=compiled)
        generated = ViewSlot("generated", changed, training.probability, otherwise)
    slots = []
    for slot in training.slots:
        if isinstance(slot, Transform):
            slots.append(ViewSlot("image", slot.augmentation(compiled=compiled)))
        else:
            assert generated is not None
            slots.append(generated)
    return slots


def _module(training: Training, at: Place) -> ContrastiveModule:
    module = training.module()
    if training.view is not None:
        training.view.equip(module, at, training.generated_transform)
    hardware = at.settings.trainer
    if hardware.compile:
        module.compile_networks(None if hardware.compile is True else hardware.compile)
    if hardware.channels_last:
        for networks in (module.encoder, module.method):
            networks.to(memory_format=torch.channels_last)
    return module


def _monitors(training: Training, at: Place) -> list[KNNMonitor]:
    """The kNN curve, where it is asked for and the images have labels."""
    every, train, test = at.settings.knn.every_n_epochs, at.dataset.train, at.dataset.test
    if not every or test is None or train.labels is None:
        return []
    clean = training.whole_images.augmentation()
    return [KNNMonitor(train, test, every_n_epochs=every, k=min(5, len(train)), transform=clean)]
