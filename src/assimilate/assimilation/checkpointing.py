"""Checkpoints that a kill cannot spoil: an atomic CheckpointIO, and the callback that saves resume points."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint

from assimilate.files.plain_files import load_resume_point, previous_of, save_resume_point
from assimilate.graph.counted import counted

LAST = "last.ckpt"


class NonFiniteTrainingError(FloatingPointError):
    """The loss or the weights became NaN or infinite."""


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside, fsyncs, checks, renames; the checkpoint before stays as `<stem>.previous<suffix>`.

    Lightning's own plugin writes through a temporary folder and moves, which a kill can cut in the middle.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Saves a checkpoint of plain containers; a kill at any moment leaves a readable one."""
        assert storage_options is None, "a file system path needs no storage options"
        save_resume_point(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Callable | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Loads a checkpoint without running code; a damaged one gives way to the one before it, with a warning.

        Raises:
            ValueError: neither can be read.
        """
        content = load_resume_point(Path(path), map_location="cpu" if map_location is None else map_location)
        if content is None:
            raise ValueError(f"{path} cannot be read as a checkpoint")
        return content

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint and the one before it."""
        Path(path).unlink(missing_ok=True)
        previous_of(Path(path)).unlink(missing_ok=True)


class ResumePoint(Checkpoint):
    """Saves `folder/last.ckpt` every `every_n_epochs` epochs, after the last one, and every `every_n_steps` if given.

    A Trainer that stops within an epoch (max_steps) saves there, as a step: Lightning would count that epoch as over.
    A checkpoint that is saved by hand after such a stop still does; `last.ckpt` is the one to go on from. Go on with a
    Trainer without max_steps: with it, Lightning 2.6 takes a checkpoint from the end of an epoch for one within it.

    It runs after all other callbacks, so their state of the same moment is inside. Weights that are not finite are
    never saved.

    It also restores the loader's position: Lightning 2.6 forgets it for a checkpoint from the end of an epoch.
    """

    def __init__(self, folder: Path, *, every_n_epochs: int = 1, every_n_steps: int | None = None) -> None:
        super().__init__()
        self.path = Path(folder) / LAST
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self._loader_state: dict[str, Any] | None = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the loader's state until there is a loader."""
        states = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])
        self._loader_state = states[0] if states else None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the loader where the checkpoint was; no batch has been asked for yet."""
        if self._loader_state is not None:
            loader: Any = trainer.train_dataloader
            loader.load_state_dict(self._loader_state)
            self._loader_state = None

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves in the middle of an epoch."""
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if not due and trainer.global_step != trainer.max_steps:
            return
        # The last batch's point is saved at the end of its epoch, with the epoch's record in it.
        if batch_idx + 1 < trainer.num_training_batches and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves at the end of an epoch."""
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready < trainer.num_training_batches:
            return  # stopped within it
        done = trainer.current_epoch + 1
        if done % self.every_n_epochs == 0 or done == trainer.max_epochs:
            self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not all(bool(torch.isfinite(parameter).all()) for parameter in pl_module.parameters()):
            raise NonFiniteTrainingError(
                f"weights are NaN or infinite after {counted(trainer.global_step, 'step')} "
                f"(epoch {trainer.current_epoch}); lower optimizer.lr or raise optimizer.warmup_epochs. "
                + describe_last_good(self.path)
            )
        trainer.save_checkpoint(self.path)


def describe_last_good(path: Path) -> str:
    """A sentence that says where training could go on from."""
    if path.is_file():
        return f"The last good checkpoint is {path}."
    return "No checkpoint had been saved yet."
