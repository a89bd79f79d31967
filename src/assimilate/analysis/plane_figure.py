"""t-SNE, and its points in panels side by side, coloured by what they are: kinds of view (Figure 2b), or classes."""

import math
import re
import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from assimilate.analysis.canvas import legible, new_figure


def embed_in_plane(
    points: NDArray[np.float32], *, perplexity: float, num_iterations: int, seed: int, limit: str
) -> NDArray[np.float32]:
    """t-SNE (van der Maaten & Hinton, 2008), from the two first principal components.

    Args:
        points: [samples, dim].
        perplexity: effective number of neighbours, below the number of samples.
        num_iterations: steps of the optimisation, at least 250.
        seed: of the optimisation.
        limit: the key of `analysis` that says how many samples there may be, for the message.

    Returns:
        Float32 [samples, 2].

    Raises:
        ValueError: `perplexity` is not below the number of samples.
    """
    if perplexity >= len(points):
        raise ValueError(
            f"a perplexity of {perplexity:g} needs more than {perplexity:g} points, and there are {len(points)}: "
            f"raise analysis.{limit}, or lower analysis.perplexity"
        )
    settings = {"perplexity": perplexity, "max_iter": num_iterations, "init": "pca", "learning_rate": "auto"}
    plane = TSNE(2, **settings, random_state=seed % 2**32).fit_transform(points)  # all that scikit-learn takes
    return np.asarray(plane, dtype=np.float32)


# Share of the points, each way, that must be within the frame: one that t-SNE throws far out would shrink the rest.
WITHIN = 0.99
COLUMNS, SIDE = 3, 3.4
# Letters of a title that fit over a panel.
LETTERS = 46
# Second and third time round, the same colours are told apart by these.
MARKERS = ("o", "^", "s")


def frame(points: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper limits, (x, y) each, of the square that is shown of points [samples, 2]."""
    low, high = np.quantile(points.astype(np.float64), ((1 - WITHIN) / 2, (1 + WITHIN) / 2), axis=0)
    centre, half = (low + high) / 2, 0.6 * float((high - low).max()) + 1e-6
    return centre - half, centre + half


def outside(points: NDArray[np.float32]) -> int:
    """How many of the points [samples, 2] a panel does not show."""
    low, high = frame(points)
    return int(((points < low) | (points > high)).any(axis=1).sum())


def draw_planes(panels: Mapping[str, Mapping[str, NDArray[np.float32]]], colours: Mapping[str, str]) -> Figure:
    """A panel a space or an encoder, a colour a group of points; the same groups in each.

    Args:
        panels: t-SNE coordinates [samples, 2] by title of the panel and name of the group.
        colours: by name of the group; groups of one colour differ by their markers.
    """
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes_of = new_figure(SIDE * columns, (SIDE + 0.2) * rows, rows=rows, columns=columns)
    markers = {name: MARKERS[list(colours.values())[:at].count(ink)] for at, (name, ink) in enumerate(colours.items())}
    for axes, (title, points) in zip(axes_of, panels.items(), strict=False):
        stacked = np.concatenate(list(points.values()))
        of = np.repeat(list(points), [len(part) for part in points.values()])
        # In one shuffled sequence: whatever is drawn last would hide the rest.
        order = np.random.default_rng(0).permutation(len(stacked))
        for marker in dict.fromkeys(markers.values()):
            chosen = order[[markers[name] == marker for name in of[order]]]
            ink = [legible(colours[name]) for name in of[chosen]]
            axes.scatter(stacked[chosen, 0], stacked[chosen, 1], s=9, marker=marker, c=ink, alpha=0.8, linewidths=0)
        axes.set_title(textwrap.fill(re.sub(r",(?=\S)", ", ", title), LETTERS), fontsize=8)
        low, high = frame(stacked)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.set_aspect("equal")
        axes.set(xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
    for axes in axes_of[len(panels) :]:
        axes.axis("off")
    handles = [
        axes_of[0].scatter([], [], s=24, marker=markers[name], c=[legible(colour)], label=name)
        for name, colour in colours.items()
    ]
    longest = max(map(len, colours))
    fitting = max(1, int(SIDE * columns / (0.32 + 0.075 * longest)))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(fitting, len(handles)), handletextpad=0.2)
    return figure
