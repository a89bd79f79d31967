"""W-search against a straightforward one: grouped convolutions, loops over pairs, torch's Adam, whole batches."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from assimilate.data.seeding import generator as seeded
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.generator.architecture import Architecture, stylegan2_channels
from assimilate.generator.stylegan2 import Generator
from assimilate.generator.truncated import TruncatedStyleGAN2
from assimilate.views.embedding import FrozenEmbedding
from assimilate.views.search import SearchEngine, SearchSettings
from tests.views.test_search import settings
from tests.views.worlds import CODES, DIM, LinearGenerator, linear_embedding

sys.path.insert(0, str(Path(__file__).parents[1] / "generator"))
import grouped_reference

COUNT, VIEWS, TRUNCATION, LR = 6, 3, 0.7, 0.01
MEAN, STD = (0.5, 0.4, 0.45), (0.25, 0.2, 0.3)


@pytest.fixture(scope="module")
def networks():
    """(generator, its state dict and mean, encoder, latents, images) in float64."""
    torch.manual_seed(0)
    network = Generator(Architecture(8, 16, 2, stylegan2_channels(8, max_channels=8)))
    for name, parameter in network.named_parameters():
        if name.endswith("noise.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    network = network.double()
    mean = 0.1 * torch.randn(16, dtype=torch.float64)
    encoder = Encoder.from_spec(EncoderSpec.from_dict({"width": 2, "hidden_dim": 8, "output_dim": 8}), init_seed=0)
    encoder.train()
    with torch.no_grad():  # running statistics that are not the initial ones
        encoder(torch.randn(32, 3, 8, 8))
    encoder = encoder.double().eval()
    latents = torch.randn(COUNT, network.architecture.num_codes, 16, dtype=torch.float64).numpy()
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 3, 8, 8), dtype=np.uint8)
    return network, mean, encoder, latents, images


def search(networks, wanted: SearchSettings):
    network, mean, encoder, latents, images = networks
    generator = TruncatedStyleGAN2(network, mean, truncation=TRUNCATION)
    embedding = FrozenEmbedding(encoder, mean=MEAN, std=STD).double()
    found = {}
    engine = SearchEngine(generator, embedding, wanted)
    engine.run(latents, images, list(range(COUNT)), lambda views: found.__setitem__(views.index, views))
    return [found[index] for index in range(COUNT)]


def straightforward(networks, indices, wanted: SearchSettings, num_steps: int, tolerance: float | None):
    """Latents after each step [steps + 1][images, views, codes, dim], and the step at which the batch stops."""
    network, mean, encoder, latents, _ = networks
    state = dict(network.state_dict())

    def f(codes):
        images = grouped_reference.synthesis(state, mean + TRUNCATION * (codes - mean)).clamp(-1, 1)
        pixels = (images + 1) / 2
        mean_pixel, std_pixel = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
        normalised = (pixels - mean_pixel) / std_pixel
        out = encoder(normalised)
        return out / out.norm(dim=1, keepdim=True)

    codes = torch.from_numpy(latents[indices])
    with torch.no_grad():
        anchors = f(codes)
    noise = torch.stack(
        [
            torch.randn((VIEWS, *codes.shape[1:]), generator=seeded(wanted.seed, "search", index), dtype=torch.float64)
            for index in indices
        ]
    )
    if not wanted.noise_first_view:
        noise[:, 0] = 0
    moving = (codes[:, None] + wanted.initial_noise * noise).requires_grad_()
    optimizer = torch.optim.Adam([moving], lr=LR)
    trajectory = [moving.detach().clone()]
    for step in range(num_steps + 1):
        h = f(moving.flatten(0, 1)).unflatten(0, (len(indices), VIEWS))
        losses = []
        for image in range(len(indices)):
            boundary = 0
            for k in range(VIEWS):
                at_anchor = step == 0 and k == 0 and not wanted.noise_first_view
                # At distance 0, whatever f's rounding says: a constant.
                distance = 0.0 if at_anchor else (h[image, k] - anchors[image]).norm()
                boundary = boundary + (distance - wanted.epsilon1) ** 2 / VIEWS
            others = [
                sum((h[image, k] - h[image, j]).norm() for j in range(VIEWS) if j != k) / (VIEWS - 1)
                for k in range(VIEWS)
            ]
            if wanted.hinge == "view":
                uniformity = sum(torch.relu(wanted.epsilon2 - m) for m in others) / VIEWS
            else:
                uniformity = torch.relu(wanted.epsilon2 - sum(others) / VIEWS)
            losses.append(boundary + wanted.uniformity_weight * uniformity)
        loss = torch.stack(losses).mean()
        if step == num_steps or (tolerance is not None and loss.item() <= tolerance):
            return trajectory, step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trajectory.append(moving.detach().clone())
    raise AssertionError


def wanted_settings(**changes) -> SearchSettings:
    values = {
        "num_views": VIEWS, "epsilon1": 0.4, "epsilon2": 0.6, "lr": LR, "noise_first_view": True,
        "tolerance_relative": None, "initial_noise": 0.05, "width": COUNT, "stop": "batch", "iterations": 20,
    }  # fmt: skip
    return settings(**(values | changes))


@pytest.mark.parametrize(("hinge", "noise_first_view"), [("view", True), ("image", True), ("image", False)])
def test_the_same_trajectories(networks, hinge, noise_first_view):
    """With one view that starts at its anchor too: it takes Adam's steps like the others."""
    wanted = wanted_settings(hinge=hinge, noise_first_view=noise_first_view)
    trajectory, _ = straightforward(networks, list(range(COUNT)), wanted, 20, None)
    for steps in (0, 1, 2, 7, 20):
        found = search(networks, dataclasses.replace(wanted, iterations=steps))
        ours = torch.stack([views.latents for views in found])
        assert ours.dtype == torch.float64
        torch.testing.assert_close(ours, trajectory[steps], rtol=0, atol=1e-8)
        assert {views.steps for views in found} == {steps}


