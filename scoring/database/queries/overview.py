"""Counts, distributions and cuts: what the scores of a dataset look like as a whole.

Every number is exact and under the filter given. The one decision behind it: bins and cuts hold
``left <= x < right``, so the bars right of a threshold add up to what the threshold keeps.
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
from scoring.database.frames import sort_by_position
from scoring.database.score_index.index import cached_score_index, open_score_index
from scoring.database.values import LossPlane, Scope, ScoreSummary
from scoring.errors import InputError
from scoring.necessity import Bands, Category
from scoring.precision import Noise
from scoring.samples import Status

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_STATUS_PLACES = {str(status): place for place, status in enumerate(Status)}
_NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def fetch_scopes(store: Store) -> pd.DataFrame:
    """Run and baseline of every set of scores, oldest run first, as it stood at the build.

    Columns: run_id, baseline, model, created_at, n_scored, n_samples, notice.
    """
    return store.snapshot().frame("""
        SELECT run_id, baseline, model, created_at, n_scored, n_samples, notice
        FROM runs ORDER BY created_at, run_id, position
    """)


def score_noise(store: Store, scope: Scope) -> Noise | None:
    """The noise of a scope's dtype, or None where it is not known; in memory, no query."""
    return store.snapshot().noises.get((scope.run_id, scope.baseline))


def prediction_counts(store: Store) -> dict[str, int]:
    """Run -> samples with predictions; runs without any are absent."""
    return dict(
        store.snapshot().rows(
            "SELECT run_id, count(*) FROM predictions GROUP BY run_id ORDER BY run_id"
        )
    )


def fetch_clusterings(store: Store) -> pd.DataFrame:
    """Every clustering, oldest first: clustering_id, embedder, k, seed, created_at."""
    return store.snapshot().frame("FROM clusterings ORDER BY created_at, clustering_id")


def cluster_names(store: Store, clustering_id: str) -> dict[int, str]:
    """Cluster number -> name, ascending."""
    return dict(
        store.snapshot().rows(
            """
            SELECT cluster_id, name FROM cluster_names
            WHERE clustering_id = $clustering_id ORDER BY cluster_id
            """,
            {"clustering_id": clustering_id},
        )
    )


def dataset_counts(store: Store) -> pd.DataFrame:
    """Per source, the largest first: source, samples, with_image, multi_turn."""
    return store.snapshot().frame("""
        SELECT source, count(*) AS samples, count(*) FILTER (n_images > 0) AS with_image,
            count(*) FILTER (n_turns > 1) AS multi_turn
        FROM samples GROUP BY source ORDER BY samples DESC, source
    """)


