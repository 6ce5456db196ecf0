"""A table to type limits of single groups into: by answer type, or by source.

What is typed goes into the view at once. The table keeps its rows until the view changes from
elsewhere, because a table whose rows change while someone types loses the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard.text import formatting
from dashboard.view.state import change_view
from dashboard.widgets import figures
from scoring.rules.base import NamedLimits

_NAME, _SAMPLES, _LOW, _HIGH = "name", "samples", "low", "high"
_MAX_ROWS: Final = 500
_MAX_HEIGHT: Final = 320
_ROW_HEIGHT: Final = 35


def show_answer_limits(counts: Mapping[str, int], limits: NamedLimits) -> None:
    """Show score limits for each answer type."""
    columns = {
        _LOW: st.column_config.NumberColumn("Score from", format="%.3f", step=0.001),
        _HIGH: st.column_config.NumberColumn("below", format="%.3f", step=0.001),
    }
    _show_table("answer_limits", "answer type", counts, limits, columns)


def show_source_limits(counts: Mapping[str, int], limits: NamedLimits) -> None:
    """Show floor and ceiling for each source."""
    columns = {
        _LOW: st.column_config.NumberColumn("Floor", format="%d", step=1, min_value=0),
        _HIGH: st.column_config.NumberColumn("Ceiling", format="%d", step=1, min_value=0),
    }
    _show_table("source_limits", "source", counts, limits, columns)


def _show_table(
    field: str, group: str, counts: Mapping[str, int], limits: NamedLimits, columns: dict[str, Any]
) -> None:
    present = [name for name in counts if counts[name]]
    largest = sorted(present, key=lambda name: -counts[name])[:_MAX_ROWS]
    names = [*largest, *(name for name, _, _ in limits if name not in largest)]
    drawn, serial = _read_drawn(field, limits)
    label = f"Limits by {group}"
    if limits:
        label += f": {formatting.plural(len(limits), group)}"
    with st.expander(label, expanded=bool(limits), key=f"{field}.unfolded"):
        key = f"{field}.{serial}"
        ends = {name: (low, high) for name, low, high in drawn}
        frame = pd.DataFrame(
            [(name, counts.get(name, 0), *ends.get(name, (None, None))) for name in names],
            columns=[_NAME, _SAMPLES, _LOW, _HIGH],
        )
        st.data_editor(
            frame.astype({_LOW: "float64", _HIGH: "float64"}),
            key=key,
            on_change=_save_edits,
            args=(field, key, names),
            hide_index=True,
            num_rows="fixed",
            placeholder="–",
            disabled=[_NAME, _SAMPLES],
            column_order=[_NAME, _SAMPLES, _LOW, _HIGH],
            column_config={
                _NAME: st.column_config.TextColumn(group.capitalize()),
                _SAMPLES: st.column_config.NumberColumn("Scored", format="localized"),
                **columns,
            },
            height=min(_MAX_HEIGHT, _ROW_HEIGHT * (len(names) + 1) + 3),
        )
        figures.show_caption("Empty cells use the common limits above.")


def _read_drawn(field: str, limits: NamedLimits) -> tuple[NamedLimits, int]:
    """Return the limits that the table was drawn with, and its serial number.

    It is a new table only if the view has other limits than were typed into it.
    """
    state = st.session_state.get(f"{field}.state")
    if state is None or state[1] != limits:
        state = (limits, limits, 0 if state is None else state[2] + 1)
        st.session_state[f"{field}.state"] = state
    return state[0], state[2]


def _save_edits(field: str, key: str, names: list[str]) -> None:
    drawn, _, serial = st.session_state[f"{field}.state"]
    edits = st.session_state[key].get("edited_rows", {})
    limits = merge_edits(drawn, names, edits, whole=field == "source_limits")
    st.session_state[f"{field}.state"] = (drawn, limits, serial)
    change_view(**{field: limits})


def merge_edits(
    drawn: NamedLimits, names: list[str], edits: Mapping[int, Mapping[str, Any]], whole: bool
) -> NamedLimits:
    """Return the limits with edited cells; ``edits`` maps a row of ``names`` to its cells."""
    ends: dict[str, list[float | None]] = {name: [low, high] for name, low, high in drawn}
    for row, cells in edits.items():
        pair = ends.setdefault(names[int(row)], [None, None])
        for end, column in enumerate((_LOW, _HIGH)):
            if column in cells:
                value = cells[column]
                pair[end] = int(value) if whole and value is not None else value
    return tuple(
        (name, low, high)
        for name, (low, high) in sorted(ends.items())
        if low is not None or high is not None
    )
