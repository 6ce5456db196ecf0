"""Two sets of scores compared: runs, or blind baselines of one run.

All figures are about the samples that have a score in both. The result is a few small tables and
the samples whose ranks differ most, small enough for a page to keep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import check_scope, compile_query
from scoring.database.connection import Selection
from scoring.database.filters import Filter
from scoring.database.queries.browse import score_column
from scoring.database.queries.overview import histogram_edges
from scoring.database.score_index.index import open_score_index
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import CATEGORIES, Bands, Category
from scoring.rules.ranking import average_ranks

Floats = NDArray[np.float64]

_MAX_FURTHEST = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """How the scores of one scope ("here") and another ("there") relate, under a filter.

    ``n_here`` samples are scored here, ``n_both`` of them there too; all other figures are about
    those. ``spearman``: rank correlation with tied ranks averaged, None below two samples or
    where all scores of a side are equal. ``top_here`` and ``top_there`` are the scores that keep
    the top ``share``; ``n_top_both`` samples are in both tops and ``n_top_either`` in at least one.
    ``flips[i, j]``: samples of category ``CATEGORIES[i]`` here and ``[j]`` there.
    ``density[y, x]``: samples by score here (x) and there (y) between the edges; the first and the
    last row and column count what is outside. ``furthest``: the samples whose ranks differ most, at
    most 1000, the largest difference first: row_idx, visnec, other_visnec, rank, other_rank (share
    of samples below, 0 to 1).
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
    edges_here: Floats
    edges_there: Floats
    furthest: pd.DataFrame

    @property
    def overlap(self) -> float | None:
        """Jaccard index of the two tops: 1 where they are the same samples."""
        return self.n_top_both / self.n_top_either if self.n_top_either else None

    @property
    def n_flipped(self) -> int:
        """Number of samples with another category there."""
        return int(self.flips.sum() - np.trace(self.flips))


def compare_scopes(
    selection: Selection, other: Scope, share: float = 0.15, bins: int = 48
) -> Comparison:
    """Compare the scores of a selection with those of another scope.

    Raises InputError for a share outside 0 to 1 and for a missing scope.
    """
    if not 0 < share <= 1:
        raise InputError(f"A share is between 0 and 1 (0.15 is 15 %), got {share!r}.")
    query = compile_query(selection)
    check_scope(query.snapshot, other)

    def compare() -> Comparison:
        index = open_score_index(selection)
        there = score_column(selection.store, other)[index.row_idx]
        edges = [
            np.asarray(histogram_edges(selection.store, scope, bins))
            for scope in (selection.scope, other)
        ]
        return _compare_scores(index.row_idx, index.visnec, there, share, selection.bands, edges)

    return query.snapshot.cache.get_or_compute(
        ("compared", selection.scope, other, query.key, share, bins, selection.bands),
        compare,
        lambda comparison: (
            comparison.density.nbytes + int(comparison.furthest.memory_usage().sum())
        ),
    )


def other_name(scope: Scope) -> str:
    """Return the name of a scope in the filter's ``other:``."""
    return f"{scope.run_id}/{scope.baseline}"


def flip_filter(where: Filter, other: Scope, here: Category, there: Category) -> Filter:
    """Return the filter for one cell of ``flips``, among the samples that match ``where``."""
    return replace(where, category=(here,), other=other_name(other), other_category=(there,))


def _compare_scores(
    row_idx: NDArray[np.integer],
    here: Floats,
    there: Floats,
    share: float,
    bands: Bands,
    edges: list[Floats],
) -> Comparison:
    """Compare two columns of scores, NaN in ``there`` without one."""
    n_here = len(here)
    both = ~np.isnan(there)
    row_idx, here, there = row_idx[both], here[both], there[both]
    ranks, other_ranks = average_ranks(here), average_ranks(there)
    n_top = int(share * len(here))
    top_here = top_there = None
    n_top_both = n_top_either = 0
    if n_top:
        top_here, top_there = (
            float(np.partition(scores, -n_top)[-n_top]) for scores in (here, there)
        )
        n_top_both = int(((here >= top_here) & (there >= top_there)).sum())
        n_top_either = int(((here >= top_here) | (there >= top_there)).sum())
    gap = np.abs(ranks - other_ranks)
    furthest = _find_furthest(gap, row_idx)
    n_categories = len(CATEGORIES)
    return Comparison(
        n_here=n_here,
        n_both=len(here),
        spearman=correlate(ranks, other_ranks),
        share=share,
        top_here=top_here,
        top_there=top_there,
        n_top_both=n_top_both,
        n_top_either=n_top_either,
        flips=_count_cells(
            bands.category_codes(here), bands.category_codes(there), (n_categories, n_categories)
        ),
        density=_count_with_border(here, there, edges[0], edges[1]),
        edges_here=edges[0],
        edges_there=edges[1],
        furthest=pd.DataFrame(
            {
                "row_idx": row_idx[furthest].astype(np.int64),
                "visnec": here[furthest],
                "other_visnec": there[furthest],
                "rank": ranks[furthest] / max(len(gap), 1),
                "other_rank": other_ranks[furthest] / max(len(gap), 1),
            }
        ),
    )


def correlate(x: Floats, y: Floats) -> float | None:
    """Return Pearson's correlation; None below two pairs or where a side is constant."""
    if len(x) < 2 or not np.ptp(x) or not np.ptp(y):
        return None
    return float(np.clip(np.corrcoef(x, y)[0, 1], -1, 1))


def count_density(x: Floats, y: Floats, x_edges: Floats, y_edges: Floats) -> NDArray[np.int64]:
    """Count pairs between the edges, shape (y, x); the outer bins include what is outside."""
    return _count_cells(
        np.searchsorted(y_edges[1:-1], y, side="right"),
        np.searchsorted(x_edges[1:-1], x, side="right"),
        (len(y_edges) - 1, len(x_edges) - 1),
    )


def _count_with_border(x: Floats, y: Floats, x_edges: Floats, y_edges: Floats) -> NDArray[np.int64]:
    """Count pairs between the edges, inside a border of those that are outside: shape (y, x)."""

    def find_bins(values: Floats, edges: Floats) -> NDArray[np.integer]:
        bins = np.searchsorted(edges, values, side="right")
        bins[values == edges[-1]] -= 1  # the last bin includes its end
        return bins

    shape = len(y_edges) + 1, len(x_edges) + 1
    return _count_cells(find_bins(y, y_edges), find_bins(x, x_edges), shape)


def _find_furthest(gap: Floats, row_idx: NDArray[np.integer]) -> NDArray[np.int64]:
    """The positions of the largest gaps above 0, the largest first, then by row_idx."""
    n = min(_MAX_FURTHEST, len(gap))
    furthest = np.argpartition(gap, len(gap) - n)[len(gap) - n :] if n else np.empty(0, np.int64)
    furthest = furthest[gap[furthest] > 0]
    return furthest[np.lexsort((row_idx[furthest], -gap[furthest]))]


def _count_cells(
    rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]
) -> NDArray[np.int64]:
    cells = rows.astype(np.int64) * shape[1] + columns
    return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)
