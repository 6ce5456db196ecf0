"""Two sets of scores beside each other: runs, or blind baselines of one run.

Everything is about the samples that have a score in both, in one pass over two columns. The one
decision behind it: what is large stays here; a comparison is a few small tables and the samples
that lie furthest apart, so a page can keep it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import EVERYTHING, check_scope, compile_query
from scoring.database.connection import Snapshot, Store
from scoring.database.filters import Filter
from scoring.database.queries.overview import histogram_edges
from scoring.database.score_index.index import ScoreIndex, open_score_index
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands, Category

CATEGORIES = tuple(Category)
_MAX_APART = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """How the scores of one scope ("here") and another ("there") relate, under a filter.

    ``n_here`` samples are scored here, ``n_both`` of them there too; all other figures are about
    those. ``spearman``: rank correlation with tied ranks averaged, None below two samples or
    where all scores of a side are equal. ``top_here`` and ``top_there`` are the scores that keep
    the top ``share``; ``n_top_both`` samples are in both tops and ``n_top_either`` in one at
    least. ``flips[i, j]``: samples of category ``CATEGORIES[i]`` here and ``[j]`` there.
    ``density[y, x]``: samples by score here (x) and there (y) between the edges, the outer bins
    taking what lies outside. ``apart``: the samples whose ranks differ most, at most 1000, the
    widest first: row_idx, visnec, other_visnec, rank, other_rank (share of samples below, 0 to 1).
    """

    n_here: int
    n_both: int
    spearman: float | None
    share: float
    top_here: float | None
    top_there: float | None
    n_top_both: int
    n_top_either: int
    flips: NDArray[np.int64]
    density: NDArray[np.int64]
    edges_here: NDArray[np.float64]
    edges_there: NDArray[np.float64]
    apart: pd.DataFrame

    @property
    def overlap(self) -> float | None:
        """Jaccard index of the two tops: 1 where they are the same samples."""
        return self.n_top_both / self.n_top_either if self.n_top_either else None

    @property
    def n_flipped(self) -> int:
        """Samples of another category there."""
        return int(self.flips.sum() - np.trace(self.flips))


def compare_scopes(
    store: Store,
    scope: Scope,
    other: Scope,
    which: Filter = EVERYTHING,
    share: float = 0.15,
    bins: int = 48,
    bands: Bands | None = None,
) -> Comparison:
    """Compares the scores of two scopes; the filter is about the first one.

    Raises InputError for a share outside 0 to 1 and for a scope that is not there.
    """
    if not 0 < share <= 1:
        raise InputError(f"a share lies between 0 and 1 (0.15 is 15 %), got {share!r}")
    bands = bands or store.bands
    asked = compile_query(store, scope, which, bands)
    check_scope(asked.snapshot, other)
    edges = tuple(np.asarray(histogram_edges(store, one, bins)) for one in (scope, other))
    key = ("compared", scope, other, asked.key, share, bins, bands)
    return asked.snapshot.cache.get_or_compute(
        key,
        lambda: _compare(
            open_score_index(store, scope, which, bands),
            _scores(asked.snapshot, other),
            share,
            bands,
            (edges[0], edges[1]),
        ),
        lambda one: one.density.nbytes + int(one.apart.memory_usage().sum()),
    )


def other_name(scope: Scope) -> str:
    """How the filter's ``other:`` names a scope."""
    return f"{scope.run_id}/{scope.baseline}"


def flip_filter(which: Filter, other: Scope, here: Category, there: Category) -> Filter:
    """The samples of one cell of ``flips``, among those that meet the filter."""
    return replace(which, category=(here,), other=other_name(other), other_category=(there,))


def _scores(snapshot: Snapshot, scope: Scope) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    columns = snapshot.arrays(
        """
        SELECT row_idx::INTEGER AS row_idx, visnec FROM scores
        WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL
        """,
        {"run_id": scope.run_id, "baseline": scope.baseline},
    )
    return columns["row_idx"], columns["visnec"]


