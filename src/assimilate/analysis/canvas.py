"""How figures look and become PNG, PDF and SVG: on white for papers, on dark pages, or in a style of matplotlib's."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context, rcParams
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.style import context
from matplotlib.text import Text

from assimilate.analysis.colours import DARK, LIGHT, VERMILION, Page

DPI = 200

# What the figures' inches are made for, in every style: another's letters would overlap or be cut off.
SIZES: dict[Any, Any] = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 10,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
}
STYLE: Mapping[Any, Any] = {
    **SIZES,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture everywhere
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "grid.linewidth": 0.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "assimilate",
}


def _on(page: Page) -> dict[Any, Any]:
    keys = {
        page.paper: ("figure.facecolor", "axes.facecolor"),
        page.ink: ("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"),
        page.soft: ("axes.edgecolor", "xtick.color", "ytick.color"),
        page.faint: ("grid.color",),
    }
    return {**STYLE, **{key: colour for colour, names in keys.items() for key in names}}


@dataclass(frozen=True)
class Picture:
    """One figure in three formats, as bytes that depend on its numbers alone, and for dark pages, as a PNG."""

    png: bytes
    pdf: bytes
    svg: bytes
    dark: bytes | None = None


# Of a figure's width, what a legend beside its axes may take before the figure grows.
LEGEND_SHARE = 0.4


def new_figure(width: float, height: float, *, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of so many inches, with its axes row by row. To be called inside `picture`."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flatten())


def fits_inside(figure: Figure, legend: Legend) -> bool:
    """Whether a legend within the axes leaves room for what is drawn there."""
    extent = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    return bool(extent.width < 0.6 * figure.bbox.width and extent.height < 0.5 * figure.bbox.height)


def make_room_beside(figure: Figure, legend: Legend) -> None:
    """Widen and heighten a figure for the legend at its right: many runs, or long names, would cover the axes."""
    extent = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    width, height = figure.get_size_inches()
    wide, high = extent.width / figure.dpi, extent.height / figure.dpi
    figure.set_size_inches(width + max(0.0, wide - width * LEGEND_SHARE), max(height, high + 0.5))


def ink() -> Any:
    """The colour of text, in the style that a figure is drawn in."""
    return rcParams["text.color"]


def soft() -> Any:
    """The colour of what stands back."""
    return rcParams["xtick.color"]


def legible(colour: str) -> tuple[float, ...]:
    """A colour (RGB, 0 to 1), lighter on a dark page: small marks of dark red or purple would be lost on it."""
    rgb = to_rgb(colour)
    return rgb if sum(to_rgb(paper())) > 1.5 else tuple(0.7 * part + 0.3 for part in rgb)


def paper() -> Any:
    """The colour that a figure is drawn on."""
    return rcParams["figure.facecolor"]


def _shrink_to_fit(figure: Figure, text: Text) -> None:
    """Make a line smaller that a narrow figure would cut off."""
    renderer, available = FigureCanvasAgg(figure).get_renderer(), 0.98 * figure.bbox.width
    # Letters stand on whole pixels, so that the width is not quite in proportion to the size.
    size = float(text.get_fontsize())
    while (wide := text.get_window_extent(renderer).width) > available and size > 1:
        size *= min(0.97, available / wide)
        text.set_fontsize(size)


def print_figure(figure: Figure, *formats: str, budget: str = "paper") -> list[bytes]:
    """The figure in each format; one of a reduced budget says so in its corner (a smoke number is no paper number)."""
    if budget != "paper":
        note: dict[str, Any] = {"x": 0.995, "ha": "right", "fontsize": 6, "color": VERMILION}
        text = f"budget: {budget}, not comparable with the paper"
        if figure.get_layout_engine() is None:
            _shrink_to_fit(figure, figure.text(y=0.005, va="bottom", s=text, **note))
        else:  # it takes its room from the axes
            figure.supxlabel(text, **note)
    # No dates: the same numbers give the same bytes.
    undated = {"png": ("Software",), "pdf": ("CreationDate", "Creator"), "svg": ("Date", "Creator")}
    files = []
    for kind in formats:
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi="figure", metadata=dict.fromkeys(undated[kind]))
        files.append(stream.getvalue())
    return files


def picture(draw: Callable[[], Figure], *, budget: str = "paper", style: str = "light") -> Picture:
    """What `draw` draws, in a style.

    Args:
        draw: makes the same figure at each call, in the colours of `rcParams`.
        budget: of the numbers in it.
        style: light, dark, or one of matplotlib's. A light figure has a dark twin.
    """
    own = {"light": LIGHT, "dark": DARK}
    with rc_context(_on(own.get(style, LIGHT))), context([] if style in own else style), rc_context(SIZES):
        png, pdf, svg = print_figure(draw(), "png", "pdf", "svg", budget=budget)
    if style != "light":
        return Picture(png, pdf, svg)
    with rc_context(_on(DARK)):
        return Picture(png, pdf, svg, *print_figure(draw(), "png", budget=budget))
