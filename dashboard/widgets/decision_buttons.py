"""Ordinary buttons for a decision on one sample: the accessible way beside the keyed deck.

The row stands in the button's own arguments, so a click decides about the sample that was drawn
with it, whatever the page shows by the time it arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import read_workspace
from dashboard.text import formatting
from dashboard.view.state import change_view
from dashboard.widgets import notices
from scoring.errors import VisnecError
from scoring.reviews.decision_log import Decision, DecisionDraft


@dataclass(frozen=True, slots=True)
class Origin:
    """How a sample came before the reviewer: its queue, its chance to be in a random one, and what
    that one was drawn from."""

    queue: str | None = None
    probability: float | None = None
    draw: str | None = None


def show(
    row_idx: int,
    reviewer: str,
    origin: Origin | None,
    decided: str | None,
    behind: int | None = None,
) -> None:
    """Keep, drop and unsure for the sample ``row_idx``, and undo of the latest decision.

    After a decision the view goes on to the row ``behind``, where one is given; after an undo
    back to the row it was about. ``origin`` is None outside of any queue.
    """
    with st.container(horizontal=True, key="decision_buttons"):
        for choice in Decision:
            st.button(
                f"{formatting.DECISION_MARKS[choice]} {choice.capitalize()}",
                key=f"decide-{choice}-{row_idx}",  # a late click must not meet another row
                type="primary" if decided == choice else "secondary",
                on_click=decide,
                args=(row_idx, str(choice), reviewer, origin or Origin(), behind),
            )
        show_undo(reviewer)


def show_undo(reviewer: str) -> None:
    """The button that takes the reviewer's latest decision back."""
    st.button("Undo", key="decide-undo", icon=":material/undo:", on_click=undo, args=(reviewer,))


def decide(
    row_idx: int, choice: str, reviewer: str, origin: Origin, behind: int | None = None
) -> None:
    """Saves the decision; it is on disk when this returns."""
    workspace = read_workspace()
    draft = DecisionDraft(
        row_idx,
        Decision(choice),
        queue=origin.queue,
        sampling_probability=origin.probability,
        draw=origin.draw,
    )
    try:
        actions.record_decision(workspace, reviewer, draft)
    except (VisnecError, OSError) as error:
        notices.remember("problem", "The decision was not saved", formatting.describe_error(error))
        return
    notices.remember("done", f"Saved: {choice}, row {row_idx:,}")
    if behind is not None:
        change_view(row=behind)


def undo(reviewer: str) -> None:
    """Takes the reviewer's latest decision back; one on many samples goes whole."""
    try:
        events = actions.undo_last_decision(read_workspace(), reviewer)
    except (VisnecError, OSError) as error:
        notices.remember("problem", "The decision was not undone", formatting.describe_error(error))
        return
    if not events:
        notices.remember("note", "There is nothing to undo")
    elif len(events) > 1:
        notices.remember("done", f"Undone: the decision on {len(events):,} samples at once")
    else:
        notices.remember("done", f"Undone: the decision on row {events[0].row_idx:,}")
        change_view(row=events[0].row_idx)


def show_note(row_idx: int, reviewer: str, noted: str) -> None:
    """A field with the reviewer's note on the sample; its own button saves it."""
    with st.form(f"note-form-{row_idx}", border=False):
        field, button = st.columns([5, 1], vertical_alignment="bottom")
        field.text_input(
            "Note on this sample", noted, key=_note_key(row_idx), max_chars=actions.MAX_NOTE
        )
        button.form_submit_button(
            "Save note", on_click=note, args=(row_idx, reviewer), width="stretch"
        )


def note(row_idx: int, reviewer: str) -> None:
    """Saves the note that was typed for this row."""
    said = str(st.session_state.get(_note_key(row_idx), "")).strip()
    try:
        actions.record_decision(read_workspace(), reviewer, DecisionDraft(row_idx, None, note=said))
    except (VisnecError, OSError) as error:
        notices.remember("problem", "The note was not saved", formatting.describe_error(error))
        return
    notices.remember("done", f"Note saved, row {row_idx:,}")


def _note_key(row_idx: int) -> str:
    return f"note-{row_idx}"
