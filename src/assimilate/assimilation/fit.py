"""Training from first step to last, across any number of interruptions."""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import Strategy

from assimilate.assimilation.checkpointing import LAST, AtomicCheckpointIO, ResumePoint
from assimilate.assimilation.record import TrainingRecord
from assimilate.errors import UserError
from assimilate.files.plain_files import load_resume_point
from assimilate.graph.place import Progress, silent


def fit(
    module: pl.LightningModule,
    datamodule: pl.LightningDataModule,
    *,
    max_epochs: int,
    workdir: Path,
    accelerator: str = "auto",
    devices: int = 1,
    num_nodes: int = 1,
    strategy: str | Strategy = "auto",
    precision: str = "32-true",
    accumulate_grad_batches: int = 1,
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    log_every_n_steps: int = 50,
    cudnn_benchmark: bool = False,
    checkpoint_every_n_epochs: int = 1,
    checkpoint_every_n_steps: int | None = None,
    progress: Progress = silent,
    options: Mapping[str, Any] | None = None,
) -> TrainingRecord:
    """Trains `module` for `max_epochs` epochs and returns its record; `module` then holds the final weights.

    Goes on from `workdir/last.ckpt` where there is one, or from the one before it if a byte of it has changed: on one
    machine the result has the same bits as an uninterrupted run's, given a data module whose loader saves its position
    and whose draws are seeded by position. A finished run returns at once. Under several ranks every rank calls this
    function (`run_forked` starts ours, `torch.distributed.run` those of another program).

    Args:
        workdir: where checkpoints go; each is written atomically and the one before is kept.
        strategy: "auto" takes DDP when there is more than one device.
        precision: Lightning's, e.g. "32-true", "bf16-mixed", "64-true"; losses are computed in fp32 or fp64.
        accumulate_grad_batches: batches an optimiser step, averaged (an epoch's last step takes what is left); each
            contrasts with its own batch's negatives only.
        callbacks: further callbacks, e.g. `KNNMonitor`; their state is part of the checkpoint.
        loggers: get accumulated values once in `log_every_n_steps` steps.
        cudnn_benchmark: let cuDNN try its algorithms for each shape; which is fastest may differ between two runs.
        checkpoint_every_n_epochs: the last epoch saves in any case.
        checkpoint_every_n_steps: also save in the middle of an epoch.
        options: further arguments of `lightning.Trainer`, e.g. gradient_clip_val. Those that end or shorten a training
            (max_steps, limit_train_batches, overfit_batches, fast_dev_run) are carried out here and by the data module,
            so that it resumes exactly; the learning rate follows the schedule of the module's epochs all the same.

    Raises:
        ValueError: last.ckpt belongs to a run with other hyper-parameters.
        NonFiniteTrainingError: the loss or the weights are not finite; the last good checkpoint stays.
        KeyboardInterrupt: so it was interrupted.
    """
    if max_epochs < 1:
        raise ValueError(f"epochs={max_epochs} must be at least 1")
    options = dict(options or {})
    if fast := int(options.pop("fast_dev_run", 0)):
        max_epochs, options["limit_train_batches"], loggers = 1, fast, ()
    same, limit = options.pop("overfit_batches", 0), options.pop("limit_train_batches", None)
    if same or limit is not None:
        datamodule.shorten(same or limit, repeat=bool(same))  # type: ignore[attr-defined]
    if (max_steps := options.pop("max_steps", -1)) > 0:
        batches = datamodule.index_batches(rank=0, world_size=devices * num_nodes)  # type: ignore[attr-defined]
        max_epochs = min(max_epochs, math.ceil(max_steps / math.ceil(len(batches) / accumulate_grad_batches)))
        callbacks = [*callbacks, _StopAfter(max_steps)]
    workdir = Path(workdir)
    last = workdir / LAST
    for left in workdir.glob("hpc_ckpt_*"):  # of SIGUSR1 under SLURM before fit chose the environment: within an epoch
        left.unlink(missing_ok=True)
    saved = load_resume_point(last)
    if saved is not None:
        _check_same_run(module, saved, last)
    record = TrainingRecord(log_every_n_steps=log_every_n_steps, progress=progress, workdir=workdir)
    save = ResumePoint(workdir, every_n_epochs=checkpoint_every_n_epochs, every_n_steps=checkpoint_every_n_steps)
    with _quiet_lightning(), _determinism_restored():
        trainer = pl.Trainer(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            precision=precision,  # type: ignore[arg-type]
            accumulate_grad_batches=accumulate_grad_batches,
            callbacks=[record, *callbacks, save],
            logger=list(loggers) or False,
            log_every_n_steps=log_every_n_steps,
            benchmark=cudnn_benchmark or None,  # None leaves torch's own setting
            # Named, or Lightning takes SLURM's: it would handle SIGUSR1 with a checkpoint of its own within the epoch,
            # and refuse --ntasks=2. Several processes have the variables of torch's launcher.
            plugins=[AtomicCheckpointIO(), LightningEnvironment() if devices == 1 else TorchElasticEnvironment()],
            default_root_dir=workdir,
            use_distributed_sampler=False,
            enable_progress_bar=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            **{"profiler": _Unprofiled(), "enable_model_summary": False, **options},
        )
        try:
            trainer.fit(module, datamodule=datamodule, ckpt_path=None if saved is None else last)
        except SystemExit as left:
            # Lightning makes sys.exit(1) of an interrupt: it is the caller's to say so, and to choose the exit code.
            if isinstance(left.__context__, KeyboardInterrupt):
                raise left.__context__ from None
            raise
    if not record.trained:  # Lightning leaves on_train_end out, where the module gets its averaged weights
        for callback in callbacks:
            if isinstance(callback, WeightAveraging):
                callback.on_train_end(trainer, module)
    return record


