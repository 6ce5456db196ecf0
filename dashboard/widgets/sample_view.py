"""One sample in full; arrows and Escape in the browser become actions here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from dashboard.data.cards import Card
from dashboard.frontend import assets

ACTIONS = ("previous", "next", "back", "open", "image")
_view = st.components.v2.component(
    "visnec_sample_view",
    html=assets.HTML,
    css=assets.style("card"),
    js=assets.script("image_viewer", "card", "sample_view"),
)


@dataclass(frozen=True, slots=True)
class Action:
    """What the reader asked for; ``row`` is the sample to open, or the one it was asked on."""

    name: str
    row: int


def show(
    key: str,
    card: Card,
    link: str,
    has_previous: bool,
    has_next: bool,
    take: Callable[[Action], None],
) -> None:
    """Draws the sample; ``take`` gets what is asked for, before the next drawing. ``link`` leads to
    exactly this view, for a colleague.
    """

    def give() -> None:
        action = read_action((st.session_state.get(key) or {}).get("action"))
        if action is not None:
            take(action)

    _view(
        key=key,
        data={"card": card, "link": link, "previous": has_previous, "next": has_next},
        on_action_change=give,
    )


def read_action(value: object) -> Action | None:
    """The action that the browser sent, or None where it makes no sense."""
    if not isinstance(value, dict) or value.get("action") not in ACTIONS:
        return None
    row = value.get("row")
    if not isinstance(row, int) or isinstance(row, bool) or row < 0:
        return None
    return Action(value["action"], row)
