"""Ordinary buttons for a decision on one sample: the accessible alternative to the keyed deck.

The row is part of each button's arguments, so a click decides on the sample that was shown with
it, even if the page shows another sample by the time the click arrives.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from dashboard.data.actions import MAX_NOTE
from dashboard.data.context import read_workspace
from dashboard.text import formatting
from dashboard.view.state import change_view
from dashboard.widgets import figures, notices
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log

_GROUP_VERBS = {
    Decision.KEEP: "Keep",
    Decision.DROP: "Drop",
    Decision.UNSURE: "Unsure about",
}


def show_buttons(
    row_idx: int, reviewer: str, decided: str | None, next_row: int | None = None, **origin: Any
) -> None:
    """Show keep, drop and unsure for a sample, and undo of the latest decision.

    A decision moves the view to ``next_row``, if given; an undo moves it back to its row.
    ``origin`` are the fields of the decision that record how the sample came up for review.
    """
    with st.container(horizontal=True, key="decision_buttons"):
        for choice in Decision:
            st.button(
                f"{formatting.DECISION_MARKS[choice]} {choice.capitalize()}",
                key=f"decide-{choice}-{row_idx}",  # a late click must not meet another row
                type="primary" if decided == choice else "secondary",
                on_click=save_decision,
                args=(DecisionDraft(row_idx, choice, **origin), reviewer, next_row),
            )
        show_undo_button(reviewer)


def show_group_buttons(
    row_idx: int, reviewer: str, group: Mapping[str, Any], next_row: int | None, **origin: Any
) -> None:
    """Show keep, drop and unsure for a sample together with a group of its near-duplicates."""
    kind, n_samples = group["kind"], group["n_samples"]
    with st.container(horizontal=True, vertical_alignment="center", key=f"group_buttons-{kind}"):
        n_others = formatting.plural(n_samples - 1, "near-duplicate")
        figures.show_caption(f"{n_others}: {group['name']}")
        if len(group["rows"]) < n_samples:
            figures.show_caption("Too many for one decision: narrow them down in Explore")
            return
        for choice in Decision:
            draft = DecisionDraft(row_idx, choice, uuid.uuid4().hex, **origin)
            st.button(
                f"{_GROUP_VERBS[choice]} all {formatting.count(n_samples)}",
                key=f"group-{choice}-{kind}-{row_idx}",
                help="Samples with your decision keep it. One undo takes all of it back.",
                on_click=save_group_decision,
                args=(draft, group["rows"], reviewer, next_row),
            )


def save_group_decision(
    draft: DecisionDraft, rows: Sequence[int], reviewer: str, next_row: int | None
) -> None:
    """Save the decision on a sample and those of its group that the reviewer has not decided."""
    with notices.set_message_on_failure("The decision was not saved"):
        events = open_review_log(read_workspace(), reviewer).append_group(draft, rows)
        samples = formatting.plural(len(events), "sample")
        n_kept = len(rows) - len(events)
        kept = f". {formatting.plural(n_kept, 'sample')} had your decision and kept it"
        message = f"Saved: {draft.decision} on {samples}{kept if n_kept else ''}"
        notices.set_message("done", message)
        if next_row is not None:
            change_view(row=next_row)


def show_undo_button(reviewer: str) -> None:
    """Show the button that undoes the reviewer's latest decision."""
    st.button(
        "Undo", key="decide-undo", icon=":material/undo:", on_click=undo_decision, args=(reviewer,)
    )


def save_decision(draft: DecisionDraft, reviewer: str, next_row: int | None) -> None:
    """Save the decision; it is on disk when this returns."""
    with notices.set_message_on_failure("The decision was not saved"):
        open_review_log(read_workspace(), reviewer).append([draft])
        notices.set_message("done", f"Saved: {draft.decision}, row {draft.row_idx:,}")
        if next_row is not None:
            change_view(row=next_row)


def undo_decision(reviewer: str) -> None:
    """Undo the reviewer's latest decision; one on several samples is undone as a whole."""
    with notices.set_message_on_failure("The decision was not undone"):
        events = open_review_log(read_workspace(), reviewer).undo_latest()
        if not events:
            notices.set_message("note", "Nothing to undo")
        elif len(events) > 1:
            notices.set_message("done", f"Undone: the decision on {len(events):,} samples")
        else:
            notices.set_message("done", f"Undone: the decision on row {events[0].row_idx:,}")
            change_view(row=events[0].row_idx)


def show_note_form(row_idx: int, reviewer: str, note: str) -> None:
    """Show a field with the reviewer's note on the sample and a button that saves it."""
    key = f"note-{row_idx}"

    def save_note() -> None:
        draft = DecisionDraft(row_idx, None, note=str(st.session_state.get(key, "")).strip())
        with notices.set_message_on_failure("The note was not saved"):
            open_review_log(read_workspace(), reviewer).append([draft])
            notices.set_message("done", f"Note saved, row {row_idx:,}")

    with st.form(f"note-form-{row_idx}", border=False):
        field, button = st.columns([5, 1], vertical_alignment="bottom")
        field.text_input("Note on this sample", note, key=key, max_chars=MAX_NOTE)
        button.form_submit_button("Save note", on_click=save_note, width="stretch")
