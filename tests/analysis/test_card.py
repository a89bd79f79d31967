"""Scores of a view card against slow loops, closed forms and another library."""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from assimilate.analysis import seen as seen_module
from assimilate.analysis.card import (
    ROUNDING,
    SCORES,
    Beside,
    LinearClassifier,
    Shown,
    frechet,
    layer_shift,
    make_card,
    nearest_distances,
    radial_spectra,
)
from assimilate.analysis.seen import LayerMoments, Seen, look
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.views.embedding import FrozenEmbedding

IMAGES, VIEWS, OTHERS, DIM, WIDE = 12, 3, 30, 5, 4


def unit(values):
    return nn.functional.normalize(values, dim=-1)


def draw(rng, images, views, side=8):
    def normal(*shape):
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))

    moments = [LayerMoments(normal(6).double(), normal(6).double().square() + 0.1, 1e-5)]
    pixels = rng.integers(0, 256, (images, views, 3, side, side), dtype=np.uint8)
    return Seen(pixels, unit(normal(images, views, DIM)), normal(images, views, WIDE), moments)


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    real, others = draw(rng, IMAGES, 1), draw(rng, OTHERS, 1)
    labels = torch.from_numpy(rng.integers(0, 3, IMAGES)), torch.from_numpy(rng.integers(0, 3, OTHERS))
    views = Shown(draw(rng, IMAGES, VIEWS), real.embedded[:, 0])
    beside = Beside(draw(rng, IMAGES, 2).embedded, real, others, *labels, epsilon1=0.5)
    return views, beside


def test_every_score_against_slow_loops(world):
    views, beside = world
    card = make_card(views, {}, beside)
    f, h, a = (part.double().numpy() for part in (views.seen.embedded, views.seen.features, views.anchors))
    every, pairs = list(itertools.product(range(IMAGES), range(VIEWS))), list(itertools.combinations(range(VIEWS), 2))
    distances = [math.dist(f[i, v], a[i]) for i, v in every]
    assert card["distance"]["value"] == pytest.approx(np.mean(distances))
    relative = [(value - 0.5) / 0.5 for value in distances]
    assert card["epsilon1_error"]["value"] == pytest.approx(100 * math.sqrt(np.mean(np.square(relative))))
    spread = [math.dist(f[i, v], f[i, w]) for i in range(IMAGES) for v, w in pairs]
    assert card["spread"]["value"] == pytest.approx(np.mean(spread))
    cosines = [f[i, v] @ beside.expert[i, e].double().numpy() for i, v in every for e in range(2)]
    assert card["hardness"]["value"] == pytest.approx(np.mean(cosines))
    pixels = views.seen.pixels.astype(float) / 255
    changes = [math.sqrt(np.mean((pixels[i, v] - pixels[i, w]) ** 2)) for i in range(IMAGES) for v, w in pairs]
    assert card["pixel_diversity"]["value"] == pytest.approx(np.mean(changes), rel=1e-5)
    directions = [(h / np.linalg.norm(h, axis=-1, keepdims=True))[i, v] for i, v in every]
    bank = [row / np.linalg.norm(row) for row in beside.others.features[:, 0].double().numpy()]
    nearest = [min(math.dist(one, other) for other in bank) for one in directions]
    assert card["nearest"]["value"] == pytest.approx(np.mean(nearest))
    right = 0
    for (i, _), one in zip(every, directions, strict=True):
        closest = sorted(range(OTHERS), key=lambda j, one=one: math.dist(one, bank[j]))[:5]
        votes = np.bincount(beside.others_labels[closest].numpy(), minlength=3)
        right += int(votes.argmax() == int(beside.labels[i]))
    assert card["purity_knn"]["value"] == pytest.approx(100 * right / len(every))
    assert {name: score["n"] for name, score in card.items()} == {
        **dict.fromkeys((score.name for score in SCORES), IMAGES * VIEWS),
        "hardness": IMAGES * VIEWS * 2,
        **dict.fromkeys(("spread", "pixel_diversity", "spectrum_diversity"), IMAGES * len(pairs)),
        "realism": IMAGES,
    }


def test_what_stands_beside_is_measured_alike(world):
    views, beside = world
    for score in make_card(views, {"expert": views}, beside).values():
        assert score["expert"] == score["value"]


