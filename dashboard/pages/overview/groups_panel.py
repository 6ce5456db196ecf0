"""Groups side by side: figures, categories and the distribution of each; a row narrows the page."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.scores import (
    GROUP_BINS,
    read_group_histograms,
    read_group_statistics,
    read_histogram_edges,
    read_threshold_counts,
)
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.fragments import Fragment, rerun_fragment
from dashboard.view.state import Group, change_view, current_view
from dashboard.widgets import breakdown, figures, notices
from scoring.database.filters import Filter, Range
from scoring.database.values import ThresholdCounts

_NAMES = {
    Group.SOURCE: "source",
    Group.CLUSTER: "cluster of instructions",
    Group.KIND: "type of answer",
    Group.LENGTH: "length of answer",
    Group.TURN: "turn",
}


def show(context: Context, cut: float) -> None:
    """Draws the groups that the view asks for; choosing a row puts it into the filter."""
    view = current_view()
    title, choice = st.columns([2, 3], vertical_alignment="bottom")
    title.subheader(f"By {_NAMES[view.group]}", anchor=False)
    with choice:
        url_widgets.choose_segment(
            "group", "Set side by side", list(Group), view.group, _NAMES.__getitem__
        )
    # The rows of a group stay in sight while some of them are chosen, so that more can be.
    rows = read_groups(
        replace(context, filter=without(context.filter, view.group)), view.group, cut
    )
    if not rows:
        _show_nothing(context, view.group)
        return
    which = context.filter
    group = view.group
    breakdown.show(
        f"by_{view.group}",
        f"Scores by {_NAMES[view.group]}",
        _NAMES[view.group],
        rows,
        limits=breakdown.Limits(
            read_histogram_edges(context, GROUP_BINS),
            context.bands.low,
            context.bands.high,
            cut,
        ),
        chosen=_chosen(which, view.group),
        action="only these samples, or take them out of the filter",
        take=lambda key: _choose(group, key),
    )
    if group is Group.TURN:
        figures.show_quiet(
            "Each row is about the answers at that place; choosing it shows the samples that have "
            "as many answers or more. Earlier answers give the image away to the text-only pass, "
            "so later turns look less in need of it than they are."
        )


def _choose(group: Group, key: Any) -> None:
    change_view(filter=toggled(current_view().filter, group, key))
    rerun_fragment(Fragment.SCORES)


def read_groups(context: Context, group: Group, cut: float) -> list[dict[str, Any]]:
    """A row for each group, with its figures, its distribution and its share over the cut."""
    frame, key, name = read_group_statistics(context, group)
    if frame.empty:
        return []
    rows = breakdown.read_rows(frame, key, name)
    histograms = read_group_histograms(context, str(group), GROUP_BINS)
    shares = _kept_shares(read_threshold_counts(context, cut)) if group is Group.SOURCE else {}
    for row in rows:
        row["histogram"] = histograms.get(row["key"])
        if shares:
            row["kept_share"] = shares.get(row["key"])
    return rows


def _kept_shares(kept: ThresholdCounts) -> dict[str, float]:
    return {
        row["source"]: row["kept"] / (row["kept"] + row["dropped"])
        for row in kept.by_source
        if row["kept"] + row["dropped"]
    }


def _chosen(which: Filter, group: Group) -> list[Any]:
    if group is Group.TURN:
        least = which.turns.min if which.turns is not None else None
        return [] if least is None else [int(least) - 1]
    if group is Group.LENGTH:
        return [] if which.tokens is None or which.tokens.max is None else [which.tokens.max - 1]
    return list(getattr(which, str(group)))


def without(which: Filter, group: Group) -> Filter:
    """The filter without its part on a group."""
    ranges = {Group.LENGTH: "tokens", Group.TURN: "turns"}
    changes: dict[str, Any] = {ranges[group]: None} if group in ranges else {str(group): ()}
    return replace(which, **changes)


def toggled(which: Filter, group: Group, key: Any) -> Filter:
    """The filter with the row of a group put in, or taken out where it was in."""
    if group is Group.LENGTH:
        longest = int(key)
        wanted = Range(longest // 2 + 1, longest + 1)
        return replace(which, tokens=None if which.tokens == wanted else wanted)
    if group is Group.TURN:
        at_least = Range(int(key) + 1)
        return replace(which, turns=None if which.turns == at_least else at_least)
    values: tuple[Any, ...] = getattr(which, str(group))
    left = tuple(one for one in values if one != key)
    changes: dict[str, Any] = {str(group): left if len(left) < len(values) else (*values, key)}
    return replace(which, **changes)


def _show_nothing(context: Context, group: Group) -> None:
    if group is Group.CLUSTER and context.scope.clustering_id is None:
        notices.show_empty(
            "No clusters yet",
            "Clusters of similar instructions show where necessity lies, and the paper's rules "
            "choose inside them.",
            f"visnec cluster -w {context.workspace.root}",
        )
    elif group is Group.TURN and not context.filter:
        notices.show_empty("No scores of single turns", "This run tells scores of samples only.")
    elif group is Group.LENGTH:
        notices.show_empty("Lengths are not known", formatting.UNKNOWN.capitalize())
    else:
        notices.show_empty("No sample here", "Take a part of the filter out.")
