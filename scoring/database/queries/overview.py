"""Counts and distributions: the scores of a dataset as a whole.

Every number is exact and about the samples under the given filter. Bins are ``left <= x < right``,
as is a threshold, so that the bars right of a threshold add up to what it keeps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.conditions import (
    CERTAINTY,
    COMPARED_ROWS,
    CONTENT_TOKENS,
    DIFFERING_ROWS,
    check_scope,
    compile_query,
)
from scoring.database.connection import Selection, Store
from scoring.database.score_index.index import KIND, cached_score_index, open_score_index
from scoring.database.values import LossPlane, Scope, ScoreSummary
from scoring.errors import InputError
from scoring.necessity import CATEGORIES
from scoring.precision import Noise
from scoring.samples import Status

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_STATUS_ORDER = {str(status): number for number, status in enumerate(Status)}
_ROUND_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
# The mean over an answer's tokens is exact: a score has no interval. The noise of its dtype and the
# choice of the blind baseline can move it across a limit; both are counted.
_SCORED = f"""
    SELECT
        count(*), count(*) FILTER ({CONTENT_TOKENS} = 1),
        count(*) FILTER ({CERTAINTY["undecided"]}), count(*) FILTER (s.truncated)
    FROM matching s WHERE s.visnec IS NOT NULL
"""
_COMPARED = f"""
    SELECT
        count(*) FILTER (row_idx IN ({COMPARED_ROWS})),
        count(*) FILTER (row_idx IN ({DIFFERING_ROWS}))
    FROM matching
"""


@dataclass(frozen=True, slots=True)
class ScoreHealth:
    """Counts of samples under a filter.

    ``statuses`` adds up to all of them. Of the ``n_scored``: ``n_one_token`` have one content
    token (see ``CONTENT_TOKENS``); ``n_undecided`` are within the ``noise`` of a band limit, None
    where the noise is unknown. ``n_truncated`` were truncated to fit. ``n_compared`` have scores
    for several baselines of the run, ``n_differing`` of them a category that depends on it.
    """

    statuses: Mapping[str, int]
    n_scored: int
    n_one_token: int
    noise: Noise | None
    n_undecided: int | None
    n_truncated: int
    n_compared: int
    n_differing: int


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
    counts = "SELECT run_id, count(*) FROM predictions GROUP BY run_id ORDER BY run_id"
    return dict(store.snapshot().fetch_rows(counts))


def fetch_clusterings(store: Store) -> pd.DataFrame:
    """Return every clustering, oldest first: clustering_id, embedder, k, seed, created_at."""
    return store.snapshot().fetch_frame("FROM clusterings ORDER BY created_at, clustering_id")


def cluster_names(store: Store, clustering_id: str) -> dict[int, str]:
    """Return the names of a clustering's clusters by number, ascending."""
    names = """
        SELECT cluster_id, name FROM cluster_names
        WHERE clustering_id = $clustering_id ORDER BY cluster_id
    """
    return dict(store.snapshot().fetch_rows(names, {"clustering_id": clustering_id}))


def dataset_counts(store: Store) -> pd.DataFrame:
    """Return source, samples, with_image, multi_turn per source, the largest first."""
    return store.snapshot().fetch_frame("""
        SELECT source, count(*) AS samples, count(*) FILTER (n_images > 0) AS with_image,
            count(*) FILTER (n_turns > 1) AS multi_turn
        FROM samples GROUP BY source ORDER BY samples DESC, source
    """)


def sample_count(selection: Selection) -> int:
    """Return the number of samples of a selection."""
    index = cached_score_index(selection)
    if index is not None:
        return len(index) + index.n_unscored
    return int(compile_query(selection).fetch_value("SELECT count(*) FROM matching"))


def status_counts(selection: Selection) -> pd.DataFrame:
    """Return status, n in the order of the closed list; adds up to the samples of the selection."""
    index = open_score_index(selection)
    counts = {str(Status.SCORED): len(index)} if len(index) else {}
    for status, n in index.unscored.groupby("status")["n"].sum().items():
        counts[str(status)] = counts.get(str(status), 0) + int(n)
    names = sorted(counts, key=_STATUS_ORDER.__getitem__)
    return pd.DataFrame({"status": names, "n": [counts[name] for name in names]})


def status_reasons(selection: Selection, limit_per_status: int = 5) -> pd.DataFrame:
    """Return why samples have no score: status, reason, n, example_row_idx.

    At most ``limit_per_status`` reasons for each status, the most frequent first.
    """
    frame = compile_query(selection).fetch_frame(
        """
        SELECT status, reason, count(*) AS n, min(row_idx) AS example_row_idx
        FROM matching
        WHERE status <> 'scored'
        GROUP BY status, reason
        QUALIFY row_number() OVER (PARTITION BY status ORDER BY n DESC, reason) <= $limit
        ORDER BY n DESC, reason
        """,
        {"limit": limit_per_status},
    )
    order = frame["status"].map(_STATUS_ORDER).argsort(kind="stable")
    return frame.iloc[order].reset_index(drop=True)


