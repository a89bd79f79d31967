"""W-perturb: the noise's law, and independence of tiles."""

import numpy as np
import pytest
import torch

from assimilate.data.seeding import generator as seeded
from assimilate.views.embedding import to_pixels
from assimilate.views.perturbation import PerturbSettings, perturb_views, perturbation
from tests.views.worlds import CODES, DIM, LinearGenerator

LATENTS = np.random.default_rng(0).standard_normal((11, CODES, DIM)).astype(np.float32)


def run(indices, **changes):
    values = {"num_views": 3, "sigma": 0.2, "projected": False, "batch": 8, "seed": 5}
    found = {}
    perturb_views(LinearGenerator(), LATENTS, indices, PerturbSettings(**{**values, **changes}), found.__setitem__)
    return found


def test_sigma_is_a_standard_deviation():
    noise = perturbation((2000, 6, 32), sigma=0.2, projected=False, rng=torch.Generator().manual_seed(0))
    assert float(noise.std()) == pytest.approx(0.2, rel=5e-3)
    assert abs(float(noise.mean())) < 1e-3


def test_projected_noise_has_the_radius_of_the_footnote():
    noise = perturbation((50, 6, 32), sigma=0.2, projected=True, rng=torch.Generator().manual_seed(0))
    radii = torch.linalg.vector_norm(noise.flatten(1), dim=1)
    torch.testing.assert_close(radii, torch.full((50,), 0.2 * (6 * 32) ** 0.5))


def test_views_are_the_generator_at_the_perturbed_code():
    found = run(list(range(11)))
    assert list(found) == list(range(11))
    for index in (0, 10):
        noise = perturbation((3, CODES, DIM), sigma=0.2, projected=False, rng=seeded(5, "perturb", index))
        expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS[index]) + noise))
        assert torch.equal(found[index], expected)


@pytest.mark.parametrize("indices", [[7], [10, 2, 5]])
def test_content_does_not_depend_on_neighbours(indices):
    together, apart = run(list(range(11))), run(indices)
    assert all(torch.equal(apart[index], together[index]) for index in indices)


def test_sigma_zero_is_the_reconstruction():
    expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS)))
    assert all(torch.equal(view, expected[index]) for index, views in run([0, 4], sigma=0.0).items() for view in views)
