"""Everybody's decisions: how many, how far they agree, and what to look at again."""

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
def show() -> None:
    """Draws the tables; one sample counts once a person."""
    workspace = read_workspace()
    state = read_review_state(workspace)
    if not state.reviewers and not state.damaged:
        return
    st.subheader("Everybody's decisions", anchor=False)
    rows = [
        (
            one.reviewer,
            *(formatting.count(n) for n in (one.decided, one.keep, one.drop, one.unsure)),
            formatting.moment(one.last_decided_at),
        )
        for one in state.reviewers
    ]
    columns = ("reviewer", "decided", "keep", "drop", "unsure", "last decision")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3, 4})))
    with st.container(horizontal=True, vertical_alignment="center"):
        figures.show_quiet(
            f"As of {formatting.moment(datetime.now(UTC).isoformat())}. Each sample "
            f"counts once a person."
        )
        st.button("Count again", icon=":material/refresh:")
    _show_agreement(state.agreement)
    _show_conflicts(len(state.conflicts))
    if state.damaged:
        lines = "\n".join(f"{name}: {n}" for name, n in state.damaged.items())
        notices.show_note(
            "Lines of the decision logs that cannot be read",
            f"Torn by a kill, or damaged. No other decision is affected.\n{lines}",
        )


def _show_agreement(agreement: Agreement) -> None:
    if not agreement.pairs:
        return
    st.subheader("Agreement", anchor=False)
    rows = [
        (
            f"{pair.one} and {pair.other}",
            formatting.count(pair.n_both),
            f"{pair.raw:.1%}",
            formatting.ABSENT if pair.kappa is None else f"{pair.kappa:.2f}",
        )
        for pair in agreement.pairs
    ]
    columns = ("reviewers", "decided by both", "same decision", "Cohen's kappa")
    figures.show_table(Table(columns, rows, frozenset({1, 2, 3})))
    figures.show_quiet(
        "Kappa is the agreement beyond chance: 0 as by chance, 1 throughout; a dash where both "
        "gave one and the same answer to everything."
    )


def _show_conflicts(n: int) -> None:
    """Samples with a tie, or with somebody unsure, come up in a queue of their own."""
    if not n:
        return
    left, right = st.columns([5, 2], vertical_alignment="center")
    with left:
        figures.show_quiet(
            f"{formatting.plural(n, 'sample')} to look at again: as many keep as "
            f"drop, so that the rule "
            "decides, or somebody unsure."
        )
    if right.button("Review the conflicts", icon=":material/balance:", width="stretch"):
        change_view(queue=Queue.CONFLICTS, who=QueueScope.ALL, row=None)
        st.rerun()
