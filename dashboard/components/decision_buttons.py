"""Ordinary buttons for a decision on one sample: the accessible way beside the keyed deck.

The row stands in the button's own arguments, so a click decides about the sample that was drawn
with it, whatever the page shows by the time it arrives.
"""

from __future__ import annotations

import streamlit as st

from dashboard import actions, loaders, text
from dashboard.components import notices
from scoring.errors import VisnecError
from scoring.reviews import Decision, DecisionDraft


def show(row_idx: int, reviewer: str, queue: str | None, decided: str | None) -> None:
    """Keep, drop and unsure for the sample ``row_idx``, and undo of the latest decision."""
    with st.container(horizontal=True, key="decision_buttons"):
        for choice in Decision:
            st.button(
                f"{text.DECISION_MARKS[choice]} {choice.capitalize()}",
                key=f"decide-{choice}",
                type="primary" if decided == choice else "secondary",
                on_click=decide,
                args=(row_idx, str(choice), reviewer, queue),
            )
        st.button(
            "Undo", key="decide-undo", icon=":material/undo:", on_click=undo, args=(reviewer,)
        )


def decide(row_idx: int, choice: str, reviewer: str, queue: str | None) -> None:
    """Saves the decision; it is on disk when this returns."""
    workspace = loaders.read_workspace()
    try:
        actions.record_decision(
            workspace, reviewer, DecisionDraft(row_idx, Decision(choice), queue=queue)
        )
    except (VisnecError, OSError) as error:
        notices.remember("problem", "The decision was not saved", str(error))
        return
    notices.remember("done", f"Saved: {choice}, row {row_idx:,}")


def undo(reviewer: str) -> None:
    """Takes the reviewer's latest decision back."""
    try:
        event = actions.undo_last_decision(loaders.read_workspace(), reviewer)
    except (VisnecError, OSError) as error:
        notices.remember("problem", "The decision was not undone", str(error))
        return
    if event is None:
        notices.remember("note", "There is nothing to undo")
    else:
        notices.remember("done", f"Undone: the decision on row {event.row_idx:,}")
