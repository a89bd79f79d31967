"""Alignment, uniformity, pairs, offsets and distances against slow loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from assimilate.analysis.curve_figure import join_seeds
from assimilate.analysis.distance_figure import summarize_distances
from assimilate.analysis.mine import MineSettings
from assimilate.analysis.pairs import SeenViews, measure_pair
from assimilate.analysis.plane_figure import embed_in_plane
from assimilate.analysis.sphere import CHUNK, alignment, uniformity
from assimilate.data.transform import make_transform
from assimilate.views.embedding import FrozenEmbedding


def on_sphere(count, dim, seed):
    points = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return nn.functional.normalize(points, dim=1)


def test_alignment_by_a_loop():
    x, y = on_sphere(20, 3, 0), on_sphere(20, 3, 1)
    for power in (1.0, 2.0, 3.0):
        slow = sum(math.dist(a, b) ** power for a, b in zip(x.tolist(), y.tolist(), strict=True)) / 20
        assert alignment(x, y, power=power) == pytest.approx(slow)
    assert alignment(x, x) == 0


def test_uniformity_by_a_loop():
    x = on_sphere(30, 3, 0)
    pairs = [math.exp(-2 * math.dist(a, b) ** 2) for i, a in enumerate(x.tolist()) for b in x.tolist()[:i]]
    assert uniformity(x) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_uniformity_of_what_is_known():
    assert uniformity(on_sphere(1, 4, 0).repeat(5, 1)) == pytest.approx(0)
    both_poles = torch.tensor([[1.0, 0], [-1.0, 0]])
    assert uniformity(both_poles, t=1.5) == pytest.approx(-6)


def test_uniformity_does_not_depend_on_the_chunks():
    x = on_sphere(CHUNK + 100, 4, 0)
    distances = torch.cdist(x, x).square()
    off = ~torch.eye(len(x), dtype=torch.bool)
    assert uniformity(x) == pytest.approx(float((-2 * distances[off]).exp().mean().log()))


# ------------------------------------------------------------------------------------------------ pairs


def small_world(num_views=3, count=64):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    cached = rng.integers(0, 256, (count, num_views, 3, 8, 8), dtype=np.uint8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    embedding = FrozenEmbedding(network, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    transform = make_transform("flip", 8, flip=0.5, expert={})
    return network, images, cached, SeenViews(embedding, images, transform, cached, seed=3, batch_size=20)


def by_hand(network, pixels):
    mean, std = np.array([0.4, 0.5, 0.6]).reshape(3, 1, 1), np.array([0.2, 0.3, 0.4]).reshape(3, 1, 1)
    normalised = torch.as_tensor((pixels / 255 - mean) / std, dtype=torch.float32)
    with torch.no_grad():
        seen = network(normalised).numpy()
    return seen / np.linalg.norm(seen, axis=1, keepdims=True)


def test_originals_are_normalised_and_nothing_else():
    network, images, _, views = small_world()
    np.testing.assert_allclose(views.embed("original", 0).numpy(), by_hand(network, images), atol=1e-5)


def test_generated_views_are_one_of_the_cache_at_random():
    network, images, cached, views = small_world()
    every = np.stack([by_hand(network, cached[:, k]) for k in range(3)], axis=1)
    passes = [views.embed("generated", number).numpy() for number in range(40)]
    chosen = np.array(
        [[int(np.argmin(np.linalg.norm(every[i] - seen[i], axis=1))) for i in range(len(images))] for seen in passes]
    )
    nearest = np.array([[every[i, k] for i, k in enumerate(row)] for row in chosen])
    np.testing.assert_allclose(np.array(passes), nearest, atol=1e-5)
    counts = np.bincount(chosen.reshape(-1), minlength=3) / chosen.size
    assert np.all(np.abs(counts - 1 / 3) < 0.05)
    assert len({tuple(row) for row in chosen}) == 40
    np.testing.assert_array_equal(views.embed("generated", 7).numpy(), passes[7])


def test_expert_views_are_drawn_anew_in_every_pass():
    network, images, _, views = small_world()
    straight, mirrored = by_hand(network, images), by_hand(network, images[..., ::-1].copy())
    first, second = (views.embed("expert", number).numpy() for number in (0, 1))
    for seen in (first, second):
        flipped = np.linalg.norm(seen - mirrored, axis=1) < np.linalg.norm(seen - straight, axis=1)
        np.testing.assert_allclose(seen, np.where(flipped[:, None], mirrored, straight), atol=1e-5)
        assert 0.2 < flipped.mean() < 0.8
    assert not np.array_equal(first, second)


def test_a_pair_is_measured_on_the_reported_pass():
    _, _, _, views = small_world()
    settings = MineSettings(batch_size=32, num_epochs=2)
    measured = measure_pair(views, ("original", "generated"), settings, seed=0)
    x, y = (views.embed(name, 2).double().numpy() for name in ("original", "generated"))
    assert measured.inner_product["mean"] == pytest.approx((x * y).sum(axis=1).mean())
    assert measured.inner_product["std"] == pytest.approx((x * y).sum(axis=1).std())
    assert measured.l2["mean"] == pytest.approx(np.linalg.norm(x - y, axis=1).mean())
    # On the unit sphere one is the other.
    np.testing.assert_allclose(np.linalg.norm(x - y, axis=1) ** 2, 2 - 2 * (x * y).sum(axis=1), atol=1e-6)
    assert len(measured.information.batches) == 2


# ------------------------------------------------------------------------------------------------ distances, offsets


def test_summary_of_distances_sees_a_heavy_tail():
    rng = np.random.default_rng(0)
    tight = rng.normal(0.3, 0.01, (500, 8)).astype(np.float32)
    heavy = rng.gamma(1.5, 0.2, (500, 8)).astype(np.float32)
    first, second = summarize_distances(tight), summarize_distances(heavy)
    assert first["mean"] == pytest.approx(tight.mean(), rel=1e-5)
    assert first["q05"] < first["median"] < first["q95"]
    assert abs(first["skewness"]) < 0.2
    assert second["skewness"] == pytest.approx(2 / math.sqrt(1.5), rel=0.25)
    assert second["share_beyond"] > first["share_beyond"]
    assert summarize_distances(np.full((3, 2), 0.5, dtype=np.float32))["skewness"] == 0


def test_offsets_of_two_clusters_stay_two_clusters():
    rng = np.random.default_rng(0)
    offsets = rng.standard_normal((120, 20)).astype(np.float32)
    offsets[60:] += 12
    settings = {"num_iterations": 300, "seed": 0, "limit": "num_images"}
    plane = embed_in_plane(offsets, perplexity=15, **settings)
    assert plane.shape == (120, 2)
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argsort(axis=1)[:, :5]
    assert np.mean((nearest < 60) == (np.arange(120) < 60)[:, None]) > 0.9
    np.testing.assert_array_equal(plane, embed_in_plane(offsets, perplexity=15, **settings))
    with pytest.raises(ValueError, match="perplexity of 40 needs more than 40 points, and there are 30"):
        embed_in_plane(offsets[:30], perplexity=40, **settings)


def test_seeds_are_joined_at_the_epochs_that_all_have():
    curve = join_seeds([[(0, 10.0), (1, 20.0), (2, 30.0)], [(1, 30.0), (2, 50.0), (3, 60.0)]])
    np.testing.assert_array_equal(curve.epochs, [1, 2])
    np.testing.assert_array_equal(curve.mean, [25, 40])
    np.testing.assert_allclose(curve.std, [math.sqrt(50), math.sqrt(200)])  # divisor n − 1
    with pytest.raises(ValueError, match="no epoch in common"):
        join_seeds([[(0, 1.0)], [(1, 1.0)]])
