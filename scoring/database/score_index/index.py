"""The scores under one filter as sorted columns in memory, for thresholds, pages and groups.

The first query under a filter reads its scores in database order; thresholds, shares, histograms
and groups are then positions in a sorted column. Counts per group are cumulated block by block, so
that those below any position are one row of a small table plus part of one block: exact at any
threshold, for any filter, in a time that does not grow with the samples. A filter on score or
category is a range of the index without it and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.build.schema import ANSWER_KINDS
from scoring.database.conditions import Query, compile_query
from scoring.database.connection import Selection
from scoring.database.filters import EVERYTHING, Filter
from scoring.database.queries.map_points import mark_area
from scoring.necessity import CATEGORIES, Bands
from scoring.rules.shares import length_stratum

SOURCE, CLUSTER, KIND, LENGTH = "source", "cluster", "kind", "length"
GROUPS = (SOURCE, CLUSTER, KIND, LENGTH)

_BLOCK_ROWS = 4096
_MAX_CELLS = 1 << 20  # of a table of blocks x groups: many sources do not cost gigabytes
_CHUNK_ROWS = 1 << 20
_ROW_BYTES = 32  # upper estimate per scored sample, with the group tables
T = TypeVar("T")
Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Counts and answer tokens per group, before the first position of every block.

    ``counts`` and ``tokens`` have the shape (blocks + 1, groups); their last row is the total.
    """

    codes: NDArray[Any]
    n_tokens: NDArray[Any]
    block_rows: int
    counts: NDArray[np.int64]
    tokens: NDArray[np.int64]

    def count_below(self, position: int) -> NDArray[np.int64]:
        """Return samples per group among the first ``position``."""
        block = position // self.block_rows
        rest = self.codes[block * self.block_rows : position]
        counts: NDArray[np.int64] = np.bincount(rest, minlength=self.counts.shape[1])
        counts += self.counts[block]
        return counts

    def count_tokens_below(self, position: int) -> NDArray[np.int64]:
        """Return answer tokens per group among the first ``position`` samples."""
        block = position // self.block_rows
        rest = slice(block * self.block_rows, position)
        summed = np.bincount(self.codes[rest], self.n_tokens[rest], self.tokens.shape[1])
        tokens: NDArray[np.int64] = summed.astype(np.int64)
        tokens += self.tokens[block]
        return tokens

    def position_of(self, group: int, rank: int) -> int:
        """Return the position of the group's sample of this rank (0-based)."""
        block = int(np.searchsorted(self.counts[:, group], rank, side="right")) - 1
        begin = block * self.block_rows
        inside = np.flatnonzero(self.codes[begin : begin + self.block_rows] == group)
        return begin + int(inside[rank - self.counts[block, group]])


@dataclass(frozen=True, slots=True, eq=False)
class ScoreIndex:
    """Scored samples ascending by (visnec, row_idx), column by column; do not modify.

    ``unscored`` counts the other samples under the filter: status, source, cluster, kind (as
    codes), n. Group codes are ``source_no``, ``cluster_id + 1`` (0: in none), ``kind_no``, and
    1 + the length stratum of ``rules.shares`` (0: unknown, as the tokens of imported scores, whose
    ``n_tokens`` is 0).
    """

    visnec: NDArray[np.float64]
    row_idx: NDArray[np.int32]
    n_tokens: NDArray[np.int32]
    codes: dict[str, NDArray[Any]]
    n_groups: dict[str, int]
    sources: list[str]
    unscored: pd.DataFrame
    memo: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.visnec)

    @property
    def has_tokens(self) -> bool:
        """Whether the answer tokens of every score are known; those of imported ones are not."""
        return self.cached("has tokens", lambda: bool((self.n_tokens > 0).all()))

    @property
    def n_unscored(self) -> int:
        """Number of samples under the filter without a score."""
        return int(self.unscored["n"].sum())

    def count_unscored(self, group: str) -> NDArray[np.int64]:
        """Return samples without a score per group; they have no answer tokens, so no length."""
        if ("unscored", group) in self.memo:
            counted: NDArray[np.int64] = self.memo["unscored", group]
            return counted
        if group == LENGTH:
            return np.zeros(self.n_groups[LENGTH], np.int64)
        counts = np.bincount(self.unscored[group], self.unscored["n"], self.n_groups[group])
        return counts.astype(np.int64)

    def position_of(self, visnec: float | None) -> int:
        """Return how many scores are below the limit; None: no lower limit."""
        return 0 if visnec is None else int(np.searchsorted(self.visnec, visnec, side="left"))

    def end_of(self, visnec: float | None) -> int:
        """As :meth:`position_of` for an upper limit, where None includes all."""
        return len(self) if visnec is None else self.position_of(visnec)

    def range_of(self, visnec: float) -> tuple[int, int]:
        """Return the positions between which the samples with this score are."""
        return self.position_of(visnec), int(np.searchsorted(self.visnec, visnec, side="right"))

    def category_ends(self, bands: Bands) -> list[int]:
        """Return the positions between which each category is: 0, ..., the number of scores."""
        return [0, *(self.end_of(bands.range_of(category)[1]) for category in CATEGORIES)]

    def group_table(self, group: str) -> GroupTable:
        """Return the table of a grouping, built on first use."""

        def build() -> GroupTable:
            codes = length_codes(self.n_tokens) if group == LENGTH else self.codes[group]
            return _build_group_table(self, codes, self.n_groups[group])

        return self.cached(("table", group), build)

    def add_group(self, group: str, codes: NDArray[Any], unscored: NDArray[np.int64]) -> None:
        """Add a grouping: the code of each score, and the samples without a score per code."""
        self.memo["unscored", group] = unscored
        self.memo["table", group] = _build_group_table(self, codes, len(unscored))

    def cached(self, key: object, compute: Callable[[], T]) -> T:
        """Return something derived from the index alone; two threads may both compute it."""
        if key not in self.memo:
            self.memo[key] = compute()
        value: T = self.memo[key]
        return value

    def select(
        self, pick: Callable[[NDArray[Any]], NDArray[Any]], unscored: pd.DataFrame
    ) -> ScoreIndex:
        """Return an index of some samples; ``pick`` takes their values out of a column."""
        return ScoreIndex(
            visnec=pick(self.visnec),
            row_idx=pick(self.row_idx),
            n_tokens=pick(self.n_tokens),
            codes={group: pick(column) for group, column in self.codes.items()},
            n_groups=self.n_groups,
            sources=self.sources,
            unscored=unscored,
        )