def _compare(
    one: ScoreIndex,
    other: tuple[NDArray[np.int32], NDArray[np.float64]],
    share: float,
    bands: Bands,
    edges: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Comparison:
    rows, there = _beside(one, *other)
    both = ~np.isnan(there)
    rows, here, there = rows[both], one.visnec[both], there[both]
    ranks = _ranks(here), _ranks(there)
    flips = _cells(_category(here, bands), _category(there, bands), (3, 3))
    places = [_bin(column, edge) for column, edge in zip((here, there), edges, strict=True)]
    shape = (len(edges[1]) - 1, len(edges[0]) - 1)
    tops = [_top(column, share) for column in (here, there)]
    n_top_both = n_top_either = 0
    if tops[0] is not None and tops[1] is not None:
        in_top = here >= tops[0], there >= tops[1]
        n_top_both = int((in_top[0] & in_top[1]).sum())
        n_top_either = int((in_top[0] | in_top[1]).sum())
    return Comparison(
        n_here=len(one),
        n_both=len(here),
        spearman=_correlation(*ranks),
        share=share,
        top_here=tops[0],
        top_there=tops[1],
        n_top_both=n_top_both,
        n_top_either=n_top_either,
        flips=flips,
        density=_cells(places[1], places[0], shape),
        edges_here=edges[0],
        edges_there=edges[1],
        apart=_apart(rows, here, there, *ranks),
    )


def _beside(
    one: ScoreIndex, rows: NDArray[np.int32], visnec: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The other score of each sample of the slice; NaN where it has none."""
    size = 1 + max(int(one.row_idx.max(initial=0)), int(rows.max(initial=0)))
    by_row = np.full(size, np.nan)
    by_row[rows] = visnec
    return one.row_idx, by_row[one.row_idx]


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, those of equal values averaged."""
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ascending[1:] != ascending[:-1]]))
    begins = begins if len(values) else np.empty(0, np.int64)
    lengths = np.diff(np.append(begins, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(begins + (lengths - 1) / 2, lengths)
    return ranks


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float | None:
    if len(one) < 2:
        return None
    middle = (len(one) - 1) / 2
    one, other = one - middle, other - middle
    spread = float(np.sqrt(np.dot(one, one) * np.dot(other, other)))
    return float(np.clip(np.dot(one, other) / spread, -1, 1)) if spread else None


def _top(values: NDArray[np.float64], share: float) -> float | None:
    count = int(share * len(values))
    if not count:
        return None
    return float(np.partition(values, len(values) - count)[len(values) - count])


def _category(visnec: NDArray[np.float64], bands: Bands) -> NDArray[np.int64]:
    return (visnec >= bands.low).astype(np.int64) + (visnec >= bands.high)


def _bin(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted(edges[1:-1], values, side="right").astype(np.int64)


def _cells(
    one: NDArray[np.int64], other: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int64]:
    counts = np.bincount(one * shape[1] + other, minlength=shape[0] * shape[1])
    return counts.reshape(shape).astype(np.int64)


def _apart(
    rows: NDArray[np.int64],
    here: NDArray[np.float64],
    there: NDArray[np.float64],
    ranks: NDArray[np.float64],
    other_ranks: NDArray[np.float64],
) -> pd.DataFrame:
    gap = np.abs(ranks - other_ranks)
    n = min(_MAX_APART, len(gap))
    widest = np.argpartition(gap, len(gap) - n)[len(gap) - n :] if n else np.empty(0, np.int64)
    widest = widest[gap[widest] > 0]
    widest = widest[np.lexsort((rows[widest], -gap[widest]))]
    return pd.DataFrame(
        {
            "row_idx": rows[widest].astype(np.int64),
            "visnec": here[widest],
            "other_visnec": there[widest],
            "rank": ranks[widest] / len(gap) if n else ranks[widest],
            "other_rank": other_ranks[widest] / len(gap) if n else other_ranks[widest],
        }
    )
