"""First hits of a text search, before all samples were looked at.

A search over ten million samples takes seconds, and a person wants to see now whether the words
are right. The one decision behind it: samples are looked at stretch by stretch in the order of
the dataset until there are enough hits or the time is up, and what comes back says how far that
was; the full answer is the filter's own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from scoring.database.conditions import compile_query, text_query
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.queries.browse import read_rows
from scoring.database.values import Record, Scope
from scoring.errors import InputError
from scoring.necessity import Bands

_STRETCH = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class FirstHits:
    """Some of the samples that meet a filter with a text.

    ``records`` are those of a page, the highest score first and those without one last.
    ``n_hits`` were found among the first ``n_looked`` of ``n_samples``; ``complete`` where that is
    all of them. They are the best of the hits found so far, not of all there may be.
    """

    records: list[Record]
    n_hits: int
    n_looked: int
    n_samples: int

    @property
    def complete(self) -> bool:
        """Whether all samples were looked at."""
        return self.n_looked >= self.n_samples


def first_hits(
    store: Store,
    scope: Scope,
    which: Filter,
    limit: int = 24,
    seconds: float = 0.15,
    bands: Bands | None = None,
) -> FirstHits:
    """Hits for the filter's text after at most about ``seconds``, or once ``limit`` are found.

    At least one stretch of 100,000 samples is looked at. Raises InputError for a filter without
    a text, FilterError for a bad regular expression.
    """
    if not which.text:
        raise InputError("the filter names no text to look for; write text:words")
    asked = compile_query(store, scope, replace(which, text=None), bands)
    query, values = text_query(
        asked.snapshot, which, "row_idx >= $first_row AND row_idx < $last_row"
    )
    n_samples = int(asked.snapshot.rows("SELECT n_samples FROM build_info")[0][0])
    hits: list[tuple[float | None, int]] = []
    looked, until = 0, time.monotonic() + seconds
    while looked < n_samples and len(hits) < limit and (not looked or time.monotonic() < until):
        stretch = {"first_row": looked, "last_row": looked + _STRETCH}
        looked = min(looked + _STRETCH, n_samples)
        found = [row for (row,) in asked.snapshot.rows(query, values | stretch)]
        if found:
            hits += asked.rows(_SCORES, asked.where, _AMONG, found=found)
    hits.sort(key=lambda hit: (hit[0] is None, -(hit[0] or 0.0), hit[1]))
    records = read_rows(store, scope, [row_idx for _, row_idx in hits[:limit]])
    return FirstHits(records, len(hits), looked, n_samples)


def is_searched(store: Store, which: Filter) -> bool:
    """Whether the filter's text, if it has one, was looked for in all samples already."""
    snapshot = store.snapshot()
    if not which.text:
        return True
    return snapshot.has_match(*text_query(snapshot, which))


def is_large(store: Store) -> bool:
    """Whether first hits come sooner than all: there is more than one stretch to look at."""
    return int(store.snapshot().rows("SELECT n_samples FROM build_info")[0][0]) > _STRETCH


def check_filter(store: Store, scope: Scope, which: Filter, bands: Bands | None = None) -> None:
    """Raises FilterError or InputError where the filter cannot be asked of this database.

    So it is with a regular expression that RE2 does not take, and with another run that is gone.
    The text is not looked for yet: that may take a while.
    """
    asked = compile_query(store, scope, replace(which, text=None), bands)
    if which.text:
        text_query(asked.snapshot, which)


_SCORES = "SELECT s.visnec, s.row_idx FROM scores s WHERE"
_AMONG = "AND s.row_idx IN (SELECT unnest($found::BIGINT[]))"
