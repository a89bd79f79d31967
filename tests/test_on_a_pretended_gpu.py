"""What touches a device, on a GPU that `pretend_gpu` imitates: nothing meets a tensor of another device."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import nn

from assimilate.analysis.agreement import label_agreement
from assimilate.analysis.mine import MineSettings
from assimilate.analysis.pairs import SeenViews, measure_pair
from assimilate.data.augmentation import Identity
from assimilate.data.datamodule import ContrastiveDataModule
from assimilate.data.placement import PlacedImages
from assimilate.data.transform import make_transform
from assimilate.data.views import ViewSlot
from assimilate.encoder.checkpoint import read_torch_file
from assimilate.errors import UserError
from assimilate.generator.diffaugment import DiffAugment
from assimilate.generator.frechet import FeatureSpace, FrechetDistance
from assimilate.generator.own import make_own_generator
from assimilate.generator.training import train_stylegan2
from assimilate.inversion.optimization import optimize_images
from assimilate.inversion.settings import OptimizationSettings
from assimilate.inversion.training import train_inversion_encoder
from assimilate.jobs import machine
from assimilate.jobs.child import work
from assimilate.jobs.machine import take_gpu
from assimilate.probes.linear import linear_probe
from assimilate.probes.monitor import KNNMonitor
from assimilate.run.job import RANK_TARGET
from assimilate.views.cache import CachedViews
from assimilate.views.calibration import measure_epsilon1
from assimilate.views.directions import Toward
from assimilate.views.moves import Mixing, Perturbation
from assimilate.views.rays import RayEngine, RaySettings
from assimilate.views.search import SearchEngine, SearchSettings
from assimilate.views.synthesis import FreshViews, synthesize_views
from tests.pretend_gpu import GPU, pretend_gpu
from tests.views import worlds

ROOT = Path(__file__).parent
sys.path[:0] = [str(ROOT / folder) for folder in ("assimilation", "generator", "inversion", "probes")]

import test_encoder_training as encoder_tests  # noqa: E402
import test_linear as probe_tests  # noqa: E402
import test_online as online_tests  # noqa: E402
import test_training as generator_tests  # noqa: E402
import test_viewmaker_training as viewmaker_tests  # noqa: E402
from tiny_training import MEAN, STD, StopAt, fit_tiny, tiny_data, tiny_images, tiny_module  # noqa: E402
from toy_generator import tiny_stylegan2  # noqa: E402

EXPERT = make_transform("expert", 8, flip=0.5, expert={})


# ------------------------------------------------------------------------------------------------ contrastive training


def placed(assim: str, placement: str) -> ContrastiveDataModule:
    """`tiny_data` with a cache of views in place of views that are always the same."""
    images = tiny_images()
    generated = {"simclr": 0, "a1": 1, "a2": 2}[assim]
    slots = [ViewSlot("image", EXPERT)] * (1 if assim == "a1" else 2)
    slots += [ViewSlot("generated", Identity(), 0.5, EXPERT)] * generated
    return ContrastiveDataModule(
        images, mean=MEAN, std=STD, slots=slots, batch_size=8, seed=0, drop_last=True, placement=placement,
        view_source=CachedViews(np.stack([images.images] * 3, axis=1)) if generated else None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("assim", "placement", "precision"),
    [("simclr", "host", "32-true"), ("a1", "device", "bf16-mixed"), ("a2", "host", "16-mixed")],
)
def test_training(assim, placement, precision, gpu, tmp_path):
    module, images = tiny_module(assim), tiny_images()
    monitor = KNNMonitor(images, images, k=1)
    settings = {"accelerator": "gpu", "precision": precision, "callbacks": [monitor]}
    record = fit_tiny(module, placed(assim, placement), tmp_path, max_epochs=1, **settings)
    assert gpu.operations["aten::convolution_backward"] > 0
    assert gpu.operations["aten::_fused_sgd_"] >= 3
    assert np.isfinite(record.rows[0]["loss"])
    assert len(monitor.curve) == 2


class _WaitsOfAStep(Callback):
    """What waited for the device, from the second batch's gathering to its end."""

    def __init__(self, waits):
        self._waits, self.found = waits, None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            self.found = dict(self._waits)
        self._waits.clear()


