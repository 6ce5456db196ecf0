"""From one page of scores to the next in memory: positions in a slice instead of a query.

The one decision behind it: the order is that of the database to the last tie: by score, and among
equal scores by ascending row_idx in both directions of the score.
"""

from __future__ import annotations

import numpy as np

from scoring.database.score_index.index import ScoreIndex
from scoring.database.values import Cursor

Key = tuple[float | None, int]


def next_keys(one: ScoreIndex, descending: bool, after: Cursor | None, limit: int) -> list[Key]:
    """(visnec, row_idx) of at most ``limit`` scored samples from the cursor on, in its direction.

    A cursor without a value stands behind all scored samples: forward there are none left.
    """
    backward = after is not None and after.backward
    begin, end = 0, len(one)
    tie: tuple[int, int] | None = None
    if after is not None and after.value is not None:
        low = one.position(after.value)
        high = int(np.searchsorted(one.visnec, after.value, side="right"))
        tie = _rest_of_tie(one, low, high, after)
        begin, end = (high, end) if descending is backward else (begin, low)
    elif after is not None and not backward:
        return []
    upward = descending is backward
    keys = _rows(one, *tie, backward, limit) if tie else []
    while len(keys) < limit and begin < end:
        edge = one.visnec[begin] if upward else one.visnec[end - 1]
        if upward:
            high = int(np.searchsorted(one.visnec, edge, side="right"))
            keys += _rows(one, begin, high, backward, limit - len(keys))
            begin = high
        else:
            low = one.position(float(edge))
            keys += _rows(one, low, end, backward, limit - len(keys))
            end = low
    return keys


def _rest_of_tie(one: ScoreIndex, low: int, high: int, after: Cursor) -> tuple[int, int]:
    """Where the samples with the cursor's score lie that come after it."""
    rows = one.row_idx[low:high]
    if after.backward:
        return low, low + int(np.searchsorted(rows, after.row_idx, side="left"))
    return low + int(np.searchsorted(rows, after.row_idx, side="right")), high


def _rows(one: ScoreIndex, begin: int, end: int, backward: bool, limit: int) -> list[Key]:
    """The first or, backward, the last samples of a stretch of equal scores."""
    if backward:
        places = range(end - 1, max(begin, end - limit) - 1, -1)
    else:
        places = range(begin, min(end, begin + limit))
    return [(float(one.visnec[place]), int(one.row_idx[place])) for place in places]
