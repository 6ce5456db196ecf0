"""Colours, numbers and positions that all pictures share, and helpers that put them into words."""

from __future__ import annotations

import random
import zlib

from scoring.demo.digits import CELL, CELLS_PER_ROW, SIDE, Colour

__all__ = ["CELL", "CELLS_PER_ROW", "SIDE", "Colour"]

COLOURS: dict[str, Colour] = {
    "red": (211, 47, 47),
    "orange": (245, 135, 30),
    "yellow": (240, 205, 30),
    "green": (56, 150, 70),
    "blue": (38, 98, 214),
    "purple": (140, 60, 170),
    "black": (38, 40, 44),
}
COLOUR_NAMES = tuple(COLOURS)

BACKGROUNDS: tuple[Colour, ...] = (
    (247, 245, 240),
    (236, 241, 246),
    (240, 244, 236),
    (246, 238, 240),
    (228, 232, 238),
    (250, 250, 250),
    (234, 230, 224),
    (224, 236, 238),
)

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

QUADRANTS = ("top left", "top right", "bottom left", "bottom right")

N_CELLS = CELLS_PER_ROW * CELLS_PER_ROW


def quadrant_of(cell: int) -> str:
    """Return the quarter of the picture that a cell is in."""
    row, column = divmod(cell, CELLS_PER_ROW)
    half = CELLS_PER_ROW // 2
    return QUADRANTS[2 * (row // half) + column // half]


def cell_corner(cell: int) -> tuple[int, int]:
    """Return the left and top pixel of a cell."""
    row, column = divmod(cell, CELLS_PER_ROW)
    return column * CELL, row * CELL


def with_article(noun: str) -> str:
    """Return ``a circle``, ``an orange circle``, ``an eight``."""
    return ("an " if noun[0].lower() in "aeio" and not noun.startswith("one") else "a ") + noun


def plural(noun: str) -> str:
    """Return ``circles``, ``crosses``, ``sixes``."""
    return noun + ("es" if noun[-1] in "sx" else "s")


def counted(count: int, noun: str) -> str:
    """Return ``one shape``, ``two shapes``."""
    return f"{NUMBERS[count]} {noun if count == 1 else plural(noun)}"


def is_held_out(text: str, one_in: int) -> bool:
    """Return whether a text belongs to the demo (one in ``one_in``) or to the training data.

    The rule depends only on the text: any record can be checked without a list.
    """
    return zlib.crc32(text.encode("utf-8")) % one_in == 0


def seeded(seed: int) -> random.Random:
    """Return the random generator for all data here: equal seeds give equal data."""
    return random.Random(seed)  # noqa: S311 (drawing pictures, not secrets)
