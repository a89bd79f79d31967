"""Curves as small SVGs that take their colours from the page and need no plotting library."""

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]
WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 14, 34
# More points than this are thinned: the plot is not wider.
MAX_POINTS = 240


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


def tick_text(value: float) -> str:
    """A tick's number without needless digits."""
    return f"{value:.4g}".replace("-", "−")


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


def curves(series: Mapping[str, Points], *, x_label: str, y_label: str) -> str:
    """Named curves in one plot.

    Args:
        series: name to (x, y) points; those that are not finite are left out. An empty one is not drawn.
        x_label: below the plot; x counts something, so its ticks are whole numbers.
        y_label: above it.

    Returns:
        An SVG; "" where there is nothing to draw.
    """
    drawn = {name: thinned for name, points in series.items() if (thinned := thin(points))}
    if not drawn:
        return ""
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    x_low, x_high = _range(min(xs), max(xs), margin=0.0)
    y_low, y_high = _range(min(ys), max(ys), margin=0.06)

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        down = TOP + (y_high - y) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return across, down

    name = escape(f"{y_label} over {x_label}: {', '.join(drawn)}", quote=True)
    parts = [f'<svg class="curves" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">']
    for value in ticks(y_low, y_high):
        _, y = at(x_low, value)
        parts.append(f'<path class="rule" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{tick_text(value)}</text>')
    for value in ticks(x_low, x_high, 5, whole=True):
        x, _ = at(value, y_low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{tick_text(value)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    for number, points in enumerate(drawn.values()):
        places = [at(x, y) for x, y in points]
        if len(places) == 1:
            parts.append(f'<circle class="s{number % 4}" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5"/>')
        else:
            line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            parts.append(f'<path class="line s{number % 4}" d="M{line}"/>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{escape(x_label)}</text>')
    parts.append("</svg>")
    keys = "".join(
        f'<span class="key"><i class="s{number % 4}"></i>{escape(name)}</span>' for number, name in enumerate(drawn)
    )
    legend = f'<span class="keys">{keys}</span>' if len(drawn) > 1 else ""
    return f'<div class="plot"><div class="plot-title">{escape(y_label)}{legend}</div>{"".join(parts)}</div>'


def _range(low: float, high: float, *, margin: float) -> tuple[float, float]:
    if high <= low:
        half = abs(low) * 0.05 or 0.5
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)
