"""Samples of a selection in memory, sorted by a value: pages of them at once, in either direction.

Equal values are by ascending row_idx, whichever way the values go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import Query
from scoring.database.queries.column_rows import sort_values
from scoring.database.values import Cursor, Scope

_MOST_SORTED = 2_000_000
Key = tuple[float | None, int]
"""The value that a page is sorted by, and row_idx."""


@dataclass(frozen=True, slots=True, eq=False)
class SortedKeys:
    """Samples with a value, ascending by (value, row_idx).

    ``without`` are the rows of the others, ascending; None where they are not known.
    """

    values: NDArray[np.float64]
    row_idx: NDArray[np.int32]
    without: NDArray[np.int32] | None = None

    @property
    def n_samples(self) -> int | None:
        """Number of samples with and without a value."""
        return None if self.without is None else len(self.values) + len(self.without)

    def next_with_value(self, descending: bool, after: Cursor | None, limit: int) -> list[Key]:
        """Return the next samples with a value."""
        backward = after is not None and after.backward
        ascends = descending is backward
        begin, end = 0, len(self.values)
        keys: list[Key] = []

        def take_ties(value: float, row_idx: int | None = None) -> tuple[int, int]:
            """Add the samples of this value, those beyond row_idx alone; return what is left."""
            low, high = (
                int(np.searchsorted(self.values, value, side=side)) for side in ("left", "right")
            )
            first, last = low, high
            if row_idx is not None and backward:
                last = low + int(np.searchsorted(self.row_idx[low:high], row_idx, side="left"))
            elif row_idx is not None:
                first = low + int(np.searchsorted(self.row_idx[low:high], row_idx, side="right"))
            missing = limit - len(keys)
            positions = range(max(first, last - missing), last)[::-1]
            if not backward:
                positions = range(first, min(last, first + missing))
            keys.extend((float(self.values[i]), int(self.row_idx[i])) for i in positions)
            return (high, end) if ascends else (begin, low)

        if after is not None and after.value is not None:
            begin, end = take_ties(after.value, after.row_idx)
        while len(keys) < limit and begin < end:
            begin, end = take_ties(float(self.values[begin if ascends else end - 1]))
        return keys

    def next_without_value(self, after: Cursor | None, limit: int) -> list[Key]:
        """Return the next samples without a value, which are by row_idx."""
        rows = np.empty(0, np.int32) if self.without is None else self.without
        is_inside = after is not None and after.value is None
        if after is not None and after.backward:
            end = int(np.searchsorted(rows, after.row_idx)) if is_inside else len(rows)
            rows = rows[max(0, end - limit) : end][::-1]
        else:
            begin = 0
            if after is not None and is_inside:
                begin = int(np.searchsorted(rows, after.row_idx, side="right"))
            rows = rows[begin : begin + limit]
        return [(None, row) for row in rows.tolist()]


def sort_by_column(query: Query, scope: Scope, column: str) -> SortedKeys:
    """Return the samples of a query sorted by an imported column; see ``sort_values``.

    They are sorted on first use and kept while they fit. Raises FilterError for an unknown column.
    """
    values = sort_values(query.snapshot, column)

    def read() -> SortedKeys:
        columns = query.fetch_arrays("SELECT row_idx::INTEGER AS row_idx FROM matching")
        return _sort_keys(values[columns["row_idx"]], columns["row_idx"])

    return query.snapshot.cache.get_or_compute(
        ("sorted by column", scope, query.key, column), read, _count_bytes
    )


def sort_by_score(query: Query, scope: Scope, column: str) -> SortedKeys | None:
    """Return the samples of a query sorted by a column of ``scores``, such as a loss.

    They are sorted on first use and kept while they fit. None for more than 2,000,000 samples: a
    page from the database comes sooner.
    """

    def read() -> SortedKeys | None:
        if query.fetch_value("SELECT count(*) FROM matching") > _MOST_SORTED:
            return None
        columns = query.fetch_arrays(
            f"SELECT row_idx::INTEGER AS row_idx, {column}::DOUBLE AS value FROM matching"
        )
        return _sort_keys(columns["value"], columns["row_idx"])

    return query.snapshot.cache.get_or_compute(
        ("sorted by score", scope, query.key, column), read, _count_bytes
    )


def _sort_keys(values: NDArray[np.float64], row_idx: NDArray[np.int32]) -> SortedKeys:
    has_value = ~np.isnan(values)
    order = np.lexsort((row_idx[has_value], values[has_value]))
    without = np.sort(row_idx[~has_value])
    return SortedKeys(values[has_value][order], row_idx[has_value][order], without)


def _count_bytes(keys: SortedKeys | None) -> int:
    return 0 if keys is None else 16 * (keys.n_samples or 0)
