"""Reads about scores under a filter: distributions, groups, thresholds, comparisons, health."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dashboard.data.context import Context, cached_query, cached_read
from dashboard.data.facts import read_scopes
from dashboard.text import formatting
from dashboard.view.state import Group
from scoring.database.queries.compare import Comparison, compare_scopes
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.queries.image_use import ImageUse, read_image_use
from scoring.database.queries.overview import (
    ScoreHealth,
    cluster_names,
    histogram_edges,
    loss_plane,
    score_health,
    score_histogram,
    score_summary,
    status_counts,
    status_reasons,
)
from scoring.database.queries.run_trend import RunTrend, compare_runs
from scoring.database.queries.scorer_fit import ScorerFit, read_scorer_fits
from scoring.database.score_index.groups import (
    COLUMN,
    by_answer_kind,
    by_answer_length,
    by_cluster,
    by_column,
    by_source,
    by_turn,
    group_histograms,
    turn_histograms,
)
from scoring.database.score_index.thresholds import count_kept, score_ecdf
from scoring.database.values import LossPlane, Scope, ScoreSummary, ThresholdCounts
from scoring.evaluation.evaluate import Evaluation
from scoring.predictions.records import TurnChoice

_GROUP_BINS = 48


@cached_read(decisions=False)
def read_summary(context: Context) -> ScoreSummary:
    """Return counts, categories, mean and quantiles."""
    return score_summary(context.selection)


def read_threshold_counts(context: Context, threshold: float) -> ThresholdCounts:
    """Return exactly what a threshold keeps and drops."""
    return count_kept(context.selection, threshold, None)


# ---- distributions -------------------------------------------------------------------------------


@cached_read(decisions=False)
def read_histogram(context: Context) -> tuple[list[float], list[int]]:
    """Return round edges and the counts between them."""
    bins = choose_bins(read_summary(context).n_scored)
    edges = histogram_edges(context.store, context.scope, bins)
    frame = score_histogram(context.selection, edges)
    return edges, [int(n) for n in frame["n"]]


def choose_bins(n: int) -> int:
    """Return how many bins suit ``n`` values, up to what a screen can show."""
    return min(max(int(math.sqrt(n) * 4), 60), 160)


@cached_read(decisions=False)
def read_group_edges(context: Context) -> list[float]:
    """Return the round edges of groups' small histograms; they do not change with the filter."""
    return histogram_edges(context.store, context.scope, _GROUP_BINS)


@cached_read(decisions=False)
def read_ecdf(context: Context) -> list[tuple[float, float]]:
    """Return scores, ascending, with the share of scored samples at or below each."""
    frame = score_ecdf(context.selection)
    return list(zip(frame["visnec"].tolist(), frame["share"].tolist(), strict=True))


@cached_read(decisions=False)
def read_loss_plane(context: Context) -> LossPlane:
    """Return counts of scored samples by both losses."""
    return loss_plane(context.selection, 48)


# ---- groups --------------------------------------------------------------------------------------


_GROUP_QUERIES = {
    Group.SOURCE: (by_source, "source", "source"),
    Group.CLUSTER: (by_cluster, "cluster_id", "name"),
    Group.KIND: (by_answer_kind, "answer_kind", "answer_kind"),
    Group.TURN: (by_turn, "turn", "place"),
    Group.LENGTH: (by_answer_length, "max_tokens", "span"),
}


def read_group_statistics(
    context: Context, group: Group, by: str | None = None
) -> tuple[pd.DataFrame, str, str]:
    """Return statistics per group, the column with the group's key, and the one with its name.

    ``by`` is the imported column of the group COLUMN.
    """
    if group is Group.COLUMN:
        return (pd.DataFrame() if by is None else read_column_groups(context, by)), *("value",) * 2
    query, key, name = _GROUP_QUERIES[group]
    if group is Group.CLUSTER and context.scope.clustering_id is None:
        return pd.DataFrame(), key, name
    frame = cached_query(
        context,
        query.__name__,
        lambda: query(context.selection),
        decisions=group is not Group.TURN,
    )
    if group is Group.TURN:
        frame = frame.assign(place=[f"answer {turn + 1}" for turn in frame["turn"]])
    if group is Group.LENGTH:
        spans = [
            formatting.plural(int(low), "token") if low == high else f"{low:,} to {high:,} tokens"
            for low, high in zip(frame["min_tokens"], frame["max_tokens"], strict=True)
        ]
        frame = frame.assign(span=spans)
    return frame, key, name