def moved(networks, found):
    """Rms move of each view's codes from the inverted ones: [images, views]."""
    start = torch.from_numpy(networks[3])
    return torch.stack([views.latents - start[views.index] for views in found]).square().mean(dim=(2, 3)).sqrt()


@pytest.mark.parametrize("stop", ["batch", "anchor"])
def test_an_unnoised_view_moves_as_far_as_the_others(networks, stop):
    """Adam's first step is lr for every code that has a gradient; a second one in the same direction is lr again."""
    wanted = wanted_settings(noise_first_view=False, initial_noise=1e-4, stop=stop, hinge="view")
    one, two = (moved(networks, search(networks, dataclasses.replace(wanted, iterations=n))) for n in (1, 2))
    assert one.numpy() == pytest.approx(LR, rel=0.04)
    assert (two[:, 0] > 1.2 * LR).all()
    assert (two <= 2.05 * LR).all()


def test_an_unnoised_view_does_not_follow_the_rounding_of_f(networks):
    """Networks in half precision or TF32 see the anchor and the view that is equal to it 1e-3 apart."""
    network, mean, encoder, latents, images = networks

    class Rounding(FrozenEmbedding):
        amount = 0.0

        def forward(self, images):
            seen = super().forward(images)
            rng = torch.Generator().manual_seed(len(images))
            noise = self.amount * torch.randn(seen.shape[1], generator=rng, dtype=seen.dtype)
            return torch.nn.functional.normalize(seen + noise, dim=1)

    wanted = wanted_settings(noise_first_view=False, iterations=1, stop="anchor", width=2)
    steps = []
    for amount in (0.0, 1e-3):
        found = {}
        generator = TruncatedStyleGAN2(network, mean, truncation=TRUNCATION)
        embedding = Rounding(encoder, mean=MEAN, std=STD).double()
        embedding.amount = amount
        engine = SearchEngine(generator, embedding, wanted)
        engine.run(latents, images, range(COUNT), lambda views, found=found: found.update({views.index: views}))
        steps.append(torch.stack([found[i].latents[0] - torch.from_numpy(latents[i]) for i in range(COUNT)]))
    agreement = torch.nn.functional.cosine_similarity(steps[0].flatten(1), steps[1].flatten(1))
    assert agreement.min() > 0.9


@pytest.mark.parametrize(
    "changes",
    [{"uniformity_weight": 0.0}, {"epsilon2": 0.0}, {"initial_noise": 0.0}, {"initial_noise": 1e-9}],
)
@pytest.mark.parametrize("stop", ["batch", "anchor"])
def test_only_a_view_without_any_gradient_is_kicked(networks, changes, stop):
    found = search(networks, wanted_settings(noise_first_view=False, iterations=1, stop=stop, **changes))
    rms = moved(networks, found)
    assert rms[:, 0].numpy() == pytest.approx(1e-3, rel=0.3)
    with_gradient = "initial_noise" not in changes
    assert (rms[:, 1:] > 5e-3).all() if with_gradient else (rms[:, 1:] < 1.3e-3).all()