def test_without_labels_and_a_wanted_distance(world):
    views, beside = world
    card = make_card(views, {}, Beside(beside.expert, beside.real, beside.others))
    assert set(card) == {score.name for score in SCORES} - {"purity_knn", "purity_linear", "epsilon1_error"}


def test_identical_views_of_the_image_itself():
    """No spread, no direction, and as pure as the images are: here their classes lie far apart."""
    rng = np.random.default_rng(1)
    labels, others_labels = (torch.from_numpy(rng.integers(0, 3, count)) for count in (IMAGES, OTHERS))
    centres = 10 * torch.eye(3, WIDE)
    real, others = draw(rng, IMAGES, 1), draw(rng, OTHERS, 1)
    real.features[:, 0] += centres[labels] * 2
    others.features[:, 0] += centres[others_labels] * 2
    again = [np.repeat(real.pixels, 2, axis=1), *(x.repeat(1, 2, 1) for x in (real.embedded, real.features))]
    card = make_card(
        Shown(Seen(*again, real.moments), real.embedded[:, 0]),
        {},
        Beside(real.embedded, real, others, labels, others_labels),
    )
    assert [card[name]["value"] for name in ("distance", "spread", "pixel_diversity", "spectrum_diversity")] == [0] * 4
    assert "directions" not in card
    assert card["purity_knn"]["value"] == card["purity_linear"]["value"] == 100
    assert card["hardness"]["value"] == pytest.approx(1)
    assert card["near_copies"]["value"] == pytest.approx(100 / IMAGES)  # by definition, a hundredth; here one image


def test_a_copy_of_another_image_is_found(world):
    views, beside = world
    views.seen.features[:] = 3 * beside.others.features[7, 0]  # of another length: brighter, say
    card = make_card(views, {}, beside)
    assert card["nearest"]["value"] == pytest.approx(0, abs=1e-7)
    assert card["near_copies"]["value"] == 100


def gaussian(rng, n, mean, root):
    """A sample whose mean and covariance (divisor n − 1) are exactly `mean` and root·rootᵀ."""
    x = rng.standard_normal((n, len(mean)))
    x -= x.mean(0)
    whitened = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return torch.from_numpy(whitened @ root.T + mean)


def test_frechet_of_gaussians():
    rng = np.random.default_rng(2)
    one, two = np.array([1.0, 2.0, 0.5]), np.array([0.3, 2.5, 0.5])
    x, y = gaussian(rng, 40, np.zeros(3), np.diag(one)), gaussian(rng, 70, np.array([1.0, 0.0, -2.0]), np.diag(two))
    assert frechet(x, y) == pytest.approx(5 + ((one - two) ** 2).sum())
    assert frechet(x, x) == pytest.approx(0, abs=1e-12)
    assert frechet(y, x) == pytest.approx(frechet(x, y))


@pytest.mark.parametrize("count", [50, 6])
def test_frechet_by_a_matrix_square_root(count):
    """Correlated features, more and fewer pictures than dimensions: scipy's square root of the product."""
    rng = np.random.default_rng(3)
    x, y = (rng.standard_normal((count, 9)) @ rng.standard_normal((9, 9)) + rng.random(9) for _ in "ab")
    first, second = np.cov(x.T), np.cov(y.T)
    root = scipy.linalg.sqrtm(first @ second).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=1e-5)


def test_batchnorm_shift_in_closed_form():
    real = LayerMoments(torch.zeros(4).double(), torch.full((4,), 4.0).double(), 0.0)
    moved = LayerMoments(torch.full((4,), 3.0).double(), torch.full((4,), 36.0).double(), 0.0)
    assert layer_shift(real, real) == 0
    assert layer_shift(moved, real) == pytest.approx(math.hypot(3, 6 - 2) / 2)


def test_directions_are_as_many_as_offsets_have(world):
    _, beside = world
    score = next(score for score in SCORES if score.name == "directions")

    def found(offsets):
        seen = Seen(beside.real.pixels, offsets[:, None], beside.real.features, [])
        return score.measure(Shown(seen, torch.zeros_like(offsets)), beside).value

    assert found(torch.eye(DIM)) == pytest.approx(DIM)
    assert found(torch.eye(DIM)[:3]) == pytest.approx(3)
    assert found(torch.arange(1.0, 6)[:, None] * torch.eye(DIM)[2]) == pytest.approx(1)


