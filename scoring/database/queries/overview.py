"""Counts and distributions: the scores of a dataset as a whole.

Every number is exact and about the samples under the given filter. Bins are ``left <= x < right``,
as is a threshold, so that the bars right of a threshold add up to what it keeps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import EVERYTHING, Query, check_scope, compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import cached_score_index, open_score_index
from scoring.database.values import LossPlane, Scope, ScoreSummary
from scoring.errors import InputError
from scoring.necessity import CATEGORIES, Bands
from scoring.precision import Noise
from scoring.samples import Status

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_STATUS_ORDER = {str(status): number for number, status in enumerate(Status)}
_ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def fetch_scopes(store: Store) -> pd.DataFrame:
    """Return run and baseline of every set of scores, oldest run first, as of the build.

    Columns: run_id, baseline, model, created_at, n_scored, n_samples, notice.
    """
    return store.snapshot().fetch_frame("""
        SELECT run_id, baseline, model, created_at, n_scored, n_samples, notice
        FROM runs ORDER BY created_at, run_id, position
    """)


def score_noise(store: Store, scope: Scope) -> Noise | None:
    """Return the noise of a scope's dtype, or None where it is unknown; runs no query."""
    return store.snapshot().noises.get((scope.run_id, scope.baseline))


def prediction_counts(store: Store) -> dict[str, int]:
    """Return the number of samples with predictions by run; runs without any are absent."""
    return dict(
        store.snapshot().fetch_rows(
            "SELECT run_id, count(*) FROM predictions GROUP BY run_id ORDER BY run_id"
        )
    )


def fetch_clusterings(store: Store) -> pd.DataFrame:
    """Return every clustering, oldest first: clustering_id, embedder, k, seed, created_at."""
    return store.snapshot().fetch_frame("FROM clusterings ORDER BY created_at, clustering_id")


def cluster_names(store: Store, clustering_id: str) -> dict[int, str]:
    """Return the names of a clustering's clusters by number, ascending."""
    return dict(
        store.snapshot().fetch_rows(
            """
            SELECT cluster_id, name FROM cluster_names
            WHERE clustering_id = $clustering_id ORDER BY cluster_id
            """,
            {"clustering_id": clustering_id},
        )
    )


def dataset_counts(store: Store) -> pd.DataFrame:
    """Return source, samples, with_image, multi_turn per source, the largest first."""
    return store.snapshot().fetch_frame("""
        SELECT source, count(*) AS samples, count(*) FILTER (n_images > 0) AS with_image,
            count(*) FILTER (n_turns > 1) AS multi_turn
        FROM samples GROUP BY source ORDER BY samples DESC, source
    """)


