"""Samples one by one: pages of them, and all as columns.

Pages are read by keyset: the next one begins behind the last sample of this one, so the millionth
page costs what the first does and nothing is skipped or repeated while decisions come in. The one
decision behind it: every order ends with the samples that lack its value, by row_idx, so each
sample under a filter stands on exactly one page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import EVERYTHING, Query, check_scope, compile_query
from scoring.database.connection import Snapshot, Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import ScoreIndex, cached_score_index, cluster_column
from scoring.database.score_index.paging import next_keys
from scoring.database.values import Cursor, Page, Record, Scope, Sort
from scoring.errors import InputError
from scoring.necessity import Bands
from scoring.rules.candidates import STATUSES, Candidates


@dataclass(frozen=True, slots=True)
class _Order:
    column: str
    descending: bool


_ORDERS = {
    Sort.VISNEC_ASC: _Order("s.visnec", descending=False),
    Sort.VISNEC_DESC: _Order("s.visnec", descending=True),
    Sort.ROW_IDX: _Order("s.row_idx", descending=False),
    Sort.LOSS_TEXT_DESC: _Order("s.loss_text", descending=True),
    Sort.LOSS_MULTIMODAL_DESC: _Order("s.loss_multimodal", descending=True),
    Sort.TOKENS_DESC: _Order("s.n_answer_tokens", descending=True),
}

_PAGE_COLUMNS = """
    SELECT
        p.row_idx, p.id, p.source, p.images, p.question, p.answer, s.visnec, s.loss_text,
        s.loss_multimodal, s.n_answer_tokens, p.n_turns, s.status, s.reason,
