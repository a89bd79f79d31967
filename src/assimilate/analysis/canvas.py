"""How figures look and become PNG, PDF and SVG: on white, for papers, in colours that colour-blind eyes tell apart."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text

from assimilate.analysis.colours import FAINT, INK, SOFT, VERMILION

DPI = 200

STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture everywhere
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "assimilate",
}


@dataclass(frozen=True)
class Picture:
    """One figure in three formats, as bytes that depend on its numbers alone."""

    png: bytes
    pdf: bytes
    svg: bytes


# Of a figure's width, what a legend beside its axes may take before the figure grows.
LEGEND_SHARE = 0.4


def new_figure(width: float, height: float, *, columns: int = 1, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure of so many inches, with its axes side by side. To be called, and drawn on, inside `styled`."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(1, columns, squeeze=False, **subplots)
    return figure, list(axes[0])


def make_room_beside(figure: Figure, legend: Legend) -> None:
    """Widen and heighten a figure for the legend at its right: many runs, or long names, would cover the axes."""
    extent = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    wide, high = extent.width / figure.dpi, extent.height / figure.dpi
    figure.set_size_inches(width + max(0.0, wide - width * LEGEND_SHARE), max(height, high + 0.5))


def styled() -> Any:
    """A context in which figures look like ours."""
    return matplotlib.rc_context(dict[Any, Any](STYLE))


def _shrink_to_fit(figure: Figure, text: Text) -> None:
    """Make a line smaller that a narrow figure would cut off."""
    renderer, available = FigureCanvasAgg(figure).get_renderer(), 0.98 * figure.bbox.width
    # Letters stand on whole pixels, so that the width is not quite in proportion to the size.
    size = float(text.get_fontsize())
    while (wide := text.get_window_extent(renderer).width) > available and size > 1:
        size *= min(0.97, available / wide)
        text.set_fontsize(size)


def print_figure(figure: Figure, *, budget: str = "paper", dpi: int = DPI) -> Picture:
    """The figure in every format; one of a reduced budget says so in its corner (a smoke number is no paper number)."""
    if budget != "paper":
        note: dict[str, Any] = {"x": 0.995, "ha": "right", "fontsize": 6, "color": VERMILION}
        text = f"budget: {budget}, not comparable with the paper"
        if figure.get_layout_engine() is None:
            _shrink_to_fit(figure, figure.text(y=0.005, va="bottom", s=text, **note))
        else:  # it takes its room from the axes
            figure.supxlabel(text, **note)
    # No dates: the same numbers give the same bytes.
    undated = {"png": ("Software",), "pdf": ("CreationDate", "Creator"), "svg": ("Date", "Creator")}
    files = {}
    for kind, names in undated.items():
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi=dpi, metadata=dict.fromkeys(names))
        files[kind] = stream.getvalue()
    return Picture(**files)
