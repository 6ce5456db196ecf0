"""The form that corrects a sample's record: a dialog, in Review and for the open sample in Explore.

While it is open, keys of the page have no effect: they do nothing inside a dialog.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.edits import (
    ImageChange,
    list_changes,
    list_image_choices,
    name_reason,
    plan_operations,
)
from dashboard.text import formatting
from dashboard.widgets import figures, notices
from scoring.database.queries.detail import fetch_predictions
from scoring.dataset.records import read_sample
from scoring.errors import InputError
from scoring.exports.editing import name_turns, save_edit, turns_now, undo_edit
from scoring.readers.conversation import insert_placeholders
from scoring.reviews.decisions import read_edits
from scoring.reviews.edits import Operation, digest_conversation
from scoring.samples import Role, Sample

_MAX_TEXT, _MAX_NOTE = 20_000, 2000
_NO_CHANGE = "No change"


def show_edit_button(context: Context, row_idx: int, reviewer: str) -> None:
    """Show the button that opens the form."""
    if st.button("Edit the record", key=f"edit-{row_idx}", icon=":material/edit:"):
        show_form(context, row_idx, reviewer)


@st.dialog("Edit the record", width="large", on_dismiss="rerun")
def show_form(context: Context, row_idx: int, reviewer: str) -> None:
    """Show the form. Saving appends an edit; the record as it was imported does not change."""
    sample = read_sample(context.workspace, row_idx)
    if not sample.turns:
        notices.show_note("This record has no conversation", str(sample.reason or ""))
        return
    base = _show_current(context, sample)
    texts, dropped = _ask_turns(context, sample, base)
    images = _ask_images(sample, base)
    problem, operations = None, list(base)
    try:
        operations = plan_operations(sample, base, texts, dropped, images)
        _show_changes(list_changes(sample, turns_now(sample, operations)))
    except InputError as error:
        problem = error
        notices.show_problem(error, "This does not fit the record")
    reasons = context.workspace.settings.edit_reasons
    why, what = st.columns([2, 5])
    reason = why.selectbox(
        "Reason",
        reasons,
        index=None,
        format_func=name_reason,
        key=f"edit-{row_idx}-why",
        placeholder="choose one",
    )
    note = what.text_input("Note", max_chars=_MAX_NOTE, key=f"edit-{row_idx}-note")
    is_new = problem is None and operations != list(base)
    if is_new and reason is None:
        figures.show_caption("Choose a reason, then save.")
    with st.container(horizontal=True):
        cannot_save = not is_new or reason is None
        save = st.button("Save edit", type="primary", disabled=cannot_save, key="edit-save")
        restore = st.button(
            "Restore the imported record",
            disabled=not base or reason is None,
            key="edit-restore",
            help="Saves an edit without changes, also against other reviewers' edits. Choose a "
            "reason first.",
        )
        undo = st.button(
            "Undo my edit",
            icon=":material/undo:",
            disabled=not _has_own_edit(context, row_idx, reviewer),
            key="edit-undo",
            help="Your earlier edit is current again, if there is one.",
        )
    with notices.show_problem_on_failure("Nothing was changed"):
        if undo:
            undo_edit(context.workspace, row_idx, reviewer=reviewer)
            _close_form(f"Undone: your edit of row {row_idx:,}")
        elif reason is not None and (save or restore):
            chosen = operations if save else []
            saved = save_edit(
                context.workspace, row_idx, chosen, reviewer=reviewer, reason=reason, note=note
            )
            if saved.warning:
                notices.show_note("Saved", saved.warning)
            else:
                _close_form(f"Saved: edit of row {row_idx:,}")


def _close_form(message: str) -> None:
    """Close the form, and show what was done."""
    st.toast(message)
    st.rerun()


def _has_own_edit(context: Context, row_idx: int, reviewer: str) -> bool:
    edits = read_edits(context.workspace, [row_idx])
    events = [event for each in edits for event in (each.event, *each.others)]
    return any(event.reviewer == reviewer for event in events)


def _show_current(context: Context, sample: Sample) -> Sequence[Operation]:
    """Show whose edit is current, and return the operations that the form starts from."""
    for current in read_edits(context.workspace, [sample.row_idx]):
        event = current.event
        try:
            edit = current.edit
            turns_now(sample, edit.operations)
        except InputError as error:
            notices.show_problem(error, "The current edit cannot be read")
            continue
        conflict = "; another reviewer's differs" if current.is_conflict else ""
        when = formatting.moment(event.decided_at)
        figures.show_caption(f"Current edit by {event.reviewer}, {when}{conflict}")
        if edit.digest == digest_conversation(sample):
            return edit.operations
    return ()


def _ask_turns(
    context: Context, sample: Sample, base: Sequence[Operation]
) -> tuple[dict[int, str], list[int]]:
    """Show a field per turn; return the texts by position, and the answers to drop."""
    turns = turns_now(sample, base)
    predictions = fetch_predictions(context.store, context.scope.run_id, sample.row_idx)
    numbers = [i for i, turn in enumerate(sample.turns) if turn.role is Role.ASSISTANT]
    answers = [position for position in numbers if position in turns]
    texts: dict[int, str] = {}
    dropped: list[int] = []
    for position, name in name_turns(sample).items():
        if position not in turns:
            continue
        key = f"edit-{sample.row_idx}-{position}"
        before = insert_placeholders(turns[position])
        texts[position] = st.text_area(
            name.capitalize(), before, key=key, max_chars=max(_MAX_TEXT, 2 * len(before))
        )
        if turns[position].role is not Role.ASSISTANT:
            continue
        with st.container(horizontal=True, vertical_alignment="center"):
            predicted = predictions.get(numbers.index(position))
            if predicted:
                st.button(
                    "Use the multimodal prediction",
                    key=f"{key}-predicted",
                    on_click=_set_texts,
                    args=({key: predicted},),
                    help=predicted[:300],
                )
            if position != answers[0]:
                above = f"edit-{sample.row_idx}-{answers[answers.index(position) - 1]}"
                st.button(
                    "Swap with the answer above",
                    key=f"{key}-swap",
                    on_click=_swap_texts,
                    args=(key, above),
                )
            if len(answers) > 1 and st.checkbox("Drop this turn", key=f"{key}-drop"):
                dropped.append(position)
    return texts, dropped


def _set_texts(texts: dict[str, str]) -> None:
    st.session_state.update(texts)


def _swap_texts(first: str, second: str) -> None:
    state: Any = st.session_state
    state[first], state[second] = state[second], state[first]


def _ask_images(sample: Sample, base: Sequence[Operation]) -> dict[int, ImageChange]:
    """Show a field per image placeholder; return what to do with those to change."""
    choices = list_image_choices(sample, base)
    changes: dict[int, ImageChange] = {}
    for number, offered in enumerate(choices):
        chosen = st.selectbox(
            f"Image placeholder {number + 1}" if len(choices) > 1 else "Image placeholder",
            [_NO_CHANGE, *offered],
            key=f"edit-{sample.row_idx}-image-{number}",
            help="To move <image> within its question, move it in the text.",
        )
        if chosen in offered:
            changes[number] = offered[chosen]
    return changes


def _show_changes(changes: list[dict[str, Any]]) -> None:
    """Show the changed turns before and after, with the words that differ."""
    if not changes:
        figures.show_caption("No change to the imported record")
        return
    rows = "".join(
        f"<b>{escape(change['turn'].capitalize())}</b>"
        f"<div class='before'>{_mark_pieces(change['before'])}</div>"
        f"<div class='after'>{_mark_pieces(change['after'])}</div>"
        for change in changes
    )
    st.html(f'<div class="vn-edit" role="group" aria-label="Changes">{rows}</div>')


def _mark_pieces(pieces: list[list[Any]] | None) -> str:
    if pieces is None:
        return "<i>dropped</i>"
    return "".join(
        f"<mark>{escape(text)}</mark>" if differs else escape(text) for text, differs in pieces
    )
