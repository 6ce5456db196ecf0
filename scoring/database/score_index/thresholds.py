"""What a threshold keeps, and the threshold that keeps a requested share, count or tokens.

A threshold keeps ``minimum <= visnec < maximum``. One that was computed for a number of samples
keeps more only where scores are tied; ``count_kept`` reports how many it keeps.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.connection import Selection
from scoring.database.score_index.index import KIND, SOURCE, ScoreIndex, open_score_index
from scoring.database.values import ThresholdCounts
from scoring.errors import InputError


def count_kept(
    selection: Selection, minimum: float | None, maximum: float | None
) -> ThresholdCounts:
    """Count what ``minimum <= visnec < maximum`` keeps and drops; None leaves a side open."""
    index = open_score_index(selection)
    first = index.position_of(minimum)
    last = max(first, index.end_of(maximum))
    table = index.group_table(SOURCE)
    kept = table.count_below(last) - table.count_below(first)
    tokens = table.count_tokens_below(last) - table.count_tokens_below(first)
    dropped, dropped_tokens = table.counts[-1] - kept, table.tokens[-1] - tokens
    columns = {
        "source": index.sources,
        "kept_tokens": tokens.tolist() if index.has_tokens else [None] * len(kept),
        "dropped_tokens": dropped_tokens.tolist() if index.has_tokens else [None] * len(kept),
        "kept": kept.tolist(),
        "dropped": dropped.tolist(),
        "unscored": index.count_unscored(SOURCE).tolist(),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return ThresholdCounts(
        n_kept=int(kept.sum()),
        n_dropped=int(dropped.sum()),
        n_unscored=index.n_unscored,
        tokens_kept=int(tokens.sum()) if index.has_tokens else None,
        tokens_dropped=int(dropped_tokens.sum()) if index.has_tokens else None,
        by_source=sorted(
            (row for row in rows if row["kept"] + row["dropped"] + row["unscored"]),
            key=lambda row: (-row["kept"] - row["dropped"], row["source"]),
        ),
    )


def count_near(selection: Selection, threshold: float, distance: float) -> int:
    """Count the scores that are at most ``distance`` from a threshold, below or above."""
    index = open_score_index(selection)
    beyond = math.nextafter(threshold + distance, math.inf)
    return index.position_of(beyond) - index.position_of(threshold - distance)


def threshold_for_share(selection: Selection, share: float) -> float:
    """Return the lowest of the ``int(share * scored)`` highest scores.

    ``visnec >=`` this keeps that many samples, and more only where scores are tied. Infinity
    where it keeps none. Raises InputError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"A share is between 0 and 1 (0.15 is 15 %), got {share!r}.")
    index = open_score_index(selection)
    return _threshold_for(index, int(share * len(index)))


def threshold_for_count(selection: Selection, count: int) -> float:
    """Return the score that keeps the ``count`` highest, or all where there are fewer.

    Ties and none as in :func:`threshold_for_share`. Raises InputError for a count below 0.
    """
    if count < 0:
        raise InputError(f"A number of samples is 0 or more, got {count!r}.")
    index = open_score_index(selection)
    return _threshold_for(index, min(int(count), len(index)))


def threshold_for_tokens(selection: Selection, tokens: int) -> float:
    """Return the lowest score whose samples have at most ``tokens`` answer tokens together.

    Samples are added from the highest score down until one more would exceed the number; those
    tied with the last one are kept too. Infinity where not even one fits. Raises InputError for a
    number below 0.
    """
    if tokens < 0:
        raise InputError(f"A number of answer tokens is 0 or more, got {tokens!r}.")
    index = open_score_index(selection)
    if not index.has_tokens:
        raise InputError(
            f"The scores of run {selection.scope.run_id!r} were imported without answer tokens. "
            "Choose the threshold by share, by count or as a score."
        )
    table = index.group_table(KIND)
    tokens_before = table.tokens.sum(axis=1)  # each block
    must_drop = int(tokens_before[-1]) - int(tokens)
    if must_drop <= 0:
        return _threshold_for(index, len(index))
    block = int(np.searchsorted(tokens_before, must_drop, side="left")) - 1
    begin = block * table.block_rows
    inside = np.cumsum(index.n_tokens[begin : begin + table.block_rows], dtype=np.int64)
    n_inside = int(np.searchsorted(inside, must_drop - int(tokens_before[block]), side="left")) + 1
    return _threshold_for(index, len(index) - begin - n_inside)


def score_ecdf(selection: Selection, points: int = 200) -> pd.DataFrame:
    """Return visnec, share: the share of scored samples at or below ``points`` scores, ascending.

    The scores are those of evenly spaced ranks, the lowest and the highest included, each once.
    Empty where nothing is scored. Raises InputError for fewer than two points.
    """
    if points < 2:
        raise InputError(f"A curve needs two points or more, got {points!r}.")
    visnec, share = cumulate_shares(open_score_index(selection).visnec, points)
    return pd.DataFrame({"visnec": visnec, "share": share})


def cumulate_shares(
    ascending: NDArray[np.float64], points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return some of the sorted values, and the share of all that are at or below each of them."""
    if not len(ascending):
        return ascending, np.empty(0)
    ranks = np.linspace(0, len(ascending) - 1, min(points, len(ascending))).astype(np.int64)
    values = np.unique(ascending[ranks])
    return values, np.searchsorted(ascending, values, side="right") / len(ascending)


def _threshold_for(index: ScoreIndex, count: int) -> float:
    """The lowest of the ``count`` highest scores; infinity for none."""
    return float(index.visnec[len(index) - count]) if count else math.inf
