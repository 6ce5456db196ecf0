"""A page of samples as pictures; choosing one gives its row."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard.cards import Card
from dashboard.components import assets

_gallery = st.components.v2.component(
    "visnec_gallery",
    html=assets.HTML,
    css=assets.style("gallery"),
    js=assets.script("gallery"),
)


def show(key: str, tiles: Sequence[Card], focus: int | None = None) -> int | None:
    """Draws the tiles, the one with row ``focus`` first in the tab order; returns a chosen row."""
    result = _gallery(
        key=key,
        data={"tiles": list(tiles), "focus": focus},
        on_opened_change=lambda: None,
    )
    opened = result.opened
    return opened if isinstance(opened, int) and opened >= 0 else None