@pytest.mark.parametrize("tolerance", [0.08, 0.05, 0.02])
def test_batches_stop_at_the_same_step(networks, tolerance):
    wanted = wanted_settings(tolerance=tolerance, iterations=200, width=COUNT // 2)
    found = search(networks, wanted)
    for indices in ([0, 1, 2], [3, 4, 5]):
        trajectory, stopped = straightforward(networks, indices, wanted, 200, tolerance)
        assert 0 < stopped < 200
        assert [found[index].steps for index in indices] == [stopped] * 3
        ours = torch.stack([found[index].latents for index in indices])
        torch.testing.assert_close(ours, trajectory[stopped], rtol=0, atol=1e-6)


def test_stopping_by_itself_is_the_search_of_one_image(networks):
    """An anchor's own stop is that of a batch of one."""
    wanted = wanted_settings(tolerance=0.02, iterations=200, stop="anchor", width=4)
    found = search(networks, wanted)
    steps = set()
    for index in range(COUNT):
        trajectory, stopped = straightforward(networks, [index], wanted, 200, 0.02)
        assert found[index].steps == stopped
        assert found[index].converged
        torch.testing.assert_close(found[index].latents, trajectory[stopped][0], rtol=0, atol=1e-6)
        steps.add(stopped)
    assert len(steps) > 1


def test_a_batch_that_stops_says_which_anchors_have_not_converged(networks):
    found = search(networks, wanted_settings(tolerance=0.06, iterations=200))
    assert {views.converged for views in found} == {True, False}


def test_networks_in_float64_see_the_images_in_float64(networks):
    """Distances to the images themselves; their places may be numbers of NumPy."""
    network, mean, encoder, latents, images = networks
    embedding = FrozenEmbedding(encoder, mean=MEAN, std=STD).double()
    engine = SearchEngine(
        TruncatedStyleGAN2(network, mean, truncation=TRUNCATION),
        embedding,
        wanted_settings(anchor="original", stop="anchor", iterations=0),
    )
    found = {}
    engine.run(latents, images, np.arange(COUNT)[::-1], lambda views: found.__setitem__(views.index, views))
    shift, scale = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in (MEAN, STD))

    def f(pixels):
        out = encoder((pixels.double() / 255 - shift) / scale)
        return out / out.norm(dim=1, keepdim=True)

    for index, views in found.items():
        expected = (f(views.images) - f(torch.from_numpy(images[index : index + 1]))).norm(dim=1)
        for distances in (views.distances, views.distances_original):
            torch.testing.assert_close(distances, expected, rtol=0, atol=1e-12)
    assert sorted(found) == list(range(COUNT))


def linear_world():
    rng = torch.Generator().manual_seed(7)
    latents = torch.randn(8, CODES, DIM, generator=rng).numpy()
    return latents, np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8)


def linear_search(**changes):
    latents, images = linear_world()
    found = {}
    engine = SearchEngine(LinearGenerator(), linear_embedding(), settings(**changes))
    engine.run(latents, images, list(range(8)), lambda views: found.__setitem__(views.index, views))
    return found


def test_one_code_for_all_layers():
    latents, _ = linear_world()
    found = linear_search(space="w", noise_first_view=True, iterations=30, tolerance_relative=None)
    for views in found.values():
        assert views.latents.shape == (4, CODES, DIM)
        assert torch.equal(views.latents[:, :1].expand_as(views.latents), views.latents)
    still = linear_search(space="w", initial_noise=0.0, iterations=0)
    torch.testing.assert_close(still[3].latents[0, 0], torch.from_numpy(latents[3]).mean(0))


def test_codes_stay_on_the_sphere():
    found = linear_search(projection="sphere", iterations=30, tolerance_relative=None)
    for views in found.values():
        norms = torch.linalg.vector_norm(views.latents, dim=-1)
        torch.testing.assert_close(norms, torch.ones_like(norms))


def test_half_precision_and_compiling_change_rounding_alone():
    exact = linear_search(iterations=3, tolerance_relative=None, noise_first_view=True)
    rounded = linear_search(iterations=3, tolerance_relative=None, noise_first_view=True, precision="bf16")
    for index, views in exact.items():
        assert not torch.equal(views.latents, rounded[index].latents)
        torch.testing.assert_close(views.latents, rounded[index].latents, rtol=0, atol=0.06)
        assert rounded[index].distances.dtype == torch.float32
