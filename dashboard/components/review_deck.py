"""The keyed review deck: hands the browser a queue, takes its decisions, answers with receipts.

The browser may run ahead of the server. It repeats everything that is not confirmed, and each
decision carries its own id, so a lost or doubled message loses and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard.components import assets

HISTORY = 200  # verdicts that the browser can take back one by one
_deck = st.components.v2.component(
    "visnec_review_deck",
    html=assets.HTML,
    css=assets.style("card", "review_deck"),
    js=assets.script("card", "outbox", "review_deck"),
)


@dataclass(frozen=True, slots=True)
class Deck:
    """What the browser is given. ``name`` is the drawer of its outbox: workspace and reviewer."""

    name: str
    reviewer: str
    queue: Sequence[int]
    queue_key: str
    queue_name: str
    sampling_probability: float | None
    start: int | None
    decided: Mapping[int, str]
    history: Sequence[Mapping[str, Any]]
    receipt: Mapping[str, Any]
    cards: str


def show(key: str, deck: Deck, take_outbox: Callable[[], None]) -> bool:
    """Draws the deck; returns whether the reader asked for a new queue just now.

    ``take_outbox`` is called when the browser has sent its outbox; :func:`read_outbox` gives it.
    """
    result = _deck(
        key=key,
        data={
            "deck": deck.name,
            "reviewer": deck.reviewer,
            "queue": list(deck.queue),
            "queue_key": deck.queue_key,
            "queue_name": deck.queue_name,
            "sampling_probability": deck.sampling_probability,
            "start": deck.start,
            "decided": {str(row): decision for row, decision in deck.decided.items()},
            "history": list(deck.history),
            "receipt": dict(deck.receipt),
            "cards": deck.cards,
        },
        default={"outbox": None},
        on_outbox_change=take_outbox,
        on_rebuild_change=lambda: None,
    )
    return result.rebuild is not None


def read_outbox(value: object) -> tuple[list[dict[str, Any]], int | None]:
    """The drafts that the browser sent, and the row it shows; nothing where it makes no sense."""
    if not isinstance(value, Mapping):
        return [], None
    drafts = value.get("drafts")
    row = value.get("row")
    found = [dict(one) for one in drafts if isinstance(one, Mapping)] if drafts else []
    is_row = isinstance(row, int) and not isinstance(row, bool) and row >= 0
    return found, row if is_row else None

