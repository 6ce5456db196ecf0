"""The controls of the rule that keeps the best of each group."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.facts import read_numeric_columns
from dashboard.view import url_widgets
from dashboard.view.state import View
from dashboard.widgets import notices
from scoring.rules.groups import BEST

_BEST_NAMES: Final = {
    "score": "Highest VisNec score",
    "longest-answer": "Longest answer",
    "manual": "Only what reviewers keep",
}


def choose_groups(context: Context, view: View) -> None:
    """Show the column of the groups and what the best of a group is."""
    columns: list[str | None] = [*sorted(read_numeric_columns(context.store))]
    if view.group_column not in columns:
        columns = [view.group_column, *columns]
    left, right = st.columns(2)
    with left:
        url_widgets.choose_option(
            "group_column", "Groups", columns, view.group_column, lambda name: name or "Choose"
        )
    with right:
        names = _BEST_NAMES.__getitem__
        url_widgets.choose_option("best", "Best", list(BEST), view.best, names)
    if columns == [None]:
        notices.show_note(
            "There are no groups yet",
            "Groups are columns, found by the command below.",
            f"visnec find-duplicates -w {context.workspace.root} --samples --images",
        )
