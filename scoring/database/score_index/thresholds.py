"""What a threshold keeps, and the threshold that keeps a requested share, count or tokens.

A threshold keeps ``minimum <= visnec < maximum``. One that was computed for a number of samples
keeps more only where scores are tied; ``count_kept`` reports what it keeps in fact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import EVERYTHING
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import KIND, SOURCE, ScoreIndex, open_score_index
from scoring.database.values import Record, Scope, ThresholdCounts
from scoring.errors import InputError
from scoring.necessity import Bands


def count_kept(
    store: Store,
    scope: Scope,
    where: Filter,
    minimum: float | None,
    maximum: float | None,
    bands: Bands | None = None,
) -> ThresholdCounts:
    """Count what ``minimum <= visnec < maximum`` keeps and drops; None leaves a side open."""
    index = open_score_index(store, scope, where, bands)
    first = index.position_of(minimum)
    last = max(first, index.end_of(maximum))
    table = index.group_table(SOURCE)
    kept = table.count_below(last) - table.count_below(first)
    tokens = table.count_tokens_below(last) - table.count_tokens_below(first)
    has_tokens = index.has_tokens
    columns: dict[str, NDArray[Any]] = {
        "kept": kept,
        "dropped": table.counts[-1] - kept,
        "unscored": index.count_unscored(SOURCE),
    }
    if has_tokens:
        columns |= {"kept_tokens": tokens, "dropped_tokens": table.tokens[-1] - tokens}
    unknown = {"kept_tokens": None, "dropped_tokens": None}
    rows: list[Record] = [
        {"source": source} | unknown | dict(zip(columns, numbers, strict=True))
        for source, *numbers in zip(
            index.sources, *(column.tolist() for column in columns.values()), strict=True
        )
    ]
    n_kept, tokens_kept = int(kept.sum()), int(tokens.sum())
    return ThresholdCounts(
        n_kept=n_kept,
        n_dropped=len(index) - n_kept,
        n_unscored=index.n_unscored,
        tokens_kept=tokens_kept if has_tokens else None,
        tokens_dropped=int(table.tokens[-1].sum()) - tokens_kept if has_tokens else None,
        by_source=sorted(
            (row for row in rows if row["kept"] + row["dropped"] + row["unscored"]),
            key=lambda row: (-row["kept"] - row["dropped"], row["source"]),
        ),
    )


def count_near(
    store: Store,
    scope: Scope,
    where: Filter,
    threshold: float,
    distance: float,
    bands: Bands | None = None,
) -> int:
    """Count the scores that are at most ``distance`` from a threshold, below or above."""
    index = open_score_index(store, scope, where, bands)
    beyond = math.nextafter(threshold + distance, math.inf)
    return index.position_of(beyond) - index.position_of(threshold - distance)


def threshold_for_share(
    store: Store, scope: Scope, where: Filter, share: float, bands: Bands | None = None
) -> float:
    """Return the lowest of the ``int(share * scored)`` highest scores.

    ``visnec >=`` this keeps that many samples, and more only where scores are tied. Infinity
    where it keeps none. Raises InputError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"A share is between 0 and 1 (0.15 is 15 %), got {share!r}.")
    index = open_score_index(store, scope, where, bands)
    return _threshold_for(index, int(share * len(index)))


def threshold_for_count(
    store: Store, scope: Scope, where: Filter, count: int, bands: Bands | None = None
) -> float:
    """Return the score that keeps the ``count`` highest, or all where there are fewer.

    Ties and none as in :func:`threshold_for_share`. Raises InputError for a count below 0.
    """
    if count < 0:
        raise InputError(f"A number of samples is 0 or more, got {count!r}.")
    index = open_score_index(store, scope, where, bands)
    return _threshold_for(index, min(int(count), len(index)))


def threshold_for_tokens(
    store: Store, scope: Scope, where: Filter, tokens: int, bands: Bands | None = None
) -> float:
    """Return the lowest score whose samples have at most ``tokens`` answer tokens together.

    Samples are added from the highest score down until one more would exceed the number; those
    tied with the last one come on top. Infinity where not even one fits. Raises InputError for a
    number below 0.
    """
    if tokens < 0:
        raise InputError(f"A number of answer tokens is 0 or more, got {tokens!r}.")
    index = open_score_index(store, scope, where, bands)
    if not index.has_tokens:
        raise InputError(
            f"The scores of run {scope.run_id!r} were imported without answer tokens. "
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


def score_ecdf(
    store: Store,
    scope: Scope,
    where: Filter = EVERYTHING,
    points: int = 200,
    bands: Bands | None = None,
) -> pd.DataFrame:
    """Return visnec, share: the share of scored samples at or below ``points`` scores, ascending.

    The scores are those of evenly spaced ranks, the lowest and the highest included, each once.
    Empty where nothing is scored. Raises InputError for fewer than two points.
    """
    if points < 2:
        raise InputError(f"A curve needs two points or more, got {points!r}.")
    index = open_score_index(store, scope, where, bands)
    if not len(index):
        return pd.DataFrame({"visnec": np.empty(0), "share": np.empty(0)})
    ranks = np.linspace(0, len(index) - 1, min(points, len(index))).astype(np.int64)
    visnec = np.unique(index.visnec[ranks])
    at_or_below = np.searchsorted(index.visnec, visnec, side="right")
    return pd.DataFrame({"visnec": visnec, "share": at_or_below / len(index)})


def _threshold_for(index: ScoreIndex, count: int) -> float:
    """The lowest of the ``count`` highest scores; infinity for none."""
    return float(index.visnec[len(index) - count]) if count else math.inf
