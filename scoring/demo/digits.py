"""Draw scikit-learn's handwritten digits as the demo's digit images.

The scans are real handwriting (8 x 8 pixels, 1,797 of them) that every installation of
scikit-learn includes, so the demo's digit images are drawn when the demo is built and are not
committed. ``demo/digits.json`` lists the scans, their tints and their cells. The training of the
bundled model draws its digits with the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 256  # width and height of every demo image, in pixels
CELLS_PER_ROW = 4  # a picture is a grid of 4 x 4 cells; cell 0 is top left, cell 3 top right
CELL = SIDE // CELLS_PER_ROW  # width and height of a cell, in pixels

Colour = tuple[int, int, int]

_INK_MAXIMUM = 16.0
_INK_GAIN = 1.4
_INK_FLOOR = 0.1


@dataclass(frozen=True)
class DigitMark:
    """One handwritten digit in a picture: its scan, its tint and its cell."""

    scan: int
    colour: Colour
    cell: int


def draw_digits(background: Colour, marks: Sequence[DigitMark]) -> Image.Image:
    """Return a picture of ``SIDE`` x ``SIDE`` pixels with the digits on a plain background."""
    image = Image.new("RGB", (SIDE, SIDE), background)
    for mark in marks:
        row, column = divmod(mark.cell, CELLS_PER_ROW)
        image.paste(mark.colour, (column * CELL, row * CELL), _ink_mask(mark.scan))
    return image


def write_digit_images(destination: Path, demo_dir: Path) -> int:
    """Draw every digit image that the demo needs.

    Reads ``demo_dir/digits.json``, writes ``destination/digits/*.png`` and returns how many files
    were written. The same scikit-learn data and Pillow give the same bytes each time.
    """
    pictures = json.loads((demo_dir / "digits.json").read_text(encoding="utf-8"))
    folder = destination / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        marks = [
            DigitMark(mark["scan"], tuple(mark["colour"]), mark["cell"])
            for mark in picture["marks"]
        ]
        image = draw_digits(tuple(picture["background"]), marks)
        image.save(folder / Path(picture["file"]).name, optimize=True)
    return len(pictures)


@cache
def load_scans() -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    """Return the 1,797 scans and the digit (0 to 9) of each."""
    # Imported here: scikit-learn takes a second, and only the demo needs it in this module.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return np.asarray(bunch.images), tuple(int(digit) for digit in bunch.target)


@cache
def _ink_mask(scan: int) -> Image.Image:
    """Return the scan enlarged to a cell: a smooth mask, 255 on the ink, else 0."""
    # A margin of one pixel: many scans touch their upper and lower border.
    ink = np.pad(load_scans()[0][scan], 1) / _INK_MAXIMUM
    small = Image.fromarray((ink * 255).astype(np.uint8))
    large = np.asarray(small.resize((CELL, CELL), Image.Resampling.BICUBIC)) / 255.0
    # Enlarging blurs the strokes; a little gain gives them an edge again.
    crisp = np.clip((large - _INK_FLOOR) * _INK_GAIN, 0.0, 1.0)
    return Image.fromarray((crisp * 255).astype(np.uint8))
