import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from assimilate.data.augmentation import FlipAugmentation, Identity
from assimilate.data.images import ImageArrays
from assimilate.data.seeding import generator
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.probes import crops, linear
from assimilate.probes.crops import ResizedCenterCrop
from assimilate.probes.features import freeze
from assimilate.probes.linear import ProbeResult, linear_probe
from assimilate.probes.protocol import PROTOCOLS

STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def labelled_images(count: int, seed: int = 0) -> ImageArrays:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, count).astype(np.int64)
    images = rng.integers(0, 60, (count, 3, 8, 8)) + 25 * labels[:, None, None, None]
    return ImageArrays(images.astype(np.uint8), labels)


def tiny_encoder() -> Encoder:
    return freeze(Encoder.from_spec(EncoderSpec(width=2, hidden_dim=4, output_dim=4)))


class PlantedEncoder(nn.Module):
    """Features in which the classes are linearly separable: a fixed map of the image's mean brightness."""

    feature_dim = 8

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.linspace(-2, 2, 8, dtype=dtype), requires_grad=False)
        self.eval()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.exp(-8 * (x.mean((1, 2, 3))[:, None] - self.centers).square())


@pytest.mark.parametrize("preset", ["essl", "supcontrast_last"])
def test_joint_seeds_equal_separate_runs(preset: str) -> None:
    train, test = labelled_images(50), labelled_images(30, seed=1)
    encoder = tiny_encoder().double()
    settings = {**STATISTICS, "preset": preset, "num_epochs": 4, "batch_size": 16, "lr": 1.0}
    joint = linear_probe(encoder, train, test, seeds=(0, 1, 2, 3, 4), **settings)
    for index, seed in enumerate(joint.seeds):
        alone = linear_probe(encoder, train, test, seeds=(seed,), **settings)
        torch.testing.assert_close(joint.weight[index], alone.weight[0], rtol=0, atol=1e-8)
        torch.testing.assert_close(joint.bias[index], alone.bias[0], rtol=0, atol=1e-8)
        assert joint.values["acc1"][index] == alone.values["acc1"][0]
    assert not torch.equal(joint.weight[0], joint.weight[1])


class Brittle(PlantedEncoder):
    """Bright images have features that are not finite."""

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.mean((1, 2, 3))[:, None] > 0, torch.nan, super().features(x))


@pytest.mark.parametrize(("train_on", "first"), [("dark", 0), ("all", 5)])
def test_features_that_are_not_finite_are_refused(train_on: str, first: int) -> None:
    """A comparison with NaN is false, so that no class would be ahead of the label's: each would count as right."""
    images = np.full((20, 3, 8, 8), 10, dtype=np.uint8)
    labels = np.arange(20) % 7
    dark, some = ImageArrays(images.copy(), labels), ImageArrays(images, labels)
    some.images[5 if train_on == "all" else 0 :] = 250
    train, test = (dark, some) if train_on == "dark" else (some, dark)
    with pytest.raises(ValueError, match=rf"of {20 - first} of 20 images are not finite .*the first is image {first}"):
        linear_probe(Brittle(), train, test, **STATISTICS, preset="essl_as_coded", seeds=(0,), num_epochs=1)


class Loud(PlantedEncoder):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        return 1000 * super().features(x)


def test_the_last_step_may_diverge_too() -> None:
    """Its loss comes before it."""
    train, test = labelled_images(50), labelled_images(30, seed=1)
    settings = {**STATISTICS, "preset": "essl_as_coded", "seeds": (0,), "num_epochs": 1, "batch_size": 50}
    with pytest.raises(ValueError, match=r"diverged.*lower probe\.lr=3e\+38"):
        linear_probe(Loud(torch.float32), train, test, lr=3e38, **settings)


