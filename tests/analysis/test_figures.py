"""Figures on tiny inputs: both formats, the same bytes for the same numbers, and pixels where they belong."""

import io
import statistics
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from assimilate.analysis.canvas import picture, print_figure
from assimilate.analysis.curve_figure import draw_curves, join_seeds
from assimilate.analysis.distance_figure import draw_distances
from assimilate.analysis.grid_figure import GAP, HEADER, MARGIN, WIDE_GAP, Panel, draw_grid, mosaic
from assimilate.analysis.plane_figure import draw_planes
from assimilate.analysis.scatter_figure import Point, draw_points

RNG = np.random.default_rng(0)
NORMAL = RNG.standard_normal((2, 50, 2)).astype(np.float32)


def distances(budget="paper", style="light"):
    values = {"W-search": abs(NORMAL[0] * 0.01 + 0.3), "W-perturb": abs(NORMAL[1] * 0.2)}
    colours = {"W-search": "#0072b2", "W-perturb": "#d55e00"}
    return picture(lambda: draw_distances(values, colours, epsilon1=0.3), budget=budget, style=style)


def offsets(budget="paper", style="light"):
    panel = {"W-search": NORMAL[0], "W-perturb": NORMAL[1]}
    colours = {"W-search": "#0072b2", "W-perturb": "#d55e00"}
    return picture(lambda: draw_planes({"W": panel, "Z": panel}, colours), budget=budget, style=style)


def curves(budget="paper", style="light"):
    several = join_seeds([[(0, 10.0), (1, 20.0)], [(0, 12.0), (1, 24.0)]])
    many = {f"run {number}": join_seeds([[(0, 10.0), (1, 20.0 + number)]]) for number in range(9)}
    return picture(lambda: draw_curves({"SimCLR": several, **many}, y_label="%"), budget=budget, style=style)


def points(budget="paper", style="light"):
    measured = [Point("one", 0.9, 4.1, "#0072b2"), Point("two", 0.8, 3.2, "#d55e00", filled=False)]
    return picture(
        lambda: draw_points(measured, x_label="x", y_label="y", note="lower is better"), budget=budget, style=style
    )


def pictures(rows, columns, size):
    return RNG.integers(0, 256, (rows, columns, 3, size, size), dtype=np.uint8)


def grid(budget="paper", style="light"):
    views = np.random.default_rng(1).integers(0, 128, (2, 3, 3, 8, 8), dtype=np.uint8)
    panels = [Panel("original", np.full((2, 1, 3, 8, 8), 7, dtype=np.uint8)), Panel("W-search", views)]
    return picture(lambda: draw_grid(panels, budget=budget), budget=budget, style=style)


@pytest.mark.parametrize("draw", [distances, offsets, curves, points])
def test_both_formats_and_the_same_bytes_again(draw):
    drawn, again = draw(), draw()
    assert Image.open(io.BytesIO(drawn.png)).width >= 1000
    assert drawn.pdf.startswith(b"%PDF")
    assert ElementTree.fromstring(drawn.svg).tag.endswith("}svg")
    assert drawn == again


def paper(png):
    """The colour of most pixels."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    return max(image.getcolors(image.width * image.height))[1]


@pytest.mark.parametrize("draw", [distances, offsets, curves, points, grid])
def test_styles(draw):
    """A light figure has a dark twin of its size, which style=dark gives alone; matplotlib's styles have none."""
    light, dark, other = draw(), draw(style="dark"), draw(style="dark_background")
    assert (paper(light.png), paper(dark.png), paper(other.png)) == ((255,) * 3, (0x1C, 0x20, 0x24), (0, 0, 0))
    assert light.dark == dark.png
    assert dark.dark is None
    assert other.dark is None
    assert Image.open(io.BytesIO(light.dark)).size == Image.open(io.BytesIO(light.png)).size
    # No text of one style is left in the other: whatever is grey on white would not be read on the dark.
    assert b"#1f2328" not in dark.svg