def open_score_index(selection: Selection) -> ScoreIndex:
    """Return the scores of a selection, read on first use and kept while they fit.

    Raises InputError as :func:`scoring.database.conditions.compile_query` does.
    """
    base = replace(selection.where, category=(), visnec=None)
    query = compile_query(replace(selection, where=base))
    everything = _cached_everything(selection, base)

    def build() -> ScoreIndex:
        if everything is None:
            return _read_scores(query, in_order=base == EVERYTHING)
        whole = _cache_index(everything, selection, lambda: _read_scores(everything, in_order=True))
        return _select_known(whole, base, query)

    whole = _cache_index(query, selection, build)
    if base == selection.where:
        return whole
    ranges = _find_ranges(whole, selection.where, selection.bands)
    known: list[tuple[Ranges, ScoreIndex]] = whole.cached("ranges", list)
    for known_ranges, index in list(known):
        if known_ranges == ranges:
            return index

    def take_ranges(column: NDArray[Any]) -> NDArray[Any]:
        if len(ranges) == 1:
            return column[slice(*ranges[0])]
        return np.concatenate([column[:0], *(column[begin:end] for begin, end in ranges)])

    index = whole.select(take_ranges, whole.unscored.iloc[:0])
    known.insert(0, (ranges, index))
    # Dragging a band limit makes one after the other; only several ranges in one are a copy.
    del known[2 if len(ranges) == 1 else 1 :]
    return index


def cached_score_index(selection: Selection) -> ScoreIndex | None:
    """As :func:`open_score_index`, but None where the scores would have to be read first."""
    base = replace(selection.where, category=(), visnec=None)
    query = compile_query(replace(selection, where=base))
    is_cached = _cache_key(query, selection) in query.snapshot.cache
    return open_score_index(selection) if is_cached or _cached_everything(selection, base) else None


def length_codes(n_tokens: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the length group of numbers of answer tokens; 0 where it is unknown."""
    of_length = length_stratum(np.arange(n_tokens.max(initial=0) + 1)) + 1
    of_length[0] = 0
    codes: NDArray[np.uint8] = of_length.astype(np.uint8)[n_tokens]
    return codes


def length_limits(code: int) -> tuple[int, int]:
    """Return the fewest and the most answer tokens of a length group, by its code from 1 on."""
    longest = 2 ** (code - 1)
    return longest // 2 + 1, longest


def _cache_key(query: Query, selection: Selection) -> tuple[object, ...]:
    return "score index", selection.scope, query.key


def _cache_index(query: Query, selection: Selection, build: Callable[[], ScoreIndex]) -> ScoreIndex:
    return query.snapshot.cache.get_or_compute(
        _cache_key(query, selection), build, lambda index: len(index) * _ROW_BYTES + 65536
    )


def _cached_everything(selection: Selection, base: Filter) -> Query | None:
    """The query for all samples, if its index is cached and the filter names groups and areas."""
    others = replace(base, source=(), cluster=(), kind=(), area=())
    if base == EVERYTHING or others != EVERYTHING:
        return None
    query = compile_query(replace(selection, where=EVERYTHING))
    return query if _cache_key(query, selection) in query.snapshot.cache else None


def _select_known(whole: ScoreIndex, where: Filter, query: Query) -> ScoreIndex:
    """The samples of the groups and areas that the filter names, from the index of all samples."""
    wanted = {
        SOURCE: [whole.sources.index(name) for name in where.source if name in whole.sources],
        CLUSTER: [number + 1 for number in where.cluster],
        KIND: [ANSWER_KINDS.index(name) for name in where.kind],
    }
    keep, unscored = np.ones(len(whole), bool), whole.unscored
    for group, codes in wanted.items():
        if not getattr(where, group):
            continue
        allowed = np.isin(np.arange(whole.n_groups[group]), codes)
        keep &= allowed[whole.codes[group]]
        unscored = unscored[allowed[unscored[group].to_numpy(np.int64)]]
    for area in where.area:
        keep &= mark_area(query.snapshot, area)[whole.row_idx]
    if where.area:
        unscored = query.fetch_frame(_UNSCORED)
    return whole.select(lambda column: column[keep], unscored)


def _find_ranges(whole: ScoreIndex, where: Filter, bands: Bands) -> Ranges:
    """The ranges of positions that the filter's scores and categories allow, ascending."""
    ends = whole.category_ends(bands)
    codes = [CATEGORIES.index(category) for category in where.category]
    ranges = [(ends[code], ends[code + 1]) for code in codes] or [(0, len(whole))]
    if where.visnec is not None:
        first, last = whole.position_of(where.visnec.min), whole.end_of(where.visnec.max)
        ranges = [(max(begin, first), min(end, last)) for begin, end in ranges]
    joined: list[tuple[int, int]] = []
    for begin, end in ranges:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], max(begin, end))
        elif begin < end:
            joined.append((begin, end))
    return joined


