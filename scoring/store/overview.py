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

from scoring.errors import InputError
from scoring.necessity import Bands, Category
from scoring.samples import Status
from scoring.store.conditions import EVERYTHING, ask, check_scope
from scoring.store.filters import Filter
from scoring.store.frames import in_order
from scoring.store.store import Store
from scoring.store.values import CutCounts, LossPlane, Scope, ScoreSummary

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_STATUS_PLACES = {str(status): place for place, status in enumerate(Status)}
_NICE_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def scopes(store: Store) -> pd.DataFrame:
    """Run and baseline of every set of scores, oldest run first, as it stood at the build.

    Columns: run_id, baseline, model, created_at, n_scored, n_samples, notice.
    """
    return store.reading().frame("""
        SELECT run_id, baseline, model, created_at, n_scored, n_samples, notice
        FROM runs ORDER BY created_at, run_id, position
    """)


def prediction_counts(store: Store) -> dict[str, int]:
    """Run -> samples with predictions; runs without any are absent."""
    return dict(
        store.reading().rows(
            "SELECT run_id, count(*) FROM predictions GROUP BY run_id ORDER BY run_id"
        )
    )


def clusterings(store: Store) -> pd.DataFrame:
    """Every clustering, oldest first: clustering_id, embedder, k, seed, created_at."""
    return store.reading().frame("FROM clusterings ORDER BY created_at, clustering_id")


def cluster_names(store: Store, clustering_id: str) -> dict[int, str]:
    """Cluster number -> name, ascending."""
    return dict(
        store.reading().rows(
            """
            SELECT cluster_id, name FROM cluster_names
            WHERE clustering_id = $clustering_id ORDER BY cluster_id
            """,
            {"clustering_id": clustering_id},
        )
    )


def dataset_counts(store: Store) -> pd.DataFrame:
    """Per source, the largest first: source, samples, with_image, multi_turn."""
    return store.reading().frame("""
        SELECT source, count(*) AS samples, count(*) FILTER (n_images > 0) AS with_image,
            count(*) FILTER (n_turns > 1) AS multi_turn
        FROM samples GROUP BY source ORDER BY samples DESC, source
    """)


