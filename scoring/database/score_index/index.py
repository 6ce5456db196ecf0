"""The scores under one filter as sorted columns in memory: what threshold questions are asked of.

The first question under a filter reads its scores once, in the order in which the database holds
them; from then on thresholds, shares, histograms and groups are positions in a sorted column. The
one decision behind it: counts per group are summed up block by block, so that those left of any
position are one row of a small table plus a look at one block: exact at any threshold, for any
filter, in time that does not grow with the samples. A filter on score or category is a stretch of
the slice without it and reads nothing anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.build.schema import ANSWER_KINDS
from scoring.database.conditions import EVERYTHING, Query, compile_query
from scoring.database.connection import Snapshot, Store
from scoring.database.filters import Filter
from scoring.database.values import Scope
from scoring.necessity import Bands, Category

SOURCE, CLUSTER, KIND, LENGTH = "source", "cluster", "kind", "length"

_BLOCK = 4096
_CELLS = 1 << 20  # of a table of blocks x groups, so that many sources do not cost gigabytes
_CHUNK = 1 << 20
_ROW_BYTES = 32  # of a scored sample in a slice with its group tables, generously


@dataclass(frozen=True, slots=True)
class GroupTable:
    """Counts and answer tokens per group, left of every block's first position.

    ``counts`` and ``tokens`` have the shape (blocks + 1, groups); their last row is the whole.
    """

    codes: NDArray[Any]
    weights: NDArray[Any]
    block: int
    counts: NDArray[np.int64]
    tokens: NDArray[np.int64]

    def counts_left(self, position: int) -> NDArray[np.int64]:
        """Samples per group among the first ``position``."""
        block = position // self.block
        rest = self.codes[block * self.block : position]
        found: NDArray[np.int64] = np.bincount(rest, minlength=self.counts.shape[1])
        found += self.counts[block]
        return found

    def tokens_left(self, position: int) -> NDArray[np.int64]:
        """Answer tokens per group among the first ``position`` samples."""
        block = position // self.block
        rest = slice(block * self.block, position)
        summed = np.bincount(self.codes[rest], self.weights[rest], self.tokens.shape[1])
        found: NDArray[np.int64] = summed.astype(np.int64)
        found += self.tokens[block]
        return found

    def position(self, group: int, rank: int) -> int:
        """Where the group's sample of this rank (0-based) stands."""
        block = int(np.searchsorted(self.counts[:, group], rank, side="right")) - 1
        begin = block * self.block
        inside = np.flatnonzero(self.codes[begin : begin + self.block] == group)
        return begin + int(inside[rank - self.counts[block, group]])


@dataclass(frozen=True, slots=True, eq=False)
class ScoreIndex:
    """Scored samples ascending by (visnec, row_idx), column by column; treat it as read-only.

    ``unscored`` counts the others under the filter: status, source, cluster, kind (as codes), n.
    The codes of a group are its number: ``source_no``, ``cluster_id + 1`` (0: in none),
    ``kind_no``; a length is ``ceil(log2(answer tokens)) + 1`` (0: unknown, as are the tokens of
    imported scores, whose ``n_tokens`` is 0 here).
    """

    visnec: NDArray[np.float64]
    row_idx: NDArray[np.int64]
    n_tokens: NDArray[np.int32]
    codes: dict[str, NDArray[Any]]
    n_groups: dict[str, int]
    sources: list[str]
    unscored: pd.DataFrame
    memo: dict[Any, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.visnec)

    @property
    def tokens_known(self) -> bool:
        """Whether every score tells the number of its answer tokens; imported ones do not."""
        known: bool = self.kept(("tokens known",), lambda: bool((self.n_tokens > 0).all()))
        return known

    @property
    def n_unscored(self) -> int:
        """Samples under the filter without a score."""
        return int(self.unscored["n"].sum())

    def position(self, visnec: float | None) -> int:
        """How many scores lie below the limit; None stands for no limit on the left."""
        return 0 if visnec is None else int(np.searchsorted(self.visnec, visnec, side="left"))

    def end(self, visnec: float | None) -> int:
        """As ``position``, for an upper limit: None takes all."""
        return len(self) if visnec is None else self.position(visnec)

    def group(self, key: str) -> GroupTable:
        """The table of a group, made on first use."""
        table: GroupTable = self.kept((key,), lambda: _group_table(self, key))
        return table

    def tokens_left(self, position: int) -> int:
        """Answer tokens of the first ``position`` samples."""
        return int(self.group(KIND).tokens_left(position).sum())

    def kept(self, key: tuple[object, ...], make: Callable[[], Any]) -> Any:
        """Something that depends on the slice alone; at worst two threads work it out twice."""
        if key not in self.memo:
            self.memo[key] = make()
        return self.memo[key]

    def stretch(self, windows: Sequence[tuple[int, int]]) -> ScoreIndex:
        """The samples at the given positions, without those that have no score."""
        empty = self.unscored.iloc[:0]
        return ScoreIndex(
            visnec=_cut(self.visnec, windows),
            row_idx=_cut(self.row_idx, windows),
            n_tokens=_cut(self.n_tokens, windows),
            codes={key: _cut(column, windows) for key, column in self.codes.items()},
            n_groups=self.n_groups,
            sources=self.sources,
            unscored=empty,
        )


