"""Curves without a plotting library."""

import math
import re

import numpy as np
import pytest

from assimilate.tables.curves import HEIGHT, LEFT, RIGHT, WIDTH, curves, thin, ticks


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
    drawn = curves({"one": [(0, 0), (10, 100)], "two": [(0, 50), (10, math.nan)]}, x_label="epoch", y_label="5-NN")
    line = re.search(r'class="line s0" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', drawn)
    x0, y0, x1, y1 = map(float, line.groups())
    assert (x0, x1) == (LEFT, WIDTH - RIGHT)
    assert 0 < y1 < y0 < HEIGHT
    assert drawn.count("<circle") == 1  # of the second, one point is finite


def test_nothing_to_draw():
    assert curves({"one": []}, x_label="epoch", y_label="loss") == ""


def test_names_are_escaped():
    assert "<b>" not in curves({"<b>": [(0, 1)], "c": [(0, 2)]}, x_label="<b>", y_label="<b>")