@pytest.mark.parametrize("kind", ["simclr", "a2", "viewmaker"])
def test_a_step_waits_for_nothing(kind, gpu, tmp_path):
    made = viewmaker_tests if kind == "viewmaker" else None
    module, data = (made.module(), made.data()) if made else (tiny_module(kind), placed(kind, "device"))
    watch = _WaitsOfAStep(gpu.waits)
    fit_tiny(module, data, tmp_path, max_epochs=1, accelerator="gpu", callbacks=[watch])
    assert watch.found == {}


def test_waits_are_counted(gpu):
    value = torch.ones(3).to("cuda")
    value.sum().item()
    torch.tensor([1.0], device="cuda")
    torch.ones(3).to("cuda", non_blocking=True)
    assert dict(gpu.waits) == {"copy to the device": 2, "aten::_local_scalar_dense": 1}


def test_training_is_that_of_the_cpu(tmp_path):
    expected = fit_tiny(tiny_module("a2"), tiny_data("a2"), tmp_path / "cpu", max_epochs=1)
    with pretend_gpu():
        record = fit_tiny(tiny_module("a2"), tiny_data("a2"), tmp_path / "gpu", max_epochs=1, accelerator="gpu")
    # A GPU's augmentation is another form of the same.
    assert record.rows[0]["loss"] == pytest.approx(expected.rows[0]["loss"], rel=1e-3)


@pytest.mark.parametrize(("kind", "later"), [("viewmaker", "gpu"), ("simsiam", "cpu")])
def test_a_cut_training_goes_on(kind, later, tmp_path):
    def begin(accelerator, folder="cut", **settings):
        module = tiny_module("simsiam") if kind == "simsiam" else viewmaker_tests.module()
        data = tiny_data("simsiam") if kind == "simsiam" else viewmaker_tests.data()
        return fit_tiny(module, data, tmp_path / folder, max_epochs=2, accelerator=accelerator, **settings).rows

    saved = tmp_path / "cut" / "last.ckpt"
    with pretend_gpu():
        with pytest.raises(KeyError, match="killed"):
            begin("gpu", callbacks=[StopAt(4)])
        weights = torch.load(saved, weights_only=True)["state_dict"]
        assert {value.device for value in weights.values()} == {GPU}  # as torch saves what is on a GPU
        assert {value.device.type for value in read_torch_file(saved)["state_dict"].values()} == {"cpu"}
        if later == "gpu":
            assert [row["loss"] for row in begin("gpu")] == [row["loss"] for row in begin("gpu", "whole")]
    if later == "cpu":
        rows = begin("cpu")
        assert [row["epoch"] for row in rows] == [1, 2]
        assert np.isfinite(rows[-1]["loss"])


def test_online_search(gpu, tmp_path):
    module = online_tests.module(initial_noise=0.1)
    slots = [ViewSlot("image", EXPERT)] * 2 + [ViewSlot("image", Identity())]
    data = ContrastiveDataModule(
        tiny_images(), mean=MEAN, std=STD, slots=slots, batch_size=8, seed=0, view_source=None, drop_last=True
    )
    record = fit_tiny(module, data, tmp_path, max_epochs=1, accelerator="gpu")
    assert record.rows[0]["distance_after"] != record.rows[0]["distance_before"]


@pytest.mark.parametrize("preset", ["essl", "dkobak_augmented"])
def test_linear_probe(preset, gpu):
    encoder, train = probe_tests.tiny_encoder(), probe_tests.labelled_images(40)
    settings = {"preset": preset, "seeds": (0, 1), "num_epochs": 2, "batch_size": 16, **probe_tests.STATISTICS}
    encoder.to("cuda")
    assert 0 <= linear_probe(encoder, train, train, **settings).mean("acc1") <= 100
    assert gpu.operations["aten::bmm"] > 0


# ------------------------------------------------------------------------------------------------ generator, inversion


def test_generator_training_goes_on(gpu, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8), dtype=np.uint8)
    images, settings = probe_tests.ImageArrays(pixels, None), generator_tests.SETTINGS

    def train(steps, workdir):
        return train_stylegan2(
            images, architecture=generator_tests.TINY, settings=replace(settings, num_steps=steps), workdir=workdir,
            seed=0, device=GPU, diffaugment=DiffAugment(), augmentation=make_transform("flip", 8, flip=0.5, expert={}),
        )  # fmt: skip

    whole = train(4, tmp_path / "whole")
    train(2, tmp_path / "cut")
    resumed = train(4, tmp_path / "cut")
    assert {value.device for value in resumed.generator_ema.parameters()} == {GPU}
    for name, value in whole.generator_ema.state_dict().items():
        assert torch.equal(value, resumed.generator_ema.state_dict()[name]), name
    space = FeatureSpace("pixels", nn.Sequential(_Floats(), nn.Flatten(), nn.AvgPool1d(48)), 4)
    assert FrechetDistance(space, images, num_images=8, seed=0, device="cuda")(resumed) > 0