def sample_count(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> int:
    """How many samples meet the filter."""
    one = cached_score_index(store, scope, which, bands)
    if one is not None:
        return len(one) + one.n_unscored
    asked = compile_query(store, scope, which, bands)
    return int(asked.rows("SELECT count(*) FROM scores s WHERE", asked.where)[0][0])


def status_counts(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """status, n in the order of the closed list; ``n`` adds up to the samples under the filter."""
    one = open_score_index(store, scope, which, bands)
    counts = {str(Status.SCORED): len(one)} if len(one) else {}
    for status, n in one.unscored.groupby("status")["n"].sum().items():
        counts[str(status)] = counts.get(str(status), 0) + int(n)
    names = sorted(counts, key=_STATUS_PLACES.__getitem__)
    return pd.DataFrame({"status": names, "n": [counts[name] for name in names]})


def status_reasons(
    store: Store, scope: Scope, limit_per_status: int = 5, which: Filter = EVERYTHING
) -> pd.DataFrame:
    """Why samples have no score: status, reason, n, example_row_idx, the commonest reasons first.

    At most ``limit_per_status`` reasons for each status.
    """
    asked = compile_query(store, scope, which)
    frame = asked.frame(
        "SELECT status, reason, count(*) AS n, min(row_idx) AS example_row_idx FROM scores s WHERE",
        asked.where,
        """
        AND status <> 'scored' GROUP BY status, reason
        QUALIFY row_number() OVER (PARTITION BY status ORDER BY n DESC, reason) <= $limit
        ORDER BY n DESC, reason
        """,
        limit=limit_per_status,
    )
    return sort_by_position(frame, [_STATUS_PLACES[status] for status in frame["status"]])


def score_summary(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreSummary:
    """Counts, categories, mean, quantiles and extremes of the scores under a filter."""
    bands = bands or store.bands
    one = open_score_index(store, scope, which, bands)
    n = len(one)
    low, high = one.position(bands.low), one.position(bands.high)
    means = one.kept(("means",), lambda: _means(compile_query(store, scope, which, bands)))
    return ScoreSummary(
        n_samples=n + one.n_unscored,
        n_scored=n,
        categories=dict(zip(Category, (low, high - low, n - high), strict=True)),
        mean=means[0],
        quantiles=_quantiles(one.visnec) if n else {},
        min_visnec=float(one.visnec[0]) if n else None,
        max_visnec=float(one.visnec[-1]) if n else None,
        answer_tokens=one.tokens_left(n) if one.tokens_known else None,
        mean_loss_text=means[1],
        mean_loss_multimodal=means[2],
    )


def _means(asked: Query) -> tuple[float | None, float | None, float | None]:
    found = asked.rows(
        "SELECT avg(visnec), avg(loss_text), avg(loss_multimodal) FROM scores s WHERE", asked.where
    )[0]
    return found[0], found[1], found[2]


def _quantiles(ascending: NDArray[np.float64]) -> dict[float, float]:
    """Linearly interpolated."""
    places = np.asarray(QUANTILES) * (len(ascending) - 1)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, len(ascending) - 1)
    found = ascending[below] + (ascending[above] - ascending[below]) * (places - below)
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def histogram_edges(store: Store, scope: Scope, bins: int = 60) -> list[float]:
    """Round bin edges for the scores of a scope, about ``bins`` of them, with 0 as an edge.

    They span 99 % of all its scores whatever filter is set, so an axis stands still while filters
    change. Where nothing is scored: -1 to 1.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    low, high = snapshot.rows(
        "SELECT low_visnec, high_visnec FROM runs WHERE run_id = $run_id AND baseline = $baseline",
        {"run_id": scope.run_id, "baseline": scope.baseline},
    )[0]
    low, high = (-1.0, 1.0) if low is None else (min(low, 0.0), max(high, 0.0))
    step = _nice_step((high - low) / bins)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{edge * step:.12g}") for edge in range(first, max(last, first + 1) + 1)]


def score_histogram(
    store: Store,
    scope: Scope,
    which: Filter,
    edges: Sequence[float],
    bands: Bands | None = None,
) -> pd.DataFrame:
    """left, right, n: scored samples with ``left <= visnec < right``.

    The first and the last bin also take what lies outside the edges, so ``n`` adds up to the
    scored samples. Raises InputError unless there are two or more ascending edges.
    """
    ascending = all(left < right for left, right in itertools.pairwise(edges))
    if len(edges) < 2 or not ascending or not np.isfinite(edges).all():
        raise InputError(f"bin edges must be two or more finite, ascending numbers, got {edges}")
    one = open_score_index(store, scope, which, bands)
    inner = np.searchsorted(one.visnec, np.asarray(edges[1:-1], np.float64), side="left")
    n = np.diff(np.concatenate([[0], inner, [len(one)]]))
    return pd.DataFrame({"left": list(edges[:-1]), "right": list(edges[1:]), "n": n})


def loss_plane(
    store: Store,
    scope: Scope,
    which: Filter = EVERYTHING,
    bins: int = 60,
    bands: Bands | None = None,
) -> LossPlane:
    """Scored samples counted by text-only loss (x) and multimodal loss (y).

    Both axes have the same edges, from 0 over 99.5 % of either loss of the whole scope.
    """
    asked = compile_query(store, scope, which, bands)
    top = asked.snapshot.rows(
        "SELECT high_loss FROM runs WHERE run_id = $run_id AND baseline = $baseline",
        {"run_id": scope.run_id, "baseline": scope.baseline},
    )[0][0]
    step = _nice_step((top or 1.0) / bins)
    return asked.snapshot.cache.get_or_compute(
        ("plane", scope, asked.key, bins),
        lambda: _count_plane(asked, step, bins),
        lambda plane: plane.counts.nbytes,
    )


def _count_plane(asked: Query, step: float, bins: int) -> LossPlane:
    rows = asked.rows(
        """
        SELECT
            least(greatest(floor(loss_text / $step), 0), $last)::INTEGER AS x,
            least(greatest(floor(loss_multimodal / $step), 0), $last)::INTEGER AS y, count(*)
        FROM scores s WHERE visnec IS NOT NULL AND
        """,
        asked.where,
        "GROUP BY x, y",
        step=step,
        last=bins - 1,
    )
    counts = np.zeros((bins, bins), np.int64)
    for x, y, n in rows:
        counts[y, x] = n
    edges = np.array([float(f"{edge * step:.12g}") for edge in range(bins + 1)])
    return LossPlane(counts, edges)


def _nice_step(at_least: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(at_least, 1e-9)))
    return next(nice * power for nice in _NICE_STEPS if nice * power >= at_least * (1 - 1e-9))
