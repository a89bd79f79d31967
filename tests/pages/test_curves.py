"""Curves without a plotting library."""

import math

import numpy as np
import pytest
from jinja2 import UndefinedError

from assimilate.pages.curves import HEIGHT, LEFT, RIGHT, plot, thin, ticks
from assimilate.pages.render import render


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 800), (12.3, 98.7), (-0.02, 0.03), (1e-6, 3e-6), (99.5, 99.9)])
def test_ticks_are_round_few_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 9
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    assert steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9) == pytest.approx(
        min((1, 2, 5), key=lambda f: abs(f - steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-9)))
    )


def test_thinning_keeps_ends_and_extremes():
    rng = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in enumerate(rng.normal(size=5000))]
    kept = thin(points)
    assert len(kept) <= 242
    assert kept == sorted(kept)
    assert {points[0], points[-1]} <= set(kept) <= set(points)
    values = [y for _, y in points]
    assert {min(values), max(values)} <= {y for _, y in kept}


def test_points_are_drawn_where_they_belong():
    laid = plot({"one": [(0, 0), (10, 100)], "two": [(0, 50), (10, math.nan)]}, x_label="epoch", y_label="5-NN")
    (x0, y0), (x1, y1) = laid.lines["one"]
    assert (x0, x1) == (LEFT, RIGHT)
    assert 0 < y1 < y0 < HEIGHT
    assert len(laid.lines["two"]) == 1  # one point is finite
    assert [text for _, text in laid.x_ticks] == ["0", "2", "4", "6", "8", "10"]
    assert y1 < {text: y for y, text in laid.y_ticks}["50"] < y0


def test_nothing_to_draw():
    assert plot({"one": []}, x_label="epoch", y_label="loss") is None


def test_a_template_that_misses_a_value_says_so():
    with pytest.raises(UndefinedError, match="'book' is undefined"):
        render("report.md", spread_note="")
