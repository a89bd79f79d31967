import csv
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from tiny_training import MEAN, STD, FixedViews, fit_tiny, sgd, tiny_data, tiny_images, tiny_module, weights

from assimilate.assimilation.contrastive import ContrastiveModule
from assimilate.assimilation.losses import alignment, info_nce
from assimilate.assimilation.optimizers import SGD, Constant
from assimilate.assimilation.trainer_options import DECIDED, OWN
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.probes.monitor import KNNMonitor


def embed(module: ContrastiveModule, views: list[torch.Tensor]) -> list[torch.Tensor]:
    return module.passes.project(module.encoder, views)


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


def test_a_callback_of_the_users_stops_by_the_loss(tmp_path: Path) -> None:
    stop = EarlyStopping("train/loss", min_delta=1e6, patience=2)  # nothing counts as better than the first epoch
    record = fit_tiny(tiny_module("a2"), tiny_data("a2"), tmp_path, max_epochs=10, callbacks=[stop])
    assert [row["epoch"] for row in record.rows] == [1, 2, 3]
    assert float(stop.best_score) == pytest.approx(record.rows[0]["loss"], rel=1e-6)


def test_a_callback_of_the_users_keeps_the_best_by_neighbours(tmp_path: Path) -> None:
    images = tiny_images()
    labelled = ImageArrays(images.images, np.arange(len(images.images)) % 3)
    knn = KNNMonitor(labelled, labelled, k=5)
    seen: list[tuple[float, float]] = []

    class Look(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append((float(trainer.callback_metrics["knn5"]), float(trainer.callback_metrics["train/base"])))

    best = ModelCheckpoint(tmp_path / "best", monitor="knn5", mode="max")
    record = fit_tiny(tiny_module("a2"), tiny_data("a2"), tmp_path, max_epochs=3, callbacks=[knn, Look(), best])
    assert [accuracy for accuracy, _ in seen] == pytest.approx([accuracy for _, accuracy in knn.curve[1:]])
    assert [base for _, base in seen] == pytest.approx([row["base"] for row in record.rows])
    assert float(best.best_model_score) == pytest.approx(max(accuracy for _, accuracy in knn.curve[1:]))
    assert Path(best.best_model_path).is_file()


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
