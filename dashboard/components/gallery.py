"""A page of samples as pictures; choosing one gives its row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.cards import Card
from dashboard.components import assets

_gallery = st.components.v2.component(
    "visnec_gallery",
    html=assets.HTML,
    css=assets.style("gallery"),
    js=assets.script("gallery"),
)


def show(
    key: str,
    tiles: Sequence[Card],
    focus: int | None = None,
    take: Callable[[int], None] | None = None,
) -> int | None:
    """Draws the tiles, the one with row ``focus`` first in the tab order; returns a chosen row.

    ``take`` gets a chosen row before anything is drawn, so that one drawing suffices.
    """

    def give() -> None:
        opened = _row((st.session_state.get(key) or {}).get("opened"))
        if take is not None and opened is not None:
            take(opened)

    result = _gallery(key=key, data={"tiles": list(tiles), "focus": focus}, on_opened_change=give)
    return _row(result.opened)


def _row(value: object) -> int | None:
    is_row = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_row and isinstance(value, int) else None
