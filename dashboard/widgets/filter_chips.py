"""The parts of the filter as chips that can be taken out one by one, or all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
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
class Part:
    """One value of a filter: the key that takes it out, and how it reads."""

    key: str
    name: str
    value: str


def show(which: Filter, cluster_names: Mapping[int, str]) -> str | None:
    """Draws the chips; returns the key of a part that was taken out just now."""
    parts = read_parts(which, cluster_names)
    if not parts:
        return None
    shown = [{"key": one.key, "name": one.name, "value": one.value} for one in parts]
    result = _chips(key="filter_chips", data={"parts": shown}, on_removed_change=lambda: None)
    removed = result.removed
    return removed if isinstance(removed, str) else None


def read_parts(which: Filter, cluster_names: Mapping[int, str]) -> list[Part]:
    """Every value of the filter, in the order in which it is written."""
    parts: list[Part] = []
    for item in fields(which):
        value = getattr(which, item.name)
        name = _NAMES.get(item.name, item.name)
        if isinstance(value, tuple):
            parts += [
                Part(f"{item.name}={one}", name, _shown(item.name, one, cluster_names))
                for one in value
            ]
        elif value is not None:
            said = _limits(value) if isinstance(value, Range) else str(value)
            parts.append(Part(f"{item.name}=", name, said))
    return parts


def _shown(field: str, value: object, cluster_names: Mapping[int, str]) -> str:
    if field == "cluster" and isinstance(value, int):
        return cluster_names.get(value, str(value))
    if field == "status":
        return formatting.status_name(str(value))
    if field == "decision" and value == "none":
        return "undecided"
    return str(value)


def _limits(limits: Range) -> str:
    """A range in words; its lower limit belongs to it, its upper one does not."""
    low = "" if limits.min is None else f"from {formatting.limit(limits.min)}"
    high = "" if limits.max is None else f"below {formatting.limit(limits.max)}"
    return " ".join(one for one in (low, high) if one)


def without(which: Filter, key: str) -> Filter:
    """The filter without one part; a key that names none changes nothing."""
    if key == CLEAR:
        return Filter()
    field, _, value = key.partition("=")
    if field not in {item.name for item in fields(which)}:
        return which
    values = getattr(which, field)
    left: Any = None
    if isinstance(values, tuple):
        left = tuple(one for one in values if str(one) != value)
    changes: dict[str, Any] = {field: left}
    return replace(which, **changes)
