"""Offsets of views from their anchors in two spaces, side by side (Figure 2b)."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from assimilate.analysis.canvas import Picture, new_figure, print_figure, styled


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
            axes.set_aspect("equal", adjustable="datalim")
            axes.set(xticks=[], yticks=[])
            axes.spines[["left", "bottom"]].set_visible(False)
        handles = [panels[0].scatter([], [], s=24, c=colours[name], label=name) for name in next(iter(spaces.values()))]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2)
        return print_figure(figure, budget=budget)
