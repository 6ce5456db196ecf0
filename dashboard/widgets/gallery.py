"""A page of samples as pictures: open one, or select several and decide on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeGuard

import streamlit as st

from dashboard.data.cards import Card
from dashboard.frontend import assets
from scoring.reviews.decision_log import Decision

_gallery = st.components.v2.component(
    "visnec_gallery", html=assets.HTML, css=assets.style("gallery"), js=assets.script("gallery")
)


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """The outcome of the last decision on selected samples."""

    text: str
    can_undo: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class BulkCallbacks:
    """Callbacks for a decision on the selected samples and its undo, and the last outcome."""

    decide: Callable[[Sequence[int], Decision], None]
    undo: Callable[[], None]
    status: StatusMessage | None


def show_gallery(
    key: str,
    tiles: Sequence[Card],
    open_row: Callable[[int], None] | None = None,
    *,
    focus: int | None = None,
    bulk: BulkCallbacks | None = None,
    size: str = "medium",
) -> int | None:
    """Show the tiles; return the row that was just chosen.

    Args:
        key: Of the widget.
        tiles: Samples in order.
        open_row: Callback that gets a chosen row before the page is drawn again.
        focus: Row that comes first in the tab order.
        bulk: Without it nothing can be selected.
        size: Of the pictures.
    """

    def read_sent(name: str) -> object:
        return (st.session_state.get(key) or {}).get(name)

    def handle_open() -> None:
        opened = read_sent("opened")
        if open_row is not None and is_row(opened):
            open_row(opened)

    def handle_decision() -> None:
        request = read_bulk_request(read_sent("bulk"))
        if bulk is not None and request is not None:
            bulk.decide(*request)

    def handle_undo() -> None:
        if bulk is not None and read_sent("undo") is not None:
            bulk.undo()

    result = _gallery(
        key=key,
        data={
            "tiles": list(tiles),
            "focus": focus,
            "selectable": bulk is not None,
            "told": None if bulk is None or bulk.status is None else asdict(bulk.status),
            "size": size,
        },
        on_opened_change=handle_open,
        on_bulk_change=handle_decision,
        on_undo_change=handle_undo,
    )
    return result.opened if is_row(result.opened) else None


def read_bulk_request(value: object) -> tuple[list[int], Decision] | None:
    """Return the rows and the decision that the browser sent, or None for an invalid request."""
    if not isinstance(value, dict) or value.get("decision") not in list(Decision):
        return None
    rows = value.get("rows")
    if not isinstance(rows, list) or not rows or not all(map(is_row, rows)):
        return None
    return rows, Decision(value["decision"])


def is_row(value: object) -> TypeGuard[int]:
    """Return whether the browser sent a row number."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
