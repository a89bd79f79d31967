"""Figures that are ready, drawn and recorded: the only door to what needs torch and matplotlib."""

from collections.abc import Callable, Sequence

from assimilate.figures import card, pairs, runs, views
from assimilate.figures.figure import Figure
from assimilate.figures.inputs import Need
from assimilate.figures.record import RECORD
from assimilate.jobs.session import Session

# Adds its picture to the analysis; returns the caption. By analysis.kind.
DRAWINGS: dict[str, Callable[[Figure], str]] = {
    "pairs": pairs.add_pairs,
    "distances": views.add_distances,
    "tsne": views.add_offsets,
    "grid": views.add_grid,
    "card": card.add_card,
    "curves": runs.add_curves,
    "alignment_uniformity": runs.add_alignment_uniformity,
}


def draw(figure: Figure) -> None:
    """Draw a figure and record it.

    Raises:
        UserError: it cannot be drawn of what there is.
    """
    folder = figure.analysis.finish(DRAWINGS[figure.analysis.kind](figure))
    for path in sorted(folder.glob("*.p*")):
        figure.session.say(f"figure:  {path}")
    figure.session.say(f"record:  {folder / RECORD}")


def measure_row(session: Session, parts: Sequence[Need]) -> None:
    """Measure a line of Table 1."""
    pairs.measure_row(session, parts)