def test_a_loop_with_torchs_linear_layer_and_sgd() -> None:
    train, test = labelled_images(50), labelled_images(30, seed=1)
    encoder = PlantedEncoder()
    ours = linear_probe(
        encoder, train, test, **STATISTICS, preset="essl_as_coded", seeds=(3,), num_epochs=3, batch_size=16, lr=2.0
    )
    scaled = (torch.from_numpy(train.images).float() / 255 - 0.5) / 0.25
    features, labels = encoder.features(scaled.double()), torch.from_numpy(train.labels)
    layer = nn.Linear(8, 7, dtype=torch.float64)
    drawn = (2 * torch.rand(7, 9, generator=generator("probe", "init", 3), dtype=torch.float64) - 1) / math.sqrt(8)
    with torch.no_grad():
        layer.weight.copy_(drawn[:, :8])
        layer.bias.copy_(drawn[:, 8])
    optimizer = torch.optim.SGD(layer.parameters(), lr=2.0, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9)
    for epoch in range(3):
        order = torch.randperm(50, generator=generator("probe", "order", 3, epoch))
        for batch in range(3):  # 50 images, batches of 16, the last 2 dropped
            index = order[batch * 16 : (batch + 1) * 16]
            optimizer.zero_grad()
            F.cross_entropy(layer(features[index]), labels[index]).backward()
            optimizer.step()
            schedule.step()
    torch.testing.assert_close(ours.weight[0], layer.weight.detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.bias[0], layer.bias.detach(), rtol=0, atol=1e-10)


def test_a_loop_with_torchs_adam() -> None:
    train, test = labelled_images(50), labelled_images(30, seed=1)
    encoder = PlantedEncoder()
    ours = linear_probe(
        encoder, train, test, **STATISTICS, preset="dkobak_precomputed", seeds=(3,), num_epochs=3, batch_size=16
    )
    scaled = (torch.from_numpy(train.images).float() / 255 - 0.5) / 0.25
    features, labels = encoder.features(scaled.double()), torch.from_numpy(train.labels)
    layer = nn.Linear(8, 7, dtype=torch.float64)
    drawn = (2 * torch.rand(7, 9, generator=generator("probe", "init", 3), dtype=torch.float64) - 1) / math.sqrt(8)
    with torch.no_grad():
        layer.weight.copy_(drawn[:, :8])
        layer.bias.copy_(drawn[:, 8])
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01, weight_decay=5e-6)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    for epoch in range(3):
        order = torch.randperm(50, generator=generator("probe", "order", 3, epoch))
        for batch in range(4):  # the last two images are a batch of their own
            index = order[batch * 16 : (batch + 1) * 16]
            optimizer.zero_grad()
            F.cross_entropy(layer(features[index]), labels[index]).backward()
            optimizer.step()
        schedule.step()
    torch.testing.assert_close(ours.weight[0], layer.weight.detach(), rtol=0, atol=1e-10)


def test_independent_draws() -> None:
    train, test = labelled_images(50), labelled_images(30, seed=1)
    settings = {**STATISTICS, "preset": "essl", "num_epochs": 2, "batch_size": 16, "lr": 1.0}
    encoder = tiny_encoder()
    shared = linear_probe(encoder, train, test, seeds=(0, 1), **settings)
    independent = linear_probe(encoder, train, test, seeds=(0, 1), draws="independent", **settings)
    alone = linear_probe(encoder, train, test, seeds=(1,), draws="independent", **settings)
    assert "share augmentation draws" in shared.label
    assert "independent augmentation draws" in independent.label
    assert not torch.equal(independent.weight[1], shared.weight[1])
    assert torch.equal(independent.weight[1], alone.weight[0])
    assert len(independent.values["acc1"]) == 2
    with pytest.raises(ValueError, match=r"probe\.draws='own'"):
        linear_probe(encoder, train, test, draws="own", **settings)


def test_every_protocol_runs_and_is_labelled() -> None:
    train, test = labelled_images(40), labelled_images(20, seed=1)
    labels = {
        linear_probe(tiny_encoder(), train, test, **STATISTICS, preset=preset, seeds=(0,), num_epochs=1, lr=0.1).label
        for preset in PROTOCOLS
    }
    assert len(labels) == len(PROTOCOLS)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": -5}, r"probe\.batch_size=-5"),
        ({"batch_size": 0}, r"probe\.batch_size=0"),
        ({"lr": -1.0}, r"probe\.lr=-1\.0"),
        ({"lr": 0.0}, r"probe\.lr=0\.0"),
        ({"lr": math.nan}, r"probe\.lr=nan"),
    ],
)
def test_settings_that_would_train_nothing_are_refused(setting: dict, message: str) -> None:
    train, test = labelled_images(40), labelled_images(20, seed=1)
    with pytest.raises(ValueError, match=message):
        linear_probe(tiny_encoder(), train, test, **STATISTICS, num_epochs=1, **setting)