def refuse_arguments(options: Mapping[str, Any]) -> None:
    """Let Lightning look at arguments of its Trainer, one by one and together.

    Raises:
        UserError: it does not take them.
    """
    for some in (*({name: value} for name, value in options.items()), options):
        try:
            with _quiet_lightning(), _determinism_restored():
                pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **some)
        except Exception as error:  # each part of Lightning, and what it would import, has errors of its own
            given = " ".join(f"trainer.{name}={value}" for name, value in some.items())
            raise UserError(f"{given} cannot be used: {' '.join(str(error).split())}") from error


class _StopAfter(pl.Callback):
    """Ends a training after so many optimiser steps.

    Lightning's own max_steps resumes from the end of an epoch as if it were within one.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step >= self.steps:
            trainer.should_stop = True


@contextlib.contextmanager
def _determinism_restored() -> Iterator[None]:
    """A block in which a Trainer may ask for deterministic algorithms, which it does for the whole process."""
    before, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)


class _Unprofiled(PassThroughProfiler):
    """Profiles nothing, and without a generator for each of the dozens of places of a step that could be profiled."""

    _nothing: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.AbstractContextManager[Any]:  # type: ignore[override]
        return self._nothing


def _check_same_run(module: pl.LightningModule, checkpoint: Mapping[str, Any], path: Path) -> None:
    saved, wanted = checkpoint.get("hyper_parameters", {}), dict(module.hparams)
    differing = sorted(key for key in {*saved, *wanted} if _plain(saved.get(key)) != _plain(wanted.get(key)))
    if differing:
        detail = "; ".join(f"{key}: {saved.get(key)} there, {wanted.get(key)} here" for key in differing)
        raise ValueError(
            f"{path} belongs to another run ({detail}); choose another out=, or start anew with force=true"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    # Which devices there are is the caller's to report; a resume mid-epoch and a loader of ours are meant.
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    # What a user asked for: profiler=, enable_model_summary=.
    shown = [logging.getLogger(f"lightning.pytorch.{name}") for name in ("profilers", "callbacks.model_summary")]
    levels = [logger.level for logger in (*loggers, *shown)]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        for logger in shown:
            logger.setLevel(logging.INFO)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
            yield
    finally:
        for logger, level in zip([*loggers, *shown], levels, strict=True):
            logger.setLevel(level)
