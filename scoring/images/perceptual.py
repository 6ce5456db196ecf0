"""A 64-bit perceptual hash of a picture, for near-duplicates.

The signs of the lowest 8 x 8 frequencies of the cosine transform of a 32 x 32 grey picture, as in
the common pHash. Signs are used instead of the median, because mirroring the picture then flips
known bits: the hash of the mirrored copy follows from the stored one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

HASH_NAME = "signs of 8 x 8 DCT frequencies"
HASHED_SIZE = 256
"""Pixels of the longer side that are sufficient to decode."""
_SIDE, _LOW = 32, 8
_LEAST_CONTRAST = 2.0  # standard deviation of grey values, of 255
_ODD_COLUMNS = int("01" * (_LOW * _LOW // 2), 2)

Hashes = NDArray[np.uint64]


def hash_picture(picture: Image.Image) -> int | None:
    """Return the hash of a picture; None for one without structure, which is like all others."""
    small = picture.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    grey = np.asarray(small, np.float64)
    if grey.std() < _LEAST_CONTRAST:
        return None
    low = dctn(grey, norm="ortho")[:_LOW, :_LOW]  # (vertical, horizontal) frequencies
    low[0, 0] = 0  # the brightness
    return int.from_bytes(np.packbits(low > 0).tobytes(), "big")


def mirror_hashes(hashes: Hashes) -> Hashes:
    """Return the hashes of the pictures mirrored left to right: odd horizontal frequencies flip."""
    return hashes ^ np.uint64(_ODD_COLUMNS)