def score_summary(selection: Selection) -> ScoreSummary:
    """Return counts, categories, means, quantiles and extremes of the scores of a selection."""
    index = open_score_index(selection)
    n = len(index)
    mean, mean_loss_text, mean_loss_multimodal = index.cached(
        "means",
        lambda: compile_query(selection).fetch_rows(
            "SELECT avg(visnec), avg(loss_text), avg(loss_multimodal) FROM matching"
        )[0],
    )
    quantiles: dict[float, float] = {}
    if n:  # linearly interpolated; np.quantile would sort again
        ranks = np.asarray(QUANTILES) * (n - 1)
        below = np.floor(ranks).astype(np.int64)
        low, high = index.visnec[below], index.visnec[np.minimum(below + 1, n - 1)]
        values = low + (high - low) * (ranks - below)
        quantiles = dict(zip(QUANTILES, values.tolist(), strict=True))
    ends = index.category_ends(selection.bands)
    return ScoreSummary(
        n_samples=n + index.n_unscored,
        n_scored=n,
        categories=dict(zip(CATEGORIES, np.diff(ends).tolist(), strict=True)),
        mean=mean,
        quantiles=quantiles,
        min_visnec=float(index.visnec[0]) if n else None,
        max_visnec=float(index.visnec[-1]) if n else None,
        answer_tokens=int(index.group_table(KIND).tokens[-1].sum()) if index.has_tokens else None,
        mean_loss_text=mean_loss_text,
        mean_loss_multimodal=mean_loss_multimodal,
    )


def score_health(selection: Selection) -> ScoreHealth:
    """Count what is not scored, based on one token, undecided or dependent on the baseline."""
    query = compile_query(selection)
    statuses = status_counts(selection)
    noise = query.snapshot.noises[selection.scope.run_id, selection.scope.baseline]
    scored, one_token, undecided, truncated = query.fetch_rows(_SCORED)[0]
    compared = differing = 0
    if query.snapshot.fetch_rows(f"{COMPARED_ROWS} LIMIT 1", query.values):
        compared, differing = query.fetch_rows(_COMPARED)[0]
    return ScoreHealth(
        statuses=dict(zip(statuses["status"], statuses["n"].tolist(), strict=True)),
        n_scored=scored,
        n_one_token=one_token,
        noise=noise,
        n_undecided=undecided if noise else None,
        n_truncated=truncated,
        n_compared=compared,
        n_differing=differing,
    )


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
    step = round_step((high - low) / bins)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{edge * step:.12g}") for edge in range(first, max(last, first + 1) + 1)]


def score_histogram(selection: Selection, edges: Sequence[float]) -> pd.DataFrame:
    """Return left, right, n: scored samples with ``left <= visnec < right``.

    The first and the last bin include what is outside the edges, so that ``n`` adds up to the
    scored samples. Raises InputError unless there are two or more ascending edges.
    """
    ascending = all(left < right for left, right in itertools.pairwise(edges))
    if len(edges) < 2 or not ascending or not np.isfinite(edges).all():
        raise InputError(f"Bin edges must be two or more finite, ascending numbers, got {edges}.")
    n = count_bins(open_score_index(selection).visnec, edges)
    return pd.DataFrame({"left": list(edges[:-1]), "right": list(edges[1:]), "n": n})


def count_bins(ascending: NDArray[np.float64], edges: Sequence[float]) -> NDArray[np.int64]:
    """Count sorted values per bin; the outer bins include what is outside."""
    inner = np.searchsorted(ascending, np.asarray(edges[1:-1], np.float64), side="left")
    return np.diff(np.concatenate([[0], inner, [len(ascending)]]))


def round_edges(low: float, high: float, bins: int, smallest_step: float = 0.0) -> list[float]:
    """Return about ``bins`` round bin edges from at most ``low`` to above ``high``."""
    span = (high - low) or abs(high) or 1.0
    step = max(round_step(span / bins), smallest_step)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    return [float(f"{edge * step:.12g}") for edge in range(first, last + 1)]


def loss_plane(selection: Selection, bins: int = 60) -> LossPlane:
    """Count scored samples by text-only loss (x) and multimodal loss (y).

    Both axes have the same edges, from 0 to beyond 99.5 % of either loss of the whole scope.
    """
    query = compile_query(selection)
    top = query.fetch_value(
        "SELECT high_loss FROM runs WHERE run_id = $run_id AND baseline = $baseline"
    )
    step = round_step((top or 1.0) / bins)

    def count() -> LossPlane:
        cells = query.fetch_rows(
            """
            SELECT
                least(greatest(floor(loss_text / $step), 0), $last)::INTEGER AS x,
                least(greatest(floor(loss_multimodal / $step), 0), $last)::INTEGER AS y,
                count(*)
            FROM matching WHERE visnec IS NOT NULL GROUP BY x, y
            """,
            {"step": step, "last": bins - 1},
        )
        counts = np.zeros((bins, bins), np.int64)
        for x, y, n in cells:
            counts[y, x] = n
        edges = np.array([float(f"{edge * step:.12g}") for edge in range(bins + 1)])
        return LossPlane(counts, edges)

    return query.snapshot.cache.get_or_compute(
        ("plane", selection.scope, query.key, bins), count, lambda plane: plane.counts.nbytes
    )


def round_step(at_least: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(at_least, 1e-9)))
    return next(
        factor * power for factor in _ROUND_STEPS if factor * power >= at_least * (1 - 1e-9)
    )
