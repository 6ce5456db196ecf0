"""An imported column: its histogram with a threshold, and its values against the score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from dashboard.charts import plots
from dashboard.data.column_stats import (
    column_stats,
    column_threshold,
    read_column_ecdf,
    read_column_histogram,
    read_column_plane,
    read_step,
)
from dashboard.data.context import Context
from dashboard.data.facts import choose_column, read_numeric_columns
from dashboard.pages.overview.plane_panel import show_plane
from dashboard.pages.overview.threshold_editor import editor, read_sequence_number
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.links import column_threshold_url
from dashboard.view.navigation import PageName, change_filter, go_to
from dashboard.view.state import Key, Queue, View, change_view, current_view
from dashboard.widgets import figures, page_frame
from scoring.database.filters import ColumnCondition, Filter, Range

_PLANE: Final = "column_plane"
_LARGEST: Final = 1e15


@page_frame.view_fragment()
def show_columns(context: Context, view: View) -> None:
    """Show the column that the view names; nothing without a column of numbers."""
    column = choose_column(context.store, view.column)
    if column is None:
        return
    title, choice = st.columns([3, 2], vertical_alignment="bottom")
    with title:
        figures.show_heading(
            "Values of a column",
            "Drag the threshold, move it with the arrow keys, or type it. Drag across the "
            "histogram to filter by value.",
        )
    with choice:
        names = read_numeric_columns(context.store)
        url_widgets.choose_option("column", "Column", names, column)
    _show_threshold()
    left, right = figures.pair_columns("column")
    with left:
        _show_column_plane()
    with right:
        _show_agreement(context, column)


@page_frame.view_fragment()
def _show_threshold(context: Context, view: View) -> None:
    """Show the histogram; the threshold goes into the view."""
    column = choose_column(context.store, view.column)
    if column is None:
        return
    edges, counts = read_column_histogram(context, column)
    key, generation = f"column_threshold_{column}", context.store.generation
    step = read_step(context, column)

    def read_sent(name: str) -> Any:
        return (st.session_state.get(key) or {}).get(name)

    def change_threshold() -> None:
        threshold = read_number(read_sent("limits"), "cut")
        if threshold is not None:
            change_view(column=column, column_cut=threshold)

    def filter_by_value() -> None:
        ends = read_sent("brushed")
        ends = ends if isinstance(ends, list | tuple) and len(ends) == 2 else (None, None)
        low, high = (read_number({"end": end}, "end") for end in ends)
        change_filter(filter_by_range(current_view().filter, column, low, high))

    result = editor(
        key=key,
        data={
            "column": column,
            "digits": count_digits(step),
            "edges": edges,
            "counts": counts,
            "ecdf": [list(point) for point in read_column_ecdf(context, column)],
            "version": f"{generation}-{context.scope}-{context.filter}-{len(edges)}",
            "step": step,
            "facts": column_stats(replace(view, column=column)),
            "address": column_threshold_url(
                context.scope, context.filter, context.bands, generation, column
            ),
            "log": view.log,
            "follows": False,
            "seq": read_sequence_number(read_sent("limits") or {}),
        },
        default={"limits": None},
        on_limits_change=change_threshold,
        on_brushed_change=filter_by_value,
        on_log_change=lambda: change_view(log=read_sent("log") == "on"),
        on_act_change=lambda: None,
    )
    if result.act == "explore":
        threshold = column_threshold(context, current_view(), column)
        where = filter_by_range(context.filter, column, threshold, None)
        go_to(PageName.EXPLORE, filter=where, sample=None)


@page_frame.view_fragment()
def _show_column_plane(context: Context, view: View) -> None:
    """Show score against value; a box drawn on it opens its samples."""
    column = choose_column(context.store, view.column)
    if column is None:
        return
    figures.show_heading(
        f"VisNec score against {column}",
        "Samples with a score and a value. Draw a box to open its samples in Explore.",
    )
    plane = read_column_plane(context, column)
    if not plane.n:
        figures.show_caption("No sample here has both.")
        return

    def choose_box() -> None:
        where = read_box_filter(
            st.session_state.get(_PLANE),
            current_view().filter,
            column,
            plane.score_edges.tolist(),
            plane.column_edges.tolist(),
            count_digits(read_step(context, column)),
        )
        if where is not None:
            change_view(filter=where, sample=None)
            st.session_state[Key.OPENS_EXPLORE] = True  # a callback cannot open another page

    def draw() -> Any:
        return plots.column_plane_figure(plane, column, context.bands, figures.use_dark_theme())

    if st.session_state.pop(Key.OPENS_EXPLORE, False):
        go_to(PageName.EXPLORE)
    show_plane(_PLANE, draw, choose_box)


def _show_agreement(context: Context, column: str) -> None:
    """Show the correlations, and open the samples that the two rank most differently."""
    plane = read_column_plane(context, column)
    figures.show_heading("Agreement", "Between the VisNec score and the column, 1 to −1.")

    def write(correlation: float | None) -> str:
        return formatting.ABSENT if correlation is None else formatting.score(correlation)

    figures.show_figures(
        ("Rank correlation", write(plane.spearman), "Spearman, tied ranks averaged"),
        ("Linear correlation", write(plane.pearson), "Pearson"),
        ("Samples", plane.n, "with a score and a value"),
    )
    if not plane.n:
        return
    figures.show_heading(
        "Disagreement",
        "Samples that one ranks higher than the other. Review starts with the largest difference "
        "of the ranks.",
    )
    with st.container(horizontal=True):
        for queue, label, icon in (
            (Queue.ABOVE_COLUMN, f"High score, low {column}", ":material/north_east:"),
            (Queue.BELOW_COLUMN, f"Low score, high {column}", ":material/south_east:"),
        ):
            if st.button(label, icon=icon, key=f"review_{queue}"):
                go_to(PageName.REVIEW, queue=queue, column=column, row=None)


def count_digits(step: float) -> int:
    """Return the decimals that show steps of a power of ten, one more than they need."""
    return max(0, 1 - round(math.log10(step))) if step < 1 else 0


def read_number(sent: object, name: str) -> float | None:
    """Return a number that the browser sent, or None for an invalid one."""
    value = sent.get(name) if isinstance(sent, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= _LARGEST else None


def filter_by_range(current: Filter, column: str, low: float | None, high: float | None) -> Filter:
    """Return the filter with ``low <= value < high`` as its only range of the column."""
    others = [
        condition
        for condition in current.col
        if condition.name != column or condition.operator in ("=", "!=")
    ]
    added = [
        ColumnCondition(column, operator, (str(limit),))
        for operator, limit in ((">=", low), ("<", high))
        if limit is not None
    ]
    return replace(current, col=(*others, *added))


def read_box_filter(
    state: Any,
    current: Filter,
    column: str,
    score_edges: Sequence[float],
    column_edges: Sequence[float],
    digits: int,
) -> Filter | None:
    """Return the filter for a box of scores and values, or None without one.

    Values have ``digits`` decimals; without any, the box is extended to whole numbers.

    An end at the edge of the plane is open: the outer bins include what is outside.
    """
    scores = _read_ends(state, "x", score_edges, 2)
    values = _read_ends(state, "y", column_edges, digits or 2)
    if scores is None or values is None:
        return None
    if not digits:
        low, high = values
        values = low and math.floor(low), high and math.ceil(high)
    visnec = None if scores == (None, None) else Range(*scores)
    return filter_by_range(replace(current, visnec=visnec or current.visnec), column, *values)


def _read_ends(
    state: Any, axis: str, edges: Sequence[float], digits: int
) -> tuple[float | None, float | None] | None:
    limits = figures.read_selected_range(state, axis, digits=digits)
    if limits is None or limits.min is None or limits.max is None:
        return None
    low = None if limits.min <= round(edges[0], digits) else limits.min
    return low, None if limits.max >= round(edges[-1], digits) else limits.max