"""
_PAGE_ROWS = """
        AS cluster_id, n.name AS cluster, coalesce(v.decision, 'none') AS decision
    FROM unnest($rows::BIGINT[]) WITH ORDINALITY wanted(row_idx, place)
    JOIN samples p ON p.row_idx = wanted.row_idx
    JOIN (
        FROM scores WHERE run_id = $run_id AND baseline = $baseline
"""
# Where all scores are known, only the stretch of the table between them is read.
_BETWEEN = "AND visnec >= $lowest AND visnec <= $highest"
_PAGE_SCORES = ") s ON s.row_idx = wanted.row_idx"
_PAGE_NAMES = "LEFT JOIN cluster_names n ON n.clustering_id = $clustering_id AND n.cluster_id ="
_PAGE_END = "LEFT JOIN verdicts v ON v.row_idx = wanted.row_idx ORDER BY place"


def fetch_page(
    store: Store,
    scope: Scope,
    which: Filter,
    sort: Sort | str = Sort.VISNEC_ASC,
    after: Cursor | None = None,
    limit: int = 24,
    bands: Bands | None = None,
    total: int | None = None,
) -> Page:
    """At most ``limit`` samples of an order, beginning at a cursor that an earlier page gave.

    ``total`` is counted unless an earlier page of the same filter brings it along. Raises
    InputError for an unknown sort.
    """
    order = _ORDERS[_sort(sort)]
    asked = compile_query(store, scope, which, bands)
    backward = after is not None and after.backward
    one = None
    if order.column == "s.visnec":
        one = cached_score_index(store, scope, which, bands)
    keys = _keys(asked, order, after, limit + 1, one)
    more = len(keys) > limit
    keys = keys[:limit]
    if backward:
        keys.reverse()
    before = Cursor(*keys[0], backward=True) if keys else None
    behind = Cursor(*keys[-1]) if keys else None
    return Page(
        records=_records(
            asked.snapshot,
            scope,
            [row_idx for _, row_idx in keys],
            [value for value, _ in keys] if order.column == "s.visnec" else [None],
        ),
        total=_count(asked, one) if total is None else total,
        next=behind if more or backward else None,
        previous=before if (more if backward else after is not None) else None,
    )


def _count(asked: Query, one: ScoreIndex | None = None) -> int:
    if one is not None:
        return len(one) + one.n_unscored
    return int(asked.rows("SELECT count(*) FROM scores s WHERE", asked.where)[0][0])


def read_rows(store: Store, scope: Scope, rows: list[int]) -> list[Record]:
    """The given samples in the given order, as the records of a :class:`Page`."""
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    return _records(snapshot, scope, rows)


def _records(
    snapshot: Snapshot, scope: Scope, rows: list[int], scores: Sequence[float | None] = (None,)
) -> list[Record]:
    cluster, join = cluster_column(snapshot, scope)
    values: dict[str, Any] = {
        "rows": [int(row_idx) for row_idx in rows],
        "run_id": scope.run_id,
        "baseline": scope.baseline,
        "clustering_id": scope.clustering_id,
    }
    known = [score for score in scores if score is not None]
    between = ""
    if known and len(known) == len(scores):
        between = _BETWEEN
        values |= {"lowest": min(known), "highest": max(known)}
    query = (
        *(_PAGE_COLUMNS, cluster, _PAGE_ROWS, between, _PAGE_SCORES, join),
        *(_PAGE_NAMES, cluster, _PAGE_END),
    )
    return snapshot.records("\n".join(query), values)


def _keys(
    asked: Query, order: _Order, after: Cursor | None, limit: int, one: ScoreIndex | None
) -> list[tuple[float | None, int]]:
    """(value, row_idx) of the next samples; the two halves of an order are read one by one.

    The half with scores comes from memory where it is there.
    """
    found: list[tuple[float | None, int]] = []
    for with_value, query, values in _halves(asked, order, after):
        missing = limit - len(found)
        if not missing:
            break
        if with_value and one is not None:
            found += next_keys(one, order.descending, after, missing)
        else:
            found += asked.rows(*query, **values, limit=missing)
    return found


def _halves(
    asked: Query, order: _Order, after: Cursor | None
) -> Iterator[tuple[bool, tuple[str, ...], dict[str, float]]]:
    """Queries for the samples that have the order's value (True) and for those without.

    Reading backward turns everything round. A half that lies wholly before the cursor is left out.
    """
    backward = after is not None and after.backward
    with_value = (True, *_with_value(asked, order, after))
    without_value = (False, *_without_value(asked, order, after))
    halves = [without_value, with_value] if backward else [with_value, without_value]
    in_second = after is not None and (after.value is None) is not backward
    yield from halves[1:] if in_second else halves


def _with_value(
    asked: Query, order: _Order, after: Cursor | None
) -> tuple[tuple[str, ...], dict[str, float]]:
    backward = after is not None and after.backward
    down = order.descending is not backward
    values: dict[str, float] = {}
    place = "AND true"
    if after is not None and after.value is not None:
        values = {"value": after.value, "row_idx": after.row_idx}
        # The first comparison alone already tells DuckDB which blocks to leave out.
        place = " ".join(
            ("AND", order.column, "<=" if down else ">=", "$value AND (", order.column,
             "<" if down else ">", "$value OR s.row_idx", "<" if backward else ">", "$row_idx)")
        )  # fmt: skip
    ordering = " ".join(
        (
            "ORDER BY",
            order.column,
            "DESC," if down else "ASC,",
            _row_order(backward),
            "LIMIT $limit",
        )
    )
    select = " ".join(("SELECT", order.column, ", s.row_idx FROM scores s WHERE"))
    present = " ".join(("AND", order.column, "IS NOT NULL"))
    return (select, asked.where, present, place, ordering), values


def _without_value(
    asked: Query, order: _Order, after: Cursor | None
) -> tuple[tuple[str, ...], dict[str, float]]:
    backward = after is not None and after.backward
    values: dict[str, float] = {}
    place = "AND true"
    if after is not None and after.value is None:
        values = {"row_idx": after.row_idx}
        place = "AND s.row_idx < $row_idx" if backward else "AND s.row_idx > $row_idx"
    absent = " ".join(("AND", order.column, "IS NULL"))
    select = "SELECT NULL, s.row_idx FROM scores s WHERE"
    ordering = " ".join(("ORDER BY", _row_order(backward), "LIMIT $limit"))
    return (select, asked.where, absent, place, ordering), values


def _row_order(backward: bool) -> str:
    return "s.row_idx DESC" if backward else "s.row_idx ASC"


def _sort(sort: Sort | str) -> Sort:
    try:
        return Sort(sort)
    except ValueError:
        raise InputError(f"{sort!r} is no order; use one of {', '.join(Sort)}") from None


def matching_rows(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> NDArray[np.int64]:
    """The row_idx of all samples that meet the filter, ascending."""
    asked = compile_query(store, scope, which, bands)
    columns = asked.snapshot.arrays(
        " ".join(("SELECT row_idx FROM scores s WHERE", asked.where, "ORDER BY row_idx")),
        asked.values,
    )
    return columns["row_idx"].astype(np.int64, copy=False)


def read_candidates(store: Store, scope: Scope) -> Candidates:
    """All samples with the scores of a scope as columns, ascending by row_idx.

    Without a clustering in the scope ``cluster_id`` is -1 everywhere.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    cluster, join = cluster_column(snapshot, scope)
    values: dict[str, Any] = {
        "run_id": scope.run_id,
        "baseline": scope.baseline,
        "statuses": [str(status) for status in STATUSES],
    }
    if join:
        values["clustering_id"] = scope.clustering_id
    n = int(snapshot.rows("SELECT n_samples FROM build_info")[0][0])
    columns = {name: np.zeros(n, kind) for name, kind in _COLUMNS.items()}
    query = "\n".join((_CANDIDATES, cluster, _OF_SCORES, join, _OF_SCOPE))
    # They come in the order of the score, and each goes to its place: nothing is sorted.
    for batch in snapshot.batches(query, values):
        rows = batch["row_idx"]
        for name, column in columns.items():
            column[rows] = batch[name]
    sources = snapshot.rows("SELECT source FROM sources ORDER BY source_no")
    return Candidates(
        row_idx=np.arange(n), sources=tuple(str(source) for (source,) in sources), **columns
    )


def score_column(store: Store, scope: Scope) -> NDArray[np.float64]:
    """The scores of a scope by row_idx, shape (samples of the dataset,), NaN without one."""
    snapshot = store.snapshot()
    column = np.full(int(snapshot.rows("SELECT n_samples FROM build_info")[0][0]), np.nan)
    values = {"run_id": scope.run_id, "baseline": scope.baseline}
    for batch in snapshot.batches(_SCORE_COLUMN, values):
        column[batch["row_idx"]] = batch["visnec"]
    return column


_SCORE_COLUMN = """
    SELECT row_idx, visnec FROM scores
    WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL
"""
_COLUMNS: dict[str, type[np.generic]] = {
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
        s.row_idx, (list_position($statuses, s.status) - 1)::TINYINT AS status,
        s.source_no AS source, s.visnec, s.loss_text, s.loss_multimodal,
        coalesce(s.n_answer_tokens, 0)::BIGINT AS n_answer_tokens, s.kind_no AS answer_kind,
        coalesce(
"""
_OF_SCORES = ", -1) AS cluster_id FROM scores s"
_OF_SCOPE = "WHERE s.run_id = $run_id AND s.baseline = $baseline"
