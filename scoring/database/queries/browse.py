"""Samples one by one: pages of them, first hits of a text search, and all of them as columns.

Pages are read by keyset: a page starts after the last sample of the previous one, so that the
millionth page costs as much as the first and none is skipped or repeated while decisions arrive.
Every order ends with the samples that lack its value, by row_idx, so that each sample under a
filter is on exactly one page.

Searching ten million samples takes seconds, and a person wants to see at once whether the words are
right: samples are searched block by block until there are enough hits or the time is up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import (
    Query,
    check_scope,
    cluster_column,
    compile_query,
    text_query,
)
from scoring.database.connection import Selection, Snapshot, Store
from scoring.database.filters import EVERYTHING, Filter
from scoring.database.queries.column_rows import sort_values
from scoring.database.queries.overview import sample_count
from scoring.database.queries.sorted_keys import (
    Key,
    SortedKeys,
    sort_by_column,
    sort_by_score,
)
from scoring.database.score_index.index import cached_score_index
from scoring.database.values import (
    ColumnSort,
    Cursor,
    Order,
    Page,
    Record,
    Scope,
    Sort,
    parse_order,
)
from scoring.errors import InputError
from scoring.rules.candidates import STATUSES, Candidates

_RowKey = tuple[int, float | None]  # row_idx and, in an order by the score, the score
_SEARCH_ROWS = 100_000  # searched at a time

_ORDERS = {  # (column, whether descending)
    Sort.VISNEC_ASC: ("visnec", False),
    Sort.VISNEC_DESC: ("visnec", True),
    Sort.ROW_IDX: ("row_idx", False),
    Sort.LOSS_TEXT_DESC: ("loss_text", True),
    Sort.LOSS_MULTIMODAL_DESC: ("loss_multimodal", True),
    Sort.TOKENS_DESC: ("n_answer_tokens", True),
}
_BY_SCORE = (Sort.VISNEC_ASC, Sort.VISNEC_DESC)
_KEYS_WITH_VALUE = """
    SELECT {column}, row_idx FROM matching
    WHERE {column} IS NOT NULL AND {after_cursor}
    ORDER BY {column} {direction}, row_idx {row_direction}
    LIMIT $limit
"""
_KEYS_WITHOUT_VALUE = """
    SELECT NULL, row_idx FROM matching
    WHERE {column} IS NULL AND {after_cursor}
    ORDER BY row_idx {row_direction}
    LIMIT $limit
"""
# The first comparison alone lets DuckDB skip blocks of the table.
_AFTER_VALUE = (
    "{column} {beyond}= $value AND ({column} {beyond} $value OR row_idx {after} $row_idx)"
)
_AFTER_ROW = "row_idx {after} $row_idx"
_RECORDS = """
    SELECT
        p.row_idx, p.id, p.source, p.images, p.question, p.answer, s.visnec, s.loss_text,
        s.loss_multimodal, s.n_answer_tokens, p.n_turns, s.status, s.reason,
        {cluster_id} AS cluster_id, n.name AS cluster, coalesce(f.decision, 'none') AS decision
    FROM unnest($rows::BIGINT[]) WITH ORDINALITY wanted(row_idx, position)
    JOIN samples p ON p.row_idx = wanted.row_idx
    JOIN (
        FROM scores WHERE run_id = $run_id AND baseline = $baseline AND {score_range}
    ) s ON s.row_idx = wanted.row_idx
    {join}
    LEFT JOIN cluster_names n
        ON n.clustering_id = $clustering_id AND n.cluster_id = {cluster_id}
    LEFT JOIN final_decisions f ON f.row_idx = wanted.row_idx
    ORDER BY position