def sample_count(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> int:
    """Return the number of samples that match the filter."""
    index = cached_score_index(store, scope, where, bands)
    if index is not None:
        return len(index) + index.n_unscored
    query = compile_query(store, scope, where, bands)
    return int(query.fetch_value("SELECT count(*) FROM matching"))


def status_counts(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Return status, n in the order of the closed list; adds up to the samples under the filter."""
    index = open_score_index(store, scope, where, bands)
    counts = {str(Status.SCORED): len(index)} if len(index) else {}
    for status, n in index.unscored.groupby("status")["n"].sum().items():
        counts[str(status)] = counts.get(str(status), 0) + int(n)
    names = sorted(counts, key=_STATUS_ORDER.__getitem__)
    return pd.DataFrame({"status": names, "n": [counts[name] for name in names]})


def status_reasons(
    store: Store, scope: Scope, limit_per_status: int = 5, where: Filter = EVERYTHING
) -> pd.DataFrame:
    """Return why samples have no score: status, reason, n, example_row_idx.

    At most ``limit_per_status`` reasons for each status, the most frequent first.
    """
    frame = compile_query(store, scope, where).fetch_frame(
        """
        SELECT status, reason, count(*) AS n, min(row_idx) AS example_row_idx
        FROM matching
        WHERE status <> 'scored'
        GROUP BY status, reason
        QUALIFY row_number() OVER (PARTITION BY status ORDER BY n DESC, reason) <= $limit
        ORDER BY n DESC, reason
        """,
        limit=limit_per_status,
    )
    order = frame["status"].map(_STATUS_ORDER).argsort(kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def score_summary(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreSummary:
    """Return counts, categories, means, quantiles and extremes of the scores under a filter."""
    bands = bands or store.bands
    index = open_score_index(store, scope, where, bands)
    n = len(index)
    mean, mean_loss_text, mean_loss_multimodal = index.cached(
        "means",
        lambda: compile_query(store, scope, where, bands).fetch_rows(
            "SELECT avg(visnec), avg(loss_text), avg(loss_multimodal) FROM matching"
        )[0],
    )
    ends = index.category_ends(bands)
    return ScoreSummary(
        n_samples=n + index.n_unscored,
        n_scored=n,
        categories=dict(zip(CATEGORIES, np.diff(ends).tolist(), strict=True)),
        mean=mean,
        quantiles=_quantiles(index.visnec) if n else {},
        min_visnec=float(index.visnec[0]) if n else None,
        max_visnec=float(index.visnec[-1]) if n else None,
        answer_tokens=index.count_tokens_below(n) if index.has_tokens else None,
        mean_loss_text=mean_loss_text,
        mean_loss_multimodal=mean_loss_multimodal,
    )


def _quantiles(ascending: NDArray[np.float64]) -> dict[float, float]:
    """Linearly interpolated; ``np.quantile`` would sort again."""
    ranks = np.asarray(QUANTILES) * (len(ascending) - 1)
    below = np.floor(ranks).astype(np.int64)
    above = np.minimum(below + 1, len(ascending) - 1)
    values = ascending[below] + (ascending[above] - ascending[below]) * (ranks - below)
    return dict(zip(QUANTILES, values.tolist(), strict=True))


def histogram_edges(store: Store, scope: Scope, bins: int = 60) -> list[float]:
    """Return about ``bins`` round bin edges for the scores of a scope, with 0 as an edge.

    They span 99 % of all its scores, independent of filters, so that an axis does not move while
    these change. Where nothing is scored: -1 to 1.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    low, high = snapshot.fetch_rows(
        "SELECT low_visnec, high_visnec FROM runs WHERE run_id = $run_id AND baseline = $baseline",
        {"run_id": scope.run_id, "baseline": scope.baseline},
    )[0]
    low, high = (-1.0, 1.0) if low is None else (min(low, 0.0), max(high, 0.0))
    step = _round_step((high - low) / bins)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{edge * step:.12g}") for edge in range(first, max(last, first + 1) + 1)]


def score_histogram(
    store: Store,
    scope: Scope,
    where: Filter,
    edges: Sequence[float],
    bands: Bands | None = None,
) -> pd.DataFrame:
    """Return left, right, n: scored samples with ``left <= visnec < right``.

    The first and the last bin include what is outside the edges, so that ``n`` adds up to the
    scored samples. Raises InputError unless there are two or more ascending edges.
    """
    ascending = all(left < right for left, right in itertools.pairwise(edges))
    if len(edges) < 2 or not ascending or not np.isfinite(edges).all():
        raise InputError(f"Bin edges must be two or more finite, ascending numbers, got {edges}.")
    index = open_score_index(store, scope, where, bands)
    inner = np.searchsorted(index.visnec, np.asarray(edges[1:-1], np.float64), side="left")
    n = np.diff(np.concatenate([[0], inner, [len(index)]]))
    return pd.DataFrame({"left": list(edges[:-1]), "right": list(edges[1:]), "n": n})


def loss_plane(
    store: Store,
    scope: Scope,
    where: Filter = EVERYTHING,
    bins: int = 60,
    bands: Bands | None = None,
) -> LossPlane:
    """Count scored samples by text-only loss (x) and multimodal loss (y).

    Both axes have the same edges, from 0 to beyond 99.5 % of either loss of the whole scope.
    """
    query = compile_query(store, scope, where, bands)
    top = query.fetch_value(
        "SELECT high_loss FROM runs WHERE run_id = $run_id AND baseline = $baseline"
    )
    step = _round_step((top or 1.0) / bins)
    return query.snapshot.cache.get_or_compute(
        ("plane", scope, query.key, bins),
        lambda: _count_plane(query, step, bins),
        lambda plane: plane.counts.nbytes,
    )


def _count_plane(query: Query, step: float, bins: int) -> LossPlane:
    cells = query.fetch_rows(
        """
        SELECT
            least(greatest(floor(loss_text / $step), 0), $last)::INTEGER AS x,
            least(greatest(floor(loss_multimodal / $step), 0), $last)::INTEGER AS y,
            count(*)
        FROM matching WHERE visnec IS NOT NULL GROUP BY x, y
        """,
        step=step,
        last=bins - 1,
    )
    counts = np.zeros((bins, bins), np.int64)
    for x, y, n in cells:
        counts[y, x] = n
    edges = np.array([float(f"{edge * step:.12g}") for edge in range(bins + 1)])
    return LossPlane(counts, edges)


def _round_step(at_least: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(at_least, 1e-9)))
    return next(
        factor * power for factor in _ROUND_STEPS if factor * power >= at_least * (1 - 1e-9)
    )
