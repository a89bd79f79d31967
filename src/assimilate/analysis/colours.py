"""The colours of figures, which colour-blind eyes tell apart. Needs no plotting library."""

from typing import NamedTuple


class Page(NamedTuple):
    """What a figure is drawn on, and the greys of what is no data."""

    paper: str
    ink: str
    soft: str
    faint: str


LIGHT = Page("#ffffff", "#1f2328", "#6b7280", "#d9dde3")
# As a panel of the report in the dark (pages/templates/page.css).
DARK = Page("#1c2024", "#e5e8eb", "#9ea7b0", "#333a41")
# Okabe & Ito (2008), without the yellow, which is hardly visible on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, GREY = "#e69f00", "#56b4e9", "#7f7f7f"
NAMED = {
    "blue": BLUE,
    "vermilion": VERMILION,
    "green": GREEN,
    "purple": PURPLE,
    "orange": ORANGE,
    "sky": SKY,
    "grey": GREY,
}
COLOURS = tuple(NAMED.values())
# Of ten classes: the accessible sequence of Petroff (2021), as matplotlib's style petroff10 has it.
CLASSES = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")
# Second and third time round, the same colours are told apart by these.
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