"""


def fetch_page(
    selection: Selection,
    sort: Order | str = Sort.VISNEC_ASC,
    after: Cursor | None = None,
    limit: int = 24,
) -> Page:
    """Return at most ``limit`` samples of an order, from a cursor that an earlier page returned.

    Raises InputError for an unknown sort, FilterError for one by an unknown column.
    """
    page, keys, snapshot = _find_page(selection, parse_order(str(sort)), after, limit)
    return replace(page, records=_fetch_records(snapshot, selection.scope, keys))


def fetch_first_pages(parts: Sequence[tuple[Selection, Order]], limit: int = 24) -> list[Page]:
    """Return the first page of each selection, all of one scope, in its order.

    Their records are read by one query, which takes hardly longer than one for a single page.
    """
    pages = [_find_page(selection, order, None, limit) for selection, order in parts]
    if not pages:
        return []
    every_key = [key for _, keys, _ in pages for key in keys]
    records = iter(_fetch_records(pages[0][2], parts[0][0].scope, every_key))
    return [replace(page, records=list(islice(records, len(keys)))) for page, keys, _ in pages]


def _find_page(
    selection: Selection, order: Order, after: Cursor | None, limit: int
) -> tuple[Page, list[_RowKey], Snapshot]:
    """A page without its records, their keys, and the snapshot to read them from."""
    query = compile_query(selection)
    index = _sort_in_memory(selection, query, order)
    if isinstance(order, ColumnSort):
        column, descending = order.column, order.is_descending
    else:
        column, descending = _ORDERS[order]
    keys = _next_keys(query, index, column, descending, after, limit + 1)
    has_more = len(keys) > limit
    keys = keys[:limit]
    backward = after is not None and after.backward
    if backward:
        keys.reverse()
    page = Page(
        records=[],
        total=sample_count(selection)
        if index is None or index.n_samples is None
        else index.n_samples,
        next=Cursor(*keys[-1]) if keys and (has_more or backward) else None,
        previous=Cursor(*keys[0], backward=True)
        if keys and (has_more if backward else after is not None)
        else None,
    )
    by_score = order in _BY_SCORE
    row_keys = [(row_idx, value if by_score else None) for value, row_idx in keys]
    return page, row_keys, query.snapshot


def _sort_in_memory(selection: Selection, query: Query, order: Order) -> SortedKeys | None:
    """Return the samples in an order, kept for further pages; None where the database is faster."""
    if isinstance(order, ColumnSort):
        return sort_by_column(query, selection.scope, order.column)
    if order in _BY_SCORE:
        scores = cached_score_index(selection)
        return None if scores is None else SortedKeys(scores.visnec, scores.row_idx)
    if order is Sort.ROW_IDX or selection.where == EVERYTHING:
        return None
    return sort_by_score(query, selection.scope, _ORDERS[order][0])


def read_column_value(store: Store, column: str, row_idx: int) -> float | None:
    """Return the number by which a sample is sorted in the order of a column; None without one."""
    value = float(sort_values(store.snapshot(), column)[row_idx])
    return None if math.isnan(value) else value


def read_rows(store: Store, scope: Scope, rows: list[int]) -> list[Record]:
    """Return the given samples in the given order, as the records of a :class:`Page`."""
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    return _fetch_records(snapshot, scope, [(row_idx, None) for row_idx in rows])


def _fetch_records(snapshot: Snapshot, scope: Scope, keys: Sequence[_RowKey]) -> list[Record]:
    """The samples in the given order; with all their scores, only that range of them is read."""
    cluster_id, join = cluster_column(snapshot, scope)
    values: dict[str, Any] = {
        "rows": [int(row_idx) for row_idx, _ in keys],
        "run_id": scope.run_id,
        "baseline": scope.baseline,
        "clustering_id": scope.clustering_id,
    }
    score_range = "true"
    known = [score for _, score in keys if score is not None]
    if known and len(known) == len(keys):
        score_range = "visnec >= $lowest AND visnec <= $highest"
        values |= {"lowest": min(known), "highest": max(known)}
    statement = _RECORDS.format(cluster_id=cluster_id, join=join, score_range=score_range)
    return snapshot.fetch_records(statement, values)


def _next_keys(
    query: Query,
    index: SortedKeys | None,
    column: str,
    descending: bool,
    after: Cursor | None,
    limit: int,
) -> list[Key]:
    """The next samples: those with a value, then those without.

    Reading backward reverses both halves. A half that is wholly before the cursor is skipped. The
    halves come from the index where it has them.
    """
    backward = after is not None and after.backward
    halves = [False, True] if backward else [True, False]  # whether samples have a value
    if after is not None and (after.value is None) is not backward:
        del halves[0]
    descends = descending is not backward
    words = {
        "column": column,
        "beyond": "<" if descends else ">",
        "direction": "DESC" if descends else "ASC",
        "after": "<" if backward else ">",
        "row_direction": "DESC" if backward else "ASC",
    }
    keys: list[Key] = []
    for has_value in halves:
        missing = limit - len(keys)
        if not missing:
            break
        if has_value and index is not None:
            keys += index.next_with_value(descending, after, missing)
            continue
        if index is not None and index.without is not None:
            keys += index.next_without_value(after, missing)
            continue
        after_cursor, cursor = "true", dict[str, Any]()
        if after is not None and (after.value is not None) is has_value:
            after_cursor = (_AFTER_VALUE if has_value else _AFTER_ROW).format(**words)
            cursor = {"value": after.value, "row_idx": after.row_idx}
        template = _KEYS_WITH_VALUE if has_value else _KEYS_WITHOUT_VALUE
        statement = template.format(after_cursor=after_cursor, **words)
        keys += query.fetch_rows(statement, cursor | {"limit": missing})
    return keys


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


def first_hits(selection: Selection, limit: int = 24, seconds: float = 0.15) -> FirstHits:
    """Return hits of the filter's text after about ``seconds``, or once ``limit`` are found.

    At least one block of 100,000 samples is searched. Raises InputError for a filter without a
    text, FilterError for an invalid regular expression.
    """
    if not selection.where.text:
        raise InputError("The filter has no text to search for. Write text:words.")
    query = compile_query(replace(selection, where=replace(selection.where, text=None)))
    n_samples = query.snapshot.fetch_value("SELECT n_samples FROM build_info")
    hits: list[tuple[float | None, int]] = []
    n_searched, until = 0, time.monotonic() + seconds
    while n_searched < n_samples and len(hits) < limit:
        if n_searched and time.monotonic() >= until:
            break
        block = (n_searched, n_searched + _SEARCH_ROWS)
        rows = query.snapshot.fetch_rows(*text_query(query.snapshot, selection.where, block))
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
    records = read_rows(selection.store, selection.scope, [row_idx for _, row_idx in hits[:limit]])
    return FirstHits(records, len(hits), n_searched, n_samples)


def is_slow_search(store: Store, where: Filter) -> bool:
    """Return whether first hits of the filter's text come sooner than all of them."""
    snapshot = store.snapshot()
    if not where.text or snapshot.has_match(*text_query(snapshot, where)):
        return False
    n_samples: int = snapshot.fetch_value("SELECT n_samples FROM build_info")
    return n_samples > _SEARCH_ROWS