def open_score_index(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreIndex:
    """The scores of a scope under a filter, read on first use and kept while there is room.

    Raises InputError as :func:`scoring.database.conditions.compile_query` does.
    """
    bands = bands or store.bands
    base = replace(which, category=(), visnec=None)
    asked = compile_query(store, scope, base, bands)
    everything = _everything_for(store, scope, base)

    def make() -> ScoreIndex:
        if everything is not None:
            return _cut_groups(_slice_of(everything, scope), base)
        return _load(asked, scope, in_order=base == EVERYTHING)

    whole = asked.snapshot.cache.get_or_compute(_key(asked, scope), make, _slice_bytes)
    if not which.category and which.visnec is None:
        return whole
    windows = _windows(whole, which, bands)
    stretches: list[tuple[object, ScoreIndex]] = whole.kept(("stretches",), list)
    for known, found in list(stretches):
        if known == windows:
            return found
    made = whole.stretch(windows)
    stretches.insert(0, (windows, made))
    # Moving a band limit makes one after the other; only several stretches in one are a copy.
    del stretches[2 if len(windows) == 1 else 1 :]
    return made


def cached_score_index(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreIndex | None:
    """As :func:`open_score_index`, but None where that would have to read the scores first."""
    base = replace(which, category=(), visnec=None)
    asked = compile_query(store, scope, base, bands)
    known = _key(asked, scope) in asked.snapshot.cache
    if known or _everything_for(store, scope, base) is not None:
        return open_score_index(store, scope, which, bands)
    return None


def _key(asked: Query, scope: Scope) -> tuple[object, ...]:
    return "slice", scope, asked.key


def _everything_for(store: Store, scope: Scope, base: Filter) -> Query | None:
    """The question for all samples, where its slice is there and the filter is on groups alone."""
    if base == EVERYTHING or replace(base, source=(), cluster=(), kind=()) != EVERYTHING:
        return None
    asked = compile_query(store, scope)
    return asked if _key(asked, scope) in asked.snapshot.cache else None


def _slice_of(everything: Query, scope: Scope) -> ScoreIndex:
    make = partial(_load, everything, scope, in_order=True)
    return everything.snapshot.cache.get_or_compute(_key(everything, scope), make, _slice_bytes)


def _cut_groups(whole: ScoreIndex, which: Filter) -> ScoreIndex:
    """The samples of the groups that the filter names, cut from a slice of all samples."""
    wanted = {
        SOURCE: [whole.sources.index(name) for name in which.source if name in whole.sources],
        CLUSTER: [number + 1 for number in which.cluster],
        KIND: [ANSWER_KINDS.index(name) for name in which.kind],
    }
    named = {SOURCE: which.source, CLUSTER: which.cluster, KIND: which.kind}
    keep, unscored = np.ones(len(whole), bool), whole.unscored
    for group, codes in wanted.items():
        if named[group]:
            allowed = np.isin(np.arange(whole.n_groups[group]), codes)
            keep &= allowed[whole.codes[group]]
            unscored = unscored[allowed[unscored[group].to_numpy(np.int64)]]
    return ScoreIndex(
        visnec=whole.visnec[keep],
        row_idx=whole.row_idx[keep],
        n_tokens=whole.n_tokens[keep],
        codes={group: column[keep] for group, column in whole.codes.items()},
        n_groups=whole.n_groups,
        sources=whole.sources,
        unscored=unscored,
    )


def _windows(whole: ScoreIndex, which: Filter, bands: Bands) -> list[tuple[int, int]]:
    """The stretches of positions that the filter's scores and categories allow, ascending."""
    low, high = whole.position(bands.low), whole.position(bands.high)
    of_category = {
        Category.MISALIGNED: (0, low),
        Category.REDUNDANT: (low, high),
        Category.VISION_CRITICAL: (high, len(whole)),
    }
    windows = [of_category[category] for category in which.category] or [(0, len(whole))]
    if which.visnec is not None:
        first, last = whole.position(which.visnec.min), whole.end(which.visnec.max)
        windows = [(max(begin, first), min(end, last)) for begin, end in windows]
    joined: list[tuple[int, int]] = []
    for begin, end in windows:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], max(begin, end))
        elif begin < end:
            joined.append((begin, end))
    return joined


def _cut(column: NDArray[Any], windows: Sequence[tuple[int, int]]) -> NDArray[Any]:
    if len(windows) == 1:
        return column[slice(*windows[0])]
    return np.concatenate([column[:0], *(column[begin:end] for begin, end in windows)])


