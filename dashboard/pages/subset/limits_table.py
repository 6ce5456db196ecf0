"""Limits of single groups as a small table to type into: by type of answer, or by source.

What is typed goes into the view at once. The table itself is given the same rows until the view
changes from elsewhere, because a table whose rows change under the typing hand loses its place.
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
    """Limits of the score for each type of answer."""
    columns = {
        _LOW: st.column_config.NumberColumn("scores from", format="%.3f", step=0.001),
        _HIGH: st.column_config.NumberColumn("below", format="%.3f", step=0.001),
    }
    _show("answer_limits", "type of answer", counts, limits, columns)


def show_source_limits(counts: Mapping[str, int], limits: NamedLimits) -> None:
    """Floor and ceiling for each source."""
    columns = {
        _LOW: st.column_config.NumberColumn("floor", format="%d", step=1, min_value=0),
        _HIGH: st.column_config.NumberColumn("ceiling", format="%d", step=1, min_value=0),
    }
    _show("source_limits", "source", counts, limits, columns)


def _show(
    field: str, what: str, counts: Mapping[str, int], limits: NamedLimits, columns: dict[str, Any]
) -> None:
    present = [name for name in counts if counts[name]]
    largest = sorted(present, key=lambda name: -counts[name])[:_MAX_ROWS]
    names = [*largest, *(name for name, _, _ in limits if name not in largest)]
    held, serial = _held(field, limits)
    set_apart = formatting.plural(len(limits), what, f"{what}s" if what == "source" else "types")
    label = f"Limits of their own: {set_apart}" if limits else f"Limits of their own by {what}"
    with st.expander(label, expanded=bool(limits), key=f"{field}.unfolded"):
        key = f"{field}.{serial}"
        st.data_editor(
            _frame(names, counts, held),
            key=key,
            on_change=_take,
            args=(field, key, names),
            hide_index=True,
            num_rows="fixed",
            placeholder="–",
            disabled=[_NAME, _SAMPLES],
            column_order=[_NAME, _SAMPLES, _LOW, _HIGH],
            column_config={
                _NAME: st.column_config.TextColumn(what),
                _SAMPLES: st.column_config.NumberColumn("scored", format="localized"),
                **columns,
            },
            height=min(_MAX_HEIGHT, _ROW_HEIGHT * (len(names) + 1) + 3),
        )
        figures.show_quiet("Empty cells follow the common limits above.")


def _held(field: str, limits: NamedLimits) -> tuple[NamedLimits, int]:
    """What the table was made with, and which table it is: a new one only where the view holds
    other limits than were typed into it."""
    state = st.session_state.get(f"{field}.state")
    if state is None or state[1] != limits:
        state = (limits, limits, 0 if state is None else state[2] + 1)
        st.session_state[f"{field}.state"] = state
    return state[0], state[2]


def _frame(names: list[str], counts: Mapping[str, int], held: NamedLimits) -> pd.DataFrame:
    ends = {name: (low, high) for name, low, high in held}
    rows = [(name, counts.get(name, 0), *ends.get(name, (None, None))) for name in names]
    frame = pd.DataFrame(rows, columns=[_NAME, _SAMPLES, _LOW, _HIGH])
    return frame.astype({_LOW: "float64", _HIGH: "float64"})


def _take(field: str, key: str, names: list[str]) -> None:
    held, _, serial = st.session_state[f"{field}.state"]
    edits = st.session_state[key].get("edited_rows", {})
    limits = merged(held, names, edits, whole=field == "source_limits")
    st.session_state[f"{field}.state"] = (held, limits, serial)
    change_view(**{field: limits})


def merged(
    held: NamedLimits, names: list[str], edits: Mapping[int, Mapping[str, Any]], whole: bool
) -> NamedLimits:
    """The limits after cells were typed into: ``edits`` maps a row of ``names`` to its cells."""
    ends: dict[str, list[float | None]] = {name: [low, high] for name, low, high in held}
    for row, cells in edits.items():
        pair = ends.setdefault(names[int(row)], [None, None])
        for place, column in enumerate((_LOW, _HIGH)):
            if column in cells:
                value = cells[column]
                pair[place] = int(value) if whole and value is not None else value
    return tuple(
        (name, low, high)
        for name, (low, high) in sorted(ends.items())
        if low is not None or high is not None
    )
