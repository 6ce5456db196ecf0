"""Reviewing with ordinary buttons and plain texts only: for screen readers and careful hands."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import loaders, text
from dashboard.cards import Card
from dashboard.components import decision_buttons, figures, notices
from dashboard.loaders import Context
from dashboard.state import change_view
from scoring.readers.images import ImageProblem


def show(
    context: Context,
    queue: Sequence[int],
    reviewer: str,
    queue_name: str,
    chances: Sequence[float | None],
    row: int | None,
) -> bool:
    """Draws the sample that is due; returns whether a new queue was asked for."""
    own = loaders.read_own_decisions(context.workspace, reviewer, queue, 0)
    due = row if row in queue else next((one for one in queue if one not in own.decided), None)
    if due is None:
        notices.show_remembered()
        if queue:
            notices.show_empty("This queue is done", "Every sample in it has a decision of yours.")
        else:
            notices.show_empty(
                "This queue is empty",
                "No sample matches. Choose another order, another filter, or show decided "
                "samples too.",
            )
        st.button("Undo", key="decide-undo", on_click=decision_buttons.undo, args=(reviewer,))
        return st.button("Look for more samples")
    at = list(queue).index(due)
    figures.show_quiet(
        f"Sample {at + 1:,} of {len(queue):,}, {text.plural(len(own.decided), 'sample')} decided"
    )
    behind = queue[at + 1] if at + 1 < len(queue) else None
    decision_buttons.show(due, reviewer, queue_name, own.decided.get(due), behind, chances[at])
    notices.show_remembered()  # below the buttons, which must not move under a hand that clicks
    _show_moves(queue[at - 1] if at else None, behind)
    card = loaders.read_card(context, due)
    own_notes = (one["note"] for one in card["decisions"] if one["reviewer"] == reviewer)
    decision_buttons.show_note(due, reviewer, next(own_notes, None) or "")
    _show_card(context, card)
    return False


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
                "row": text.count(card["row_idx"]),
                "source": card["source"],
                "VisNec score": text.score(card["visnec"]),
                "category": card["category"] or text.ABSENT,
                "text-only loss": text.loss(card["loss_text"]),
                "multimodal loss": text.loss(card["loss_multimodal"]),
            }
        )
    with right:
        for turn in card["turns"]:
            figures.show_quiet(turn["role"].capitalize())
            said = "".join(part.get("text") or part.get("more") or "" for part in turn["parts"])
            st.text(said)
        for prediction in card["predictions"][:1]:
            for name, kind in (
                ("Text-only prediction", "text"),
                ("Multimodal prediction", "multimodal"),
            ):
                pieces, match = prediction[kind], prediction[f"{kind}_match"]
                figures.show_quiet(f"{name}, {match['said']}" if match else name)
                st.text(text.ABSENT if pieces is None else "".join(one for one, _ in pieces))


def _show_image(context: Context, row_idx: int, position: int) -> None:
    try:
        st.image(loaders.read_picture(context.workspace, row_idx, position))
    except ImageProblem as problem:
        notices.show_note("This image cannot be shown", problem.reason)
