"""Reads about a column of numbers: its histogram, and what a threshold on it keeps and drops.

As with the score, one function serves the threshold editor's route and the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from dashboard.data.context import Context, cached_read, open_view_context
from dashboard.data.facts import choose_column
from dashboard.data.samples import count_samples
from dashboard.data.scores import choose_bins
from dashboard.data.threshold_stats import InvalidRequest, Stats, choose_step, read_count
from dashboard.text import formatting
from dashboard.view.parameters import VALUE
from dashboard.view.state import View
from scoring.database.queries.column_values import (
    ColumnPlane,
    ColumnSide,
    column_edges,
    column_median,
    column_plane,
    count_sides,
    has_whole_numbers,
    open_column,
)
from scoring.database.queries.overview import count_bins
from scoring.database.score_index.thresholds import cumulate_shares
from scoring.errors import WorkspaceError
from scoring.necessity import CATEGORIES

_CURVE_POINTS: Final = 200


@cached_read(decisions=False)
def read_column_histogram(context: Context, column: str) -> tuple[list[float], list[int]]:
    """Return round edges and the counts of values between them."""
    column_values = open_column(context.selection, column)
    edges = column_edges(context.store, column, choose_bins(len(column_values)))
    return edges, count_bins(column_values.values, edges).tolist()


def read_step(context: Context, column: str) -> float:
    """Return the step by which a threshold on a column moves; 1 or more between whole numbers."""
    step = choose_step(read_column_histogram(context, column)[0])
    return max(step, 1.0) if has_whole_numbers(context.store, column) else step


@cached_read(decisions=False)
def read_column_ecdf(context: Context, column: str) -> list[tuple[float, float]]:
    """Return values, ascending, with the share of values at or below each."""
    values, share = cumulate_shares(open_column(context.selection, column).values, _CURVE_POINTS)
    return list(zip(values.tolist(), share.tolist(), strict=True))


@cached_read(decisions=False)
def read_column_plane(context: Context, column: str) -> ColumnPlane:
    """Return counts of scored samples by score and value, and their correlation."""
    return column_plane(context.selection, column)


def column_threshold(context: Context, view: View, column: str) -> float:
    """Return the view's threshold on a column; by default the median of all its values."""
    if view.column_cut is not None and view.column == column:
        return view.column_cut
    return column_median(context.store, column)


def column_stats(view: View, request: Mapping[str, str] | None = None) -> Stats:
    """Return exact counts for a threshold on the view's column, as JSON values.

    The request is as for :func:`~dashboard.data.threshold_stats.threshold_stats`, without tokens:
    ``parts`` are the categories on both sides.

    Raises:
        InvalidRequest: If the request is not one of these.
        WorkspaceError: If nothing is scored, or there are no columns.
    """
    context = open_view_context(view).context
    column = None if context is None else choose_column(context.store, view.column)
    if context is None or column is None:
        raise WorkspaceError("there is no column here")
    if request is None:
        threshold = column_threshold(context, view, column)
    else:
        threshold = resolve_threshold(context, column, request)
    return _compute_stats(context, column, threshold)


def resolve_threshold(context: Context, column: str, request: Mapping[str, str]) -> float:
    """Return the threshold that a request describes; one that keeps nothing is above all values."""
    column_values = open_column(context.selection, column)
    try:
        if "share" in request:
            share = float(request["share"])
            if not 0 <= share <= 1:
                raise InvalidRequest
            threshold = column_values.threshold_for_count(int(share * len(column_values)))
        elif "samples" in request:
            threshold = column_values.threshold_for_count(read_count(request["samples"]))
        else:
            threshold = VALUE.read(request["cut"])
    except (KeyError, OverflowError, ValueError):
        raise InvalidRequest("a threshold is a value, a share or a number of samples") from None
    if math.isfinite(threshold):
        return threshold
    return math.nextafter(column_values.values[-1], math.inf) if len(column_values) else 0.0


@cached_read(decisions=False)
def _compute_stats(context: Context, column: str, threshold: float) -> Stats:
    kept, dropped = count_sides(context.selection, column, threshold)
    n_values, n_samples = kept.n + dropped.n, count_samples(context)
    count, share = formatting.count, formatting.share

    def describe_scores(side: ColumnSide) -> tuple[str, str]:
        return formatting.score(side.median_visnec), f"{count(side.n_scored)} scored"

    n_without = n_samples - n_values
    figures = [
        ("Without a value", count(n_without), f"{share(n_without, n_samples)}, on neither side"),
        ("Median VisNec, kept", *describe_scores(kept)),
        ("Median VisNec, dropped", *describe_scores(dropped)),
    ]
    parts = [[str(name), kept.categories[name], dropped.categories[name]] for name in CATEGORIES]
    if kept.n_scored < kept.n or dropped.n_scored < dropped.n:
        parts.append(["no score", kept.n - kept.n_scored, dropped.n - dropped.n_scored])
    return {
        "cut": threshold,
        "scored": n_values,
        "kept": kept.n,
        "figures": [{"name": name, "value": value, "note": note} for name, value, note in figures],
        "parts": parts,
    }
