"""How the scores lie under a filter, and what a cut does to them."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dashboard.data.context import Context, cached_query, query_arguments
from dashboard.data.facts import read_scopes
from dashboard.text import formatting
from dashboard.view.state import Group
from scoring.database.queries.compare import Comparison, compare_scopes
from scoring.database.queries.health import ScoreHealth, score_health
from scoring.database.queries.overview import (
    cluster_names,
    histogram_edges,
    loss_plane,
    score_histogram,
    score_noise,
    score_summary,
    status_counts,
    status_reasons,
)
from scoring.database.score_index.group_histograms import group_histograms, turn_histograms
from scoring.database.score_index.groups import (
    by_answer_kind,
    by_answer_length,
    by_cluster,
    by_source,
    by_turn,
)
from scoring.database.score_index.thresholds import (
    count_kept,
    count_near,
    score_ecdf,
    threshold_for_count,
    threshold_for_share,
    threshold_for_tokens,
)
from scoring.database.values import LossPlane, Scope, ScoreSummary, ThresholdCounts
from scoring.precision import UNKNOWN

GROUP_BINS = 48
"""Bins of the small histogram of a group."""


def read_summary(context: Context) -> ScoreSummary:
    """Counts, categories, mean and quantiles under the filter."""
    return cached_query(
        context,
        "summary",
        lambda: score_summary(*query_arguments(context), context.bands),
        decisions=False,
    )


def read_histogram(context: Context, bins: int) -> tuple[list[float], list[int]]:
    """Round edges that hold still while filters change, and the counts between them."""

    def read() -> tuple[list[float], list[int]]:
        edges = histogram_edges(context.store, context.scope, bins)
        frame = score_histogram(*query_arguments(context), edges, context.bands)
        return edges, [int(n) for n in frame["n"]]

    return cached_query(context, "histogram", read, bins, decisions=False)


def read_threshold_counts(
    context: Context, minimum: float | None, maximum: float | None = None
) -> ThresholdCounts:
    """What a cut keeps and drops, exactly."""
    return cached_query(
        context,
        "cut",
        lambda: count_kept(*query_arguments(context), minimum, maximum, context.bands),
        minimum,
        maximum,
        decisions=False,
    )


def read_near(context: Context, cut: float) -> tuple[int | None, str]:
    """How many scores are within the noise of their dtype of a threshold, and that noise.

    None where the noise is not known.
    """
    noise = score_noise(context.store, context.scope)
    if noise is None:
        return None, UNKNOWN
    n = count_near(*query_arguments(context), cut, noise.band, context.bands)
    return n, str(noise)


def read_threshold_for_share(context: Context, share: float) -> float:
    """The score that keeps the top share; infinity where it keeps none."""
    return cached_query(
        context,
        "share",
        lambda: threshold_for_share(*query_arguments(context), share, context.bands),
        share,
        decisions=False,
    )


def read_threshold_for_count(context: Context, count: int) -> float:
    """The score that keeps so many of the highest; infinity where it keeps none."""
    return threshold_for_count(*query_arguments(context), count, context.bands)


def read_threshold_for_tokens(context: Context, tokens: int) -> float:
    """The lowest score whose samples hold at most so many answer tokens; infinity where none.

    Raises InputError where the scores do not tell their tokens.
    """
    return threshold_for_tokens(*query_arguments(context), tokens, context.bands)


def read_ecdf(context: Context) -> list[tuple[float, float]]:
    """Points of the share of scored samples at or below a score, ascending."""

    def read() -> list[tuple[float, float]]:
        frame = score_ecdf(*query_arguments(context), bands=context.bands)
        return list(zip(frame["visnec"].tolist(), frame["share"].tolist(), strict=True))

    return cached_query(context, "ecdf", read, decisions=False)


def read_loss_plane(context: Context, bins: int = 48) -> LossPlane:
    """Scored samples by both losses."""
    return cached_query(
        context,
        "plane",
        lambda: loss_plane(*query_arguments(context), bins, context.bands),
        bins,
        decisions=False,
    )


def read_by_source(context: Context) -> pd.DataFrame:
    """Figures per source, the largest first."""
    return cached_query(
        context, "by_source", lambda: by_source(*query_arguments(context), context.bands)
    )


def read_by_cluster(context: Context) -> pd.DataFrame:
    """Figures per cluster, the largest first; empty without a clustering."""
    if context.scope.clustering_id is None:
        return pd.DataFrame()
    return cached_query(
        context, "by_cluster", lambda: by_cluster(*query_arguments(context), context.bands)
    )


def read_by_kind(context: Context) -> pd.DataFrame:
    """Figures per kind of answer."""
    return cached_query(
        context, "by_kind", lambda: by_answer_kind(*query_arguments(context), context.bands)
    )


def read_by_length(context: Context) -> pd.DataFrame:
    """Figures per number of answer tokens, in steps that double."""
    return cached_query(
        context, "by_length", lambda: by_answer_length(*query_arguments(context), context.bands)
    )


def read_by_turn(context: Context) -> pd.DataFrame:
    """Figures per position among the answers of a conversation."""
    return cached_query(
        context,
        "by_turn",
        lambda: by_turn(*query_arguments(context), context.bands),
        decisions=False,
    )


def read_group_histograms(context: Context, group: str, bins: int) -> dict[Any, list[int]]:
    """Per group the counts between the edges of the histogram with so many bins.

    The group "turn" counts answers by their place in the conversation (0-based).
    """

    def read() -> dict[Any, list[int]]:
        edges = histogram_edges(context.store, context.scope, bins)
        store, scope, which = query_arguments(context)
        if group == "turn":
            return dict(turn_histograms(store, scope, edges, which, context.bands))
        return group_histograms(store, scope, group, edges, which, context.bands)

    return cached_query(context, "multiples", read, group, bins, decisions=False)


def read_histogram_edges(context: Context, bins: int) -> list[float]:
    """Round edges that hold still while filters change."""
    return cached_query(
        context,
        "edges",
        lambda: histogram_edges(context.store, context.scope, bins),
        bins,
        decisions=False,
    )


def read_status_counts(context: Context) -> pd.DataFrame:
    """status and n; adds up to the samples under the filter."""
    return cached_query(
        context, "statuses", lambda: status_counts(*query_arguments(context), context.bands)
    )


def read_status_reasons(context: Context) -> pd.DataFrame:
    """The commonest reasons of each status with an example."""
    return cached_query(context, "reasons", lambda: status_reasons(context.store, context.scope))


def read_cluster_names(context: Context) -> dict[int, str]:
    """Cluster number to name; empty without a clustering."""
    clustering = context.scope.clustering_id
    if clustering is None:
        return {}
    return cached_query(context, "cluster_names", lambda: cluster_names(context.store, clustering))


def choose_bin_count(summary: ScoreSummary) -> int:
    """Bins that so many scores fill: finer for more, within what a screen can show."""
    return min(max(int(math.sqrt(summary.n_scored) * 4), 60), 160)


def read_group_figures(context: Context, group: Group) -> tuple[pd.DataFrame, str, str]:
    """The figures of a group, the column that names its rows, and the one that is shown."""
    if group is Group.SOURCE:
        return read_by_source(context), "source", "source"
    if group is Group.CLUSTER:
        return read_by_cluster(context), "cluster_id", "name"
    if group is Group.KIND:
        return read_by_kind(context), "answer_kind", "answer_kind"
    if group is Group.TURN:
        frame = read_by_turn(context)
        return frame.assign(place=[f"answer {turn + 1}" for turn in frame["turn"]]), "turn", "place"
    frame = read_by_length(context)
    spans = [_span(*one) for one in zip(frame["min_tokens"], frame["max_tokens"], strict=True)]
    return frame.assign(span=spans), "max_tokens", "span"


def _span(low: int, high: int) -> str:
    if low == high:
        return formatting.plural(int(low), "token")
    return f"{low:,} to {high:,} tokens"


def read_other_scopes(context: Context) -> list[Scope]:
    """The sets of scores that this one can be compared with: other baselines, other runs."""
    frame = read_scopes(context.store)
    scored: pd.DataFrame = frame[frame["n_scored"] > 0]
    pairs = zip(scored["run_id"], scored["baseline"], strict=True)
    here = context.scope
    others = [Scope(str(run), str(baseline), here.clustering_id) for run, baseline in pairs]
    return [one for one in others if (one.run_id, one.baseline) != (here.run_id, here.baseline)]


def read_comparison(context: Context, other: Scope, share: float) -> Comparison:
    """How the scores of the view and another set relate under the filter."""
    store, scope, which = query_arguments(context)
    return compare_scopes(store, scope, other, which, share, bands=context.bands)


def read_health(context: Context) -> ScoreHealth:
    """What of the scores is thin, undecided, or dependent on the baseline."""
    return cached_query(
        context,
        "health",
        lambda: score_health(*query_arguments(context), context.bands),
        decisions=False,
    )