class _Floats(nn.Module):
    def forward(self, images):
        return images.double()


def test_inversion(gpu, tmp_path):
    generator, discriminator = tiny_stylegan2().to("cuda"), encoder_tests.tiny_discriminator()
    features = encoder_tests.DiscriminatorFeatures(encoder_tests.tiny_discriminator()).to("cuda")
    images = probe_tests.labelled_images(10)
    encoder, _ = train_inversion_encoder(
        generator, images, channels=(8, 8), settings=encoder_tests.SETTINGS, features=features,
        discriminator=discriminator, workdir=tmp_path, seed=0, device="cuda",
    )  # fmt: skip
    found = {}
    optimize_images(
        generator, encoder, features, images, range(10), lambda index, codes, *errors: found.update({index: codes}),
        OptimizationSettings(num_steps=3, lr=0.05, tile=4), device="cuda",
    )  # fmt: skip
    assert {codes.shape for codes in found.values()} == {(4, 8)}
    assert len(found) == 10
    assert gpu.operations["aten::_fused_adam_"] >= 6 + 3 * 3


# ------------------------------------------------------------------------------------------------ views


def search(**changes):
    latents = np.random.default_rng(0).standard_normal((5, worlds.CODES, worlds.DIM)).astype(np.float32)
    settings = {
        "num_views": 2, "epsilon1": 0.3, "epsilon2": 0.5, "uniformity_weight": 0.01, "hinge": "image",
        "anchor": "reconstruction", "optimizer": "adam", "lr": 0.02, "iterations": 12, "tolerance": None,
        "tolerance_relative": 0.1, "initial_noise": 0.0, "noise_first_view": True, "width": 2, "seed": 0,
    }  # fmt: skip
    found = {}
    engine = SearchEngine(
        worlds.LinearGenerator().to("cuda"), worlds.linear_embedding(), SearchSettings(**(settings | changes)),
        device="cuda",
    )  # fmt: skip
    images = np.random.default_rng(1).integers(0, 256, (5, 3, worlds.SIZE, worlds.SIZE), dtype=np.uint8)
    engine.run(latents, images, range(5), lambda views: found.update({views.index: views}))
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16", "anchor": "original", "hinge": "view"},
        {"stop": "batch", "optimizer": "sgd", "space": "w", "projection": "sphere", "initial_noise": 0.1},
    ],
)
def test_search(changes, gpu):
    found = search(**changes)
    assert sorted(found) == list(range(5))
    for views in found.values():
        assert {views.images.device.type, views.distances.device.type, views.latents.device.type} == {"cpu"}
        assert views.images.numpy().shape == (2, 3, worlds.SIZE, worlds.SIZE)


@pytest.mark.parametrize(
    ("epsilon1", "changes"),
    # From random pictures a ray starts at about 1, farther than 0.3.
    [(0.3, {}), (1.3, {"precision": "bf16", "anchor": "original", "direction": Toward()})],
)
def test_rays(epsilon1, changes, gpu):
    generator = worlds.LinearGenerator().to("cuda")
    settings = RaySettings(
        epsilon1=epsilon1, epsilon2=0.5, num_views=2, candidates=3, width=2, calibration=2, **changes
    )
    latents = np.random.default_rng(0).standard_normal((5, worlds.CODES, worlds.DIM)).astype(np.float32)
    images = np.random.default_rng(1).integers(0, 256, (5, 3, worlds.SIZE, worlds.SIZE), dtype=np.uint8)
    found = {}
    engine = RayEngine(generator, worlds.linear_embedding(), settings, device="cuda")
    engine.run(latents, images, range(5), lambda views: found.update({views.index: views}))
    assert sorted(found) == list(range(5))
    for views in found.values():
        assert {views.images.device.type, views.distances.device.type, views.latents.device.type} == {"cpu"}
        assert views.images.numpy().shape == (2, 3, worlds.SIZE, worlds.SIZE)


