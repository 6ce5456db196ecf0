"""Review with ordinary buttons and plain text: for screen readers and slow browsers."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.data.cards import Card
from dashboard.data.context import Context
from dashboard.data.reviews import read_own_decisions
from dashboard.data.samples import read_card, read_image
from dashboard.pages.review.open_queue import OpenQueue
from dashboard.text import formatting
from dashboard.view.state import Key, change_view
from dashboard.widgets import decision_buttons, edit_form, figures, notices
from scoring.images.decode import ImageProblem


def show_review(
    context: Context, queue: OpenQueue, reviewer: str, row: int | None, blind: bool
) -> bool:
    """Show the next sample; return whether the reviewer asked for a new queue.

    ``blind`` hides each sample's image and reference; they must be revealed before a decision.
    """
    rows = queue.drawn.rows
    own = read_own_decisions(context.workspace, reviewer, rows, 0)
    due = row if row in rows else next((row for row in rows if row not in own.decided), None)
    if due is None:
        notices.show_message()
        if rows:
            notices.show_empty("This queue is done", "You have decided every sample in it.")
        else:
            remedy = "Choose another queue or filter, or include decided samples."
            notices.show_empty("This queue is empty", f"No samples match. {remedy}")
        decision_buttons.show_undo_button(reviewer)
        return st.button("Look for more samples")
    position = rows.index(due)
    extent = f" ({queue.extent})" if queue.extent else ""
    figures.show_caption(
        f"Sample {position + 1:,} of {len(rows):,}{extent}, {len(own.decided):,} decided"
    )
    previous_row = rows[position - 1] if position else None
    next_row = rows[position + 1] if position + 1 < len(rows) else None
    card = read_card(context, due)
    revealed: set[int] = st.session_state.setdefault(Key.REVEALED, set())
    hidden = blind and due not in revealed

    def reveal_sample() -> None:
        revealed.add(due)
        change_view(row=due)

    origin = queue.origin_of(position)
    with st.container(horizontal=True):
        if hidden:
            with st.container(horizontal=True, key="decision_buttons"):
                st.button("Reveal", icon=":material/visibility:", on_click=reveal_sample)
                decision_buttons.show_undo_button(reviewer)
        else:
            decision_buttons.show_buttons(due, reviewer, own.decided.get(due), next_row, **origin)
        for label, target in (("Previous", previous_row), ("Next", next_row)):
            st.button(
                label,
                key=f"plain-{label}",
                disabled=target is None,
                on_click=change_view,
                kwargs={"row": target},
            )
        if not hidden:
            edit_form.show_edit_button(context, due, reviewer)
    if not hidden:
        for group in card["duplicates"]:
            after = next((row for row in rows[position + 1 :] if row not in group["rows"]), None)
            decision_buttons.show_group_buttons(due, reviewer, group, after, **origin)
    notices.show_message()  # below the buttons, which must not move while someone clicks
    if hidden:
        _show_question(card)
    else:
        own_notes = (note["note"] for note in card["decisions"] if note["reviewer"] == reviewer)
        decision_buttons.show_note_form(due, reviewer, next(own_notes, None) or "")
        _show_card(context, card)
    return False


def _show_question(card: Card) -> None:
    """Show the question and the text-only prediction."""
    figures.show_caption("Image and reference are hidden. Answer the question, then reveal them.")
    for turn in card["turns"]:
        if turn["role"] == "assistant":
            break
        _show_turn(turn, card["n_turns"])
    for prediction in card["predictions"][:1]:
        _show_prediction("Text-only prediction", prediction["text"])


def _show_card(context: Context, card: Card) -> None:
    left, right = st.columns([5, 7], gap="large")
    with left:
        for position in range(len(card["images"])):
            caption = f"Image {position + 1}" if len(card["images"]) > 1 else None
            try:
                st.image(read_image(context.workspace, card["row_idx"], position), caption)
            except ImageProblem as problem:
                notices.show_note("This image cannot be shown", problem.reason)
        figures.show_facts(
            {
                "Row": formatting.count(card["row_idx"]),
                "Source": card["source"],
                "VisNec score": formatting.score(card["visnec"]),
                "Category": card["category"] or formatting.ABSENT,
                "Text-only loss": formatting.loss(card["loss_text"]),
                "Multimodal loss": formatting.loss(card["loss_multimodal"]),
            }
        )
    with right:
        for turn in card["turns"]:
            _show_turn(turn, card["n_turns"])
            for prediction in card["predictions"][:1]:
                if turn.get("turn") == 0:
                    _show_predictions(prediction)
                elif of_turn := prediction["later"].get(str(turn.get("turn"))):
                    _show_predictions(of_turn)
        for prediction in card["predictions"][:1]:
            if prediction["predicted"]:
                figures.show_caption(f"Predicted: {prediction['predicted']}")


def _show_turn(turn: dict[str, Any], n_turns: int) -> None:
    number = formatting.turn_numbers([turn["turn"]], n_turns) if "turn" in turn else None
    caption = ", ".join(filter(None, (turn["role"].capitalize(), number)))
    _show_text(
        caption, "".join(part.get("text") or part.get("more") or "" for part in turn["parts"])
    )


def _show_predictions(prediction: dict[str, Any]) -> None:
    """Show both predictions of a turn and how they match its reference answer."""
    for name, kind in (("Text-only", "text"), ("Multimodal", "multimodal")):
        match = prediction[f"{kind}_match"]
        note = f", {match['said']}" if match else ""
        _show_prediction(f"{name} prediction{note}", prediction[kind])


def _show_prediction(caption: str, pieces: list[tuple[str, bool]] | None) -> None:
    text = formatting.ABSENT if pieces is None else "".join(text for text, _ in pieces)
    _show_text(caption, text)


def _show_text(caption: str, text: str) -> None:
    with st.container(gap=None):
        figures.show_caption(caption)
        st.text(text)