def _load(asked: Query, scope: Scope, in_order: bool) -> ScoreIndex:
    """Reads the columns. ``in_order``: all of them, which come as they lie in the database."""
    cluster, join = cluster_column(asked.snapshot, scope)
    values = {"clustering_id": scope.clustering_id} if join else {}
    scored = (_SCORED,) if in_order else (_SCORED, _ORDERED)
    columns = asked.snapshot.arrays(
        "\n".join((_COLUMNS_BEFORE, cluster, _COLUMNS_BEHIND, join, "WHERE", asked.where, *scored)),
        asked.values | values,
    )
    if (np.diff(columns["visnec"]) < 0).any():
        order = np.lexsort((columns["row_idx"], columns["visnec"]))
        columns = {name: column[order] for name, column in columns.items()}
    unscored = asked.frame(
        _UNSCORED_BEFORE, cluster, _UNSCORED_BEHIND, join, "WHERE", asked.where, _GROUPED, **values
    )
    sources = [str(source) for (source,) in asked.snapshot.rows(_SOURCES)]
    n_clusters = int(
        max(columns["cluster"].max(initial=0), unscored["cluster"].max() if len(unscored) else 0)
    )
    n_tokens = columns["n_tokens"]
    return ScoreIndex(
        visnec=columns["visnec"],
        row_idx=columns["row_idx"],
        n_tokens=n_tokens,
        codes={
            SOURCE: _small(columns["source"], len(sources)),
            CLUSTER: _small(columns["cluster"], n_clusters + 1),
            KIND: columns["kind"],
        },
        n_groups={
            SOURCE: len(sources),
            CLUSTER: n_clusters + 1,
            KIND: len(ANSWER_KINDS),
            LENGTH: length_class(int(n_tokens.max(initial=1))) + 2,
        },
        sources=sources,
        unscored=unscored,
    )


def length_class(n_tokens: int) -> int:
    """0 for one answer token, 1 for 2, 2 for 3 to 4, 3 for 5 to 8 and so on."""
    return math.ceil(math.log2(max(n_tokens, 1)))


def cluster_column(snapshot: Snapshot, scope: Scope) -> tuple[str, str]:
    """A sample's cluster as an expression over ``scores s``, and the join that it may need."""
    if scope.clustering_id is None:
        return "NULL::INTEGER", ""
    if scope.clustering_id == snapshot.clustering_in_scores:
        return "s.cluster_id", ""
    return "c.cluster_id", _CLUSTER_JOIN


def _group_table(one: ScoreIndex, key: str) -> GroupTable:
    codes = _length_codes(one.n_tokens) if key == LENGTH else one.codes[key]
    n_groups, n = one.n_groups[key], len(codes)
    block = max(_BLOCK, -(-n * n_groups // _CELLS))
    n_blocks = n // block + 1
    counts = np.zeros((n_blocks + 1, n_groups), np.int64)
    tokens = np.zeros((n_blocks + 1, n_groups), np.int64)
    per_chunk = max(1, _CHUNK // block)
    for first in range(0, n_blocks, per_chunk):
        last = min(first + per_chunk, n_blocks)
        rows = slice(first * block, last * block)
        place = (np.arange(len(codes[rows])) // block) * n_groups + codes[rows]
        cells = (last - first) * n_groups
        found = np.bincount(place, minlength=cells)
        counts[first + 1 : last + 1] = found.reshape(-1, n_groups)
        summed = np.bincount(place, one.n_tokens[rows], cells)
        tokens[first + 1 : last + 1] = summed.astype(np.int64).reshape(-1, n_groups)
    np.cumsum(counts, axis=0, out=counts)
    np.cumsum(tokens, axis=0, out=tokens)
    return GroupTable(codes, one.n_tokens, block, counts, tokens)


def _length_codes(n_tokens: NDArray[np.int32]) -> NDArray[np.uint8]:
    with np.errstate(divide="ignore"):
        classes = np.maximum(np.ceil(np.log2(n_tokens)) + 1, 0)
    codes: NDArray[np.uint8] = classes.astype(np.uint8)
    return codes


def _small(column: NDArray[Any], n_values: int) -> NDArray[Any]:
    return column.astype(np.min_scalar_type(max(n_values - 1, 0)))


def _slice_bytes(one: ScoreIndex) -> int:
    return len(one) * _ROW_BYTES + 65536


_COLUMNS_BEFORE = """
    SELECT
        s.visnec, s.row_idx::INTEGER AS row_idx,
        coalesce(s.n_answer_tokens, 0)::INTEGER AS n_tokens,
        s.source_no AS source, s.kind_no AS kind, (coalesce(
"""
_COLUMNS_BEHIND = ", -1) + 1)::INTEGER AS cluster FROM scores s"
_SOURCES = "SELECT source FROM sources ORDER BY source_no"
_SCORED = "AND s.visnec IS NOT NULL"
_ORDERED = "ORDER BY s.visnec, s.row_idx"
_UNSCORED_BEFORE = """
    SELECT
        s.status, s.source_no AS source, s.kind_no AS kind, count(*) AS n, (coalesce(
"""
_UNSCORED_BEHIND = _COLUMNS_BEHIND
_GROUPED = "AND s.visnec IS NULL GROUP BY ALL"
_CLUSTER_JOIN = """
    LEFT JOIN (FROM clusters WHERE clustering_id = $clustering_id) c ON c.row_idx = s.row_idx
"""
