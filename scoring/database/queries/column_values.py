"""The numbers of a column under a filter: values, what a threshold keeps, relation to the score.

A column is named as in the filter: ``clip``, or ``rating.min`` where it has one number per answer.
All figures are exact and about the samples of the selection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import compile_query
from scoring.database.connection import Selection, Store
from scoring.database.queries.column_rows import column_numbers
from scoring.database.queries.compare import correlate, count_density
from scoring.database.queries.overview import histogram_edges, round_edges
from scoring.database.score_index.index import open_score_index
from scoring.errors import InputError
from scoring.necessity import CATEGORIES, Category
from scoring.rules.ranking import average_ranks

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnValues:
    """Samples of a selection with a number in a column, ascending by it; do not modify.

    ``visnec`` is NaN for samples without a score. ``n_without`` samples have no value.
    """

    values: Floats
    visnec: Floats
    row_idx: NDArray[np.int32]
    n_without: int

    def __len__(self) -> int:
        return len(self.values)

    def position_of(self, threshold: float) -> int:
        """Return how many values are below a threshold."""
        return int(np.searchsorted(self.values, threshold, side="left"))

    def threshold_for_count(self, count: int) -> float:
        """Return the value that keeps the ``count`` highest, ties included; infinity for none."""
        n = min(count, len(self))
        return float(self.values[len(self) - n]) if n else math.inf


@dataclass(frozen=True, slots=True)
class ColumnSide:
    """The samples on one side of a column's threshold.

    ``n_scored`` of the ``n`` have a score; ``categories`` and ``median_visnec`` are about those.
    """

    n: int
    n_scored: int
    categories: Mapping[Category, int]
    median_visnec: float | None


@dataclass(frozen=True, slots=True, eq=False)
class ColumnPlane:
    """Samples with a score and a value in a column, and how the two are correlated.

    ``counts[y, x]``: samples by score (x) and value (y) between the edges; the outer bins include
    what is outside. ``pearson`` and ``spearman`` (rank correlation, tied ranks averaged) are about
    all ``n`` samples; None below two, or where a side is constant.
    """

    counts: NDArray[np.int64]
    score_edges: Floats
    column_edges: Floats
    n: int
    pearson: float | None
    spearman: float | None


def open_column(selection: Selection, column: str) -> ColumnValues:
    """Return the values of a column, read on first use and kept while they fit.

    Raises FilterError for a column without one number per sample.
    """
    query = compile_query(selection)

    def read() -> ColumnValues:
        index = open_score_index(selection)
        unscored = query.fetch_arrays("SELECT row_idx FROM matching WHERE visnec IS NULL")
        row_idx = np.concatenate([index.row_idx, unscored["row_idx"].astype(np.int32)])
        visnec = np.concatenate([index.visnec, np.full(len(row_idx) - len(index), np.nan)])
        values = _read_numbers(selection.store, column)[row_idx]
        order = np.argsort(values, kind="stable")
        order = order[: np.count_nonzero(~np.isnan(values))]  # NaN is last
        return ColumnValues(values[order], visnec[order], row_idx[order], len(row_idx) - len(order))

    return query.snapshot.cache.get_or_compute(
        ("column", selection.scope, query.key, column), read, lambda values: 20 * len(values)
    )


def _read_numbers(store: Store, column: str) -> Floats:
    snapshot = store.snapshot()
    return snapshot.cache.get_or_compute(
        ("numbers", column),
        lambda: column_numbers(snapshot, column),
        lambda numbers: numbers.nbytes,
    )


def column_edges(store: Store, column: str, bins: int = 60) -> list[float]:
    """Return about ``bins`` round bin edges that span 99 % of a column's values.

    They do not depend on a filter. Between whole numbers, every one of them has a bin of its own if
    the bins suffice. Raises FilterError as :func:`open_column`.
    """
    low, _, high, _ = _read_span(store, column)
    smallest_step = 1.0 if has_whole_numbers(store, column) else 0.0
    return round_edges(low, high, bins, smallest_step)


def has_whole_numbers(store: Store, column: str) -> bool:
    """Return whether all values of a column are whole numbers. Raises FilterError."""
    return _read_span(store, column)[3]


def column_median(store: Store, column: str) -> float:
    """Return the median of all values of a column, under any filter. Raises FilterError."""
    return _read_span(store, column)[1]


def _read_span(store: Store, column: str) -> tuple[float, float, float, bool]:
    """Where axes start, the median, where axes end, and whether all values are whole numbers."""

    def read() -> tuple[float, float, float, bool]:
        numbers = _read_numbers(store, column)
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return 0.0, 0.0, 1.0, False
        low, median, high = np.quantile(numbers, (0.005, 0.5, 0.995)).tolist()
        return low, median, high, bool((numbers == np.floor(numbers)).all())

    return store.snapshot().cache.get_or_compute(("column span", column), read, lambda _: 64)


def count_sides(
    selection: Selection, column: str, threshold: float
) -> tuple[ColumnSide, ColumnSide]:
    """Return the samples with ``value >= threshold``, and those below it.

    Samples without a value are on neither side. Raises FilterError as :func:`open_column`.
    """
    column_values = open_column(selection, column)
    position = column_values.position_of(threshold)

    def count(visnec: Floats) -> ColumnSide:
        scored = visnec[~np.isnan(visnec)]
        codes = np.bincount(selection.bands.category_codes(scored), minlength=len(CATEGORIES))
        categories = dict(zip(CATEGORIES, codes.tolist(), strict=True))
        median = float(np.median(scored)) if len(scored) else None
        return ColumnSide(len(visnec), len(scored), categories, median)

    return count(column_values.visnec[position:]), count(column_values.visnec[:position])


def column_plane(selection: Selection, column: str, bins: int = 48) -> ColumnPlane:
    """Count samples by score and value, and correlate them. Raises FilterError."""
    query = compile_query(selection)

    def compute() -> ColumnPlane:
        visnec, values, _ = _read_pairs(selection, column)
        edges = (
            np.asarray(histogram_edges(selection.store, selection.scope, bins)),
            np.asarray(column_edges(selection.store, column, bins)),
        )
        return ColumnPlane(
            count_density(visnec, values, *edges),
            *edges,
            n=len(values),
            pearson=correlate(visnec, values),
            spearman=correlate(average_ranks(visnec), average_ranks(values)),
        )

    return query.snapshot.cache.get_or_compute(
        ("column plane", selection.scope, query.key, column, bins),
        compute,
        lambda plane: plane.counts.nbytes,
    )


def disagreements(
    selection: Selection, column: str, high: str = "score", limit: int | None = None
) -> pd.DataFrame:
    """Return the samples that the score and a column rank differently, the largest gap first.

    A rank is the share of samples below, from 0 to 1, among those of the selection that have a
    score and a value; ties are averaged.

    Args:
        selection: The samples to compare.
        column: The column, as in the filter.
        high: ``score`` for a high score and a low value, ``column`` for the reverse.
        limit: Samples to return; None: all that differ this way.

    Returns:
        row_idx, visnec, value, score_rank, column_rank.

    Raises:
        InputError: for another ``high``, or a column without one number per sample.
    """
    if high not in ("score", "column"):
        raise InputError(f"Unknown side {high!r}. Choose one of: score, column.")
    visnec, values, row_idx = _read_pairs(selection, column)
    score_rank, column_rank = (average_ranks(side) / max(len(side), 1) for side in (visnec, values))
    gap = score_rank - column_rank if high == "score" else column_rank - score_rank
    apart = np.flatnonzero(gap > 0)
    first = apart[np.lexsort((row_idx[apart], -gap[apart]))][:limit]
    return pd.DataFrame(
        {
            "row_idx": row_idx[first].astype(np.int64),
            "visnec": visnec[first],
            "value": values[first],
            "score_rank": score_rank[first],
            "column_rank": column_rank[first],
        }
    )


def _read_pairs(selection: Selection, column: str) -> tuple[Floats, Floats, NDArray[np.int32]]:
    """Return visnec, value and row_idx of the samples that have both."""
    column_values = open_column(selection, column)
    is_scored = ~np.isnan(column_values.visnec)
    return (
        column_values.visnec[is_scored],
        column_values.values[is_scored],
        column_values.row_idx[is_scored],
    )
