"""All reviewers: their decisions, agreement and conflicts."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard.data.context import read_workspace
from dashboard.data.reviews import read_review_state
from dashboard.text import formatting
from dashboard.view.state import Queue, QueueScope, change_view
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Table
from scoring.reviews.agreement import Agreement


@st.fragment
def show_reviewers() -> None:
    """Show the tables; a sample counts once per reviewer."""
    state = read_review_state(read_workspace())
    if not state.reviewers and not state.damaged:
        return
    st.subheader("All reviewers", anchor=False)
    rows = [
        (
            person.reviewer,
            *map(formatting.count, (person.decided, person.keep, person.drop, person.unsure)),
            formatting.moment(person.last_decided_at),
        )
        for person in state.reviewers
    ]
    columns = ("Reviewer", "Decided", "Keep", "Drop", "Unsure", "Last decision")
    figures.show_table(Table(columns, rows, (1, 2, 3, 4)))
    with st.container(horizontal=True, vertical_alignment="center"):
        now = formatting.moment(datetime.now(UTC).isoformat())
        figures.show_caption(f"As of {now}. Each sample counts once per reviewer.")
        st.button("Refresh", icon=":material/refresh:")
    _show_agreement(state.agreement)
    if state.conflicts:
        _show_conflicts(len(state.conflicts))
    if state.damaged:
        lines = "\n".join(f"{name}: {n}" for name, n in state.damaged.items())
        notices.show_note(
            "Unreadable lines in decision logs",
            f"Damaged, or cut short by a killed process. Other decisions are intact.\n{lines}",
        )


def _show_agreement(agreement: Agreement) -> None:
    if not agreement.pairs:
        return
    st.subheader("Agreement", anchor=False)
    rows = [
        (
            f"{pair.first} and {pair.second}",
            formatting.count(pair.n_both),
            f"{pair.raw:.1%}",
            formatting.ABSENT if pair.kappa is None else f"{pair.kappa:.2f}",
        )
        for pair in agreement.pairs
    ]
    columns = ("Reviewers", "Decided by both", "Same decision", "Cohen's kappa")
    figures.show_table(Table(columns, rows, (1, 2, 3)))
    figures.show_caption(
        "Kappa is the agreement beyond chance: 0 is chance level, 1 is full agreement. There is "
        "none where both made the same decision on every sample."
    )


def _show_conflicts(n: int) -> None:
    """Show how many samples are tied or unsure, with a button to review them."""
    left, right = st.columns([5, 2], vertical_alignment="center")
    with left:
        figures.show_caption(
            f"{formatting.plural(n, 'sample')} with a tie, which the rule decides, or with an "
            "unsure reviewer."
        )
    if right.button("Review conflicts", icon=":material/balance:", width="stretch"):
        change_view(queue=Queue.CONFLICTS, who=QueueScope.ALL, row=None)
        st.rerun()
