"""Reviewing with ordinary buttons and plain texts only: for screen readers and careful hands."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.data.cards import Card
from dashboard.data.context import Context
from dashboard.data.reviews import read_own_decisions
from dashboard.data.samples import read_card, read_image
from dashboard.pages.review.review_queue import Queued
from dashboard.text import formatting
from dashboard.view.state import Key, change_view
from dashboard.widgets import decision_buttons, figures, notices
from scoring.images.decode import ImageProblem


def show(
    context: Context, queued: Queued, reviewer: str, row: int | None, blind: bool = False
) -> bool:
    """Draws the sample that is due; returns whether a new queue was asked for.

    ``blind`` hides each sample's image and reference until they are asked for; only then can it
    be decided.
    """
    queue = queued.rows
    own = read_own_decisions(context.workspace, reviewer, queue, 0)
    due = row if row in queue else next((one for one in queue if one not in own.decided), None)
    if due is None:
        return _show_end(queued, reviewer)
    at = queue.index(due)
    beyond = f" ({queued.said})" if queued.said else ""
    figures.show_quiet(
        f"Sample {at + 1:,} of {len(queue):,}{beyond}, "
        f"{formatting.plural(len(own.decided), 'sample')} decided"
    )
    behind = queue[at + 1] if at + 1 < len(queue) else None
    card = read_card(context, due)
    hidden = blind and due not in _revealed()
    if hidden:
        with st.container(horizontal=True, key="decision_buttons"):
            st.button("Reveal", icon=":material/visibility:", on_click=_reveal, args=(due,))
            decision_buttons.show_undo(reviewer)
    else:
        decision_buttons.show(due, reviewer, queued.origin(at), own.decided.get(due), behind)
    notices.show_remembered()  # below the buttons, which must not move under a hand that clicks
    _show_moves(queue[at - 1] if at else None, behind)
    if hidden:
        _show_blind(card)
        return False
    own_notes = (one["note"] for one in card["decisions"] if one["reviewer"] == reviewer)
    decision_buttons.show_note(due, reviewer, next(own_notes, None) or "")
    _show_card(context, card)
    return False


def _show_end(queued: Queued, reviewer: str) -> bool:
    notices.show_remembered()
    if queued.rows:
        notices.show_empty("This queue is done", "Every sample in it has a decision of yours.")
    else:
        notices.show_empty(
            "This queue is empty",
            "No sample matches. Choose another order, another filter, or show decided samples too.",
        )
    decision_buttons.show_undo(reviewer)
    return st.button("Look for more samples")


def _revealed() -> set[int]:
    """Samples that this session has looked at in full."""
    revealed: set[int] = st.session_state.setdefault(Key.REVEALED, set())
    return revealed


def _reveal(row_idx: int) -> None:
    _revealed().add(row_idx)
    change_view(row=row_idx)


def _show_blind(card: Card) -> None:
    """The question and what the model says to it without the image."""
    figures.show_quiet("Image and reference are hidden: think what the answer is, then reveal them")
    for turn in card["turns"]:
        if turn["role"] == "assistant":
            break
        _show_turn(turn)
    for prediction in card["predictions"][:1]:
        figures.show_quiet("Text-only prediction")
        _show_pieces(prediction["text"])


def _show_moves(before: int | None, behind: int | None) -> None:
    with st.container(horizontal=True):
        for label, row in (("Previous", before), ("Next", behind)):
            st.button(
                label,
                key=f"plain-{label}",
                disabled=row is None,
                on_click=_go_to,
                args=(row,),
            )


def _go_to(row: int | None) -> None:
    change_view(row=row)


def _show_card(context: Context, card: Card) -> None:
    left, right = st.columns([5, 7], gap="large")
    with left:
        for position in range(len(card["images"])):
            _show_image(context, card["row_idx"], position)
        figures.show_facts(
            {
                "row": formatting.count(card["row_idx"]),
                "source": card["source"],
                "VisNec score": formatting.score(card["visnec"]),
                "category": card["category"] or formatting.ABSENT,
                "text-only loss": formatting.loss(card["loss_text"]),
                "multimodal loss": formatting.loss(card["loss_multimodal"]),
            }
        )
    with right:
        for turn in card["turns"]:
            _show_turn(turn)
        for prediction in card["predictions"][:1]:
            for name, kind in (
                ("Text-only prediction", "text"),
                ("Multimodal prediction", "multimodal"),
            ):
                pieces, match = prediction[kind], prediction[f"{kind}_match"]
                figures.show_quiet(f"{name}, {match['said']}" if match else name)
                _show_pieces(pieces)


def _show_turn(turn: dict[str, Any]) -> None:
    figures.show_quiet(turn["role"].capitalize())
    st.text("".join(part.get("text") or part.get("more") or "" for part in turn["parts"]))


def _show_pieces(pieces: list[tuple[str, bool]] | None) -> None:
    st.text(formatting.ABSENT if pieces is None else "".join(one for one, _ in pieces))


def _show_image(context: Context, row_idx: int, position: int) -> None:
    try:
        st.image(read_image(context.workspace, row_idx, position))
    except ImageProblem as problem:
        notices.show_note("This image cannot be shown", problem.reason)