@pytest.mark.parametrize("move", [Perturbation(0.3), Perturbation((0.2, 0.4), projected=True), Mixing(1)])
def test_moved_views(move, gpu):
    generator = worlds.LinearGenerator().to("cuda")
    generator.sample_latents = lambda count, rng: torch.randn(count, worlds.DIM, generator=rng, device=rng.device)
    latents, made = np.zeros((5, worlds.CODES, worlds.DIM), np.float32), {}
    synthesize_views(generator, latents, range(5), move, made.__setitem__, num_views=2, batch=4, seed=0, device="cuda")
    assert {views.numpy().shape for views in made.values()} == {(2, 3, worlds.SIZE, worlds.SIZE)}
    views = FreshViews(generator, latents, move).gather(torch.arange(3), 2, torch.Generator())
    assert views.device == GPU


def test_stored_images_go_to_the_device(gpu):
    pixels = tiny_images().images
    for placement in ("auto", "device", "host"):
        images = PlacedImages(pixels, GPU, placement=placement)
        assert images.on_device == (placement != "host")
        for index in (torch.tensor([4, 2]), torch.tensor([4, 2], device="cuda")):
            assert images.gather(index).device == GPU
            assert np.array_equal(images.gather(index).cpu().numpy(), pixels[[4, 2]])


def test_memory_that_torch_keeps_is_free(gpu, monkeypatch):
    """An earlier stage's blocks, which the driver counts as taken."""
    pixels = tiny_images().images
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 2**30))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**20)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**20 + pixels.nbytes)
    assert PlacedImages(pixels, GPU, placement="device").on_device
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 2**20 + pixels.nbytes - 1)
    with pytest.raises(ValueError, match=r"set data\.placement=host"):
        PlacedImages(pixels, GPU, placement="device")


def test_measurements(gpu):
    embedding = worlds.linear_embedding().to("cuda")
    pixels = np.random.default_rng(1).integers(0, 256, (16, 3, worlds.SIZE, worlds.SIZE), dtype=np.uint8)
    assert measure_epsilon1(embedding, pixels, EXPERT, seed=0, batch_size=6, device="cuda").epsilon1 > 0
    seen = SeenViews(embedding, pixels, EXPERT, np.stack([pixels] * 2, axis=1), seed=0, batch_size=6, device="cuda")
    mine = MineSettings(batch_size=8, num_epochs=1)
    assert np.isfinite(measure_pair(seen, ("expert", "generated"), mine, seed=0, device="cuda").information.mean)
    assert label_agreement(pixels, np.arange(16) % 2, np.stack([pixels] * 2, axis=1), device="cuda") <= 1


# ------------------------------------------------------------------------------------------------ settings


class OfTheUser:
    """A generator that is no torch module."""

    image_size, num_codes, latent_dim = 8, 2, 3

    def __init__(self):
        self.latent_mean = torch.zeros(3)

    def sample_latents(self, count, rng):
        return torch.randn(count, 3, generator=rng, device=rng.device)

    def map(self, latents):
        return latents

    def synthesize(self, codes):
        return codes.flatten(1).tanh().repeat(1, 32).view(-1, 3, 8, 8)


class Movable(OfTheUser):
    def to(self, device):
        self.latent_mean = self.latent_mean.to(device)
        return self


def test_a_generator_of_the_users_is_on_the_device(gpu):
    """One that stays on the CPU would fail hours later, in the inversion."""
    assert make_own_generator(f"{__name__}.Movable", {}, image_size=8, device="cuda").latent_mean.device == GPU
    fixed = f"{__name__}.OfTheUser"
    assert make_own_generator(fixed, {}, image_size=8, device="cpu")
    with pytest.raises(UserError, match=r"its tensors are on cpu.*to\(device\).*trainer=cpu"):
        make_own_generator(fixed, {}, image_size=8, device="cuda")


def test_a_rank_takes_its_own_gpu_before_it_loads_anything(gpu, monkeypatch):
    """Else generator and f of every rank, and a CUDA context each, would be on the first."""
    calls = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv(RANK_TARGET, "encoders/a")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    step = SimpleNamespace(fit=lambda into, at: calls.append("train"))
    artifact = SimpleNamespace(label="encoders/a", parents={"generator": "its generator"}, step=step, staging=None)
    data = SimpleNamespace(label="datasets/a", parents={})
    session = SimpleNamespace(
        data=data, chain=SimpleNamespace(all=lambda: [artifact]), device="cuda", machine=machine, ensure=calls.append
    )  # fmt: skip
    work(session, "encoders/a")
    assert calls == [torch.device("cuda", 1), "its generator", "train"]
    assert take_gpu("cpu") is None
