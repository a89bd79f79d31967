"""SIGUSR1 under SLURM at any moment of a training: the rerun ends in the bits of one that was left alone."""

import os
import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tests.chain_run import SLURM
from tiny_training import fit_tiny, tiny_data, tiny_images, tiny_module

from assimilate.jobs.stopping import TerminatedError, termination_raised
from assimilate.probes import monitor
from assimilate.probes.monitor import KNNMonitor


def preempt() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)


class Preempting(pl.Callback):
    """Sends the signal at the first of Lightning's hooks of this name from the fourth optimiser step on, or at once."""

    def __init__(self, hook: str, step: int) -> None:
        setattr(self, hook, lambda trainer, *_: preempt() if trainer.global_step >= step else None)


def while_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    save, saved = torch.save, 0

    class Stream:
        def __init__(self, stream: Any) -> None:
            self.on, self.flush, self.written = stream.write, stream.flush, 0

        def write(self, piece: bytes) -> Any:
            self.written += 1
            if saved == 2 and self.written == 9:
                preempt()
            return self.on(piece)

    def counted(content: Any, stream: Any) -> None:
        nonlocal saved
        saved += 1
        save(content, Stream(stream))

    monkeypatch.setattr(torch, "save", counted)


def while_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    measure, measured = monitor.knn_accuracy, []

    def counted(*arguments: Any, **settings: Any) -> float:
        measured.append(1)
        if len(measured) == 3:
            preempt()
        return measure(*arguments, **settings)

    monkeypatch.setattr(monitor, "knn_accuracy", counted)


def outcome(workdir: Path, *callbacks: pl.Callback) -> tuple[dict[str, torch.Tensor], list[dict[str, float]], Any]:
    """Weights, rows without their seconds, kNN curve of a training of three epochs of three steps."""
    module, curve = tiny_module(), KNNMonitor(tiny_images(), tiny_images(9), k=3)
    record = fit_tiny(module, tiny_data(), workdir, callbacks=[curve, *callbacks])
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return weights, [{k: v for k, v in row.items() if k != "seconds"} for row in record.rows], curve.curve


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return outcome(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("moment", ["start", "mid-epoch", "saving", "measuring", "end"])
def test_the_rerun_of_a_preempted_training_equals_one_that_was_left_alone(
    whole: Any, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**SLURM, "RANK": "3", "WORLD_SIZE": "7", "LOCAL_RANK": "3", "MASTER_ADDR": "none"}.items():
        monkeypatch.setenv(name, value)
    hooks = {"start": ("on_train_start", 0), "mid-epoch": ("on_train_batch_end", 5), "end": ("on_train_end", 0)}
    patches = {"saving": while_saving, "measuring": while_measuring}
    with monkeypatch.context() as patched, termination_raised():
        if moment in patches:
            patches[moment](patched)
        callbacks = [Preempting(*hooks[moment])] if moment in hooks else []
        with pytest.raises(TerminatedError) as caught:
            outcome(tmp_path, *callbacks)
    assert caught.value.signal == signal.SIGUSR1
    saved = {"start": set(), "end": {"last.ckpt", "last.previous.ckpt"}}.get(moment, {"last.ckpt"})
    # The second checkpoint was being written; the first one is still there, under both names.
    saved |= {"last.previous.ckpt"} if moment == "saving" else set()
    assert {path.name for path in tmp_path.iterdir()} == saved
    weights, rows, curve = outcome(tmp_path)
    expected = whole[0]
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert (rows, curve) == whole[1:]
    assert len(rows) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "last.previous.ckpt"}


def test_a_checkpoint_that_slurms_handler_left_is_not_gone_on_from(whole: Any, tmp_path: Path) -> None:
    """Versions that let Lightning handle the signal left the middle of an epoch: a step fewer, other numbers."""
    with pytest.raises(KeyboardInterrupt):
        outcome(tmp_path, Stop(tmp_path))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in SLURM.items():
            patched.setenv(name, value)
        weights, rows, _ = outcome(tmp_path)
    assert all(torch.equal(weights[name], whole[0][name]) for name in whole[0])
    assert rows == whole[1]
    assert not list(tmp_path.glob("hpc*"))


class Stop(pl.Callback):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "hpc_ckpt_1.ckpt"

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.path)
            raise KeyboardInterrupt
