"""Images and their views side by side, in labelled columns (Figures 3, 8, 9 and 10)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from assimilate.analysis.canvas import paper, soft

# In pixels of an image that is not enlarged.
GAP, WIDE_GAP = 1, 5
# A picture's side on paper, in pixels of the PNG; and the width of a wide grid.
CELL, WIDEST = 80, 1800
DPI = 150
HEADER, MARGIN, FOOTER = 30, 12, 16


@dataclass(frozen=True)
class Panel:
    """Columns under one heading: uint8 [rows, columns, 3, H, W]."""

    heading: str
    pictures: NDArray[np.uint8]


def mosaic(
    panels: Sequence[Panel], between: tuple[float, float, float] = (1, 1, 1)
) -> tuple[NDArray[np.uint8], list[tuple[int, int]]]:
    """All panels beside each other, un-enlarged; a picture smaller than the largest stands mid-cell.

    Args:
        panels: with as many rows each.
        between: the colour between them, RGB from 0 to 1.

    Returns:
        ([height, width, 3], first and last pixel column of each panel).
    """
    rows = len(panels[0].pictures)
    assert all(len(panel.pictures) == rows for panel in panels)
    side = max(panel.pictures.shape[-1] for panel in panels)
    columns = sum(panel.pictures.shape[1] for panel in panels)
    width = columns * (side + GAP) - GAP + (len(panels) - 1) * (WIDE_GAP - GAP)
    canvas = np.full((rows * (side + GAP) - GAP, width, 3), np.rint(255 * np.array(between)), dtype=np.uint8)
    left, spans = 0, []
    for panel in panels:
        begin = left
        for column in range(panel.pictures.shape[1]):
            for row in range(rows):
                picture = panel.pictures[row, column].transpose(1, 2, 0)
                inset = (side - len(picture)) // 2
                top = row * (side + GAP) + inset
                canvas[top : top + len(picture), left + inset : left + inset + len(picture)] = picture
            left += side + GAP
        spans.append((begin, left - GAP))
        left += WIDE_GAP - GAP
    return canvas, spans


def draw_grid(panels: Sequence[Panel], *, budget: str) -> Figure:
    """The mosaic enlarged without smoothing, whole pixels onto whole pixels, under the panels' headings.

    Args:
        panels: with as many rows each.
        budget: of the run.
    """
    canvas, spans = mosaic(panels, to_rgb(paper()))
    side = max(panel.pictures.shape[-1] for panel in panels)
    scale = max(1, min(CELL // side, WIDEST // canvas.shape[1]))
    enlarged = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    height, width = enlarged.shape[:2]
    footer = FOOTER if budget != "paper" else 0
    tall, broad = height + HEADER + MARGIN + footer, width + 2 * MARGIN
    figure = Figure(figsize=(broad / DPI, tall / DPI), dpi=DPI)
    axes = figure.add_axes((MARGIN / broad, (MARGIN + footer) / tall, width / broad, height / tall))
    axes.imshow(enlarged, interpolation="none", aspect="auto")
    axes.axis("off")
    for panel, (first, last) in zip(panels, spans, strict=True):
        centre = (MARGIN + scale * (first + last) / 2) / broad
        baseline = (tall - HEADER + 8) / tall
        figure.text(centre, baseline, panel.heading, ha="center", va="bottom", fontsize=_size(panel, scale, side))
        if panel.pictures.shape[1] > 1:
            ends = [(MARGIN + scale * first) / broad, (MARGIN + scale * last) / broad]
            level = (tall - HEADER + 4) / tall
            line = axes.plot(ends, [level, level], color=soft(), linewidth=0.7, transform=figure.transFigure)
            line[0].set_clip_on(False)
    return figure


def _size(panel: Panel, scale: int, side: int) -> float:
    """Points at which a heading fits over its columns; a letter is about .6 of its size wide."""
    available = panel.pictures.shape[1] * (side + GAP) * scale * 72 / DPI
    return max(4.5, min(8.0, available / (0.6 * len(panel.heading))))
