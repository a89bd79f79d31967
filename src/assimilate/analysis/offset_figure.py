"""Offsets of views from their anchors in two spaces, side by side (Figure 2b)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from assimilate.analysis.canvas import Picture, new_figure, print_figure, styled

# Share of the points, each way, that must be within the frame: one that t-SNE throws far out would shrink the rest.
WITHIN = 0.99


def frame(points: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper limits, (x, y) each, of the square that is shown of points [samples, 2]."""
    low, high = np.quantile(points.astype(np.float64), ((1 - WITHIN) / 2, (1 + WITHIN) / 2), axis=0)
    centre, half = (low + high) / 2, 0.6 * float((high - low).max()) + 1e-6
    return centre - half, centre + half


def draw_offsets(
    spaces: Mapping[str, Mapping[str, NDArray[np.float32]]], colours: Mapping[str, str], *, budget: str
) -> Picture:
    """A panel a space, a colour a kind of view.

    Args:
        spaces: t-SNE coordinates [samples, 2] by title of the panel and name of the view.
        colours: by name of the view.
        budget: of the run.
    """
    with styled():
        figure, panels = new_figure(3.4 * len(spaces), 3.6, columns=len(spaces))
        for axes, (title, points) in zip(panels, spaces.items(), strict=True):
            # In one shuffled sequence: whatever is drawn last would hide the rest.
            names = list(points)
            stacked = np.concatenate([points[name] for name in names])
            ink = np.concatenate([[colours[name]] * len(points[name]) for name in names])
            order = np.random.default_rng(0).permutation(len(stacked))
            axes.scatter(stacked[order, 0], stacked[order, 1], s=7, c=ink[order], alpha=0.65, linewidths=0)
            axes.set_title(title)
            low, high = frame(stacked)
            axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
            axes.set_aspect("equal")
            axes.set(xticks=[], yticks=[])
            axes.spines[["left", "bottom"]].set_visible(False)
        handles = [panels[0].scatter([], [], s=24, c=colours[name], label=name) for name in next(iter(spaces.values()))]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2)
        return print_figure(figure, budget=budget)
