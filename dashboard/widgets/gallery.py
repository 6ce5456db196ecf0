"""A page of samples as pictures: open one, or select several and decide about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import streamlit as st

from dashboard.data.cards import Card
from dashboard.frontend import assets
from scoring.reviews.decision_log import Decision

_gallery = st.components.v2.component(
    "visnec_gallery",
    html=assets.HTML,
    css=assets.style("gallery"),
    js=assets.script("gallery"),
)


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """One decision on the selected samples."""

    rows: tuple[int, ...]
    decision: Decision


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """The outcome of the last decision on selected samples."""

    text: str
    can_undo: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class BulkCallbacks:
    """Callbacks for a decision on the selected samples and its undo, and the last outcome."""

    decide: Callable[[BulkRequest], None]
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
        opened = _read_row(read_sent("opened"))
        if open_row is not None and opened is not None:
            open_row(opened)

    def handle_decision() -> None:
        request = read_bulk_request(read_sent("bulk"))
        if bulk is not None and request is not None:
            bulk.decide(request)

    def handle_undo() -> None:
        if bulk is not None and read_sent("undo") is not None:
            bulk.undo()

    status = bulk.status if bulk is not None else None
    result = _gallery(
        key=key,
        data={
            "tiles": list(tiles),
            "focus": focus,
            "selectable": bulk is not None,
            "told": None if status is None else asdict(status),
            "size": size,
        },
        on_opened_change=handle_open,
        on_bulk_change=handle_decision,
        on_undo_change=handle_undo,
    )
    return _read_row(result.opened)


def read_bulk_request(value: object) -> BulkRequest | None:
    """Return the decision that the browser sent, or None for an invalid one."""
    if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
        return None
    rows = tuple(row for sent in value["rows"] if (row := _read_row(sent)) is not None)
    if not rows or len(rows) != len(value["rows"]) or value.get("decision") not in list(Decision):
        return None
    return BulkRequest(rows, Decision(value["decision"]))


def _read_row(value: object) -> int | None:
    is_row = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_row and isinstance(value, int) else None