def _read_scores(query: Query, in_order: bool) -> ScoreIndex:
    """Read the columns. ``in_order``: of all samples, which are sorted in the database."""
    columns = query.fetch_arrays(_SCORED if in_order else f"{_SCORED} ORDER BY visnec, row_idx")
    if (np.diff(columns["visnec"]) < 0).any():
        order = np.lexsort((columns["row_idx"], columns["visnec"]))
        columns = {name: column[order] for name, column in columns.items()}
    unscored = query.fetch_frame(_UNSCORED)
    sources = query.snapshot.source_names()
    n_clusters = 1 + int(max(columns["cluster"].max(initial=0), *unscored["cluster"], 0))
    most_tokens = columns["n_tokens"].max(initial=1)
    return ScoreIndex(
        visnec=columns["visnec"],
        row_idx=columns["row_idx"],
        n_tokens=columns["n_tokens"],
        codes={
            SOURCE: _shrink(columns["source"], len(sources)),
            CLUSTER: _shrink(columns["cluster"], n_clusters),
            KIND: columns["kind"],
        },
        n_groups={
            SOURCE: len(sources),
            CLUSTER: n_clusters,
            KIND: len(ANSWER_KINDS),
            LENGTH: int(length_codes(most_tokens[None])[0]) + 1,
        },
        sources=sources,
        unscored=unscored,
    )


_SCORED = """
    SELECT
        visnec, row_idx::INTEGER AS row_idx,
        coalesce(n_answer_tokens, 0)::INTEGER AS n_tokens,
        source_no AS source, kind_no AS kind, (coalesce(cluster_id, -1) + 1)::INTEGER AS cluster
    FROM clustered WHERE visnec IS NOT NULL
"""
_UNSCORED = """
    SELECT
        status, source_no AS source, kind_no AS kind, count(*) AS n,
        (coalesce(cluster_id, -1) + 1)::INTEGER AS cluster
    FROM clustered WHERE visnec IS NULL GROUP BY ALL
"""


def _build_group_table(index: ScoreIndex, codes: NDArray[Any], n_groups: int) -> GroupTable:
    n = len(codes)
    block_rows = max(_BLOCK_ROWS, -(-n * n_groups // _MAX_CELLS))
    n_blocks = n // block_rows + 1
    counts = np.zeros((n_blocks + 1, n_groups), np.int64)
    tokens = np.zeros((n_blocks + 1, n_groups), np.int64)
    chunk_blocks = max(1, _CHUNK_ROWS // block_rows)
    for first in range(0, n_blocks, chunk_blocks):
        last = min(first + chunk_blocks, n_blocks)
        rows = slice(first * block_rows, last * block_rows)
        cells = (np.arange(len(codes[rows])) // block_rows) * n_groups + codes[rows]
        shape = (last - first, n_groups)
        n_cells = shape[0] * n_groups
        counts[first + 1 : last + 1] = np.bincount(cells, minlength=n_cells).reshape(shape)
        summed = np.bincount(cells, index.n_tokens[rows], n_cells)
        tokens[first + 1 : last + 1] = summed.reshape(shape)
    np.cumsum(counts, axis=0, out=counts)
    np.cumsum(tokens, axis=0, out=tokens)
    return GroupTable(codes, index.n_tokens, block_rows, counts, tokens)


def _shrink(column: NDArray[Any], n_values: int) -> NDArray[Any]:
    """The column in the smallest unsigned type for 0 to ``n_values - 1``."""
    return column.astype(np.min_scalar_type(max(n_values - 1, 0)))
