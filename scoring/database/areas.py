"""Areas of a map: polygons that samples are filtered by, and the points inside one.

A map is a pair of number columns, ``NAME_x`` and ``NAME_y``. An area is written
``NAME@x,y;x,y;x,y`` with the corners in order; its last corner is connected to its first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.errors import FilterError

MAX_CORNERS = 64
AREA_EXAMPLE = "area:map@12,40;13.5,80;20,31 with 3 to 64 corners x,y on a map"

_LARGEST = 1e100  # products of differences stay finite
_AREA = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)@(\S*)")


@dataclass(frozen=True, slots=True, order=True)
class Area:
    """A polygon on a map, by the even-odd rule: a corner is a pair x, y in the map's own unit.

    A point on the border belongs to the area that is to its right, or above it on a horizontal
    edge, as a range includes its lower limit. Of two areas with a common edge, one contains it.
    Raises FilterError unless it has 3 to 64 corners with finite coordinates.
    """

    map: str
    corners: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        corners = tuple((float(x) + 0.0, float(y) + 0.0) for x, y in self.corners)  # no -0
        if not 3 <= len(corners) <= MAX_CORNERS:
            raise FilterError(
                f"area: an area has 3 to {MAX_CORNERS} corners, got {len(corners)}. Write "
                f"{AREA_EXAMPLE}."
            )
        if not all(abs(value) <= _LARGEST for corner in corners for value in corner):
            raise FilterError(f"area: corners are finite numbers. Write {AREA_EXAMPLE}.")
        object.__setattr__(self, "corners", corners)  # the dataclass is frozen

    @property
    def columns(self) -> tuple[str, str]:
        """The names of the columns with the coordinates."""
        return f"{self.map}_x", f"{self.map}_y"

    def __str__(self) -> str:
        corners = (f"{format_number(x)},{format_number(y)}" for x, y in self.corners)
        return f"{self.map}@{';'.join(corners)}"


@dataclass(frozen=True, slots=True, eq=False)
class SortedPoints:
    """The points of a map, ascending by ``y``, with the samples that they are; do not modify."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    row_idx: NDArray[np.int32]
    n_samples: int  # also those without a point

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> SortedPoints:
        """Sort coordinates by row_idx; samples without both have no point."""
        row_idx = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        row_idx = row_idx[np.argsort(y[row_idx])]
        return cls(x[row_idx], y[row_idx], row_idx.astype(np.int32), len(x))

    def mark_inside(self, area: Area) -> NDArray[np.bool_]:
        """Return by row_idx whether a sample has a point inside an area.

        Each edge is compared with the points at its height only, so that a polygon costs about as
        much with 64 corners as with 3.
        """
        is_inside = np.zeros(len(self.y), bool)
        for (x0, y0), (x1, y1) in _iter_edges(area):
            begin, end = np.searchsorted(self.y, (y0, y1))  # y0 <= y < y1
            if begin < end:
                crossing = (self.y[begin:end] - y0) * (x1 - x0)
                crossing /= y1 - y0
                crossing += x0
                is_inside[begin:end] ^= self.x[begin:end] < crossing
        by_row = np.zeros(self.n_samples, bool)
        by_row[self.row_idx[is_inside]] = True
        return by_row


def parse_area(text: str) -> tuple[Area, str]:
    """Parse an area at the beginning of a text; return it and the text after it.

    Raises FilterError.
    """
    match = _AREA.match(text)
    if match is None:
        problem = f"{text.split()[0]!r} is not an area" if text.strip() else "has no value"
        raise FilterError(f"area: {problem}. Write {AREA_EXAMPLE}.")
    return Area(match[1], tuple(map(_parse_corner, match[2].split(";")))), text[match.end() :]


def _parse_corner(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise FilterError(f"area: {text!r} is not a corner. Write {AREA_EXAMPLE}.") from None
    return x, y


def _iter_edges(area: Area) -> Iterable[tuple[tuple[float, float], tuple[float, float]]]:
    """Yield the edges that are not horizontal, from their lower corner to their upper one.

    In this order two areas compute the same numbers for an edge that both have.
    """
    for first, second in zip(area.corners, (*area.corners[1:], area.corners[0]), strict=True):
        if first[1] != second[1]:
            yield (first, second) if first[1] < second[1] else (second, first)


def format_number(value: float) -> str:
    """Return the shortest text that parses to the same number."""
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
