"""The near-duplicates of an open sample, and one decision on their group."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.data.cards import Card
from dashboard.pages.explore import bulk
from dashboard.text import formatting
from dashboard.view.navigation import change_filter
from dashboard.view.state import Key
from dashboard.widgets import figures
from scoring.database.filters import parse_filter


def show_duplicates(card: Card) -> None:
    """Show each group of near-duplicates that the sample is in, with its size."""
    if not card["duplicates"]:
        return
    st.subheader("Near-duplicates", anchor=False)
    for group in card["duplicates"]:
        _show_group(card["row_idx"], group)
    _show_status()


def _show_group(row_idx: int, group: dict[str, Any]) -> None:
    where = parse_filter(f"col:{group['column']}={group['number']}")
    kind, rows, n_samples = group["kind"], group["rows"], group["n_samples"]
    with st.container(horizontal=True, vertical_alignment="center", key=f"duplicates-{kind}"):
        size = formatting.plural(n_samples, "sample")
        figures.show_caption(f"By {kind}: {size} ({where})")
        st.button(
            "Show the group",
            icon=":material/grid_view:",
            key=f"group-{kind}",
            on_click=change_filter,
            args=(where,),
            kwargs={"sample": None},
        )
        if st.session_state.get(Key.REVIEWER) and len(rows) == n_samples:
            others = formatting.plural(n_samples - 1, "other", "others")
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
