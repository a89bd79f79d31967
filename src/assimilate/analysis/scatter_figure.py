"""A few labelled points in a plane: information against inner products (Table 2), alignment against uniformity."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from assimilate.analysis.canvas import new_figure, soft


@dataclass(frozen=True)
class Point:
    """One measurement with its label."""

    label: str
    x: float
    y: float
    colour: str
    filled: bool = True


def draw_points(points: Sequence[Point], *, x_label: str, y_label: str, note: str | None = None) -> Figure:
    """A scatter plot with a legend in the order of the points.

    Args:
        points: at least one.
        x_label: with its unit.
        y_label: likewise.
        note: a remark under the axes, such as which corner is better.
    """
    figure, (axes,) = new_figure(5.6, 3.4)
    for point in points:
        axes.scatter(
            point.x, point.y, s=52, label=point.label, zorder=3, linewidths=1.5, edgecolors=point.colour,
            facecolors=point.colour if point.filled else axes.get_facecolor(),
        )  # fmt: skip
    axes.grid(True)
    axes.margins(0.12)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    if note is not None:
        axes.set_title(note, fontsize=8, fontweight="normal", color=soft())
    return figure
