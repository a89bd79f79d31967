"""MINE against mutual information that is known in closed form."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import special, stats

from assimilate.analysis.mine import MineSettings, donsker_varadhan, estimate_mutual_information
from assimilate.figures.pairs import _warn_of_ceiling

SETTINGS = MineSettings(hidden_dim=128, lr=0.003, batch_size=1024, num_epochs=25)


def estimate(x, y, settings=SETTINGS, seed=0):
    x, y = (torch.as_tensor(np.asarray(part), dtype=torch.float32) for part in (x, y))
    return estimate_mutual_information(lambda number: (x, y), settings, seed=seed)


def within(estimated, true):
    return abs(estimated - true) <= max(0.1, 0.05 * true)


@pytest.mark.parametrize(("dim", "correlation"), [(1, 0.0), (1, 0.5), (1, 0.9), (2, 0.8), (3, 0.7), (5, 0.4), (5, 0.7)])
def test_correlated_gaussians(dim, correlation):
    """d independent pairs of standard normals with correlation ρ have −d/2·log(1 − ρ²) nats in common."""
    rng = np.random.default_rng(dim)
    x, noise = rng.standard_normal((2, 12_288, dim))
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    true = -dim / 2 * math.log1p(-(correlation**2))
    assert true <= 2
    assert within(estimate(x, y).mean, true), (estimate(x, y).mean, true)


# ------------------------------------------------------------------------------------------------ Proposition 3.3


def log_normaliser(kappa: float, dim: int) -> float:
    """log C(κ) = log ∫ exp(κ·cos) over the unit sphere of R^dim, by its Bessel form."""
    order = dim / 2 - 1
    return dim / 2 * math.log(2 * math.pi) + math.log(special.ive(order, kappa)) + kappa - order * math.log(kappa)


def mean_cosine(kappa: float, dim: int) -> float:
    """A_K(κ), the mean inner product of a von Mises–Fisher draw with its direction."""
    return special.ive(dim / 2, kappa) / special.ive(dim / 2 - 1, kappa)


def log_area(dim: int) -> float:
    """log |S^{dim−1}|."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def information(kappa: float, dim: int) -> float:
    """I of a uniform direction and a von Mises–Fisher draw around it."""
    return kappa * mean_cosine(kappa, dim) - log_normaliser(kappa, dim) + log_area(dim)


def test_the_formula_on_the_circle_is_an_integral():
    """By quadrature: ∫ p log(p·2π) with p(θ) ∝ exp(κ cos θ)."""
    angles = np.linspace(-np.pi, np.pi, 200_001)
    for kappa in (0.5, 2.0, 8.0):
        density = np.exp(kappa * np.cos(angles))
        density /= np.trapezoid(density, angles)
        assert information(kappa, 2) == pytest.approx(np.trapezoid(density * np.log(density * 2 * np.pi), angles))


def pairs_on_the_sphere(kappa, dim, count, seed):
    """Uniform z, and for each a draw around it: drawn around one pole, carried over by a reflection."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, dim))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    pole = np.eye(dim)[0]
    around_pole = stats.vonmises_fisher(pole, kappa, seed=rng).rvs(count)
    mirror = pole - z  # the Householder reflection that swaps the pole and z
    mirror /= np.linalg.norm(mirror, axis=1, keepdims=True)
    return z, around_pole - 2 * (around_pole * mirror).sum(axis=1, keepdims=True) * mirror


@pytest.mark.parametrize(("dim", "kappa"), [(3, 3.0), (3, 9.0), (4, 6.0)])
def test_von_mises_fisher_pairs(dim, kappa):
    z, other = pairs_on_the_sphere(kappa, dim, 12_288, seed=1)
    assert (z * other).sum(axis=1).mean() == pytest.approx(mean_cosine(kappa, dim), abs=0.01)
    true = information(kappa, dim)
    assert true <= 2
    assert within(estimate(z, other).mean, true)


def test_information_is_linear_in_the_inner_product_at_one_concentration_only():
    """Proposition 3.3's line of slope κ is the tangent of a convex curve: pairs of other κ lie above it."""
    dim = 3
    for kappa in (1.0, 4.0, 10.0):
        for other in (0.5, 2.0, 20.0):
            on_the_line = information(kappa, dim) + kappa * (mean_cosine(other, dim) - mean_cosine(kappa, dim))
            assert information(other, dim) > on_the_line + 1e-3
        step = 1e-4
        slope = (information(kappa + step, dim) - information(kappa - step, dim)) / (
            mean_cosine(kappa + step, dim) - mean_cosine(kappa - step, dim)
        )
        assert slope == pytest.approx(kappa, rel=1e-4)


# ------------------------------------------------------------------------------------------------ the estimator


def test_bound_is_the_formula_and_stays_finite():
    joint, shuffled = torch.randn(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = joint.mean() - shuffled.exp().mean().log()
    torch.testing.assert_close(donsker_varadhan(joint, shuffled), plain)
    assert donsker_varadhan(joint + 1e4, shuffled + 1e4) == pytest.approx(float(plain))


def test_same_seed_same_estimate_and_another_seed_another():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 2))
    settings = MineSettings(batch_size=128, num_epochs=2)
    first, again, other = (estimate(x, x, settings, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert len(first.batches) == 4
    assert len(first.training) == 2
    assert first.mean == pytest.approx(np.mean(first.batches))
    assert first.std == pytest.approx(np.std(first.batches))


def test_incomplete_batches_are_dropped_and_every_pass_is_asked_for():
    asked = []

    def passes(number):
        asked.append(number)
        return torch.zeros(300, 1), torch.zeros(300, 2)

    result = estimate_mutual_information(passes, MineSettings(batch_size=128, num_epochs=3), seed=0)
    assert asked == [0, 1, 2, 3]
    assert len(result.batches) == 2
    assert result.mean == pytest.approx(0, abs=1e-6)


def test_fewer_pairs_than_a_batch():
    with pytest.raises(ValueError, match=r"analysis\.mine\.batch_size=512 exceeds the 100 pairs"):
        estimate(np.zeros((100, 1)), np.zeros((100, 1)), MineSettings())


def test_a_bound_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match=r"smaller analysis\.mine\.lr"):
        estimate(np.full((100, 1), np.nan), np.zeros((100, 1)), MineSettings(batch_size=50))


def test_what_a_small_batch_shows_can_exceed_the_logarithm_of_its_size():
    """Strangers with replacement may hold no pair: then nothing limits the bound, and it is no floor."""
    x = torch.nn.functional.normalize(torch.randn(256, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    settings = MineSettings(hidden_dim=128, lr=0.02, batch_size=16, num_epochs=20)
    found = estimate_mutual_information(lambda number: (x, x), settings, seed=0)
    assert max(found.batches) > 2 * math.log(16)
    said = []
    config = {"analysis": {"mine": {"batch_size": 16}}}
    session = SimpleNamespace(config=config, say=said.append)
    _warn_of_ceiling(session, found.mean)
    _warn_of_ceiling(session, 0.5 * math.log(16))
    (note,) = said
    assert "too high" in note
