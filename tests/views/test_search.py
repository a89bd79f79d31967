"""The search engine on worlds with a known answer, and its promise that neighbours do not matter."""

import numpy as np
import pytest
import torch

from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.views.embedding import FrozenEmbedding, from_pixels, to_pixels
from assimilate.views.objective import spread_bound
from assimilate.views.search import SearchEngine, SearchSettings
from tests.views.worlds import COUNT, LinearGenerator, latents_and_images, linear_embedding, solved


def settings(**changes) -> SearchSettings:
    values = {
        "num_views": 4,
        "epsilon1": 0.3,
        "epsilon2": 0.0,
        "uniformity_weight": 0.01,
        "hinge": "image",
        "anchor": "reconstruction",
        "optimizer": "adam",
        "lr": 0.01,
        "iterations": 500,
        "tolerance": None,
        "tolerance_relative": 0.02,
        "initial_noise": 0.05,
        "noise_first_view": False,
        "width": 8,
        "seed": 3,
    }
    return SearchSettings(**{**values, **changes})


@pytest.fixture(scope="module")
def world():
    return latents_and_images()


def search(world, wanted, indices=None):
    return solved(wanted, *world, indices)[0]


def recomputed(world, found, anchor):
    """Distances of the stored pixels to the anchor, from scratch."""
    latents, images = world
    embedding, generator = linear_embedding(), LinearGenerator()
    for index, views in found.items():
        if anchor == "original":
            target = embedding(from_pixels(torch.from_numpy(images[index : index + 1])))
        else:
            target = embedding(generator.synthesize(torch.from_numpy(latents[index : index + 1])).clamp(-1, 1))
        yield views, torch.linalg.vector_norm(embedding(from_pixels(views.images)) - target, dim=1)


@pytest.mark.parametrize("anchor", ["reconstruction", "original"])
def test_every_anchor_reaches_epsilon1(world, anchor):
    found = search(world, settings(anchor=anchor))
    for views, distances in recomputed(world, found, anchor):
        assert views.converged
        # The relative tolerance bounds the rms over an anchor's views; rounding to 8 bits may add to it.
        assert float(((distances - 0.3) ** 2).mean().sqrt()) <= 0.02 * 0.3 + 0.005
        torch.testing.assert_close(distances, views.distances, rtol=0, atol=1e-5)


def test_uniformity_spreads_the_views_towards_the_bound(world):
    close = search(world, settings(uniformity_weight=0.0, iterations=600, tolerance_relative=None))
    spread = search(world, settings(epsilon2=1.0, uniformity_weight=0.05, iterations=600, tolerance_relative=None))
    bound = spread_bound(0.3, 4)
    mean_close = np.mean([views.spread for views in close.values()])
    mean_spread = np.mean([views.spread for views in spread.values()])
    assert mean_close < mean_spread
    assert mean_spread > 0.95 * bound


def test_content_does_not_depend_on_neighbours_or_order():
    """With the networks that the search is for: a row's bits do not depend on where in the tile it is."""
    torch.manual_seed(0)
    network = Generator(Architecture(8, 16, 2, stylegan2_channels(8, max_channels=16)))
    encoder = Encoder.from_spec(EncoderSpec(width=8, hidden_dim=32, output_dim=16))
    generator = TruncatedStyleGAN2(network, torch.zeros(16))
    embedding = FrozenEmbedding(encoder, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    latents = torch.randn(13, generator.num_codes, 16)
    images = to_pixels(generator.synthesize(latents)).numpy()
    wanted = settings(width=4, num_views=2, epsilon1=0.05, lr=0.05, iterations=25, tolerance_relative=0.1)

    def run(indices):
        found = {}
        engine = SearchEngine(generator, embedding, wanted)
        engine.run(latents.numpy(), images, indices, lambda views: found.__setitem__(views.index, views))
        return found

    together = run(list(range(13)))
    assert len({views.steps for views in together.values()}) > 1  # so that slots are refilled at different times
    for subset in ([12, 3, 11], [5], list(range(13))[::-1]):
        apart = run(subset)
        for index in subset:
            assert torch.equal(apart[index].images, together[index].images)
            assert torch.equal(apart[index].latents, together[index].latents)
            assert torch.equal(apart[index].distances, together[index].distances)
            assert torch.equal(apart[index].distances_original, together[index].distances_original)
            assert apart[index].steps == together[index].steps


def test_seed_changes_the_views(world):
    assert not torch.equal(search(world, settings(), [0])[0].latents, search(world, settings(seed=4), [0])[0].latents)


def test_unnoised_first_view_leaves_the_anchor_even_without_uniformity(world):
    found = search(world, settings(uniformity_weight=0.0, num_views=1, initial_noise=0.0))
    for views, distances in recomputed(world, found, "reconstruction"):
        assert views.converged
        assert float(distances) == pytest.approx(0.3, abs=0.02 * 0.3 + 0.005)


@pytest.mark.parametrize("noise", [0.05, 0.0])
def test_views_that_start_at_the_anchor_reach_epsilon1_without_uniformity(world, noise):
    """λ = 0: nothing but the first term moves them, whose gradient is 0 at the anchor; a seeded kick is what does."""
    found = search(world, settings(uniformity_weight=0.0, initial_noise=noise, noise_first_view=False))
    for views, distances in recomputed(world, found, "reconstruction"):
        assert views.converged
        assert float((distances - 0.3).abs().max()) <= 2 * 0.02 * 0.3 + 0.005
        assert not any(torch.equal(views.images[j], views.images[k]) for j in range(4) for k in range(j))


def test_one_view_has_no_uniformity(world):
    """n = 1: λ, ε2 and the hinge change no bit."""
    plain = search(world, settings(num_views=1, uniformity_weight=0.0))
    for hinge in ("image", "view"):
        other = search(world, settings(num_views=1, uniformity_weight=5.0, epsilon2=1.9, hinge=hinge))
        for index, views in plain.items():
            assert torch.equal(views.latents, other[index].latents)
            assert views.spread == other[index].spread == 0


def test_no_iterations_and_no_noise_is_the_reconstruction(world):
    latents, _ = world
    found = search(world, settings(iterations=0, initial_noise=0.0))
    expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(latents)))
    for index, views in found.items():
        assert views.steps == 0
        assert all(torch.equal(image, expected[index]) for image in views.images)


