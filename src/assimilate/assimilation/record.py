"""The record of a training run: one row an epoch, and what loggers and progress bars see in between."""

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from assimilate.assimilation.checkpointing import LAST, NonFiniteTrainingError, describe_last_good
from assimilate.assimilation.contrastive import window_size
from assimilate.graph.place import Progress, silent


def _show_callbacks(trainer: pl.Trainer, means: Mapping[str, float]) -> None:
    """What `EarlyStopping` or `ModelCheckpoint` may monitor; `self.log` would keep a metric object for each step."""
    trainer.callback_metrics.update({f"train/{name}": torch.tensor(value) for name, value in means.items()})


class TrainingRecord(pl.Callback):
    """Accumulates losses on the device and reads them once in `log_every_n_steps` steps and at the end of an epoch.

    `rows` holds one dict an epoch: `epoch` (completed), `step` (optimiser steps so far), `loss` (mean over the epoch,
    all ranks), `base` and `alignment` (before τ/τ_base, where views are appended), `lr` (of the epoch's last step) and
    `seconds`. It is part of the checkpoint, so a resumed run's record is whole. A loss that is not finite stops the
    run. Callbacks after this one find the means in `trainer.callback_metrics`, as `train/loss`, `train/base`, …: of
    the epoch at its end, of the last `log_every_n_steps` steps within it.

    Args:
        log_every_n_steps: steps between two rows for the loggers, which get `train/loss`, `train/lr`, …, and
            `train/images_per_second` (of all ranks, without the time that other callbacks take between epochs).
        progress: called after each step as progress(steps done, steps in all, {"epoch", "loss", "lr"}).
        workdir: where checkpoints are, for the error message.
    """

    def __init__(
        self, *, log_every_n_steps: int = 50, progress: Progress = silent, workdir: Path | None = None
    ) -> None:
        if log_every_n_steps < 1:
            raise ValueError(f"trainer.log_every_n_steps={log_every_n_steps} must be at least 1")
        self.rows: list[dict[str, float]] = []
        self.log_every_n_steps = log_every_n_steps
        self.progress = progress
        self.workdir = workdir
        self._names: list[str] = []
        self._window: Tensor | None = None
        self._epoch: Tensor | None = None
        self._window_steps = 0
        self._window_images = 0
        self._window_started = time.perf_counter()
        self._epoch_steps = 0
        self._lr = math.nan
        self._seconds = 0.0
        self._started = time.perf_counter()
        self._shown: dict[str, float] = {}
        self._total_steps = 0

    @property
    def trained(self) -> bool:
        """Whether there was anything left to train."""
        return self._total_steps > 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restarts the clock: time between two runs is not training time."""
        self._started = time.perf_counter()
        self._total_steps = int(trainer.estimated_stepping_batches)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What was done since the last step, a kNN measurement say, is not the training's time."""
        self._window_started, self._window_images = time.perf_counter(), 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the learning rate that this step will use; afterwards the optimiser holds the next one's."""
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the step's losses to the sums; reads them when it is time to log."""
        values = torch.stack([value.detach() for value in outputs.values()])
        names = list(outputs)
        if trainer.accumulate_grad_batches > 1:
            # Lightning hands out the share that a batch has in its step's loss.
            values[names.index("loss")] *= window_size(
                batch_idx, num_batches=int(trainer.num_training_batches), accumulate=trainer.accumulate_grad_batches
            )
        if self._window is None:
            self._names = names
            self._window = torch.zeros(len(values), dtype=torch.float64, device=values.device)
        elif self._window.device != values.device:  # restored from a checkpoint
            self._window = self._window.to(values.device)
        self._window += values
        self._window_steps += 1
        self._window_images += len(batch.indices)
        if self._window_steps == self.log_every_n_steps:
            self._read_window(trainer)
        self.progress(trainer.global_step, self._total_steps, self._shown)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Closes the epoch's row."""
        if self._window_steps:
            self._read_window(trainer)
        if not self._epoch_steps:
            return
        assert self._epoch is not None
        means = (self._epoch / self._epoch_steps).tolist()
        now = time.perf_counter()
        _show_callbacks(trainer, dict(zip(self._names, means, strict=True)))
        row: dict[str, float] = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        row.update(zip(self._names, means, strict=True))
        row.update(lr=self._lr, seconds=self._seconds + now - self._started)
        self.rows.append(row)
        self._epoch, self._epoch_steps = None, 0
        self._seconds, self._started = 0.0, now

    def _read_window(self, trainer: pl.Trainer) -> None:
        assert self._window is not None
        # After the mean over ranks a NaN on one of them is a NaN on all: they stop together.
        window = trainer.strategy.reduce(self._window, reduce_op="mean").cpu()
        self._epoch = window if self._epoch is None else self._epoch + window
        self._epoch_steps += self._window_steps
        means = dict(zip(self._names, (window / self._window_steps).tolist(), strict=True))
        self._window, self._window_steps = None, 0
        now = time.perf_counter()  # `window` is on the CPU, so the device has finished
        throughput = self._window_images * trainer.world_size / (now - self._window_started)
        self._window_started, self._window_images = now, 0
        step, epoch = trainer.global_step, trainer.current_epoch
        if not math.isfinite(means["loss"]):
            last = "" if self.workdir is None else " " + describe_last_good(self.workdir / LAST)
            raise NonFiniteTrainingError(
                f"the loss became {means['loss']} by step {step} (epoch {epoch}, lr {self._lr:.3g}); "
                f"lower optimizer.lr, raise optimizer.warmup_epochs, or check loss.temperature.{last}"
            )
        self._shown = {"epoch": epoch, "loss": means["loss"], "lr": self._lr}
        _show_callbacks(trainer, means)
        metrics = {f"train/{name}": value for name, value in means.items()}
        metrics |= {"train/lr": self._lr, "train/images_per_second": throughput, "epoch": epoch}
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step)

    def state_dict(self) -> dict[str, Any]:
        """The rows and the unfinished epoch's sums."""
        return {
            "rows": [dict(row) for row in self.rows],
            "names": list(self._names),
            "window": None if self._window is None else self._window.cpu(),
            "window_steps": self._window_steps,
            "epoch": self._epoch,
            "epoch_steps": self._epoch_steps,
            "seconds": self._seconds + time.perf_counter() - self._started,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues a record."""
        self.rows = [dict(row) for row in state_dict["rows"]]
        self._names = list(state_dict["names"])
        self._window = state_dict["window"]
        self._window_steps = state_dict["window_steps"]
        self._epoch = state_dict["epoch"]
        self._epoch_steps = state_dict["epoch_steps"]
        self._seconds = state_dict["seconds"]
