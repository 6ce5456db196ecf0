"""Shapes that were drawn on the map: from what the browser sent to the corners of an area."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from scoring.database.areas import MAX_CORNERS
from scoring.database.queries.map_points import MAP_SIZE

_MAX_SENT: Final = 4000  # corners
_FLAT: Final = 1e-6  # area of a triangle without one

Corners = NDArray[np.float64]  # (corners, 2)


def read_numbers(sent: object, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    """Return finite numbers that the browser sent; -1 in ``shape`` is any length. None if not."""
    try:
        numbers = np.asarray(sent, np.float64)
    except (OverflowError, TypeError, ValueError):
        return None
    sizes = zip(numbers.shape, shape, strict=False)
    is_of_shape = numbers.ndim == len(shape) and all(
        n == wanted or wanted < 0 for n, wanted in sizes
    )
    return numbers if is_of_shape and np.isfinite(numbers).all() else None


def read_corners(sent: object) -> tuple[tuple[float, float], ...] | None:
    """Return the corners of a drawn shape as a filter has them; None for what encloses nothing."""
    drawn = read_numbers(sent, (-1, 2))
    if drawn is None or not 3 <= len(drawn) <= _MAX_SENT:
        return None
    corners = simplify_shape(np.clip(drawn, -MAP_SIZE, 2 * MAP_SIZE).round(1))
    return tuple((float(x), float(y)) for x, y in corners) if len(corners) else None


def simplify_shape(corners: Corners, most: int = MAX_CORNERS) -> Corners:
    """Return at most ``most`` of the corners of a shape, none if it encloses nothing.

    The corner that changes the area least is left out first (Visvalingam and Whyatt 1993), and
    every one that does not change it.
    """
    while len(corners) >= 3:
        to_previous = np.roll(corners, 1, axis=0) - corners
        to_next = np.roll(corners, -1, axis=0) - corners
        areas = np.abs(to_previous[:, 0] * to_next[:, 1] - to_previous[:, 1] * to_next[:, 0]) / 2
        smallest = int(areas.argmin())
        if len(corners) <= most and areas[smallest] > _FLAT:
            return corners
        corners = np.delete(corners, smallest, axis=0)
    return corners[:0]
