"""How far views lie from their anchors: histograms (Figure 2a), as a figure and for a run's page, and their numbers."""

import io
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from assimilate.analysis.canvas import ink, new_figure

FEWEST_BINS, MOST_BINS = 20, 200


def summarize_distances(distances: NDArray[np.float32]) -> dict[str, float]:
    """Moments and quantiles of distances of any shape; `share_beyond` tells a heavy tail: above mean + 2 std."""
    values = distances.astype(np.float64).reshape(-1)
    mean, std = float(values.mean()), float(values.std())
    quantiles = np.quantile(values, (0.05, 0.5, 0.95))
    return {
        "mean": mean,
        "std": std,
        **{name: float(value) for name, value in zip(("q05", "median", "q95"), quantiles, strict=True)},
        "skewness": float(((values - mean) ** 3).mean() / std**3) if std > 0 else 0.0,
        "share_beyond": float((values > mean + 2 * std).mean()),
    }


def draw_distances(
    distances: Mapping[str, NDArray[np.float32]], colours: Mapping[str, str], *, epsilon1: float | None
) -> Figure:
    """Overlaid histograms of ‖f(view) − f(anchor)‖₂.

    Args:
        distances: [images, views] by name.
        colours: by name.
        epsilon1: the distance that W-search was asked for, marked by a line; None: no line.
    """
    figure, (axes,) = new_figure(5.4, 3.2)
    top = 1.05 * max(*(float(np.quantile(values, 0.999)) for values in distances.values()), epsilon1 or 0.0, 1e-6)
    for name, values in distances.items():
        edges = _edges(values, top)
        # Densities over all views: what lies beyond the last edge still counts.
        counts, _ = np.histogram(values, edges)
        density = counts / values.size / (edges[1] - edges[0])
        label = f"{name}   {values.mean():.3f} ± {values.std():.3f}"
        axes.stairs(density, edges, fill=True, color=colours[name], alpha=0.22)
        axes.stairs(density, edges, color=colours[name], linewidth=1.5, label=label)
    if epsilon1 is not None:
        axes.axvline(epsilon1, color=ink(), linewidth=1.0, linestyle=(0, (4, 2)))
        axes.annotate(
            f" ε₁ = {epsilon1:.3f}", (epsilon1, 1.0), xycoords=("data", "axes fraction"), va="top", fontsize=8
        )
    axes.set_xlim(0, top)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("distance to the anchor, ‖f(view) − f(anchor)‖₂")
    axes.set_ylabel("density")
    axes.legend(title="mean ± std", title_fontsize=8, alignment="left")
    return figure


def _edges(values: NDArray[np.float32], top: float) -> NDArray[np.float64]:
    """Bins from 0 to `top`, as wide as these values alone need (Freedman & Diaconis, 1981): a narrow peak stays one."""
    low, high = np.quantile(values, (0.25, 0.75))
    width = 2 * float(high - low) / values.size ** (1 / 3)
    wanted = top / width if width > 0 else MOST_BINS
    return np.linspace(0, top, round(min(max(wanted, FEWEST_BINS), MOST_BINS)) + 1)


# Mid greys and saturated mid tones have enough contrast on white and on near-black.
GREY, OF_VIEWS, OF_WANTED = "#808890", "#2f7fd6", "#e07a1f"


def plot_distances(distances: NDArray[np.float32], *, wanted: float, name: str) -> str:
    """Histogram of achieved distances with the wanted one marked (Figure 2a), as SVG for a light and a dark page."""
    figure = Figure(figsize=(5.2, 3.0), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
    axes.tick_params(colors=GREY, labelsize=9)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    top = max(float(distances.max()), 1.5 * wanted, 1e-6)
    axes.hist(distances.reshape(-1), bins=80, range=(0, top), color=OF_VIEWS, alpha=0.85, label=name)
    axes.axvline(wanted, color=OF_WANTED, linewidth=1.8, label=f"ε1 = {wanted:.3f}")
    axes.set_xlabel("distance of a stored view to its anchor, ‖f(view) − f(anchor)‖₂", color=GREY, fontsize=9)
    axes.set_ylabel("views", color=GREY, fontsize=9)
    for text in axes.legend(frameon=False, fontsize=9).get_texts():
        text.set_color(GREY)
    stream = io.StringIO()
    # A fixed salt and no date: the same numbers give the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": "assimilate", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text_of_svg = stream.getvalue()
    return text_of_svg[text_of_svg.index("<svg") :]