def test_a_planted_linear_problem_is_solved() -> None:
    result = linear_probe(
        PlantedEncoder(torch.float32), labelled_images(400), labelled_images(200, 1), **STATISTICS, flip=0.5
    )
    assert result.mean("acc1") > 99
    assert result.mean("acc5") == 100


def test_accuracy_is_exact_over_the_test_set(monkeypatch: pytest.MonkeyPatch) -> None:
    test = labelled_images(37, 1)
    encoder = tiny_encoder()
    result = linear_probe(
        encoder, labelled_images(60), test, **STATISTICS, preset="essl_as_coded", seeds=(0, 1), num_epochs=5, lr=0.3
    )
    views = ResizedCenterCrop()(torch.from_numpy(test.images), torch.Generator())
    with torch.no_grad():
        features = encoder.features((views - 0.5) / 0.25)
    for index in range(2):
        logits = features @ result.weight[index].T + result.bias[index]
        labels = torch.from_numpy(test.labels)
        right = sum(int(row.argmax() == label) for row, label in zip(logits, labels, strict=True))
        assert result.values["acc1"][index] == pytest.approx(100 * right / 37)
        top5 = sum(int(label in row.topk(5).indices) for row, label in zip(logits, labels, strict=True))
        assert result.values["acc5"][index] == pytest.approx(100 * top5 / 37)


def test_best_epoch_is_at_least_the_last() -> None:
    train, test = labelled_images(60), labelled_images(40, 1)
    settings = {**STATISTICS, "num_epochs": 6, "batch_size": 20, "lr": 5.0, "seeds": (0, 1, 2)}
    best = linear_probe(tiny_encoder(), train, test, preset="supcontrast_best", **settings)
    last = linear_probe(tiny_encoder(), train, test, preset="supcontrast_last", **settings)
    assert torch.equal(best.weight, last.weight)
    assert all(b >= e for b, e in zip(best.values["acc1"], last.values["acc1"], strict=True))
    assert best.values["acc1"] != last.values["acc1"]
    # The last epoch is reported beside the best, under its own protocol's name (PROTOCOLS 2).
    for metric in ("acc1", "acc5"):
        assert best.values[f"{metric}_last"] == last.values[metric]
        assert best.labels[f"{metric}_last"] == last.labels[metric]
        assert "best epoch" in best.labels[metric]
    assert set(last.values) == {"acc1", "acc5"}
    assert best.summary()["acc1_last"] == last.summary()["acc1"]


@pytest.mark.parametrize(
    ("preset", "epochs_and_rates"),
    [
        # 100 epochs of one step: cosine at half way, and ×.2 after 60, 75 and 90 epochs.
        ("essl", {0: 30.0, 50: 15.0}),
        ("supcontrast_last", {0: 1.0, 59: 1.0, 60: 0.2, 75: 0.04, 90: 0.008, 99: 0.008}),
        ("genrep", {0: 0.3, 59: 0.3, 60: 0.06, 75: 0.012, 90: 0.0024}),
        ("clsp", {0: 1.0, 59: 1.0, 60: 0.1, 79: 0.1, 80: 0.01, 99: 0.01}),
        # 1e-2·(1e-4)^(e/500): the 250th epoch is half way in the exponent.
        ("htdt", {0: 1e-2, 125: 1e-3, 250: 1e-4, 375: 1e-5, 500: 1e-6}),
        ("dkobak_precomputed", {0: 0.01, 250: 0.005, 125: 0.01 * 0.5 * (1 + 0.70710678118655)}),
        ("dkobak_augmented", {0: 0.1, 50: 0.05, 99: 0.1 * 0.5 * (1 - 0.99950656036573)}),
    ],
)
def test_learning_rates(preset: str, epochs_and_rates: dict[int, float]) -> None:
    protocol = PROTOCOLS[preset]
    classifiers = linear._Classifiers(
        (0,),
        2,
        3,
        num_images=protocol.batch_size,
        like=torch.zeros(1),
        lr=protocol.lr,
        batch_size=protocol.batch_size,
        num_epochs=protocol.num_epochs,
        protocol=protocol,
    )
    for epoch, rate in epochs_and_rates.items():
        assert classifiers._learning_rate(epoch) == pytest.approx(rate)


