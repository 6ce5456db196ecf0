"""The near-duplicates of an open sample, and one decision on their group."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.facts import read_sortable_columns
from dashboard.pages.explore import bulk
from dashboard.text import formatting
from dashboard.view.state import Key, change_view
from dashboard.widgets import figures
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows, read_column_value
from scoring.duplicates.stored import GROUP_COLUMNS

_MOST_SAMPLES = 1000  # of a group that one button decides


def show_duplicates(context: Context, row_idx: int) -> None:
    """Show each group of near-duplicates that the sample is in, with its size."""
    known = read_sortable_columns(context.store)
    is_first = True
    for kind, column in GROUP_COLUMNS.items():
        if column not in known:
            continue
        number = read_column_value(context.store, column, row_idx)
        if number is None:
            continue
        if is_first:
            st.subheader("Near-duplicates", anchor=False)
        is_first = False
        _show_group(context, row_idx, kind, parse_filter(f"col:{column}={int(number)}"))
    if not is_first:
        _show_status()


def _show_group(context: Context, row_idx: int, kind: str, group: Filter) -> None:
    rows = matching_rows(context.store.selection(context.scope, group)).tolist()
    size = formatting.plural(len(rows), "sample")
    with st.container(horizontal=True, vertical_alignment="center", key=f"duplicates-{kind}"):
        figures.show_caption(f"By {kind}: {size} ({group})")
        if st.button("Show the group", icon=":material/grid_view:", key=f"group-{kind}"):
            change_view(filter=group, sample=None)
            st.rerun(scope="fragment")
        if st.session_state.get(Key.REVIEWER) and 1 < len(rows) <= _MOST_SAMPLES:
            others = formatting.plural(len(rows) - 1, "other", "others")
            st.button(
                f"Keep this, drop {others}",
                icon=":material/filter_1:",
                key=f"keep-{kind}",
                help="One decision, undone as a whole. Samples with your decision are skipped.",
                on_click=bulk.keep_one,
                args=(row_idx, rows),
            )


def _show_status() -> None:
    """Show the last bulk decision and the button that undoes it."""
    status = bulk.read_status()
    if status is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", key="duplicates-status"):
        figures.show_caption(status.text)
        if status.can_undo:
            st.button("Undo", icon=":material/undo:", key="undo-group", on_click=bulk.undo_decision)
