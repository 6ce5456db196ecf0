"""The keyed review deck: sends a queue to the browser, receives decisions, returns receipts.

The browser may be ahead of the server. It repeats everything that is not confirmed, and each
decision has its own id, so a lost or repeated message neither loses nor repeats a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import streamlit as st

from dashboard.frontend import assets

HISTORY = 200  # decisions that the browser can undo one by one
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
    """The data that the browser gets.

    ``deck`` names its outbox by workspace and reviewer. ``chances`` has one entry per row of
    ``queue``: its probability in a random queue; ``draw`` is what it was drawn from and ``extent``
    how much of the dataset the queue is. ``decided`` are the reviewer's decisions on rows of the
    queue and of ``history``; ``n_decided`` counts those on any sample. ``history`` are the last
    ones made, each with ``then``: the decision on its sample once it and the later ones are undone.
    ``receipt`` is about the outbox with the number ``answered``. When the ``cards`` URL
    changes, the browser reloads them. ``explore`` plus a row is the address of a sample. ``blind``
    hides each sample's image and reference at first.
    """

    deck: str
    reviewer: str
    queue: Sequence[int]
    queue_key: str
    queue_name: str
    chances: Sequence[float | None]
    draw: str | None
    extent: str
    start: int | None
    decided: Mapping[str, str]
    history: Sequence[Mapping[str, Any]]
    n_decided: int
    receipt: Mapping[str, Any]
    answered: int
    cards: str
    explore: str
    blind: bool = False


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the browser sent: decisions in order, their reviewer, the row it shows, and the number
    of the message."""

    deck: str
    reviewer: str
    drafts: tuple[dict[str, Any], ...]
    row: int | None
    n: int = 0


def show_deck(key: str, deck: Deck, save_outbox: Callable[[], None]) -> bool:
    """Show the deck; return whether the reviewer just asked for a new queue.

    ``save_outbox`` is called when the browser has sent its outbox; see :func:`read_outbox`.
    """
    data = asdict(deck)
    data["said"] = data.pop("extent")
    result = _deck(
        key=key,
        data=data,
        default={"outbox": None},
        on_outbox_change=save_outbox,
        on_rebuild_change=lambda: None,
    )
    return result.rebuild is not None


def read_outbox(value: object) -> Outbox | None:
    """Return the outbox that the browser sent, or None for an invalid one."""
    if not isinstance(value, Mapping):
        return None
    deck, reviewer, drafts, row = (value.get(k) for k in ("deck", "reviewer", "drafts", "row"))
    if not isinstance(deck, str) or not isinstance(reviewer, str) or not isinstance(drafts, list):
        return None
    valid = tuple(dict(draft) for draft in drafts if isinstance(draft, Mapping))
    is_row = isinstance(row, int) and not isinstance(row, bool) and row >= 0
    n = value.get("n")
    return Outbox(deck, reviewer, valid, row if is_row else None, n if isinstance(n, int) else 0)