def test_fewer_draws_reuse_features(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = linear.extract_features
    monkeypatch.setattr(linear, "extract_features", lambda *a, **k: calls.append(k.get("seed")) or original(*a, **k))
    settings = {**STATISTICS, "num_epochs": 6, "seeds": (0,), "lr": 0.1}
    linear_probe(tiny_encoder(), labelled_images(20), labelled_images(10), num_draws=2, **settings)
    assert [seed for seed in calls if seed is not None] == [("probe", 0, 0), ("probe", 0, 1)]
    calls.clear()
    linear_probe(tiny_encoder(), labelled_images(20), labelled_images(10), **settings)
    assert len(calls) == 7


def test_test_crop_is_pillows_bicubic_resize_and_centre_crop() -> None:
    # Away from black and white: Pillow also clamps between its two passes, where the cubic overshoots.
    image = np.random.default_rng(0).integers(60, 196, (32, 32, 3)).astype(np.uint8)
    resized = np.asarray(Image.fromarray(image).resize((36, 36), Image.Resampling.BICUBIC))[2:34, 2:34]
    ours = ResizedCenterCrop()(torch.from_numpy(image).permute(2, 0, 1)[None], torch.Generator())
    # Pillow rounds to whole grey levels after each of its two passes.
    assert (ours[0].permute(1, 2, 0) * 255 - torch.from_numpy(resized.copy()).float()).abs().max() <= 1.5


def test_protocols_augment_as_they_say() -> None:
    essl = crops.train_transform(PROTOCOLS["essl"], 32, flip=0.5)
    assert (essl.scale, essl.interpolation, essl.flip) == ((0.08, 1.0), "bicubic", 0.5)
    assert crops.train_transform(PROTOCOLS["essl_as_coded"], 32, flip=0.5) == Identity()
    assert crops.test_transform(PROTOCOLS["supcontrast_best"]) == Identity()
    assert crops.train_transform(PROTOCOLS["clsp"], 32, flip=0.5) == FlipAugmentation(0.5)
    genrep = crops.train_transform(PROTOCOLS["genrep"], 128, flip=0.5)
    assert (genrep.image_size, genrep.scale, genrep.interpolation) == (112, (0.2, 1.0), "bilinear")
    images = torch.arange(128, dtype=torch.uint8).expand(1, 3, 128, 128)
    cropped = crops.test_transform(PROTOCOLS["genrep"])(images, torch.Generator())
    assert cropped.shape[-2:] == (112, 112)
    torch.testing.assert_close(cropped[0, 0, 0], torch.arange(8, 120) / 255)


def test_summary() -> None:
    result = ProbeResult(
        "p", "label", (0, 1), {"acc1": (90.0, 92.0)}, {"acc1": "label"}, torch.zeros(1), torch.zeros(1)
    )
    assert result.summary() == {"acc1": {"mean": 91.0, "std": 1.0, "n": 2, "values": [90.0, 92.0]}}


def test_errors() -> None:
    train, encoder = labelled_images(20), tiny_encoder()
    with pytest.raises(ValueError, match=r"probe\.preset='moco'"):
        linear_probe(encoder, train, train, **STATISTICS, preset="moco")
    with pytest.raises(ValueError, match="unlabelled"):
        linear_probe(encoder, ImageArrays(train.images, None), train, **STATISTICS)
    with pytest.raises(ValueError, match="train mode"):
        linear_probe(tiny_encoder().train(), train, train, **STATISTICS)
    with pytest.raises(ValueError, match="take gradients"):
        linear_probe(tiny_encoder().requires_grad_(True), train, train, **STATISTICS)
    with pytest.raises(ValueError, match=r"probe\.num_epochs=0"):
        linear_probe(encoder, train, train, **STATISTICS, num_epochs=0)
