"""kNN accuracy of several runs while they train (Figures 4, 6, 7, 11 and 12)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from assimilate.analysis.canvas import fits_inside, make_room_beside, new_figure
from assimilate.analysis.colours import COLOURS, DASHES


@dataclass(frozen=True)
class Curve:
    """Accuracy by epoch of one setting, over the seeds that were run.

    Attributes:
        epochs: [points], increasing.
        values: [seeds, points], in percent.
    """

    epochs: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Over seeds."""
        return self.values.mean(axis=0)

    @property
    def std(self) -> NDArray[np.float64]:
        """Over seeds, divisor n − 1 as in the report's tables; 0 of a single seed."""
        return self.values.std(axis=0, ddof=min(1, len(self.values) - 1))


def join_seeds(curves: Sequence[Sequence[tuple[float, float]]]) -> Curve:
    """Curves of several seeds, each a list of (epoch, accuracy), at the epochs that all of them have.

    Raises:
        ValueError: they have none in common.
    """
    tables = [dict(curve) for curve in curves]
    epochs = sorted(set.intersection(*(set(table) for table in tables)))
    if not epochs:
        raise ValueError("the curves of its seeds have no epoch in common")
    return Curve(np.array(epochs, dtype=float), np.array([[table[epoch] for epoch in epochs] for table in tables]))


def draw_curves(curves: Mapping[str, Curve], *, y_label: str) -> Figure:
    """Mean curves; a band of one standard deviation where there are several seeds.

    Args:
        curves: by label.
        y_label: what was measured.
    """
    figure, (axes,) = new_figure(5.4, 3.4)
    for position, (label, curve) in enumerate(curves.items()):
        colour = COLOURS[position % len(COLOURS)]
        dash = DASHES[position // len(COLOURS) % len(DASHES)]
        seeds = len(curve.values)
        text = label if seeds == 1 else f"{label} (n={seeds})"
        marker = "o" if len(curve.epochs) < 4 else "none"
        (line,) = axes.plot(curve.epochs, curve.mean, color=colour, linestyle=dash, label=text)
        line.set(marker=marker, markersize=4, clip_on=False, zorder=3)  # the first stands on an axis
        if seeds > 1:
            low, high = curve.mean - curve.std, curve.mean + curve.std
            axes.fill_between(curve.epochs, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.grid(True, axis="y")
    axes.set_xlim(min(curve.epochs[0] for curve in curves.values()), max(c.epochs[-1] for c in curves.values()))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(y_label)
    if not fits_inside(figure, legend := axes.legend()):
        legend.remove()
        make_room_beside(figure, figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper"))
    return figure
