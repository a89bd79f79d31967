"""W-perturb and W-mix: the laws of the draws, and what a view is made of."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm, truncnorm

from assimilate.data.seeding import generator as seeded
from assimilate.views.embedding import to_pixels
from assimilate.views.moves import Mixing, Perturbation
from assimilate.views.synthesis import FreshViews, synthesize_views
from tests.views.worlds import CODES, DIM, LinearGenerator

LATENTS = np.random.default_rng(0).standard_normal((11, CODES, DIM)).astype(np.float32)
SHAPE = torch.Size((6, 32))


class CurvedGenerator(LinearGenerator):
    """A map that is not the identity, so that a forgotten one shows."""

    def map(self, latents):
        return latents.tanh() * 2 - 0.5


def run(indices, move=None, generator=None, **changes):
    found = {}
    settings = {"num_views": 3, "batch": 8, "seed": 5, **changes}
    move = move or Perturbation(0.2)
    synthesize_views(generator or CurvedGenerator(), LATENTS, indices, move, found.__setitem__, **settings)
    return found


def draw(move, count, shape=SHAPE, seed=0):
    return move.draw(CurvedGenerator(), count, shape, torch.Generator().manual_seed(seed))


def test_sigma_is_a_standard_deviation():
    noise = draw(Perturbation(0.2), 2000)
    assert float(noise.std()) == pytest.approx(0.2, rel=5e-3)
    assert abs(float(noise.mean())) < 1e-3


def test_one_sigma_a_layer():
    noise = draw(Perturbation((0.0, 0.1, 0.2, 0.0, 0.5, 1.0)), 2000)
    assert torch.allclose(noise.std(dim=(0, 2)), torch.tensor([0.0, 0.1, 0.2, 0.0, 0.5, 1.0]), rtol=0.02)
    with pytest.raises(ValueError, match="has 2 numbers, but the generator has 6 codes"):
        draw(Perturbation((0.1, 0.2)), 1)


def test_projected_noise_has_the_radius_of_the_footnote():
    radii = torch.linalg.vector_norm(draw(Perturbation(0.2, projected=True), 50).flatten(1), dim=1)
    torch.testing.assert_close(radii, torch.full((50,), 0.2 * (6 * 32) ** 0.5))
    sigmas = (0.0, 0.1, 0.2, 0.0, 0.5, 1.0)
    radii = torch.linalg.vector_norm(draw(Perturbation(sigmas, projected=True), 50).flatten(1), dim=1)
    torch.testing.assert_close(radii, torch.full((50,), (sum(sigma**2 for sigma in sigmas) * 32) ** 0.5))
    assert not draw(Perturbation(0.0, projected=True), 5).any()


def test_limited_noise_is_truncated_at_the_limit_of_each_layer():
    sigma = torch.tensor([0.0, 0.1, 0.2, 0.0, 0.5, 1.0])
    noise = draw(Perturbation(tuple(sigma.tolist()), noise_limit=2.0), 2000)
    assert bool((noise.abs() <= 2 * sigma[:, None]).all())
    law = truncnorm(-2, 2)
    torch.testing.assert_close(noise.std(dim=(0, 2)), sigma * float(law.std()), rtol=0.01, atol=0)
    assert kstest(noise[:, 5].flatten().numpy(), law.cdf).pvalue > 1e-3
    assert float(draw(Perturbation(1.0), 2000).abs().max()) > 3
    with pytest.raises(ValueError, match=r"view\.noise_limit=0: must be above 0"):
        Perturbation(0.2, noise_limit=0)
    with pytest.raises(ValueError, match=r"view\.noise_limit=2\.0: .*null with view\.projected=true"):
        Perturbation(0.2, projected=True, noise_limit=2.0)


def test_limited_views_are_the_generator_at_the_truncated_noise():
    found = run([3], Perturbation(0.2, noise_limit=0.5))
    uniform = 2 * torch.rand((3, CODES, DIM), generator=seeded(5, "perturb", 3), dtype=torch.float64) - 1
    noise = 0.2 * norm.ppf((uniform.numpy() * (norm.cdf(0.5) - norm.cdf(-0.5)) + 1) / 2)
    expected = LinearGenerator().synthesize(torch.from_numpy(LATENTS[3] + noise.astype(np.float32)))
    assert int((found[3].int() - to_pixels(expected).int()).abs().max()) <= 1  # float32 against float64


def test_views_are_the_generator_at_the_perturbed_code():
    found = run(list(range(11)))
    assert list(found) == list(range(11))
    for index in (0, 10):
        noise = 0.2 * torch.randn((3, CODES, DIM), generator=seeded(5, "perturb", index))
        expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS[index]) + noise))
        assert torch.equal(found[index], expected)


def test_mixed_views_have_the_anchor_s_coarse_codes_and_a_mapped_latent_s_fine_ones():
    generator = CurvedGenerator()
    found = run([0, 7], Mixing(split=1))
    for index, views in found.items():
        latents = torch.randn((3, DIM), generator=seeded(5, "mix", index))
        codes = torch.from_numpy(LATENTS[index]).repeat(3, 1, 1)
        codes[:, 1:] = (latents.tanh() * 2 - 0.5)[:, None]
        assert torch.equal(views, to_pixels(generator.synthesize(codes)))


def test_mixing_nothing_is_the_reconstruction():
    expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS)))
    found = run([0, 4], Mixing(split=CODES))
    assert all(torch.equal(view, expected[index]) for index, views in found.items() for view in views)
    with pytest.raises(ValueError, match=f"view.split={CODES + 1}: the generator has {CODES} codes"):
        run([0], Mixing(split=CODES + 1))


def test_views_that_are_not_finite_are_refused_instead_of_black():
    broken = LATENTS.copy()
    broken[7, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"^views of image 7 are not finite"):
        synthesize_views(
            CurvedGenerator(), broken, [10, 2, 7, 3], Perturbation(0.2), lambda *_: None, num_views=3, batch=5, seed=5
        )
    synthesize_views(
        CurvedGenerator(), broken, [10, 2, 3], Perturbation(0.2), lambda *_: None, num_views=3, batch=5, seed=5
    )
    fresh = FreshViews(CurvedGenerator(), broken, Perturbation(0.2))
    fresh.gather(torch.tensor([3, 2]), 2, torch.Generator())
    with pytest.raises(ValueError, match=r"^views are not finite"):
        fresh.gather(torch.tensor([3, 7]), 2, torch.Generator())


@pytest.mark.parametrize("move", [Perturbation(0.2), Perturbation(0.2, noise_limit=1.0), Mixing(1)])
@pytest.mark.parametrize("indices", [[7], [10, 2, 5]])
def test_content_does_not_depend_on_neighbours(indices, move):
    together, apart = run(list(range(11)), move), run(indices, move)
    assert all(torch.equal(apart[index], together[index]) for index in indices)


def test_sigma_zero_is_the_reconstruction():
    expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS)))
    found = run([0, 4], Perturbation(0.0))
    assert all(torch.equal(view, expected[index]) for index, views in found.items() for view in views)


@pytest.mark.parametrize("move", [Perturbation(0.3), Perturbation(0.3, noise_limit=1.0), Mixing(1)])
def test_fresh_views_are_new_at_every_step_and_follow_their_generator(move):
    fresh = FreshViews(CurvedGenerator(), LATENTS, move)
    indices = torch.tensor([3, 3, 9])
    first = fresh.gather(indices, 2, torch.Generator().manual_seed(1))
    assert first.dtype == torch.uint8
    assert first.shape[:2] == (3, 2)
    assert torch.equal(first, fresh.gather(indices, 2, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, fresh.gather(indices, 2, torch.Generator().manual_seed(2)))
    views = first.flatten(0, 1)
    assert not any(torch.equal(views[i], views[j]) for i in range(6) for j in range(i))


def test_fresh_views_without_noise_are_the_reconstruction():
    views = FreshViews(CurvedGenerator(), LATENTS, Perturbation(0.0)).gather(torch.tensor([4, 0]), 1, torch.Generator())
    expected = to_pixels(LinearGenerator().synthesize(torch.from_numpy(LATENTS[[4, 0]])))
    assert torch.equal(views[:, 0], expected)


def test_views_are_made_where_the_generator_is():
    """A report draws from a source that no data module has placed."""
    elsewhere = torch.nn.Linear(2, 2, device="meta")
    assert FreshViews(elsewhere, LATENTS, Perturbation(0.2)).device == torch.device("meta")
    assert FreshViews(CurvedGenerator(), LATENTS, Perturbation(0.2)).device == torch.device("cpu")
