"""The keyed review deck: hands the browser a queue, takes its decisions, answers with receipts.

The browser may run ahead of the server. It repeats everything that is not confirmed, and each
decision carries its own id, so a lost or doubled message loses and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard.frontend import assets

HISTORY = 200  # verdicts that the browser can take back one by one
_deck = st.components.v2.component(
    "visnec_review_deck",
    html=assets.HTML,
    css=assets.style("card", "review_deck"),
    js=assets.script(
        "image_viewer", "card", "keymap", "deck_state", "deck_loader", "outbox", "review_deck"
    ),
)


@dataclass(frozen=True, slots=True)
class Deck:
    """What the browser is given. ``name`` is the drawer of its outbox: workspace and reviewer.

    ``chances`` runs beside ``queue``: how likely each sample was to be drawn, if it was; ``draw``
    is what from; ``said`` tells how much of the dataset the queue is.
    ``decided`` are the reviewer's decisions on rows of the queue and of ``history``, ``n_decided``
    counts those on any sample. ``history`` are the last ones given, each with ``then``: what holds
    for its sample once it and the later ones are undone. ``receipt`` is about the outbox with the
    number ``answered``. Another address of the ``cards`` means that other cards are right.
    ``explore`` is the address at which a sample opens when its row is appended. ``blind`` hides
    each sample's image and reference at first.
    """

    name: str
    reviewer: str
    queue: Sequence[int]
    queue_key: str
    queue_name: str
    chances: Sequence[float | None]
    draw: str | None
    said: str
    start: int | None
    decided: Mapping[int, str]
    history: Sequence[Mapping[str, Any]]
    n_decided: int
    receipt: Mapping[str, Any]
    answered: int
    cards: str
    explore: str
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the browser sent: drafts in their order, whose they are, the row it shows, and the
    number of the sending."""

    deck: str
    reviewer: str
    drafts: tuple[dict[str, Any], ...]
    row: int | None
    n: int = 0


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
            "chances": list(deck.chances),
            "draw": deck.draw,
            "said": deck.said,
            "start": deck.start,
            "decided": {str(row): decision for row, decision in deck.decided.items()},
            "history": list(deck.history),
            "n_decided": deck.n_decided,
            "receipt": dict(deck.receipt),
            "answered": deck.answered,
            "cards": deck.cards,
            "explore": deck.explore,
            "blind": deck.blind,
        },
        default={"outbox": None},
        on_outbox_change=take_outbox,
        on_rebuild_change=lambda: None,
    )
    return result.rebuild is not None


def read_outbox(value: object) -> Outbox | None:
    """What the browser sent, or None where it makes no sense."""
    if not isinstance(value, Mapping):
        return None
    deck, reviewer, drafts, row = (value.get(k) for k in ("deck", "reviewer", "drafts", "row"))
    if not isinstance(deck, str) or not isinstance(reviewer, str) or not isinstance(drafts, list):
        return None
    found = tuple(dict(one) for one in drafts if isinstance(one, Mapping))
    is_row = isinstance(row, int) and not isinstance(row, bool) and row >= 0
    n = value.get("n")
    return Outbox(deck, reviewer, found, row if is_row else None, n if isinstance(n, int) else 0)
