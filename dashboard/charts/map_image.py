"""The map of samples as a picture: points in, PNG out.

A million points are too many to send to a browser, so the server counts them per pixel. A pixel has
the colour of the largest class in it, never a mixture, so that every colour is in the legend; the
more points of that class, the more opaque it is.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

OUTSIDE, WITHOUT_VALUE, FIRST_VALUE = range(3)
"""Classes: not under the filter, without a value, and those with one; each is above the one before,
and the classes from ``FIRST_VALUE`` on compete for a pixel."""
MAX_CLASSES: Final = 15
_N_SHADES: Final = 17  # of opacity; with 15 classes and the clear colour at most 256 colours
_LOWEST_ALPHA: Final = 0.5
_DOT_SIZES: Final = ((2_000, 5), (20_000, 3), (100_000, 2))  # most points in view, width of each

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Viewport:
    """The part of the map in view, in its units with ``y1`` at the top, and its size in pixels.

    ``density`` is the number of pixels per CSS pixel of the browser, in which dots are measured.
    """

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int
    density: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ClassedPoints:
    """Points in the order of their classes: ``starts[c]`` to ``starts[c + 1]`` are of class c.

    With ``limits``, the points from ``FIRST_VALUE`` on are one class and have ``values``: a pixel
    has the class FIRST_VALUE + n if n of the limits are at or below the mean of its points.
    """

    x: Floats
    y: Floats
    starts: tuple[int, ...]
    values: Floats
    limits: tuple[float, ...] = ()


def order_points(
    x: Floats,
    y: Floats,
    classes: NDArray[np.uint8],
    values: Floats | None = None,
    limits: tuple[float, ...] = (),
) -> ClassedPoints:
    """Return points in the order of their classes."""
    order = np.argsort(classes, kind="stable")
    starts = np.searchsorted(classes[order], np.arange(MAX_CLASSES + 1))
    values = x[:0] if values is None else values[order]
    return ClassedPoints(x[order], y[order], tuple(map(int, starts)), values, limits)


def draw_map(points: ClassedPoints, colours: Sequence[str], viewport: Viewport) -> bytes:
    """Return the points in view as PNG on a clear background; ``colours`` has one per class."""
    counts, classes = _count_pixels(points, viewport)
    most = int(counts.max())
    shades = np.log1p(np.arange(most + 1)) / np.log1p(max(most, 1)) * (_N_SHADES - 1)
    pixels = 1 + classes * np.uint8(_N_SHADES) + np.rint(shades).astype(np.uint8)[counts]
    pixels[counts == 0] = 0
    image = Image.fromarray(pixels.reshape(viewport.height, viewport.width))
    palette = [ImageColor.getrgb(colour) for colour in colours for _ in range(_N_SHADES)]
    image.putpalette(bytes(np.array([(0, 0, 0), *palette], np.uint8)))
    alphas = np.linspace(255 * _LOWEST_ALPHA, 255, _N_SHADES).astype(np.uint8)
    content = io.BytesIO()
    transparency = bytes([0, *np.tile(alphas, len(colours))])
    image.save(content, "PNG", compress_level=1, transparency=transparency)
    return content.getvalue()


def _count_pixels(
    points: ClassedPoints, viewport: Viewport
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the class of each pixel, and how many points of it are there."""
    n_pixels = viewport.width * viewport.height
    shown, pixels = _find_pixels(points, viewport)
    counts, classes = np.zeros(n_pixels, np.int64), np.zeros(n_pixels, np.uint8)
    for number, (start, end) in enumerate(pairwise(np.searchsorted(shown, points.starts))):
        if start == end:
            continue
        of_class = pixels[:, start:end]  # (pixels of a dot, points)
        n = np.bincount(of_class.ravel(), minlength=n_pixels)
        above = n > counts * (classes >= FIRST_VALUE)
        np.copyto(counts, n, where=above)
        classes[above] = number
        if number == FIRST_VALUE and points.limits:
            values = np.broadcast_to(points.values[shown[start:end]], of_class.shape)
            sums = np.bincount(of_class.ravel(), values.ravel(), n_pixels)
            means = sums[above] / n[above]
            classes[above] += np.searchsorted(points.limits, means, side="right").astype(np.uint8)
    return counts, classes


def _find_pixels(
    points: ClassedPoints, viewport: Viewport
) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Return the positions of the points in view, and their pixels: (pixels of a dot, points).

    The fewer points are in view, the larger is the dot of each.
    """
    width, height = viewport.width, viewport.height
    across = (points.x - np.float32(viewport.x0)) * np.float32(width / (viewport.x1 - viewport.x0))
    down = (np.float32(viewport.y1) - points.y) * np.float32(height / (viewport.y1 - viewport.y0))
    in_view = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    shown = np.flatnonzero(in_view)
    column, row = across[shown].astype(np.int32), down[shown].astype(np.int32)
    size = next((size for most, size in _DOT_SIZES if len(shown) <= most), 1)
    size = max(1, round(size * viewport.density))
    if size == 1:
        return shown, (row * width + column)[None]
    down_by, right_by = np.indices((size, size), np.int32).reshape(2, -1) - size // 2
    middle = (size - 1) / 2 - size // 2
    is_in_dot = (down_by - middle) ** 2 + (right_by - middle) ** 2 <= (size / 2) ** 2  # round
    down_by, right_by = down_by[is_in_dot, None], right_by[is_in_dot, None]
    rows = np.clip(row + down_by, 0, height - 1)
    columns = np.clip(column + right_by, 0, width - 1)
    return shown, rows * width + columns
