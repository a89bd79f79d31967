"""Curves and histograms as SVG that reads on a light and on a dark page."""

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

# Mid greys and saturated mid tones have enough contrast on white and on near-black.
INK = "#808890"
COLOURS = ("#2f7fd6", "#e07a1f", "#2aa36b", "#b455c8")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in ("left", "bottom"))
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=INK, alpha=0.2, linewidth=0.6)
    return figure, axes


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    # A fixed salt and no date: the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "assimilate", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _legend(axes: Axes) -> None:
    legend: Any = axes.legend(frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_color(INK)


def plot_distances(distances: NDArray[np.float32], *, wanted: float, name: str, width: float = 5.2) -> str:
    """Histogram of achieved distances with the wanted one marked (Figure 2a), as SVG."""
    figure, axes = _figure(width, 3.0)
    top = max(float(distances.max()), 1.5 * wanted, 1e-6)
    axes.hist(distances.reshape(-1), bins=80, range=(0, top), color=COLOURS[0], alpha=0.85, label=name)
    axes.axvline(wanted, color=COLOURS[1], linewidth=1.8, label=f"ε1 = {wanted:.3f}")
    axes.set_xlabel("distance of a stored view to its anchor, ‖f(view) − f(anchor)‖₂", color=INK, fontsize=9)
    axes.set_ylabel("views", color=INK, fontsize=9)
    _legend(axes)
    return _svg(figure)