def test_epsilon_zero_goes_back_to_the_anchor(world):
    """ε1 = 0: noisy views are pulled back, and an un-noised one is not kicked away."""
    start = search(world, settings(epsilon1=0.0, iterations=0))
    found = search(world, settings(epsilon1=0.0, tolerance=1e-4, tolerance_relative=None, uniformity_weight=0.0))
    for views, distances in recomputed(world, found, "reconstruction"):
        assert views.converged
        assert float(distances.square().mean().sqrt()) <= 0.01 + 0.01  # rounding to 8 bits may add to it
        assert views.steps > 0
        assert distances.mean() < start[views.index].distances.mean()
        assert float(distances[0]) < 0.05


def test_unreachable_distance_is_reported_as_capped(world):
    found = search(world, settings(epsilon1=2.0, iterations=5))
    assert not any(views.converged for views in found.values())
    assert {views.steps for views in found.values()} == {5}


def test_adam_follows_torch(world):
    """One anchor's first steps against torch.optim.Adam on the plain loss of Eq. 3."""
    latents, _ = world
    steps, epsilon1, index = 12, 0.4, 4
    wanted = settings(
        noise_first_view=True, epsilon1=epsilon1, epsilon2=1.0, iterations=steps, tolerance_relative=None, width=1
    )
    found = search(world, wanted, [index])[index]
    start = search(world, settings(noise_first_view=True, iterations=0, width=1), [index])[index].latents
    codes = start.clone().requires_grad_(True)
    generator, embedding = LinearGenerator(), linear_embedding()
    with torch.no_grad():
        anchor = embedding(generator.synthesize(torch.from_numpy(latents[index : index + 1])).clamp(-1, 1))
    optimizer = torch.optim.Adam([codes], lr=0.01)
    for _ in range(steps):
        seen = embedding(generator.synthesize(codes).clamp(-1, 1))
        distances = (seen - anchor).norm(dim=1)
        pairs = torch.stack([(seen[j] - seen[k]).norm() for j in range(4) for k in range(4) if j != k])
        loss = ((distances - epsilon1) ** 2).mean() + 0.01 * torch.relu(1.0 - pairs.mean())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(found.latents, codes.detach(), rtol=0, atol=2e-5)


def test_retired_slots_are_refilled(world):
    """Anchors need different numbers of steps, yet hardly any work is done for finished ones."""
    latents, images = world
    generator = LinearGenerator()
    engine = SearchEngine(generator, linear_embedding(), settings(width=4))
    steps = []
    engine.run(latents, images, list(range(COUNT)), lambda views: steps.append(views.steps))
    assert len(set(steps)) > 1
    assert engine.view_steps == 4 * sum(steps)


def test_what_f_measures_is_measured_in_full_float32():
    allowed = []
    embedding, images = linear_embedding(), torch.zeros(1, 3, 8, 8)
    embedding.encoder.register_forward_hook(lambda *_: allowed.append(torch.backends.cudnn.allow_tf32))
    embedding(images)  # a step of the search
    with torch.no_grad():
        embedding(images)
    assert allowed == [True, False]
    assert torch.backends.cudnn.allow_tf32  # nobody else's setting is changed