@cached_read()
def read_column_groups(context: Context, column: str) -> pd.DataFrame:
    """Return statistics per value of an imported column."""
    return by_column(context.selection, column)


@cached_read(decisions=False)
def read_group_histograms(
    context: Context, group: Group, by: str | None = None
) -> dict[Any, list[int]]:
    """Return counts per group between the edges of :func:`read_group_edges`.

    Those of turns count answers by their 0-based position in the conversation.
    """
    edges = read_group_edges(context)
    if group is Group.TURN:
        return dict(turn_histograms(context.selection, edges))
    name = f"{COLUMN}{by}" if group is Group.COLUMN else str(group)
    return group_histograms(context.selection, name, edges)


@cached_read()
def read_cluster_names(context: Context) -> dict[int, str]:
    """Return cluster number to name; empty without a clustering."""
    clustering = context.scope.clustering_id
    return {} if clustering is None else cluster_names(context.store, clustering)


# ---- statuses ------------------------------------------------------------------------------------


@cached_read()
def read_status_counts(context: Context) -> pd.DataFrame:
    """Return status and n; the counts add up to the samples under the filter."""
    return status_counts(context.selection)


@cached_read()
def read_status_reasons(context: Context) -> pd.DataFrame:
    """Return the most frequent reasons of each status with an example."""
    return status_reasons(context.store.selection(context.scope))


@cached_read(decisions=False)
def read_health(context: Context) -> ScoreHealth:
    """Return how many scores have few answer tokens, are near a limit or depend on a baseline."""
    return score_health(context.selection)


@cached_read(decisions=False)
def read_scorer_fit(context: Context) -> ScorerFit | None:
    """Return whether the model seems fit for the task, from all scores of the view's scope."""
    fits = read_scorer_fits(context.store, context.bands, context.scope.run_id)
    return next((fit for fit in fits if fit.baseline == context.scope.baseline), None)


def read_run_image_use(context: Context) -> ImageUse:
    """Return whether the view's run uses the images, from all its scores."""
    return read_image_use(context.store, context.scope.run_id)


# ---- other sets of scores ------------------------------------------------------------------------


def read_other_scopes(context: Context) -> list[Scope]:
    """Return the sets of scores to compare with: other baselines and other runs."""
    frame, current = read_scopes(context.store), context.scope
    return [
        Scope(str(run), str(baseline), current.clustering_id)
        for run, baseline, n in zip(
            frame["run_id"], frame["baseline"], frame["n_scored"], strict=True
        )
        if n > 0 and (run, baseline) != (current.run_id, current.baseline)
    ]


def read_comparison(context: Context, other: Scope, share: float) -> Comparison:
    """Return how the view's scores and another set of scores are related under the filter."""
    return compare_scopes(context.selection, other, share)


def read_trend(context: Context, others: Sequence[Scope], max_changes: int) -> RunTrend:
    """Return the view's scores and others in this order, on the samples under the filter."""
    return compare_runs(context.selection, others, max_changes)


@cached_read(decisions=False)
def read_evaluation(
    context: Context, measure: str, threshold: float, turns: TurnChoice = "first"
) -> Evaluation:
    """Return all models' results; samples that need the image are those from ``threshold``."""
    return evaluate_predictions(
        context.store,
        context.scope,
        context.filter,
        bands=context.bands,
        measure=measure,
        threshold=threshold,
        turns=turns,
    )
