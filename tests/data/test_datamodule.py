from pathlib import Path
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from assimilate.data.augmentation import FlipAugmentation, Identity
from assimilate.data.datamodule import ContrastiveBatch, ContrastiveDataModule
from assimilate.data.expert import ExpertAugmentation
from assimilate.data.images import ImageArrays
from assimilate.data.order import IndexBatch
from assimilate.data.placement import PlacedImages
from assimilate.data.seeding import generator
from assimilate.data.views import ViewSlot

COUNT, SIZE, NUM_VIEWS = 50, 8, 4
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class NumberedViews:
    """A source whose view k of image i is a picture of the number 4 i + k."""

    num_views = NUM_VIEWS

    def gather(self, indices: torch.Tensor, num_sampled: int, rng: torch.Generator) -> torch.Tensor:
        chosen = torch.rand(len(indices), NUM_VIEWS, generator=rng).argsort(dim=1)[:, :num_sampled]
        numbers = (indices[:, None] * NUM_VIEWS + chosen).to(torch.uint8)
        return numbers[:, :, None, None, None].expand(-1, -1, 3, SIZE, SIZE)


class Recorder(pl.LightningModule):
    """A toy model that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3 * SIZE * SIZE, 4)
        self.seen: list[ContrastiveBatch] = []

    def training_step(self, batch: ContrastiveBatch, batch_idx: int) -> torch.Tensor:
        assert isinstance(batch, ContrastiveBatch)
        self.seen.append(batch)
        first, second = (self.layer(view.flatten(1)) for view in batch.views[:2])
        return (first - second).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def dataset() -> ImageArrays:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 3, SIZE, SIZE), dtype=np.uint8)
    return ImageArrays(images, np.arange(COUNT) % 5)


def datamodule(slots: list[ViewSlot] | None = None, **settings: object) -> ContrastiveDataModule:
    expert = ViewSlot("image", ExpertAugmentation(SIZE))
    defaults: dict = {
        "mean": MEAN, "std": STD, "batch_size": 16, "seed": 3, "drop_last": True,
        "slots": [expert, expert, ViewSlot("generated", Identity())] if slots is None else slots,
        "view_source": NumberedViews(),
    }  # fmt: skip
    return ContrastiveDataModule(dataset(), **(defaults | settings))


def trainer(root: Path, max_epochs: int, **settings: object) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=max_epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, default_root_dir=root, **settings,
    )  # fmt: skip


def served(data: ContrastiveDataModule, batch: IndexBatch) -> ContrastiveBatch:
    batch = data.transfer_batch_to_device(batch, torch.device("cpu"), 0)
    return data.on_after_batch_transfer(batch, 0)


def assert_same(ours: list[ContrastiveBatch], theirs: list[ContrastiveBatch]) -> None:
    assert len(ours) == len(theirs)
    for own, other in zip(ours, theirs, strict=True):
        assert torch.equal(own.indices, other.indices)
        assert len(own.views) == len(other.views)
        assert all(torch.equal(*pair) for pair in zip(own.views, other.views, strict=True))


def test_a_trainer_is_served_views_of_the_right_images(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, 2).fit(model, datamodule=datamodule())
    assert len(model.seen) == 2 * (COUNT // 16)
    for batch in model.seen:
        assert [tuple(view.shape) for view in batch.views] == [(16, 3, SIZE, SIZE)] * 3
        assert not torch.equal(batch.views[0], batch.views[1])
        numbers = (batch.views[2] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)) * 255
        assert torch.equal(numbers.round().long()[:, 0, 0, 0] // NUM_VIEWS, batch.indices)


@pytest.mark.parametrize("killed_at", [2, 3, 4, 8])
def test_a_run_that_was_killed_continues_exactly(tmp_path: Path, killed_at: int) -> None:
    class Killed(Recorder):
        def training_step(self, batch: ContrastiveBatch, batch_idx: int) -> torch.Tensor:
            if len(self.seen) == killed_at:
                raise KeyError("killed")
            return super().training_step(batch, batch_idx)

    whole = Recorder()
    killed = Killed()
    killed.load_state_dict(whole.state_dict())
    trainer(tmp_path, 3).fit(whole, datamodule=datamodule())
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=2)
    with pytest.raises(KeyError, match="killed"):
        trainer(tmp_path, 3, callbacks=[saving]).fit(killed, datamodule=datamodule())
    resumed = Recorder()
    trainer(tmp_path, 3).fit(resumed, datamodule=datamodule(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert_same(killed.seen[: killed_at // 2 * 2] + resumed.seen, whole.seen)
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in resumed.state_dict().items())


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_checkpoint_written_during_training_resumes_exactly(tmp_path: Path, every: int) -> None:
    whole = Recorder()
    saving = pl.callbacks.ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=every, save_top_k=-1)
    trainer(tmp_path, 3, callbacks=[saving]).fit(whole, datamodule=datamodule())
    checkpoints = sorted(tmp_path.glob("step=*.ckpt"), key=lambda path: int(path.stem[5:]))
    assert len(checkpoints) == 9 // every
    for path in checkpoints[:-1]:
        resumed = Recorder()
        trainer(tmp_path, 3).fit(resumed, datamodule=datamodule(), ckpt_path=path, weights_only=True)
        assert_same(resumed.seen, whole.seen[int(path.stem[5:]) :])
        assert all(torch.equal(value, whole.state_dict()[key]) for key, value in resumed.state_dict().items())


def test_each_rank_loads_its_part_of_the_global_batch() -> None:
    one = next(iter(datamodule().train_dataloader()))
    parts = []
    for rank in range(2):
        data = datamodule()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)  # type: ignore[assignment]
        parts.append(next(iter(data.train_dataloader())))
    assert torch.equal(torch.cat([part.indices for part in parts]), one.indices)


def test_the_last_incomplete_batch_is_served_whole(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, 1).fit(model, datamodule=datamodule(drop_last=False))
    assert [len(batch.indices) for batch in model.seen] == [16, 16, 16, 2]
    assert sorted(index for batch in model.seen for index in batch.indices.tolist()) == list(range(COUNT))


def test_what_is_left_out_is_said() -> None:
    assert datamodule().describe_left_out(2) is None
    assert datamodule(drop_last=False).describe_left_out(2) is None
    assert "2 of 50 images are left out of each epoch" in str(datamodule(drop_last=False).describe_left_out(4))
    assert "one image alone has no negatives" in str(datamodule(drop_last=False, batch_size=7).describe_left_out(1))


@pytest.mark.parametrize("placement", ["host", "device", "auto"])
def test_stored_views_are_placed_where_the_images_are(placement: str) -> None:
    class Stored(NumberedViews):
        places: list[tuple] = []  # noqa: RUF012

        def place(self, device: torch.device, *, placement: str, num_sharing: int) -> None:
            self.places.append((device.type, placement, num_sharing))

    source = Stored()
    source.places.clear()
    data = datamodule(view_source=source, placement=placement)
    for start in (0, 16):
        served(data, IndexBatch(torch.arange(start, start + 16), 0, 0))
    assert source.places == [("cpu", placement, 1)]


def test_slots_without_change_show_the_stored_image_normalised() -> None:
    batch = served(datamodule([ViewSlot("image", Identity())]), IndexBatch(torch.tensor([7, 3]), 0, 0))
    stored = torch.from_numpy(dataset().images[[7, 3]]).float() / 255
    expected = (stored - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(batch.views[0], expected)


def test_generated_slots_of_a_step_are_distinct_views() -> None:
    slots = [ViewSlot("generated", Identity()), ViewSlot("image", Identity()), ViewSlot("generated", Identity())]
    batch = served(datamodule(slots), IndexBatch(torch.arange(COUNT), 1, 2))
    assert (batch.views[0][:, 0, 0, 0] != batch.views[2][:, 0, 0, 0]).all()
    for view in (batch.views[0], batch.views[2]):
        numbers = (view[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255
        assert torch.equal(numbers.round().long() // NUM_VIEWS, torch.arange(COUNT))


def test_slots_that_share_a_transform_are_augmented_in_one_call() -> None:
    calls: list[int] = []

    class Counting(FlipAugmentation):
        def __call__(self, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
            calls.append(len(images))
            return super().__call__(images, rng)

    slots = [
        ViewSlot("image", Counting(0.5)),
        ViewSlot("generated", Counting(0.2)),
        ViewSlot("image", Counting(0.5)),
        ViewSlot("generated", Counting(0.5)),
    ]
    batch = served(datamodule(slots), IndexBatch(torch.arange(10), 0, 0))
    assert sorted(calls) == [10, 30]
    assert len(batch.views) == 4


def test_draws_depend_on_seed_epoch_and_batch_and_not_on_what_came_before() -> None:
    data, indices = datamodule(), torch.arange(16)
    first = served(data, IndexBatch(indices, 0, 0))
    others = [served(data, IndexBatch(indices, 0, 1)), served(data, IndexBatch(indices, 1, 0))]
    others.append(served(datamodule(seed=4), IndexBatch(indices, 0, 0)))
    assert all(not torch.equal(first.views[0], other.views[0]) for other in others)
    assert all(not torch.equal(first.views[2], other.views[2]) for other in others)
    assert_same([served(data, IndexBatch(indices, 0, 0))], [first])


def test_images_behind_a_memory_map_are_served_alike(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", dataset().images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    indices = torch.tensor([40, 2, 2, 17])
    for placement in ("host", "device", "auto"):
        placed = PlacedImages(mapped, torch.device("cpu"), placement=placement)
        assert placed.on_device == (placement != "host")
        assert torch.equal(placed.gather(indices), torch.from_numpy(dataset().images[indices.numpy()]))
    batch = IndexBatch(torch.arange(16), 0, 0)
    assert_same([served(datamodule(placement="host"), batch)], [served(datamodule(placement="device"), batch)])


def test_images_that_do_not_fit_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    images = dataset().images
    monkeypatch.setattr("assimilate.data.placement._free_bytes", lambda device: images.nbytes * 2)
    cpu = torch.device("cpu")
    assert not PlacedImages(images, cpu, placement="auto").on_device
    assert PlacedImages(images, cpu, placement="device", num_sharing=2).on_device
    with pytest.raises(ValueError, match=r"data\.placement=host"):
        PlacedImages(images, cpu, placement="device", num_sharing=3)
    with pytest.raises(ValueError, match="auto, device, host"):
        PlacedImages(images, cpu, placement="disk")  # type: ignore[arg-type]


def test_a_fixed_number_of_images_can_be_asked_for(tmp_path: Path) -> None:
    model = Recorder()
    trainer(tmp_path, 2).fit(model, datamodule=datamodule(num_samples=32, seed=9))
    assert len({index for batch in model.seen for index in batch.indices.tolist()}) == 32
    assert len(model.seen) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 51}, r"batch_size is 51.*50 training images"),
        ({"view_source": None}, "view="),
        ({"slots": []}, "at least one view"),
        ({"slots": [ViewSlot("generated", Identity())] * 5}, "5 generated views.*holds 4"),
        ({"num_samples": 51}, r"data\.num_samples is 51"),
        ({"num_samples": 0}, r"data\.num_samples is 0"),
    ],
)
def test_contradicting_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        datamodule(**settings)


def test_an_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="image, generated"):
        ViewSlot("cached", Identity())  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_views_on_a_gpu_equal_those_on_the_cpu() -> None:
    batch = IndexBatch(torch.arange(32), 0, 0)
    expected = served(datamodule(), batch)
    for placement in ("device", "host", "auto"):
        data = datamodule(placement=placement)
        gpu = torch.device("cuda", 0)
        ours = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, gpu, 0), 0)
        assert ours.indices.device == gpu
        for own, other in zip(ours.views, expected.views, strict=True):
            assert own.device == gpu
            torch.testing.assert_close(own.cpu(), other, atol=1e-4, rtol=0)  # in units of the standard deviation


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_augmentation_on_a_gpu_never_waits_for_it() -> None:
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, device="cuda")
    expert = ExpertAugmentation(32)
    expert(images, generator("warm"))
    torch.cuda.set_sync_debug_mode("error")
    try:
        expert(images, generator("now"))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_replaced_view_is_drawn_anew_for_every_image():
    slots = [ViewSlot("image", Identity()), ViewSlot("generated", Identity(), 0.3, FlipAugmentation(1.0, SIZE))]
    data = datamodule(slots)
    images = torch.from_numpy(dataset().images)
    replaced, pattern = 0, []
    for epoch in range(40):
        batch = IndexBatch(torch.arange(16), epoch=epoch, batch=0)
        view = served(data, batch).views[1]
        flipped = (images[:16].flip(-1).float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(
            3, 1, 1
        )
        other = torch.tensor([torch.allclose(view[row], flipped[row], atol=1e-5) for row in range(16)])
        # Where it is not the flipped image it is one of the numbered views, which are flat.
        flat = (view.flatten(2).std(dim=2) < 1e-6).all(dim=1)
        assert torch.equal(other, ~flat)
        replaced += int(flat.sum())
        pattern.append(flat)
    assert 0.22 < replaced / (40 * 16) < 0.38
    assert not torch.equal(pattern[0], pattern[1])
    with pytest.raises(ValueError, match=r"assim\.probability is 0"):
        ViewSlot("generated", Identity(), 0, Identity())