def test_spectra_of_waves():
    """A wave of 3 periods and amplitude A: its ring holds A²/2 · HW/2 twice, of as many coefficients as it has."""
    side, amplitude, period = 16, 40 / 255, 3
    wave = 128 + 40 * np.cos(2 * np.pi * period * np.arange(side) / side)
    pixels = np.broadcast_to(np.round(wave).astype(np.uint8), (3, side, side))
    spectrum = radial_spectra(pixels).numpy()
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side] * 2)).round()
    power = 2 * (amplitude / 2) ** 2 * side**2 / (radius == period).sum()
    assert spectrum.argmax() == period - 1
    assert spectrum[period - 1] == pytest.approx(10 * np.log10(power + ROUNDING), abs=0.1)
    np.testing.assert_allclose(radial_spectra(pixels[:, :, ::-1].copy()), spectrum, atol=1e-9)
    np.testing.assert_allclose(radial_spectra(np.roll(pixels, 5, axis=2)), spectrum, atol=1e-9)


def test_linear_classifier_is_at_its_optimum():
    """There the gradient of Σ cross-entropy + ½‖W‖² is 0, written out by hand."""
    rng = np.random.default_rng(4)
    x, y = torch.from_numpy(rng.standard_normal((60, WIDE)) * 3 + 1), torch.from_numpy(rng.integers(0, 3, 60))
    model = LinearClassifier(x, y)
    standard = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    logits = standard @ model.model.coef_.T + model.model.intercept_
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    gradient = (p - np.eye(3)[y.numpy()]).T @ standard + model.model.coef_
    assert np.abs(gradient).max() < 1e-2
    assert model(x).tolist() == logits.argmax(1).tolist()
    assert LinearClassifier(x, torch.full((60,), 2))(x).tolist() == [2] * 60


def test_look_sees_what_f_is_given(monkeypatch):
    """Features, embeddings and moments as layer by layer in float64, whatever the batch."""
    encoder = Encoder.from_spec(EncoderSpec(width=4, hidden_dim=16, output_dim=8), init_seed=3)
    encoder.mean, encoder.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    f = FrozenEmbedding.of(encoder)
    pixels = np.random.default_rng(5).integers(0, 256, (5, 3, 3, 8, 8), dtype=np.uint8)
    whole = look(f, pixels, device="cpu")
    monkeypatch.setattr(seen_module, "BATCH", 4)
    parts = look(f, pixels, device="cpu")
    twice = FrozenEmbedding.of(Encoder.from_spec(encoder.spec, init_seed=3)).double()
    twice.scale, twice.shift = f.scale, f.shift
    normal = (pixels.reshape(15, 3, 8, 8) / 255 - np.reshape(encoder.mean, (3, 1, 1))) / np.reshape(
        encoder.std, (3, 1, 1)
    )
    features = twice.encoder.encoder.features(torch.from_numpy(normal))
    layers = [part for part in twice.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    given = []
    for layer in layers:
        layer.register_forward_hook(lambda layer, x, y: given.append(x[0].transpose(0, 1).flatten(1)))
    embedded = unit(twice.encoder.encoder(torch.from_numpy(normal)))
    assert len(layers) == len(whole.moments) > 10
    for seen in (whole, parts):
        torch.testing.assert_close(seen.features.flatten(0, 1).double(), features, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.embedded.flatten(0, 1).double(), embedded, rtol=1e-4, atol=1e-5)
        for moments, x in zip(seen.moments, given, strict=True):
            torch.testing.assert_close(moments.mean, x.mean(1), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(moments.variance, x.var(1, correction=0), rtol=1e-4, atol=1e-5)
    assert not f.encoder.encoder.backbone._forward_hooks


def test_nearest_of_the_nearest():
    others = torch.eye(3)[:, None]
    found = nearest_distances(torch.tensor([[[5.0, 0, 0], [1.0, 1.0, 0]]]), others)
    torch.testing.assert_close(found, torch.tensor([0.0, math.sqrt(2 - math.sqrt(2))], dtype=torch.float64))
