"""The values of the filter as chips that can be removed one by one, or all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import streamlit as st

from dashboard.frontend import assets
from dashboard.text import formatting
from scoring.database.filters import Filter, Range

CLEAR = ""
_NAMES = {
    "visnec": "VisNec score",
    "loss_text": "text-only loss",
    "loss_multimodal": "multimodal loss",
    "tokens": "answer tokens",
    "content": "content tokens",
    "turns": "answers",
}
_chips = st.components.v2.component(
    "visnec_filter_chips",
    html=assets.HTML,
    css=assets.style("filter_chips"),
    js=assets.script("filter_chips"),
)


@dataclass(frozen=True, slots=True)
class Chip:
    """One value of a filter: the key that removes it, and its text."""

    key: str
    name: str
    value: str


def show_chips(current: Filter, cluster_names: Mapping[int, str]) -> str | None:
    """Show the chips; return the key of one that was just removed."""
    chips = read_chips(current, cluster_names)
    if not chips:
        return None
    data = {"parts": [asdict(chip) for chip in chips]}
    removed = _chips(key="filter_chips", data=data, on_removed_change=lambda: None).removed
    return removed if isinstance(removed, str) else None


def read_chips(current: Filter, cluster_names: Mapping[int, str]) -> list[Chip]:
    """Return a chip for each value of the filter, in the order of its text."""
    chips: list[Chip] = []
    for item in fields(current):
        value = getattr(current, item.name)
        name = _NAMES.get(item.name, item.name)
        if isinstance(value, tuple):
            chips += [
                Chip(f"{item.name}={single}", name, _format_value(item.name, single, cluster_names))
                for single in value
            ]
        elif value is not None:
            text = _format_range(value) if isinstance(value, Range) else str(value)
            chips.append(Chip(f"{item.name}=", name, text))
    return chips


def _format_value(field: str, value: object, cluster_names: Mapping[int, str]) -> str:
    if field == "cluster" and isinstance(value, int):
        return cluster_names.get(value, str(value))
    if field == "status":
        return formatting.status_name(str(value))
    if field == "decision" and value == "none":
        return "undecided"
    return str(value)


def _format_range(limits: Range) -> str:
    """Return a range in words; it includes its lower limit and excludes its upper one."""
    low = "" if limits.min is None else f"from {formatting.limit(limits.min)}"
    high = "" if limits.max is None else f"below {formatting.limit(limits.max)}"
    return " ".join(filter(None, (low, high)))


def remove_chip(current: Filter, key: str) -> Filter:
    """Return the filter without the value of a chip; an unknown key changes nothing."""
    if key == CLEAR:
        return Filter()
    field, _, value = key.partition("=")
    if field not in {item.name for item in fields(current)}:
        return current
    values = getattr(current, field)
    rest: Any = None
    if isinstance(values, tuple):
        rest = tuple(single for single in values if str(single) != value)
    changes: dict[str, Any] = {field: rest}
    return replace(current, **changes)
