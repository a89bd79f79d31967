"""A training that was cut goes on as if it had not been, and what it saves can be trusted."""

import os
import signal
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from tiny_training import METHODS, StopAt, fit_tiny, tiny_data, tiny_module, weights

from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.checkpointing import AtomicCheckpointIO, NonFiniteTrainingError, ResumePoint
from assimilate.assimilation.contrastive import A2, SimCLR
from assimilate.assimilation.loss import InfoNCE, NTXent
from assimilate.assimilation.record import TrainingRecord
from assimilate.encoder.checkpoint import load_encoder
from assimilate.jobs.stopping import TerminatedError, termination_raised


def without_seconds(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


# Three batches an epoch: killed in the middle of epoch 1, at its end, and in the middle of epoch 2.
@pytest.mark.parametrize(
    ("assim", "step", "settings"),
    [
        *((assim, step, {}) for assim in ("simclr", "a2", "simsiam") for step in (2, 3, 5, 8)),
        *(("a2", 5, METHODS[name]) for name in ("moco", "byol")),  # queue and moving average are restored too
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, assim: str, step: int, settings: dict) -> None:
    whole = tiny_module(assim, **settings)
    record = fit_tiny(whole, tiny_data(assim), tmp_path / "whole", log_every_n_steps=2)
    with pytest.raises(KeyError, match="killed"):
        fit_tiny(
            tiny_module(assim, **settings),
            tiny_data(assim),
            tmp_path / "cut",
            callbacks=[StopAt(step)],
            checkpoint_every_n_steps=1,
            log_every_n_steps=2,
        )
    torch.manual_seed(step)  # the global generator is in another state and must not matter
    resumed = tiny_module(assim, **settings)
    again = fit_tiny(resumed, tiny_data(assim), tmp_path / "cut", log_every_n_steps=2)
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    # The loss windows of 2 steps end at other steps after a resume in the middle: sums differ by rounding alone.
    for row, other in zip(without_seconds(record.rows), without_seconds(again.rows), strict=True):
        assert row == pytest.approx(other, rel=1e-14)


@pytest.mark.parametrize("step", [2, 3, 4, 6, 7])
def test_a_run_that_stopped_within_an_epoch_goes_on_in_step(tmp_path: Path, step: int) -> None:
    whole = tiny_module()
    record = fit_tiny(whole, tiny_data(), tmp_path / "whole")
    cut = pl.Trainer(
        max_epochs=3, max_steps=step, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[TrainingRecord(), ResumePoint(tmp_path / "cut")],
        plugins=[AtomicCheckpointIO()],
        use_distributed_sampler=False, default_root_dir=tmp_path,
    )  # fmt: skip
    cut.fit(tiny_module(), datamodule=tiny_data())
    assert cut.global_step == step
    resumed = tiny_module()
    again = fit_tiny(resumed, tiny_data(), tmp_path / "cut")
    assert resumed.trainer.global_step == 9
    assert [(row["epoch"], row["step"]) for row in again.rows] == [(row["epoch"], row["step"]) for row in record.rows]
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_a_checkpoint_reloads_without_a_config(tmp_path: Path) -> None:
    anchor = Alignment(alpha=0.5, align_anchors=[0])
    module = tiny_module("a2", loss=NTXent(temperature=0.2), alignment=anchor, init_seed=5)
    fit_tiny(module, tiny_data("a2"), tmp_path)
    loaded = A2.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert (loaded.loss, loaded.alignment, loaded.optimizer) == (module.loss, anchor, module.optimizer)
    expected, actual = weights(module), weights(loaded)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    module.save_encoder(tmp_path / "encoder.pt", {"epochs": 3})
    encoder = load_encoder(tmp_path / "encoder.pt")
    assert (encoder.mean, encoder.std) == (module.encoder.mean, module.encoder.std) == (module.mean, module.std)
    assert torch.equal(encoder.backbone.conv1.weight, module.encoder.backbone.conv1.weight)


def test_a_finished_run_returns_its_record(tmp_path: Path) -> None:
    record = fit_tiny(tiny_module(), tiny_data(), tmp_path)
    again_module = tiny_module()
    again = fit_tiny(again_module, tiny_data(), tmp_path)
    assert again.rows == record.rows
    saved = SimCLR.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert torch.equal(saved.encoder.backbone.conv1.weight, again_module.encoder.backbone.conv1.weight)


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    fit_tiny(tiny_module(), tiny_data(), tmp_path)
    with pytest.raises(ValueError, match=r"another run.*temperature"):
        fit_tiny(tiny_module(loss=InfoNCE(temperature=0.4)), tiny_data(), tmp_path)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    whole = tiny_module()
    fit_tiny(whole, tiny_data(), tmp_path)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:5000])
    resumed = tiny_module()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = fit_tiny(resumed, tiny_data(), tmp_path)
    assert any("going on from the checkpoint before" in str(warning.message) for warning in caught)
    assert len(record.rows) == 3
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


