"""How the scores lie under a filter, and what a cut does to them."""

from __future__ import annotations

import pandas as pd

from dashboard.loaders.context import Context, about, read_cached
from scoring.store import queries
from scoring.store.values import CutCounts, LossPlane, ScoreSummary


def read_summary(context: Context) -> ScoreSummary:
    """Counts, categories, mean and quantiles under the filter."""
    return read_cached(
        context,
        "summary",
        lambda: queries.score_summary(*about(context), context.bands),
        decisions=False,
    )


def read_histogram(context: Context, bins: int) -> tuple[list[float], list[int]]:
    """Round edges that hold still while filters change, and the counts between them."""

    def read() -> tuple[list[float], list[int]]:
        edges = queries.histogram_edges(context.store, context.scope, bins)
        frame = queries.histogram(*about(context), edges, context.bands)
        return edges, [int(n) for n in frame["n"]]

    return read_cached(context, "histogram", read, bins, decisions=False)


def read_cut(context: Context, minimum: float | None, maximum: float | None = None) -> CutCounts:
    """What a cut keeps and drops, exactly."""
    return read_cached(
        context,
        "cut",
        lambda: queries.cut_counts(*about(context), minimum, maximum, context.bands),
        minimum,
        maximum,
        decisions=False,
    )


def read_threshold_for_share(context: Context, share: float) -> float:
    """The score that keeps the top share; infinity where it keeps none."""
    return read_cached(
        context,
        "share",
        lambda: queries.threshold_for_share(*about(context), share, context.bands),
        share,
        decisions=False,
    )


def read_loss_plane(context: Context, bins: int = 48) -> LossPlane:
    """Scored samples by both losses."""
    return read_cached(
        context,
        "plane",
        lambda: queries.loss_plane(*about(context), bins, context.bands),
        bins,
        decisions=False,
    )


def read_by_source(context: Context) -> pd.DataFrame:
    """Figures per source, the largest first."""
    return read_cached(
        context, "by_source", lambda: queries.by_source(*about(context), context.bands)
    )


def read_by_cluster(context: Context) -> pd.DataFrame:
    """Figures per cluster, the largest first; empty without a clustering."""
    if context.scope.clustering_id is None:
        return pd.DataFrame()
    return read_cached(
        context, "by_cluster", lambda: queries.by_cluster(*about(context), context.bands)
    )


def read_status_counts(context: Context) -> pd.DataFrame:
    """status and n; adds up to the samples under the filter."""
    return read_cached(
        context, "statuses", lambda: queries.status_counts(*about(context), context.bands)
    )


def read_status_reasons(context: Context) -> pd.DataFrame:
    """The commonest reasons of each status with an example."""
    return read_cached(
        context, "reasons", lambda: queries.status_reasons(context.store, context.scope)
    )


def read_cluster_names(context: Context) -> dict[int, str]:
    """Cluster number to name; empty without a clustering."""
    clustering = context.scope.clustering_id
    if clustering is None:
        return {}
    return read_cached(
        context, "cluster_names", lambda: queries.cluster_names(context.store, clustering)
    )
