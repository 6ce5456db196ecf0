"""Near-duplicate pictures by their perceptual hashes, through an index of the bits.

The 64 bits are three bands. Hashes that differ in at most ``distance`` bits differ in at most a
third of that in one band, so comparing all with similar bands finds all pairs, not most of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from scoring.duplicates.near_texts import group_connected
from scoring.duplicates.texts import Hashes, Ints, expand_ranges
from scoring.errors import InputError
from scoring.images.perceptual import PictureHashes, are_near

DEFAULT_DISTANCE = MOST_DISTANCE = 8
_BANDS = ((0, 21), (21, 21), (42, 22))  # first bit and width


def check_distance(distance: int) -> None:
    """Raise InputError unless the index finds all pairs of that distance."""
    if not 0 <= distance <= MOST_DISTANCE:
        raise InputError(f"--distance is a number of bits from 0 to {MOST_DISTANCE}: {distance}")


def find_near(
    queries: PictureHashes,
    hashes: PictureHashes,
    distance: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Ints, Ints]]:
    """Yield (positions in queries, positions in hashes) of all pairs within a distance.

    A pair may be yielded several times. ``on_progress`` is called with (steps done, in total).
    """
    bits = [
        sum(1 << bit for bit in flipped)
        for n in range(distance // len(_BANDS) + 1)
        for flipped in itertools.combinations(range(22), n)
    ]
    for band, (shift, width) in enumerate(_BANDS):
        keys, ours = (_band(each, shift, width) for each in (hashes.bits, queries.bits))
        order = np.argsort(keys, kind="stable")
        starts = np.concatenate(([0], np.cumsum(np.bincount(keys, minlength=1 << width))))
        for step, flipped in enumerate(bits):
            if not flipped >> width:
                wanted = ours ^ flipped
                first = starts[wanted]
                for i, index in expand_ranges(first, starts[wanted + 1] - first):
                    j = order[index]
                    is_near = are_near(queries, i, hashes, j, distance)
                    yield i[is_near], j[is_near]
            if on_progress:
                on_progress(band * len(bits) + step + 1, len(_BANDS) * len(bits))


def _band(hashes: Hashes, shift: int, width: int) -> Ints:
    return ((hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)


def group_pictures(
    hashes: PictureHashes, distance: int, on_progress: Callable[[int, int], None] | None = None
) -> Ints:
    """Return the group of each hash, equal for those that near or mirrored pairs connect."""
    bits = hashes.bits[:, None].view(np.uint8)
    rows = np.concatenate((bits, hashes.colours), axis=1)  # (n, bytes)
    _, first, inverse = np.unique(
        rows.view(f"V{rows.shape[1]}")[:, 0], return_index=True, return_inverse=True
    )
    distinct = hashes.select(first)
    near = find_near(distinct.add_mirrored(), distinct, distance, on_progress)
    pairs = ((query % len(distinct), j) for query, j in near)
    return group_connected(len(distinct), pairs)[inverse]
