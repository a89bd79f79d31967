import csv
import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from tiny_training import MEAN, METHODS, STD, FixedViews, fit_tiny, sgd, tiny_data, tiny_images, tiny_module

from assimilate.assimilation.a2 import A2
from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.checkpointing import AtomicCheckpointIO, NonFiniteTrainingError, ResumePoint
from assimilate.assimilation.contrastive import ContrastiveModule
from assimilate.assimilation.loss import InfoNCE, NTXent
from assimilate.assimilation.losses import alignment, info_nce
from assimilate.assimilation.optimizers import SGD, Constant
from assimilate.assimilation.record import TrainingRecord
from assimilate.assimilation.simclr import SimCLR
from assimilate.assimilation.trainer_options import DECIDED, OWN
from assimilate.data.augmentation import make_transform
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.views import ViewSlot
from assimilate.encoder.checkpoint import load_encoder
from assimilate.jobs.stopping import TerminatedError, termination_raised


class StopAt(pl.Callback):
    """Kills the run after a number of optimiser steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise KeyError("killed")


def weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def embed(module: ContrastiveModule, views: list[torch.Tensor]) -> list[torch.Tensor]:
    return module.passes.project(module.encoder, views)


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


def test_record(tmp_path: Path) -> None:
    seen: list[tuple[int, int, dict]] = []
    module, data = tiny_module("a2"), tiny_data("a2")
    logger = CSVLogger(tmp_path, name=None, version="")
    started = time.perf_counter()
    record = fit_tiny(
        module,
        data,
        tmp_path,
        log_every_n_steps=2,
        loggers=[logger],
        progress=lambda done, total, values: seen.append((done, total, dict(values))),
    )
    elapsed = time.perf_counter() - started
    assert [row["epoch"] for row in record.rows] == [1, 2, 3]
    assert [row["step"] for row in record.rows] == [3, 6, 9]
    # lr of the last step of each epoch: warm-up over 3 steps, then a cosine over 6.
    assert [row["lr"] for row in record.rows] == pytest.approx(
        [0.1 * 2 / 3, 0.1 * 0.5 * (1 + 0.5), 0.1 * 0.5 * (1 - 0.75**0.5)]
    )
    for row in record.rows:
        assert row["loss"] == pytest.approx(row["base"] - row["alignment"], rel=1e-5)
    assert [(done, total) for done, total, _ in seen] == [(step, 9) for step in range(1, 10)]
    assert set(seen[-1][2]) == {"epoch", "loss", "lr"}
    logged = (tmp_path / "metrics.csv").read_text()
    assert "train/loss" in logged
    assert "train/lr" in logged
    with (tmp_path / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    # 3 epochs of 3 steps, read after 2 and at the end; what 9 steps of 8 images took is less than the whole run did.
    assert [int(row["step"]) for row in rows] == [2, 3, 5, 6, 8, 9]
    speeds = [float(row["train/images_per_second"]) for row in rows]
    assert sum(images / speed for images, speed in zip([16, 8] * 3, speeds, strict=True)) < elapsed


def test_a_step_is_the_loss_of_the_views(tmp_path: Path) -> None:
    module, data = tiny_module("a2"), tiny_data("a2", fixed=True, batch_size=24)
    first = tiny_module("a2")
    record = fit_tiny(module, data, tmp_path, max_epochs=1)
    arrays = tiny_images()
    images = torch.from_numpy(arrays.images)
    views = [images, *FixedViews(arrays).gather(torch.arange(24), 3, torch.Generator()).unbind(1)]
    z = [first.encoder((view / 255 - 0.5) / 0.25) for view in views]
    expected = info_nce(z[0], z[1], temperature=0.5) - alignment(z[:2], z[2:], temperature=0.5, alpha=0.5)
    assert record.rows[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)


def test_batchnorm_modes_see_the_batches_that_they_name() -> None:
    views = [torch.randn(6, 3, 8, 8) + shift for shift in range(3)]
    together = torch.cat(views)
    per_view = tiny_module(batchnorm="per_view")
    assert torch.equal(embed(per_view, views)[1], tiny_module().encoder(views[1]))
    concatenated = tiny_module(batchnorm="concatenated")
    assert torch.equal(torch.cat(embed(concatenated, views)), tiny_module().encoder(together))
    split = tiny_module(batchnorm="per_view_backbone")
    other = tiny_module().encoder
    expected = other.projector(torch.cat([other.features(view) for view in views]))
    assert torch.equal(torch.cat(embed(split, views)), expected)


def test_batchnorm_per_source_keeps_running_statistics_from_real_views_only() -> None:
    views = [torch.randn(6, 3, 8, 8) + shift for shift in range(3)]
    module = tiny_module("a2", batchnorm="per_source", generated_views=[1])
    embedded = embed(module, views)
    other = tiny_module().encoder
    expected = other(torch.cat([views[0], views[2]]))
    assert torch.equal(torch.cat([embedded[0], embedded[2]]), expected)
    statistics = {name: buffer.clone() for name, buffer in other.named_buffers()}
    assert torch.equal(embedded[1], other(views[1]))  # by its own batch's statistics
    for name, buffer in module.encoder.named_buffers():
        assert torch.equal(buffer, statistics[name]), name
    assert all(part.track_running_stats for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d))
    with pytest.raises(ValueError, match="all are generated"):
        embed(tiny_module("a2", batchnorm="per_source", generated_views=[0, 1, 2]), views)


@pytest.mark.slow  # the compiler alone takes a minute
@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
def test_compiled_networks_train_like_eager_ones(mode: str | None, tmp_path: Path) -> None:
    eager, compiled = tiny_module("simsiam"), tiny_module("simsiam")
    expected = fit_tiny(eager, tiny_data("simsiam"), tmp_path / "eager", max_epochs=1)
    compiled.compile_networks(mode)
    record = fit_tiny(compiled, tiny_data("simsiam"), tmp_path / "compiled", max_epochs=1)
    assert record.rows[0]["loss"] == pytest.approx(expected.rows[0]["loss"], rel=1e-3)
    assert compiled.state_dict().keys() == eager.state_dict().keys()


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


def test_accumulated_batches(tmp_path: Path) -> None:
    record = fit_tiny(tiny_module(), tiny_data(batch_size=4), tmp_path, accumulate_grad_batches=2, max_epochs=1)
    assert record.rows[0]["step"] == 3
    # The loss of batches of 4 lies near log 4, not near its half.
    assert 0.8 < record.rows[0]["loss"] < 2.0


@pytest.mark.parametrize("accumulate", [4, 5, 6])
def test_every_step_averages_its_window_and_the_last_one_too(tmp_path: Path, accumulate: int) -> None:
    optimizer = sgd(schedule=Constant())
    module, plain = tiny_module(optimizer=optimizer), tiny_module(optimizer=optimizer).double()
    settings = {"accumulate_grad_batches": accumulate, "max_epochs": 2, "precision": "64-true"}
    record = fit_tiny(module, tiny_data(fixed=True, batch_size=4), tmp_path, **settings)
    # By hand: 6 batches an epoch, so 4 + 2, 5 + 1 or 6 of them a step.
    data = tiny_data(fixed=True, batch_size=4)
    batches = data.index_batches(rank=0, world_size=1)
    plainly = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for epoch in range(2):
        losses = []
        epoch_batches = [data.transfer_batch_to_device(batch, torch.device("cpu"), 0) for batch in batches]
        for start in range(0, 6, accumulate):
            window = [plain.loss_terms(data.serve(batch).views).total for batch in epoch_batches[start:][:accumulate]]
            plainly.zero_grad()
            torch.stack(window).mean().backward()
            plainly.step()
            losses += [loss.item() for loss in window]
        assert record.rows[epoch]["loss"] == pytest.approx(sum(losses) / 6, rel=1e-6)
    expected = weights(plain)
    for name, tensor in weights(module).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6, msg=name)


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


def test_a2_of_crops_beside_whole_images(tmp_path: Path) -> None:
    arrays = tiny_images()
    expert, flip = (make_transform(name, 6, flip=0.5, expert={}) for name in ("expert", "flip"))
    data = ContrastiveDataModule(
        arrays,
        mean=MEAN,
        std=STD,
        slots=[ViewSlot("image", expert), ViewSlot("image", expert), ViewSlot("generated", flip)],
        batch_size=8,
        seed=0,
        view_source=FixedViews(arrays),
        drop_last=True,
    )
    record = fit_tiny(tiny_module("a2", batchnorm="concatenated"), data, tmp_path, max_epochs=1)
    assert record.rows[0]["step"] == 3


def test_the_number_of_views_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="A2 trains on at least 3 views"):
        fit_tiny(tiny_module("a2"), tiny_data("simclr"), tmp_path / "a")
    with pytest.raises(ValueError, match="A1 trains on exactly 2 views"):
        fit_tiny(tiny_module("a1"), tiny_data("a2"), tmp_path / "b")


def test_bf16(tmp_path: Path) -> None:
    """Nothing but rounding apart from float32; steps that move would magnify it, on each CPU by another amount."""
    still = sgd(1e-30, weight_decay=0.0)
    losses = {}
    for precision in ("bf16-mixed", "32-true"):
        module = tiny_module("a2", optimizer=still)
        record = fit_tiny(module, tiny_data("a2"), tmp_path / precision, precision=precision, max_epochs=1)
        losses[precision] = record.rows[0]["loss"]
    assert 0 < abs(losses["bf16-mixed"] - losses["32-true"]) < 0.03
    moved = tiny_module("a2")
    before = weights(moved)
    fit_tiny(moved, tiny_data("a2"), tmp_path / "moved", precision="bf16-mixed", max_epochs=1)
    after = weights(moved)
    assert all(value.isfinite().all() and value.dtype == before[name].dtype for name, value in after.items())
    assert not torch.equal(after["encoder.backbone.conv1.weight"], before["encoder.backbone.conv1.weight"])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_encoder_trains_in_the_memory_format_that_it_has(
    tmp_path: Path, memory_format: torch.memory_format
) -> None:
    """So that `trainer.channels_last=false` holds on a CPU."""
    module = tiny_module()
    module.encoder.to(memory_format=memory_format)
    fit_tiny(module, tiny_data(), tmp_path, max_epochs=1)
    assert module.encoder.backbone.layer1[0].conv1.weight.is_contiguous(memory_format=memory_format)


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


class Seen(pl.Callback):
    """The images of each batch."""

    def __init__(self) -> None:
        self.indices: list[list[int]] = []

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        self.indices.append(batch.indices.tolist())


def test_overfit_batches_are_the_same_images_in_every_epoch(tmp_path):
    seen, fast = Seen(), Seen()
    fit_tiny(tiny_module("simclr"), tiny_data(), tmp_path / "a", callbacks=[seen], options={"overfit_batches": 2})
    assert len(seen.indices) == 6
    assert seen.indices[:2] == seen.indices[2:4] == seen.indices[4:]
    fit_tiny(tiny_module("simclr"), tiny_data(), tmp_path / "b", callbacks=[fast], options={"fast_dev_run": True})
    assert fast.indices == seen.indices[:1]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_whatever_the_precision(tmp_path, precision):
    """One step of plain SGD at lr 1 moves the weights by the gradient, whose norm is clipped to .01."""
    module = tiny_module("simclr", optimizer=SGD(lr=1.0, momentum=0.0, weight_decay=0.0, schedule=Constant()))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    fit_tiny(module, tiny_data(), tmp_path, precision=precision, options={"gradient_clip_val": 0.01, "max_steps": 1})
    moved = [(now.detach() - was).flatten() for now, was in zip(module.parameters(), before, strict=True)]
    assert float(torch.cat(moved).norm()) == pytest.approx(0.01, rel=1e-3)


def test_deterministic_algorithms_end_with_the_training(tmp_path):
    asked = []

    class Ask(pl.Callback):
        def on_train_start(self, *_: Any) -> None:
            asked.append(torch.are_deterministic_algorithms_enabled())

    options = {"deterministic": True, "max_steps": 1}
    fit_tiny(tiny_module("simclr"), tiny_data(), tmp_path, callbacks=[Ask()], options=options)
    assert asked == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_fit_gives_the_trainer_is_what_assimilate_says_it_decides(tmp_path, monkeypatch):
    given: dict[str, Any] = {}

    def trainer(**arguments: Any) -> None:
        given.update(arguments)
        raise KeyError("seen")

    monkeypatch.setattr(pl, "Trainer", trainer)
    with pytest.raises(KeyError, match="seen"):
        fit_tiny(tiny_module("simclr"), tiny_data(), tmp_path)
    assert given.keys() - {"profiler", "enable_model_summary"} <= {*OWN, *DECIDED}