def test_groups_of_one_colour_have_markers_of_their_own():
    groups = {str(number): NORMAL[0] for number in range(4)}
    figure = draw_planes({"run": groups}, dict(zip(groups, ["#0072b2", "#d55e00"] * 2, strict=True)))
    shapes = [handle.get_paths()[0].vertices.shape for handle in figure.legends[0].legend_handles]
    assert shapes[0] == shapes[1] != shapes[2] == shapes[3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(groups)


@pytest.mark.parametrize("draw", [distances, offsets, curves, points, grid])
def test_another_budget_is_written_on_the_figure(draw):
    plain, marked = (
        np.asarray(Image.open(io.BytesIO(draw(budget).png)).convert("RGB")) for budget in ("paper", "smoke")
    )
    corner = marked[-16:, marked.shape[1] // 2 :].astype(int)
    red = (corner[..., 0] > corner[..., 2] + 60).sum()
    assert red > 50
    corner = plain[-8:, plain.shape[1] // 2 :].astype(int)
    assert (corner[..., 0] > corner[..., 2] + 60).sum() == 0


def test_mosaic_puts_every_picture_in_its_place():
    one, three = pictures(2, 1, 8), pictures(2, 3, 6)
    canvas, spans = mosaic([Panel("a", one), Panel("b", three)])
    assert canvas.shape == (2 * 8 + GAP, 4 * 8 + 2 * GAP + WIDE_GAP, 3)
    assert spans == [(0, 8), (8 + WIDE_GAP, canvas.shape[1])]
    for row in range(2):
        top = row * (8 + GAP)
        np.testing.assert_array_equal(canvas[top : top + 8, :8], one[row, 0].transpose(1, 2, 0))
        for column in range(3):
            left = 8 + WIDE_GAP + column * (8 + GAP)
            # Smaller ones stand in the middle of their place.
            cell = canvas[top + 1 : top + 7, left + 1 : left + 7]
            np.testing.assert_array_equal(cell, three[row, column].transpose(1, 2, 0))


def test_pixels_of_a_grid_are_enlarged_by_a_whole_number():
    panels = [Panel("original", pictures(2, 1, 16)), Panel("W-search", pictures(2, 4, 16))]
    canvas, _ = mosaic(panels)
    png = np.asarray(Image.open(io.BytesIO(picture(lambda: draw_grid(panels, budget="paper")).png)).convert("RGB"))
    scale = (png.shape[1] - 2 * MARGIN) // canvas.shape[1]
    assert scale == 5
    shown = png[HEADER : HEADER + canvas.shape[0] * scale, MARGIN : MARGIN + canvas.shape[1] * scale]
    np.testing.assert_array_equal(shown[scale // 2 :: scale, scale // 2 :: scale], canvas)


@pytest.mark.parametrize("style", ["ggplot", "fivethirtyeight"])
def test_a_style_of_matplotlibs_keeps_the_sizes_of_letters(style):
    """The figures' inches are made for them."""
    sizes = []

    def draw():
        drawn = draw_curves({"a": join_seeds([[(0, 1.0), (1, 2.0)]])}, y_label="%")
        sizes.append((drawn.axes[0].yaxis.label.get_size(), drawn.axes[0].get_legend().get_texts()[0].get_size()))
        return drawn

    picture(draw, style=style)
    assert sizes == [(9, 8)]


def test_the_band_over_seeds_is_the_sample_standard_deviation():
    """The same divisor, n − 1, as the report's tables and a sweep's."""
    several = [[(0, 10.0), (1, 20.0)], [(0, 12.0), (1, 24.0)], [(0, 17.0), (1, 22.0)]]
    curve = join_seeds(several)
    assert curve.std.tolist() == pytest.approx([statistics.stdev([10, 12, 17]), statistics.stdev([20, 24, 22])])
    assert join_seeds(several[:1]).std.tolist() == [0, 0]


def test_the_last_markers_are_whole():
    """A row of pixels above a level curve cuts its markers alone: the first, the middle, the last."""
    level = {"a": join_seeds([[(0, 50), (5, 50), (10, 50)]])}
    drawn = picture(lambda: draw_curves(level, y_label="accuracy"))
    pixels = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("RGB")).astype(int)
    blue = np.abs(pixels - np.array([0x00, 0x72, 0xB2])).sum(2) < 60
    line = np.flatnonzero(blue.sum(1) > blue.sum(1).max() / 2)
    row = blue[line[0] - 2]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    widths = edges[1::2] - edges[::2]
    assert len(widths) == 3
    assert widths.max() - widths.min() <= 1


@pytest.mark.parametrize(("epochs", "marker"), [(3, "o"), (4, "none")])
def test_only_few_epochs_have_markers(epochs, marker):
    curve = {"a": join_seeds([[(epoch, 50.0) for epoch in range(epochs)]])}
    assert draw_curves(curve, y_label="%").axes[0].lines[0].get_marker() == marker


@pytest.mark.parametrize("count", [3, 25])
def test_many_or_long_names_do_not_cover_the_curves(count, recwarn):
    """The axes keep their 3 inches of width: left of the legend there is what a figure of few runs has."""
    names = [f"W-search + A2, view.n_cached={n},view.n_used=3,view.n_sampled=2,epochs=1-771deeac" for n in range(count)]
    curve = join_seeds([[(0, 10.0), (1, 20.0)]])
    few, many = (
        Image.open(io.BytesIO(picture(lambda runs=runs: draw_curves(dict.fromkeys(runs, curve), y_label="%")).png))
        for runs in ("a", names)
    )
    assert not [str(warning.message) for warning in recwarn if "layout" in str(warning.message)]
    assert many.width > few.width
    assert (many.height > few.height) == (count > 3)
    pixels = np.asarray(many.convert("L"))
    axis = (pixels[:, : few.width] < 140).sum(axis=1).max()  # the longest dark row is the horizontal axis
    assert axis > few.width * 0.4


@pytest.mark.parametrize("inches", [1.2, 2.2, 6.0])
def test_the_budget_of_a_narrow_figure_is_not_cut_off(inches):
    figure = Figure(figsize=(inches, 2.0), facecolor="white")
    print_figure(figure, "png", budget="smoke")
    (note,) = figure.texts
    assert note.get_text() == "budget: smoke, not comparable with the paper"
    assert (note.get_fontsize() == 6) == (inches > 2)
    extent = note.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    assert 0 <= extent.x0 < extent.x1 <= inches * figure.dpi
