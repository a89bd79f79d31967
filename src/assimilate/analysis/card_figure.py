"""A view card as a page: one panel a score, a bar a kind of view, and marks where its references stand."""

import math
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from assimilate.analysis.canvas import ink, new_figure, soft
from assimilate.analysis.card import EXPERT, REAL, RECONSTRUCTION

COLUMNS, WIDTH = 3, 8.2
# Apart from every colour that a bar may have.
MARKS: Mapping[str, tuple[Any, str]] = {
    EXPERT: ("-", "expert views"),
    RECONSTRUCTION: ((0, (3, 1.5)), "reconstruction"),
    REAL: ((0, (1, 1)), "real images"),
}

Card = Mapping[str, Mapping[str, Any]]


def draw_card(cards: Mapping[str, Card], colours: Mapping[str, str]) -> Figure:
    """Small multiples, a panel a score.

    Args:
        cards: {label of views: card}, as `make_card` makes them.
        colours: by label.
    """
    titles = {name: f"{score['title']} ({score['unit']})" for card in cards.values() for name, score in card.items()}
    rows = math.ceil(len(titles) / COLUMNS)
    height = rows * (0.62 + 0.24 * len(cards)) + 0.5
    figure, panels = new_figure(WIDTH, height, rows=rows, columns=COLUMNS)
    for position, (axes, (name, title)) in enumerate(zip(panels, titles.items(), strict=False)):
        _draw_score(axes, {label: card[name] for label, card in cards.items() if name in card}, list(cards), colours)
        axes.set_title(title, fontsize=8)
        axes.set_yticks(range(len(cards)), list(cards) if position % COLUMNS == 0 else [""] * len(cards))
    for axes in panels[len(titles) :]:
        axes.axis("off")
    shown = [name for name in MARKS if any(name in score for card in cards.values() for score in card.values())]
    lines = [Line2D([], [], color=ink(), linestyle=MARKS[name][0], linewidth=1.6) for name in shown]
    figure.legend(lines, [MARKS[name][1] for name in shown], loc="outside upper right", ncols=len(shown))
    return figure


def _draw_score(axes: Axes, scores: Card, labels: list[str], colours: Mapping[str, str]) -> None:
    """Bars from 0, the first label on top, each with its number and a mark for each reference."""
    values = [value for score in scores.values() for key in ("value", *MARKS) if (value := score.get(key)) is not None]
    low, high = min(0.0, *values), max(0.0, *values)
    reach = (high - low) or 1.0
    for label, score in scores.items():
        row = labels.index(label)
        axes.barh(row, score["value"], height=0.62, color=colours[label], alpha=0.75, linewidth=0)
        for name, (dashes, _) in MARKS.items():
            if name in score:
                axes.plot([score[name]] * 2, [row - 0.42, row + 0.42], color=ink(), linestyle=dashes, linewidth=1.6)
        axes.annotate(
            f"{score['value']:.3g}",
            (1.0, row),
            xycoords=("axes fraction", "data"),
            ha="right",
            va="center",
            fontsize=7.5,
        )
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(low - (0.05 * reach if low else 0), high + 0.34 * reach)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines["left"].set_color(soft())
    axes.locator_params(axis="x", nbins=4)
