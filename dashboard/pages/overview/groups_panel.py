"""Groups side by side: counts, categories and score distribution; a row filters the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.facts import choose_group_column, read_group_columns
from dashboard.data.scores import (
    read_group_edges,
    read_group_histograms,
    read_group_statistics,
    read_threshold_counts,
)
from dashboard.view import url_widgets
from dashboard.view.navigation import change_filter
from dashboard.view.state import Group, View, current_view
from dashboard.widgets import breakdown, figures, notices
from scoring.database.filters import ColumnCondition, Filter, Range

_NAMES = {
    Group.SOURCE: "source",
    Group.CLUSTER: "instruction cluster",
    Group.KIND: "answer type",
    Group.LENGTH: "answer length",
    Group.TURN: "turn",
    Group.COLUMN: "column",
}
_RANGES = {Group.LENGTH: "tokens", Group.TURN: "turns"}


def show_groups(context: Context, view: View, threshold: float) -> None:
    """Show the groups; choosing a row adds it to the filter."""
    group, by = view.group, None
    if group is Group.COLUMN:
        by = choose_group_column(context.store, view.by)
    group_name = by or _NAMES[group]
    _show_choice(context, group, by)
    # All rows of a group stay visible when some are chosen, so more can be added.
    unfiltered = replace(context, filter=clear_group(context.filter, group, by))
    rows = read_groups(unfiltered, group, threshold, by)
    if not rows:
        _show_empty(context, group)
        return

    def choose_row(key: Any) -> None:
        change_filter(toggle_row(current_view().filter, group, key, by))

    chosen: list[Any]
    if group is Group.COLUMN:
        chosen = [
            value
            for condition in context.filter.col
            if _is_of(condition, by)
            for value in condition.values
        ]
    elif group is Group.TURN:
        turns = context.filter.turns
        chosen = [] if turns is None or turns.min is None else [int(turns.min) - 1]
    elif group is Group.LENGTH:
        tokens = context.filter.tokens
        chosen = [] if tokens is None or tokens.max is None else [tokens.max - 1]
    else:
        chosen = list(getattr(context.filter, str(group)))
    breakdown.show_breakdown(
        f"by_{group}_{by}" if by else f"by_{group}",
        f"Scores by {group_name}",
        by or group_name.capitalize(),
        rows,
        choose_row=choose_row,
        chosen=chosen,
        limits={
            "edges": list(read_group_edges(context)),
            "low": context.bands.low,
            "high": context.bands.high,
            "cut": threshold,
        },
    )
    if group is Group.TURN:
        figures.show_caption(
            "Each row covers the answers of one turn. Choosing it shows the samples with at least "
            "that many answers. Earlier answers reveal the image to the text-only pass, so later "
            "turns seem to need it less than they do."
        )


def _show_choice(context: Context, group: Group, by: str | None) -> None:
    """Show the title and the choice of groups, with that of a column if it groups by one."""
    columns = read_group_columns(context.store)
    groups = [each for each in Group if each is not Group.COLUMN or columns or each is group]
    with st.container(horizontal=True, vertical_alignment="center"):
        if by is not None and len(columns) > 1:
            url_widgets.choose_option("by", "By column", columns, by, width=220)
        else:
            st.subheader(f"By {by or _NAMES[group]}", anchor=False, width="content")
        names = {group: name.capitalize() for group, name in _NAMES.items()}
        url_widgets.choose_segment("group", "Group by", groups, group, names.__getitem__)


def read_groups(
    context: Context, group: Group, threshold: float, by: str | None = None
) -> list[dict[str, Any]]:
    """Return a row per group: figures, histogram and the share at or above the threshold.

    ``by`` is the imported column of the group COLUMN.
    """
    frame, key, name = read_group_statistics(context, group, by)
    if frame.empty:
        return []
    without = "no value" if by else "no cluster"
    rows = breakdown.read_rows(frame, key, name, without)
    histograms = read_group_histograms(context, group, by)
    shares: dict[Any, float] = {}
    if group is Group.SOURCE:
        shares = {
            row["source"]: row["kept"] / (row["kept"] + row["dropped"])
            for row in read_threshold_counts(context, threshold).by_source
            if row["kept"] + row["dropped"]
        }
    for row in rows:
        row["histogram"] = histograms.get(row["key"])
        if shares:
            row["kept_share"] = shares.get(row["key"])
        if by and row["key"] is None:
            row["opens"] = False  # a filter needs a value
    return rows


def _is_of(condition: ColumnCondition, column: str | None) -> bool:
    return condition.name == column and condition.operator == "="


def clear_group(current: Filter, group: Group, by: str | None = None) -> Filter:
    """Return the filter without its values for a group."""
    if group is Group.COLUMN:
        return replace(current, col=tuple(each for each in current.col if not _is_of(each, by)))
    changes: dict[str, Any] = {_RANGES[group]: None} if group in _RANGES else {str(group): ()}
    return replace(current, **changes)


def toggle_row(current: Filter, group: Group, key: Any, by: str | None = None) -> Filter:
    """Return the filter with the row of a group added, or removed if it was there."""
    if group is Group.COLUMN and by is not None:
        present = {value for each in current.col if _is_of(each, by) for value in each.values}
        chosen = tuple(sorted(present ^ {key}))
        others = clear_group(current, group, by)
        added = (ColumnCondition(by, "=", chosen),) if chosen else ()
        return replace(others, col=(*others.col, *added))
    if group in _RANGES:
        field, number = _RANGES[group], int(key)
        wanted = Range(number + 1) if group is Group.TURN else Range(number // 2 + 1, number + 1)
        is_set = getattr(current, field) == wanted
        changes: dict[str, Any] = {field: None if is_set else wanted}
        return replace(current, **changes)
    values: tuple[Any, ...] = getattr(current, str(group))
    rest = tuple(value for value in values if value != key)
    changes = {str(group): rest if len(rest) < len(values) else (*values, key)}
    return replace(current, **changes)


def _show_empty(context: Context, group: Group) -> None:
    if group is Group.COLUMN and not read_group_columns(context.store):
        notices.show_empty(
            "No columns to group by",
            "Import a column with one text or boolean per sample and at most 300 values.",
            f"visnec import-columns FILE -w {context.workspace.root}",
        )
        return
    if group is Group.CLUSTER and context.scope.clustering_id is None:
        notices.show_empty(
            "No clusters yet",
            "Cluster similar instructions to compare them and to use the paper's rules.",
            f"visnec cluster -w {context.workspace.root}",
        )
    elif group is Group.TURN and not context.filter:
        notices.show_empty("No per-turn scores", "This run has no per-turn scores.")
    elif group is Group.LENGTH:
        notices.show_empty("Answer lengths are unknown", "These scores were computed elsewhere.")
    else:
        notices.show_empty("No matching samples", "Remove part of the filter.")
