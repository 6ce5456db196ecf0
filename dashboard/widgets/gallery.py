"""A page of samples as pictures: one may be opened, several selected for a verdict on them."""

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
class Bulk:
    """One verdict on the selected samples."""

    rows: tuple[int, ...]
    decision: Decision


@dataclass(frozen=True, slots=True)
class Told:
    """What became of the last verdict on selected samples."""

    text: str
    can_undo: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Selecting:
    """What selected samples are for: who takes a verdict on them, who takes it back, the news."""

    decide: Callable[[Bulk], None]
    undo: Callable[[], None]
    told: Told | None


def show(
    key: str,
    tiles: Sequence[Card],
    focus: int | None = None,
    take: Callable[[int], None] | None = None,
    selecting: Selecting | None = None,
    size: str = "medium",
) -> int | None:
    """Draws the tiles, the one with row ``focus`` first in the tab order; returns a chosen row.

    ``take`` gets a chosen row, and ``selecting`` a verdict on selected ones, before anything is
    drawn, so that one drawing suffices; without ``selecting`` nothing can be selected.
    """

    def sent(name: str) -> object:
        return (st.session_state.get(key) or {}).get(name)

    def give_row() -> None:
        opened = _row(sent("opened"))
        if take is not None and opened is not None:
            take(opened)

    def give_bulk() -> None:
        bulk = read_bulk(sent("bulk"))
        if selecting is not None and bulk is not None:
            selecting.decide(bulk)

    def give_undo() -> None:
        if selecting is not None and sent("undo") is not None:
            selecting.undo()

    told = selecting.told if selecting is not None else None
    result = _gallery(
        key=key,
        data={
            "tiles": list(tiles),
            "focus": focus,
            "selectable": selecting is not None,
            "told": None if told is None else asdict(told),
            "size": size,
        },
        on_opened_change=give_row,
        on_bulk_change=give_bulk,
        on_undo_change=give_undo,
    )
    return _row(result.opened)


def read_bulk(value: object) -> Bulk | None:
    """The verdict that the browser sent, or None where it makes no sense."""
    if not isinstance(value, dict) or not isinstance(value.get("rows"), list):
        return None
    rows = tuple(row for one in value["rows"] if (row := _row(one)) is not None)
    if not rows or len(rows) != len(value["rows"]) or value.get("decision") not in list(Decision):
        return None
    return Bulk(rows, Decision(value["decision"]))


def _row(value: object) -> int | None:
    is_row = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_row and isinstance(value, int) else None
