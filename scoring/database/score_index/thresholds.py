"""Cuts through the scores: what a threshold keeps, and the threshold that keeps what is wanted.

The one decision behind it: a cut keeps ``minimum <= visnec < maximum``, so a threshold that was
found for a number of samples keeps more than that only where scores are tied; ``cut_counts`` then
says what it truly keeps.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from scoring.database.conditions import EVERYTHING
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import KIND, SOURCE, ScoreIndex, open_score_index
from scoring.database.values import Scope, ThresholdCounts
from scoring.errors import InputError
from scoring.necessity import Bands


def count_kept(
    store: Store,
    scope: Scope,
    which: Filter,
    minimum: float | None,
    maximum: float | None,
    bands: Bands | None = None,
) -> ThresholdCounts:
    """What ``minimum <= visnec < maximum`` keeps and drops; None leaves a side open."""
    one = open_score_index(store, scope, which, bands)
    first, last = one.position(minimum), one.end(maximum)
    last = max(first, last)
    table = one.group(SOURCE)
    kept = table.counts_left(last) - table.counts_left(first)
    kept_tokens = table.tokens_left(last) - table.tokens_left(first)
    unscored = np.bincount(one.unscored["source"], one.unscored["n"], len(kept)).astype(np.int64)
    known = one.tokens_known
    nothing = [None] * len(kept)
    columns = {
        "source": one.sources,
        "kept": kept.tolist(),
        "dropped": (table.counts[-1] - kept).tolist(),
        "unscored": unscored.tolist(),
        "kept_tokens": kept_tokens.tolist() if known else nothing,
        "dropped_tokens": (table.tokens[-1] - kept_tokens).tolist() if known else nothing,
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    n_kept, tokens_kept = int(kept.sum()), int(kept_tokens.sum())
    return ThresholdCounts(
        n_kept=n_kept,
        n_dropped=len(one) - n_kept,
        n_unscored=one.n_unscored,
        tokens_kept=tokens_kept if known else None,
        tokens_dropped=int(table.tokens[-1].sum()) - tokens_kept if known else None,
        by_source=sorted(
            (row for row in rows if row["kept"] + row["dropped"] + row["unscored"]),
            key=lambda row: (-row["kept"] - row["dropped"], row["source"]),
        ),
    )


def count_near(
    store: Store,
    scope: Scope,
    which: Filter,
    threshold: float,
    distance: float,
    bands: Bands | None = None,
) -> int:
    """How many scores are at most ``distance`` from a threshold, below or above."""
    one = open_score_index(store, scope, which, bands)
    return one.position(math.nextafter(threshold + distance, math.inf)) - one.position(
        threshold - distance
    )


def threshold_for_share(
    store: Store, scope: Scope, which: Filter, share: float, bands: Bands | None = None
) -> float:
    """The score that keeps the top ``share``: the lowest of the ``int(share * scored)`` highest.

    ``visnec >= `` this keeps that many samples, and more only where scores are tied. Infinity
    where it keeps none. Raises InputError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a share lies between 0 and 1 (0.15 is 15 %), got {share!r}")
    one = open_score_index(store, scope, which, bands)
    return _threshold(one, int(share * len(one)))


def threshold_for_count(
    store: Store, scope: Scope, which: Filter, count: int, bands: Bands | None = None
) -> float:
    """The score that keeps the ``count`` highest, or all where there are fewer.

    Ties and none as in :func:`threshold_for_share`. Raises InputError for a count below 0.
    """
    if count < 0:
        raise InputError(f"a number of samples is 0 or more, got {count!r}")
    one = open_score_index(store, scope, which, bands)
    return _threshold(one, min(int(count), len(one)))


def threshold_for_tokens(
    store: Store, scope: Scope, which: Filter, tokens: int, bands: Bands | None = None
) -> float:
    """The lowest score whose samples together hold at most ``tokens`` answer tokens.

    Samples are taken from the highest score down until one more would go over; those tied with
    the last one taken come on top. Infinity where not even one fits. Raises InputError for a
    number below 0.
    """
    if tokens < 0:
        raise InputError(f"a number of answer tokens is 0 or more, got {tokens!r}")
    one = open_score_index(store, scope, which, bands)
    if not one.tokens_known:
        raise InputError(
            f"the scores of run {scope.run_id!r} were imported and tell no answer tokens; "
            "cut by share, by count or at a score"
        )
    table = one.group(KIND)
    left = table.tokens.sum(axis=1)
    must_drop = int(left[-1]) - int(tokens)
    if must_drop <= 0:
        return _threshold(one, len(one))
    block = int(np.searchsorted(left, must_drop, side="left")) - 1
    begin = block * table.block
    inside = np.cumsum(one.n_tokens[begin : begin + table.block], dtype=np.int64)
    dropped = begin + int(np.searchsorted(inside, must_drop - int(left[block]), side="left")) + 1
    return _threshold(one, len(one) - dropped)


def score_ecdf(
    store: Store,
    scope: Scope,
    which: Filter = EVERYTHING,
    points: int = 200,
    bands: Bands | None = None,
) -> pd.DataFrame:
    """visnec, share: the share of scored samples at or below ``points`` scores, ascending.

    The scores are those of evenly spaced ranks, the lowest and the highest included, each once.
    Empty where nothing is scored. Raises InputError for less than two points.
    """
    if points < 2:
        raise InputError(f"a curve needs two points or more, got {points!r}")
    one = open_score_index(store, scope, which, bands)
    if not len(one):
        return pd.DataFrame({"visnec": np.empty(0), "share": np.empty(0)})
    ranks = np.linspace(0, len(one) - 1, min(points, len(one))).astype(np.int64)
    visnec = np.unique(one.visnec[ranks])
    at_or_below = np.searchsorted(one.visnec, visnec, side="right")
    return pd.DataFrame({"visnec": visnec, "share": at_or_below / len(one)})


def _threshold(one: ScoreIndex, count: int) -> float:
    return float(one.visnec[len(one) - count]) if count else math.inf
