"""The next page of samples by score, from positions in a score index instead of a query.

The order is that of the database down to ties: by score, and equal scores by ascending row_idx,
whichever way the scores go.
"""

from __future__ import annotations

import numpy as np

from scoring.database.score_index.index import ScoreIndex
from scoring.database.values import Cursor

Key = tuple[float | None, int]


def next_keys(index: ScoreIndex, descending: bool, after: Cursor | None, limit: int) -> list[Key]:
    """Return (visnec, row_idx) of at most ``limit`` scored samples from the cursor, its way.

    A cursor without a value is after all scored samples: forward, none are left.
    """
    backward = after is not None and after.backward
    if after is not None and after.value is None and not backward:
        return []
    ascends = descending is backward
    begin, end = 0, len(index)
    keys: list[Key] = []
    if after is not None and after.value is not None:
        low, high = _tie_range(index, after.value)
        rows = index.row_idx[low:high]
        if backward:
            last = low + int(np.searchsorted(rows, after.row_idx, side="left"))
            keys = _take_keys(index, low, last, backward, limit)
        else:
            first = low + int(np.searchsorted(rows, after.row_idx, side="right"))
            keys = _take_keys(index, first, high, backward, limit)
        begin, end = (high, end) if ascends else (begin, low)
    while len(keys) < limit and begin < end:
        low, high = _tie_range(index, float(index.visnec[begin if ascends else end - 1]))
        keys += _take_keys(index, low, high, backward, limit - len(keys))
        begin, end = (high, end) if ascends else (begin, low)
    return keys


def _tie_range(index: ScoreIndex, visnec: float) -> tuple[int, int]:
    """The positions of the samples with this score."""
    return index.position_of(visnec), int(np.searchsorted(index.visnec, visnec, side="right"))


def _take_keys(index: ScoreIndex, begin: int, end: int, backward: bool, limit: int) -> list[Key]:
    """The first samples of a range of equal scores or, backward, the last ones."""
    if backward:
        positions = range(end - 1, max(begin, end - limit) - 1, -1)
    else:
        positions = range(begin, min(end, begin + limit))
    return [(float(index.visnec[i]), int(index.row_idx[i])) for i in positions]