def test_checkpoint_io_leaves_nothing_beside(tmp_path: Path) -> None:
    checkpoint_io = AtomicCheckpointIO()
    for value in range(3):
        checkpoint_io.save_checkpoint({"value": value}, tmp_path / "last.ckpt")
    assert checkpoint_io.load_checkpoint(tmp_path / "last.ckpt") == {"value": 2}
    assert checkpoint_io.load_checkpoint(tmp_path / "last.previous.ckpt") == {"value": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
    checkpoint_io.remove_checkpoint(tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())


class Poison(pl.Callback):
    """Makes a weight NaN before a given step."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        if trainer.global_step == 4:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("nan"))


def test_nan_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteTrainingError, match=r"the loss became nan.*optimizer\.lr.*last good checkpoint"):
        fit_tiny(tiny_module(), tiny_data(), tmp_path, callbacks=[Poison()])
    saved = SimCLR.load_from_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    assert all(parameter.isfinite().all() for parameter in saved.parameters())
    clean, resumed = tiny_module(), tiny_module()
    fit_tiny(clean, tiny_data(), tmp_path / "clean")
    fit_tiny(resumed, tiny_data(), tmp_path)
    assert torch.equal(clean.encoder.backbone.conv1.weight, resumed.encoder.backbone.conv1.weight)


def test_nan_weights_are_never_saved(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteTrainingError, match="weights are NaN"):
        fit_tiny(tiny_module(), tiny_data(), tmp_path, callbacks=[Poison()], checkpoint_every_n_steps=1)


def test_a_window_that_was_saved_elsewhere_goes_on_where_the_losses_are() -> None:
    first, trainer = TrainingRecord(), MagicMock(accumulate_grad_batches=1, global_step=1)
    batch = MagicMock(indices=torch.arange(4))
    first.on_train_batch_end(trainer, MagicMock(), {"loss": torch.tensor(1.0)}, batch, 0)
    state = first.state_dict()
    assert state["window"].device.type == "cpu"
    resumed = TrainingRecord()
    resumed.load_state_dict(state)
    # No accelerator here: meta tensors refuse to be added to CPU tensors as CUDA ones do.
    resumed.on_train_batch_end(trainer, MagicMock(), {"loss": torch.tensor(1.0, device="meta")}, batch, 1)
    assert resumed._window is not None
    assert resumed._window.device.type == "meta"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("ctrl_c")
def test_who_interrupts_a_training_hears_of_it(tmp_path: Path, number: signal.Signals) -> None:
    """Lightning would leave with exit code 1 after Ctrl-C, and with 0 after SIGTERM."""

    class Signal(pl.Callback):
        def on_train_batch_end(self, *args: Any) -> None:
            os.kill(os.getpid(), number)

    with termination_raised():
        before = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as caught:
            fit_tiny(tiny_module(), tiny_data(), tmp_path, callbacks=[Signal()])
        assert isinstance(caught.value, TerminatedError) == (number == signal.SIGTERM)
        assert signal.getsignal(signal.SIGINT) == before


# Of three batches an epoch. Killed in the middle of an epoch, and at the end of one.
@pytest.mark.parametrize(
    ("options", "steps", "step"),
    [
        ({"max_steps": 5}, [3, 5], 3),
        ({"limit_train_batches": 2}, [2, 4, 6], 2),
        ({"limit_train_batches": 0.7, "max_steps": 5}, [2, 4, 5], 3),
        ({"overfit_batches": 2}, [2, 4, 6], 2),
    ],
)
def test_a_shortened_run_ends_where_it_is_told_and_resumes_exactly(tmp_path, options, steps, step):
    whole = tiny_module("simclr")
    record = fit_tiny(whole, tiny_data(), tmp_path / "whole", options=options)
    assert [row["step"] for row in record.rows] == steps
    with pytest.raises(KeyError, match="killed"):
        fit_tiny(
            tiny_module("simclr"),
            tiny_data(),
            tmp_path / "cut",
            callbacks=[StopAt(step)],
            checkpoint_every_n_steps=1,
            options=options,
        )
    resumed = tiny_module("simclr")
    again = fit_tiny(resumed, tiny_data(), tmp_path / "cut", options=options)
    assert [row["step"] for row in again.rows] == steps
    expected, actual = weights(whole), weights(resumed)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


@pytest.mark.parametrize("step", [2, 3, 5, 9])
def test_a_resumed_run_of_averaged_weights_equals_an_uninterrupted_one(tmp_path: Path, step: int) -> None:
    """Step 9 is the last: whoever comes after it finds a finished training, and the average all the same."""

    def fitted(folder: str, *callbacks: pl.Callback) -> dict[str, torch.Tensor]:
        module = tiny_module("simclr")
        settings = {"callbacks": callbacks, "checkpoint_every_n_steps": 1}
        fit_tiny(module, tiny_data(), tmp_path / folder, **settings)
        return weights(module)

    plain, whole = fitted("plain"), fitted("whole", EMAWeightAveraging(decay=0.5))
    if step == 9:
        fitted("cut", EMAWeightAveraging(decay=0.5))
    else:
        with pytest.raises(KeyError, match="killed"):
            fitted("cut", EMAWeightAveraging(decay=0.5), StopAt(step))
    resumed = fitted("cut", EMAWeightAveraging(decay=0.5))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not all(torch.equal(whole[name], plain[name]) for name in whole)
