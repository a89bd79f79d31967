"""The colours of figures, which colour-blind eyes tell apart. Needs no plotting library."""

INK, SOFT, FAINT = "#1f2328", "#6b7280", "#d9dde3"
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
# Second and third time round, the same colours are told apart by these.
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