def sample_count(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> int:
    """How many samples meet the filter."""
    asked = ask(store, scope, which, bands)
    return int(asked.rows("SELECT count(*) FROM scores s WHERE", asked.where)[0][0])


def status_counts(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """status, n in the order of the closed list; ``n`` adds up to the samples under the filter."""
    asked = ask(store, scope, which, bands)
    frame = asked.frame(
        "SELECT status, count(*) AS n FROM scores s WHERE", asked.where, "GROUP BY status"
    )
    return in_order(frame, [_STATUS_PLACES[status] for status in frame["status"]])


def status_reasons(
    store: Store, scope: Scope, limit_per_status: int = 5, which: Filter = EVERYTHING
) -> pd.DataFrame:
    """Why samples have no score: status, reason, n, example_row_idx, the commonest reasons first.

    At most ``limit_per_status`` reasons for each status.
    """
    asked = ask(store, scope, which)
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
    return in_order(frame, [_STATUS_PLACES[status] for status in frame["status"]])


def score_summary(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> ScoreSummary:
    """Counts, categories, mean, quantiles and extremes of the scores under a filter."""
    bands = bands or store.bands
    asked = ask(store, scope, which, bands)
    row = asked.rows(
        """
        SELECT
            count(*), count(visnec),
            count(*) FILTER (visnec < $low_limit),
            count(*) FILTER (visnec >= $low_limit AND visnec < $high_limit),
            count(*) FILTER (visnec >= $high_limit),
            avg(visnec), quantile_cont(visnec, $quantiles), min(visnec), max(visnec),
            sum(n_answer_tokens), avg(loss_text), avg(loss_multimodal)
        FROM scores s WHERE
        """,
        asked.where,
        low_limit=bands.low,
        high_limit=bands.high,
        quantiles=list(QUANTILES),
    )[0]
    return ScoreSummary(
        n_samples=row[0],
        n_scored=row[1],
        categories=dict(zip(Category, row[2:5], strict=True)),
        mean=row[5],
        quantiles=dict(zip(QUANTILES, row[6], strict=True)) if row[1] else {},
        min_visnec=row[7],
        max_visnec=row[8],
        answer_tokens=int(row[9] or 0),
        mean_loss_text=row[10],
        mean_loss_multimodal=row[11],
    )


def histogram_edges(store: Store, scope: Scope, bins: int = 60) -> list[float]:
    """Round bin edges for the scores of a scope, about ``bins`` of them, with 0 as an edge.

    They span 99 % of all its scores whatever filter is set, so an axis stands still while filters
    change. Where nothing is scored: -1 to 1.
    """
    reading = store.reading()
    check_scope(reading, scope)
    low, high = reading.rows(
        "SELECT low_visnec, high_visnec FROM runs WHERE run_id = $run_id AND baseline = $baseline",
        {"run_id": scope.run_id, "baseline": scope.baseline},
    )[0]
    low, high = (-1.0, 1.0) if low is None else (min(low, 0.0), max(high, 0.0))
    step = _nice_step((high - low) / bins)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{edge * step:.12g}") for edge in range(first, max(last, first + 1) + 1)]


def histogram(
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
    asked = ask(store, scope, which, bands)
    # histogram() counts previous < x <= boundary; negated, that is left <= x < right.
    found = asked.rows(
        "SELECT histogram(-visnec, $boundaries) FROM scores s WHERE visnec IS NOT NULL AND",
        asked.where,
        boundaries=[-float(edge) for edge in reversed(edges)],
    )[0][0]
    counts = {} if found is None else {-boundary: n for boundary, n in found.items()}
    n = [counts.get(float(edge), 0) for edge in edges]
    n[0] += counts.get(-math.inf, 0)
    above = n.pop()
    n[-1] += above
    return pd.DataFrame({"left": list(edges[:-1]), "right": list(edges[1:]), "n": n})


def cut_counts(
    store: Store,
    scope: Scope,
    which: Filter,
    minimum: float | None,
    maximum: float | None,
    bands: Bands | None = None,
) -> CutCounts:
    """What ``minimum <= visnec < maximum`` keeps and drops; None leaves a side open."""
    asked = ask(store, scope, which, bands)
    frame = asked.frame(
        """
        WITH cut AS (
            SELECT source, n_answer_tokens, visnec IS NOT NULL AS scored,
                visnec >= $minimum AND visnec < $maximum AS inside
            FROM scores s WHERE
        """,
        asked.where,
        """
        )
        SELECT
            source, count(*) FILTER (inside) AS kept, count(*) FILTER (NOT inside) AS dropped,
            count(*) FILTER (NOT scored) AS unscored,
            coalesce(sum(n_answer_tokens) FILTER (inside), 0)::BIGINT AS kept_tokens,
            coalesce(sum(n_answer_tokens) FILTER (NOT inside), 0)::BIGINT AS dropped_tokens
        FROM cut GROUP BY source ORDER BY kept + dropped DESC, source
        """,
        minimum=-math.inf if minimum is None else float(minimum),
        maximum=math.inf if maximum is None else float(maximum),
    )
    sums = {name: int(frame[name].sum()) for name in frame.columns if name != "source"}
    return CutCounts(
        n_kept=sums["kept"],
        n_dropped=sums["dropped"],
        n_unscored=sums["unscored"],
        tokens_kept=sums["kept_tokens"],
        tokens_dropped=sums["dropped_tokens"],
        by_source=frame,
    )


def threshold_for_share(
    store: Store, scope: Scope, which: Filter, share: float, bands: Bands | None = None
) -> float:
    """The score that keeps the top ``share``: the lowest of the ``int(share * scored)`` highest.

    ``visnec >= `` this keeps that many samples, and more only where scores are tied. Infinity
    where it keeps none. Raises InputError for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise InputError(f"a share lies between 0 and 1 (0.15 is 15 %), got {share!r}")
    asked = ask(store, scope, which, bands)
    n = int(asked.rows("SELECT count(visnec) FROM scores s WHERE", asked.where)[0][0])
    count = int(share * n)
    if count == 0:
        return math.inf
    # The middle of the wanted rank's stretch, so that rounding cannot hit a neighbour.
    found = asked.rows(
        "SELECT quantile_disc(visnec, $rank) FROM scores s WHERE",
        asked.where,
        rank=(n - count + 0.5) / n,
    )
    return float(found[0][0])


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
    asked = ask(store, scope, which, bands)
    top = asked.reading.rows(
        "SELECT high_loss FROM runs WHERE run_id = $run_id AND baseline = $baseline",
        {"run_id": scope.run_id, "baseline": scope.baseline},
    )[0][0]
    step = _nice_step((top or 1.0) / bins)
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
