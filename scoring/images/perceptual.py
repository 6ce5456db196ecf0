"""A perceptual hash of a picture, for near-duplicates: 64 bits of its shapes, and its colours.

The bits are the signs of the lowest 8 x 8 frequencies of the cosine transform of a 32 x 32 grey
picture, as in the common pHash. Signs are used instead of the median, because mirroring the picture
then flips known bits: the hash of the mirrored copy follows from the stored one. The colours are
those of 4 x 4 fields. Without them, charts and drawings of the same layout would be the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

HASH_NAME = "signs of 8 x 8 DCT frequencies, colours of 4 x 4 fields"
HASHED_SIZE = 128
"""Pixels of the longer side that are sufficient to decode."""
FIELDS = 4
N_COLOURS = 3 * FIELDS * FIELDS
_SIDE, _LOW = 32, 8
_LEAST_CONTRAST = 2.0  # standard deviation of grey values, of 255
_ODD_COLUMNS = np.uint64(int("01" * (_LOW * _LOW // 2), 2))
_MOST_DIFFERENCE = 10 * N_COLOURS  # on average 10 of 255

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PictureHash:
    """The hash of one picture; ``colours`` are RGB bytes of the fields, row by row."""

    bits: int
    colours: bytes


def hash_picture(picture: Image.Image) -> PictureHash | None:
    """Return the hash of a picture; None for one without structure, which is like all others."""
    small = picture.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS, reducing_gap=3)
    grey = np.asarray(small.convert("L"), np.float64)
    if grey.std() < _LEAST_CONTRAST:
        return None
    low = dctn(grey, norm="ortho")[:_LOW, :_LOW]  # (vertical, horizontal) frequencies
    low[0, 0] = 0  # the brightness
    bits = int.from_bytes(np.packbits(low > 0).tobytes(), "big")
    return PictureHash(bits, small.resize((FIELDS, FIELDS), Image.Resampling.BOX).tobytes())


@dataclass(frozen=True, slots=True, eq=False)
class PictureHashes:
    """The hashes of n pictures: ``bits`` (n,) and ``colours`` (n, N_COLOURS)."""

    bits: NDArray[np.uint64]
    colours: NDArray[np.uint8]

    @classmethod
    def collect(cls, hashes: list[PictureHash]) -> PictureHashes:
        """Return hashes as arrays."""
        colours = np.frombuffer(b"".join(each.colours for each in hashes), np.uint8)
        bits = np.array([each.bits for each in hashes], np.uint64)
        return cls(bits, colours.reshape(-1, N_COLOURS))

    def __len__(self) -> int:
        return len(self.bits)

    def select(self, index: Ints) -> PictureHashes:
        """Return the hashes at these positions."""
        return PictureHashes(self.bits[index], self.colours[index])

    def add_mirrored(self) -> PictureHashes:
        """Return these hashes, and after them those of the pictures mirrored left to right."""
        fields = self.colours.reshape(-1, FIELDS, FIELDS, 3)[:, :, ::-1]
        mirrored = fields.reshape(-1, N_COLOURS)
        return PictureHashes(
            np.concatenate((self.bits, self.bits ^ _ODD_COLUMNS)),
            np.concatenate((self.colours, mirrored)),
        )


def are_near(
    ours: PictureHashes, i: Ints, theirs: PictureHashes, j: Ints, distance: int
) -> NDArray[np.bool_]:
    """Return which pictures ``i[k]`` and ``j[k]`` are near-duplicates, shape (pairs,).

    They differ in at most ``distance`` bits, and in their colours by at most 10 of 255 on average.
    """
    is_near = np.asarray(np.bitwise_count(ours.bits[i] ^ theirs.bits[j]) <= distance)
    near = np.flatnonzero(is_near)
    differences = np.abs(
        ours.colours[i[near]].astype(np.int16) - theirs.colours[j[near]].astype(np.int16)
    )
    is_near[near] = differences.sum(1) <= _MOST_DIFFERENCE
    return is_near
