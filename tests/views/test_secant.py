"""Secant steps inside a bracket: a linear distance in one step, any other within the bracket, each line on its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assimilate.views.secant import LARGEST_STRIDE, Secants


def solve(functions, *, wanted=0.3, tolerance=0.05, passes=12, guess=1.0, reach=1e6):
    """Evaluate until all lines are over: the secants, and every t of each line in turn."""
    secants = Secants(len(functions), wanted=wanted, tolerance=tolerance, passes=passes)
    tried = [[] for _ in functions]
    for line, function in enumerate(functions):
        secants.start(line, guess, at_zero=function(0.0), reach=reach)
    while not secants.over.all():
        for line in np.flatnonzero(~secants.over):
            tried[line].append(float(secants.t[line]))
        secants.tell(np.array([function(t) for function, t in zip(functions, secants.t, strict=True)]))
    return secants, tried


@pytest.mark.parametrize("slope", [0.08, 0.3, 0.7, 4.0])
def test_a_linear_distance_takes_one_step(slope):
    """d(t) = slope·t from any guess that a stride of 4 reaches: t* = wanted/slope."""
    secants, tried = solve([lambda t: slope * t], tolerance=1e-12)
    assert secants.found.all()
    assert secants.passes[0] <= 2
    assert tried[0][-1] == pytest.approx(0.3 / slope, rel=1e-12)


def test_a_guess_that_is_far_too_small_grows_by_strides():
    secants, tried = solve([lambda t: t], guess=1e-4, tolerance=1e-9)
    assert secants.found.all()
    grown = np.divide(tried[0][1:], tried[0][:-1])
    assert (grown <= LARGEST_STRIDE + 1e-9).all()
    assert tried[0][-1] == pytest.approx(0.3)


@given(
    knots=st.lists(st.floats(0, 2), min_size=3, max_size=12),
    guess=st.floats(0.01, 12),
    wanted=st.floats(0.05, 1),
)
@settings(max_examples=300, deadline=None)
def test_no_point_leaves_the_bracket(knots, guess, wanted):
    """Of any continuous function: once points lie on both sides, each next one is strictly between the nearest two."""
    at = np.arange(len(knots) + 1.0)

    def distance(t):
        return float(np.interp(t, at, [0.0, *knots]))

    reach = float(len(knots))
    secants, (tried,) = solve([distance], wanted=wanted, guess=guess, reach=reach, tolerance=1e-6, passes=60)
    near, far = 0.0, None  # the sides, kept apart from the code's own
    for t in tried:
        if far is not None:
            assert min(near, far) < t < max(near, far)
        assert 0 < t <= len(knots)
        if distance(t) < wanted:
            near = t
        else:
            far = t
    assert bool(secants.found[0]) == (abs(distance(tried[-1]) - wanted) <= 1e-6 * wanted)
    # A crossing that is bracketed is found, and what is not bracketed was followed to the end.
    assert secants.found[0] or (far is None and tried[-1] == reach)


def test_what_cannot_be_reached_ends_at_the_reach():
    secants, tried = solve([lambda t: 0.2 * t / (1 + t)], reach=16.0)
    assert not secants.found.any()
    assert tried[0][-1] == 16.0
    assert len(tried[0]) <= 4


def test_too_far_from_the_start_ends_after_the_passes():
    secants, tried = solve([lambda t: 1 + t], passes=5)
    assert not secants.found.any()
    assert tried[0] == [1.0, 0.5, 0.25, 0.125, 0.0625]


def test_an_infinite_value_is_too_far():
    """Codes that overflow: the bracket is halved, and the crossing below is found."""
    secants, _ = solve([lambda t: 0.1 * t if t < 5 else np.nan], guess=8.0)
    assert secants.found.all()
    assert secants.t[0] == pytest.approx(3.0, rel=0.05)


def test_a_line_does_not_depend_on_the_others():
    functions = [lambda t, p=p: 0.4 * t**p for p in (0.5, 0.8, 1.0, 1.5, 2.2)]
    together, tried = solve(functions, tolerance=1e-3)
    for line, function in enumerate(functions):
        alone, (own,) = solve([function], tolerance=1e-3)
        assert own == tried[line]
        assert alone.passes[0] == together.passes[line]
        assert own[-1] == pytest.approx((0.3 / 0.4) ** (1 / (0.5, 0.8, 1.0, 1.5, 2.2)[line]), rel=2e-3)
