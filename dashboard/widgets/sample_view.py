"""One sample in full; arrow keys and Escape in the browser become actions here."""

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
    """A request of the reader; ``row`` is the sample to open, or the one that was shown."""

    name: str
    row: int


def show_sample(
    key: str,
    card: Card,
    link: str,
    has_previous: bool,
    has_next: bool,
    handle_action: Callable[[Action], None],
) -> None:
    """Show the sample. ``link`` opens exactly this view; ``handle_action`` is a callback."""

    def handle_change() -> None:
        action = read_action((st.session_state.get(key) or {}).get("action"))
        if action is not None:
            handle_action(action)

    _view(
        key=key,
        data={"card": card, "link": link, "previous": has_previous, "next": has_next},
        on_action_change=handle_change,
    )


def read_action(value: object) -> Action | None:
    """Return the action that the browser sent, or None for an invalid one."""
    if not isinstance(value, dict) or value.get("action") not in ACTIONS:
        return None
    row = value.get("row")
    if not isinstance(row, int) or isinstance(row, bool) or row < 0:
        return None
    return Action(value["action"], row)
