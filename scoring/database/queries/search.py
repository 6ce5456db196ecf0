"""First hits of a text search, shown before all samples were searched.

Searching ten million samples takes seconds, and a person wants to see at once whether the words are
right. Samples are searched block by block in dataset order until there are enough hits or the time
is up; the result includes how far that was. The complete result is that of the filter itself.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from scoring.database.conditions import compile_query, text_query
from scoring.database.connection import Store, View
from scoring.database.filters import Filter
from scoring.database.queries.browse import read_rows
from scoring.database.values import Record
from scoring.errors import InputError

_BLOCK_ROWS = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class FirstHits:
    """Some of the samples that match a filter with a text.

    ``records`` are those of a page, highest score first and those without a score last. ``n_hits``
    were found among the first ``n_searched`` of ``n_samples``. They are the best hits so far, not
    the best of the dataset.
    """

    records: list[Record]
    n_hits: int
    n_searched: int
    n_samples: int

    @property
    def complete(self) -> bool:
        """Whether all samples were searched."""
        return self.n_searched >= self.n_samples


def first_hits(view: View, limit: int = 24, seconds: float = 0.15) -> FirstHits:
    """Return hits of the filter's text after about ``seconds``, or once ``limit`` are found.

    At least one block of 100,000 samples is searched. Raises InputError for a filter without a
    text, FilterError for an invalid regular expression.
    """
    if not view.where.text:
        raise InputError("The filter has no text to search for. Write text:words.")
    query = compile_query(replace(view, where=replace(view.where, text=None)))
    n_samples = query.snapshot.fetch_value("SELECT n_samples FROM build_info")
    hits: list[tuple[float | None, int]] = []
    n_searched, until = 0, time.monotonic() + seconds
    while n_searched < n_samples and len(hits) < limit:
        if n_searched and time.monotonic() >= until:
            break
        block = (n_searched, n_searched + _BLOCK_ROWS)
        rows = query.snapshot.fetch_rows(*text_query(query.snapshot, view.where, block))
        n_searched = min(block[1], n_samples)
        if rows:
            hits += query.fetch_rows(
                """
                SELECT visnec, row_idx FROM matching
                WHERE row_idx IN (SELECT unnest($rows::BIGINT[]))
                """,
                {"rows": [row_idx for (row_idx,) in rows]},
            )
    hits.sort(key=lambda hit: (hit[0] is None, -(hit[0] or 0.0), hit[1]))
    records = read_rows(view.store, view.scope, [row_idx for _, row_idx in hits[:limit]])
    return FirstHits(records, len(hits), n_searched, n_samples)


def is_searched(store: Store, where: Filter) -> bool:
    """Return whether all samples were already searched for the filter's text, if it has one."""
    snapshot = store.snapshot()
    return not where.text or snapshot.has_match(*text_query(snapshot, where))


def is_large(store: Store) -> bool:
    """Return whether first hits come sooner than all: there is more than one block to search."""
    n_samples: int = store.snapshot().fetch_value("SELECT n_samples FROM build_info")
    return n_samples > _BLOCK_ROWS


def check_filter(view: View) -> None:
    """Raise FilterError or InputError where this database cannot answer the filter.

    Examples are a regular expression that RE2 rejects and another run that was removed. The text
    is not searched yet: that may take a while.
    """
    query = compile_query(replace(view, where=replace(view.where, text=None)))
    if view.where.text:
        text_query(query.snapshot, view.where)
