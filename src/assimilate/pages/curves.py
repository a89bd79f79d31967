"""Curves as plain numbers that a template draws as small SVGs, without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, WIDTH - 10, 14, HEIGHT - 34
# More points than this are thinned: the plot is not wider.
MAX_POINTS = 240
# Colours of the lines of a plot.
NUM_COLOURS = 8


@dataclass(frozen=True)
class Plot:
    """Named curves in one plot, in pixels from its upper left corner.

    Attributes:
        x_ticks: (x, text), below it.
        y_ticks: (y, text), left of it.
        lines: by name, at least one point each.
        scale: lowest and highest x and y, at the frame's edges.
    """

    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: dict[str, list[tuple[float, float]]]
    scale: tuple[float, float, float, float]


def ticks(low: float, high: float, wanted: int = 4, *, whole: bool = False) -> list[float]:
    """About `wanted` round numbers within [low, high], 1, 2 or 5 times a power of ten apart; at least 1 if `whole`."""
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.75)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def thin(points: Points, at_most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Fewer points of the same shape: of every stretch its lowest and highest, and always the first and the last."""
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(points) <= at_most:
        return points
    kept = {0, len(points) - 1}
    stretch = 2 * len(points) / (at_most - 2)
    for part in range(math.ceil(len(points) / stretch)):
        inside = range(int(part * stretch), min(len(points), int((part + 1) * stretch)))
        if inside:
            kept |= {min(inside, key=lambda i: points[i][1]), max(inside, key=lambda i: points[i][1])}
    return [points[index] for index in sorted(kept)]


def plot(series: Mapping[str, Points], *, x_label: str, y_label: str) -> Plot | None:
    """Lay curves out; None where there is nothing to draw.

    Args:
        series: name to (x, y) points; those that are not finite are left out. An empty one is not drawn.
        x_label: below the plot; x counts something, so its ticks are whole numbers.
        y_label: above it.
    """
    drawn = {name: thinned for name, points in series.items() if (thinned := thin(points))}
    if not drawn:
        return None
    x_low, x_high = _range([x for points in drawn.values() for x, _ in points], margin=0.0)
    y_low, y_high = _range([y for points in drawn.values() for _, y in points], margin=0.06)

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (RIGHT - LEFT)

    def down(y: float) -> float:
        return TOP + (y_high - y) / (y_high - y_low) * (BOTTOM - TOP)

    return Plot(
        x_label,
        y_label,
        [(across(x), _text(x)) for x in ticks(x_low, x_high, 5, whole=True)],
        [(down(y), _text(y)) for y in ticks(y_low, y_high)],
        {name: [(across(x), down(y)) for x, y in points] for name, points in drawn.items()},
        (x_low, x_high, y_low, y_high),
    )


def _text(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _range(values: Sequence[float], *, margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high <= low:
        half = abs(low) * 0.05 or 0.5
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)