def check_filter(selection: Selection) -> None:
    """Raise FilterError or InputError where this database cannot answer the filter.

    Examples are a regular expression that RE2 rejects and another run that was removed. The text
    is not searched yet: that may take a while.
    """
    query = compile_query(replace(selection, where=replace(selection.where, text=None)))
    if selection.where.text:
        text_query(query.snapshot, selection.where)


def matching_rows(selection: Selection) -> NDArray[np.int64]:
    """Return the row_idx of all samples of a selection, ascending."""
    columns = compile_query(selection).fetch_arrays("SELECT row_idx FROM matching ORDER BY row_idx")
    return columns["row_idx"].astype(np.int64, copy=False)


def read_candidates(store: Store, scope: Scope) -> Candidates:
    """Return all samples with the scores of a scope as columns, ascending by row_idx.

    Without a clustering in the scope ``cluster_id`` is -1 everywhere.
    """
    query = compile_query(store.selection(scope))
    n_samples = query.snapshot.fetch_value("SELECT n_samples FROM build_info")
    columns = {name: np.zeros(n_samples, kind) for name, kind in _CANDIDATE_COLUMNS.items()}
    # They come in the order of the scores, and each is put in its place without a sort.
    statuses = {"statuses": [str(status) for status in STATUSES]}
    for batch in query.fetch_batches(_CANDIDATES, statuses):
        for name, column in columns.items():
            column[batch["row_idx"]] = batch[name]
    sources = tuple(query.snapshot.source_names())
    return Candidates(
        row_idx=np.arange(n_samples),
        sources=sources,
        columns={},
        matching={},
        groups={},
        **columns,
    )


def score_column(store: Store, scope: Scope) -> NDArray[np.float64]:
    """Return the scores of a scope by row_idx, shape (samples of the dataset,), NaN without one."""
    query = compile_query(store.selection(scope))
    column = np.full(query.snapshot.fetch_value("SELECT n_samples FROM build_info"), np.nan)
    for batch in query.fetch_batches(
        "SELECT row_idx, visnec FROM matching WHERE visnec IS NOT NULL"
    ):
        column[batch["row_idx"]] = batch["visnec"]
    return column


_CANDIDATE_COLUMNS: dict[str, type[np.generic]] = {
    "status": np.int8,
    "source": np.int32,
    "visnec": np.float64,
    "loss_text": np.float64,
    "loss_multimodal": np.float64,
    "n_answer_tokens": np.int64,
    "cluster_id": np.int32,
    "answer_kind": np.int8,
}
_CANDIDATES = """
    SELECT
        row_idx, (list_position($statuses, status) - 1)::TINYINT AS status,
        source_no AS source, visnec, loss_text, loss_multimodal,
        coalesce(n_answer_tokens, 0)::BIGINT AS n_answer_tokens, kind_no AS answer_kind,
        coalesce(cluster_id, -1) AS cluster_id
    FROM clustered
"""
