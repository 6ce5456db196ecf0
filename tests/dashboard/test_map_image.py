"""The picture of the map, pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dashboard.charts import map_image
from dashboard.charts.map_image import Viewport, draw_map, order_points

GREY, RED, BLUE = "#808080", "#FF0000", "#0000FF"
COLOURS = ("#EEEEEE", GREY, RED, BLUE)
FULL, FAINT = 255, 127  # opacity of the most points in a pixel, and of the fewest
# Four pixels side by side: 0 to 1, ..., 3 to 4.
ROW = Viewport(0, 4, 0, 1, 4, 1)


@pytest.fixture(autouse=True)
def single_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw each point as one pixel."""
    monkeypatch.setattr(map_image, "_DOT_SIZES", ())


def draw(
    points: list[tuple[float, float, int]],
    viewport: Viewport = ROW,
    values: list[float] | None = None,
    limits: tuple[float, ...] = (),
    colours: tuple[str, ...] = COLOURS,
) -> list[tuple[int, ...]]:
    """Return the pixels, row by row, of points (x, y, class)."""
    x, y = (np.array([point[axis] for point in points], np.float32) for axis in (0, 1))
    classes = np.array([point[2] for point in points], np.uint8)
    numbers = None if values is None else np.array(values, np.float32)
    content = draw_map(order_points(x, y, classes, numbers, limits), colours, viewport)
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        assert image.size == (viewport.width, viewport.height)
        pixels = np.asarray(image.convert("RGBA")).reshape(-1, 4)
    return [tuple(map(int, pixel)) for pixel in pixels]


def test_points_are_drawn_in_their_pixels_with_y_upwards() -> None:
    square = Viewport(0, 2, 0, 2, 2, 2)
    pixels = draw([(0.5, 1.5, 2), (1.5, 0.5, 3), (2, 0.5, 2), (0.5, 2.01, 2), (-0.1, 0, 2)], square)
    assert pixels[0] == (255, 0, 0, FULL)  # at the top left
    assert pixels[3] == (0, 0, 255, FULL)
    assert pixels[1][3] == pixels[2][3] == 0  # nothing there; the others are out of view


def test_a_pixel_has_the_colour_of_its_largest_class() -> None:
    pixels = draw([(0.5, 0.5, 2), (0.5, 0.5, 3), (0.6, 0.5, 3), (1.5, 0.5, 2), (1.6, 0.5, 3)])
    assert pixels[0][:3] == (0, 0, 255)
    assert pixels[1][:3] == (255, 0, 0)  # the first of two with the same number


def test_points_with_a_value_are_above_those_without_and_those_outside() -> None:
    outside, without, red = ([(x, 0.5, c)] for x, c in ((0.5, 0), (0.5, 1), (0.5, 2)))
    assert draw(9 * outside + 5 * without + red)[0][:3] == (255, 0, 0)
    assert draw(9 * outside + without)[0][:3] == (128, 128, 128)
    assert draw(9 * outside)[0][:3] == (238, 238, 238)


def test_opacity_grows_with_the_logarithm_of_the_number_of_points() -> None:
    pixels = draw([(0.5, 0.5, 2), *[(1.5, 0.5, 2)] * 3, *[(2.5, 0.5, 2)] * 15])
    # log 2 : log 4 : log 16 of 16 steps: 4, 8 and 16; there are 8 between the lowest and 255.
    assert [pixel[3] for pixel in pixels] == [FAINT + 32, FAINT + 64, FULL, 0]


def test_a_number_is_coloured_by_its_mean() -> None:
    points = [(0.5, 0.5, 2), (0.5, 0.5, 2), (1.5, 0.5, 2), (2.5, 0.5, 2), (2.5, 0.5, 1)]
    values = [-1.0, 0.8, 0.0, 0.5, 9.0]
    colours = ("#EEEEEE", GREY, RED, "#00FF00", BLUE)
    pixels = draw(points, values=values, limits=(0, 0.5), colours=colours)
    assert pixels[0][:3] == (255, 0, 0)  # -0.1 is below both limits
    assert pixels[1][:3] == (0, 255, 0)  # a limit is in the upper step
    assert pixels[2][:3] == (0, 0, 255)
    assert pixels[3][3] == 0


def test_few_points_are_larger_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_image, "_DOT_SIZES", ((1, 5), (2, 3)))
    square = Viewport(0, 7, 0, 7, 7, 7)
    dot = np.array([pixel[3] > 0 for pixel in draw([(3.5, 3.5, 2)], square)]).reshape(7, 7)
    assert dot[1].tolist() == [False, False, True, True, True, False, False]  # without corners
    assert dot[3].tolist() == [False, True, True, True, True, True, False]
    assert dot.sum() == 21
    two = draw([(3.5, 3.5, 2), (3.5, 3.5, 2)], square)
    assert sum(pixel[3] > 0 for pixel in two) == 9


def test_dots_of_a_dense_picture_are_as_large_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_image, "_DOT_SIZES", ((1, 5),))
    dense = Viewport(0, 7, 0, 7, 14, 14, density=2)
    dot = np.array([pixel[3] > 0 for pixel in draw([(3.5, 3.5, 2)], dense)]).reshape(14, 14)
    columns = np.flatnonzero(dot.any(0))
    assert (columns[0], columns[-1]) == (2, 11)
    assert np.array_equal(dot[2:12], dot[2:12][::-1]) and np.array_equal(dot, dot.T)
    assert dot.sum() == 80  # round: 5 pixels are missing in each corner


def test_an_empty_map_is_clear() -> None:
    assert {pixel[3] for pixel in draw([])} == {0}
