"""The hot paths never make Python wait for an accelerator: no value is read back, no copy to the device blocks.

On the meta device there are no values to read, so a step that runs there reads none. What copies do is seen by
watching the calls that torch is given.
"""

import contextlib
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import assimilate.data.crop as crop
import assimilate.data.expert as expert
import assimilate.generator.real_images as real_images
from assimilate.assimilation.alignment import Alignment
from assimilate.assimilation.contrastive import A2, StepBatch
from assimilate.assimilation.loss import NTXent
from assimilate.assimilation.optimizers import SGD, Constant
from assimilate.assimilation.record import TrainingRecord
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.images import ImageArrays
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.encoder.encoder import EmbeddingOf, Encoder, EncoderSpec
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.probes.monitor import _as_written
from assimilate.views.cache import CachedViews
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.lines import Line, LineSearch
from assimilate.views.search import SearchEngine, SearchSettings
from assimilate.views.tuned import TunedMove

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
META = torch.device("meta")
READS = ("item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "cpu", "numpy", "is_nonzero")


class Watch(TorchFunctionMode):
    """Counts reads of values, and copies to another device that block."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.blocking: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", "")
        if name in READS:
            self.reads[name] += 1
        moved = name == "to" and isinstance(result, torch.Tensor) and args[0].device != result.device
        if moved and not kwargs.get("non_blocking", False):
            self.blocking.append(f"{tuple(result.shape)} {result.dtype}")
        return result


@pytest.fixture
def without_autocast(monkeypatch):
    """torch.autocast knows no meta device; what runs within is the same."""
    nothing = contextlib.nullcontext
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nothing())
    monkeypatch.setattr(crop, "full_precision", lambda device: nothing())
    monkeypatch.setattr(expert, "full_precision", lambda device: nothing())


def images(count: int = 12) -> ImageArrays:
    rng = np.random.default_rng(0)
    return ImageArrays(rng.integers(0, 256, (count, 3, 16, 16), dtype=np.uint8), None)


def served(slots) -> tuple[ContrastiveDataModule, object, Watch]:
    """A batch on the meta device, with the images and the cache there."""
    views = CachedViews(np.stack([images().images] * 2, axis=1))
    data = ContrastiveDataModule(
        images(), mean=MEAN, std=STD, slots=slots, batch_size=6, seed=0, view_source=views, drop_last=True,
        placement="device",
    )  # fmt: skip
    first = next(iter(data.index_batches(rank=0, world_size=1)))
    data.transfer_batch_to_device(first, META, 0)
    with Watch() as watch:
        batch = data.serve(first)
    return data, batch, watch


def slots() -> list[ViewSlot]:
    expert_view = make_transform("expert", 16, flip=0.5, expert={})
    flip = make_transform("flip", 16, flip=0.5, expert={})
    crop_view = make_transform("weak_crop", 16, flip=0.5, expert={})
    return [
        ViewSlot("image", expert_view),
        ViewSlot("image", expert_view),
        ViewSlot("generated", flip, 0.5, crop_view),
    ]


@pytest.mark.usefixtures("without_autocast")
def test_serving_a_batch_reads_nothing_from_the_device():
    _, batch, watch = served(slots())
    assert all(view.device == META and view.shape == (6, 3, 16, 16) for view in batch.views)
    assert watch.blocking == []


@pytest.mark.usefixtures("without_autocast")
def test_a_step_and_its_record_read_nothing_from_the_device():
    _, batch, _ = served(slots())
    module = A2(
        encoder={"width": 2, "hidden_dim": 8, "output_dim": 8},
        loss=NTXent(temperature=0.5),
        alignment=Alignment(alpha=0.5, align_anchors=[0, 1]),
        optimizer=SGD(lr=0.1, momentum=0.9, weight_decay=0.0, schedule=Constant()),
        epochs=1,
        mean=MEAN,
        std=STD,
    ).to(META)
    record = TrainingRecord(log_every_n_steps=3)

    class Strategy:
        @staticmethod
        def reduce(values, reduce_op):
            return values

    class Trainer:
        accumulate_grad_batches = 1
        global_step = 1
        strategy = Strategy

    module._trainer = Trainer()
    with Watch() as watch:
        for index in range(2):  # the third is the one that is logged
            outputs = module.training_step(StepBatch(batch.views, batch.indices), index)
            outputs["loss"].backward()
            record.on_train_batch_end(Trainer(), module, outputs, batch, index)
    assert all(parameter.grad is not None for parameter in module.encoder.parameters())
    assert watch.blocking == []
    with pytest.raises(NotImplementedError):  # the log reads: this is what the others would have run into
        record.on_train_batch_end(Trainer(), module, outputs, batch, 2)


def test_batches_of_the_adversarial_training_are_fetched_without_waiting(monkeypatch):
    monkeypatch.setattr(real_images, "generator", lambda *parts, device="cpu": None)
    stream = real_images.RealImages(images(), batch_size=4, seed=0, device=META)
    with Watch() as watch:
        batch = stream.batch(3)
    assert batch.device == META
    assert watch.blocking == []


def test_the_search_reads_the_device_once_an_iteration():
    torch.manual_seed(0)
    network = Generator(Architecture(16, 16, 2, stylegan2_channels(16, max_channels=4)))
    world = TruncatedStyleGAN2(network, torch.zeros(16))
    f = Encoder.from_spec(EncoderSpec(width=2, hidden_dim=8, output_dim=8))
    embedding = FrozenEmbedding(EmbeddingOf(f), mean=MEAN, std=STD)
    latents = torch.randn(2, world.num_codes, 16).numpy()

    def reads(iterations: int) -> Counter[str]:
        settings = SearchSettings(
            num_views=2, epsilon1=0.3, epsilon2=0.5, uniformity_weight=0.01, hinge="image", anchor="reconstruction",
            optimizer="adam", lr=1e-4, iterations=iterations, tolerance=0.0, tolerance_relative=None,
            initial_noise=0.5, noise_first_view=True, width=2, seed=0,
        )  # fmt: skip
        with Watch() as watch:
            SearchEngine(world, embedding, settings).run(latents, images(2).images, [0, 1], lambda found: None)
        return watch.reads

    assert reads(9) - reads(4) == {"tolist": 5}


def test_rays_wait_for_the_device_once_a_pass():
    torch.manual_seed(0)
    network = Generator(Architecture(16, 16, 2, stylegan2_channels(16, max_channels=4)))
    world = TruncatedStyleGAN2(network, torch.zeros(16))
    f = Encoder.from_spec(EncoderSpec(width=2, hidden_dim=8, output_dim=8))
    embedding = FrozenEmbedding(EmbeddingOf(f), mean=MEAN, std=STD)

    def one_ray():
        codes = torch.zeros(world.num_codes, 16)
        yield Line(codes, torch.zeros(world.num_codes, 16), torch.ones(8), at_zero=0.0, guess=1.0, reach=math.inf)

    def reads(passes: int) -> Counter[str]:
        settings = TunedMove(epsilon1=1e-9, passes=passes, width=2)
        search = LineSearch(world, embedding, settings, device=torch.device("cpu"))
        with Watch() as watch:
            list(search.run([one_ray()]))
        assert search.evaluated == passes
        return watch.reads

    # What is copied once is looked at twice, there: distances as numbers, and the bracket.
    assert reads(9) - reads(4) == {"cpu": 5, "numpy": 5}


def test_knn_while_training_compiles_nothing():
    """In eval mode and for other batch sizes, torch.compile would begin anew."""
    compiled = Counter()

    def backend(graph, inputs):
        compiled["graphs"] += 1
        return graph.forward

    class Part(nn.Linear):
        def forward(self, input):  # of its own, as a backbone has: torch 2.11 compiles no frame of torch.nn itself
            return super().forward(input)

    module = nn.Sequential(Part(2, 2), nn.BatchNorm1d(2))
    module[0].compile(backend=backend)
    module(torch.ones(3, 2))
    assert compiled["graphs"] == 1
    with _as_written(module), torch.no_grad():
        module.eval()(torch.ones(5, 2))
    assert compiled["graphs"] == 1
    module.train()(torch.ones(3, 2))
    with torch.no_grad():
        module(torch.ones(3, 2))  # without the block it does
    assert compiled["graphs"] == 2
    assert isinstance(_as_written(nn.Linear(2, 2)), contextlib.nullcontext)


def test_trainer_options_reach_lightning(monkeypatch, tmp_path: Path):
    """cudnn_benchmark, and how often a checkpoint is saved."""
    from assimilate import train
    from assimilate.assimilation import fit as fitting
    from tests.chain_run import run

    seen = {}

    class Found(BaseException):  # what a command does not turn into an exit code
        pass

    class Trainer:
        def __init__(self, **settings):
            seen.update(settings)
            raise Found

    monkeypatch.setattr(fitting.pl, "Trainer", Trainer)
    with pytest.raises(Found):
        run(
            train, f"out={tmp_path}", "assim=simclr", "trainer.cudnn_benchmark=true",
            "trainer.checkpoint_every_n_epochs=7", "knn.every_n_epochs=0",
        )  # fmt: skip
    assert seen["benchmark"] is True
    (save,) = (each for each in seen["callbacks"] if hasattr(each, "every_n_epochs"))
    assert save.every_n_epochs == 7
