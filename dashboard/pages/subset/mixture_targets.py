"""The targets of a mixture: which groups, their shares in a table to type into, and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard.data.context import Context
from dashboard.data.scores import read_cluster_names
from dashboard.data.subsets import GroupSize, read_group_columns
from dashboard.pages.subset.rule_choices import (
    MAX_TARGETS,
    fill_targets,
    read_groups,
    spread_over_groups,
)
from dashboard.view import url_widgets
from dashboard.view.state import DRAWS, MIXTURE_GROUPS, View, change_view
from dashboard.widgets import figures
from scoring.errors import InputError
from scoring.rules.mixture import NO_VALUE, column_of
from scoring.rules.targets import TOLERANCE, Targets, scale_targets

_GROUP_NAMES: Final = {
    "source": "Source",
    "category": "Category",
    "cluster": "Cluster",
    "answer-type": "Answer type",
}
_DRAW_NAMES: Final = {
    "random": "At random between score limits",
    "all": "At random from all scores",
    "visnec": "Highest VisNec score first",
}
_PRESETS: Final = {  # name: power of the size of a group, and what that means
    "Proportional": (1.0, "Shares as in the scored samples"),
    "Square root": (0.5, "Shares by the square root of the size: small groups gain"),
    "Equal": (0.0, "The same share for each group"),
}
_KEY: Final = "target.state"
FITTING_ROWS: Final = 12
HEIGHT: Final = 458
"""Tables with more rows scroll in a box of this height in pixels."""
_NAME, _SIZE, _TARGET = "name", "size", "target"
_ROW_HEIGHT: Final = 35


def name_grouping(per: str) -> str:
    """Return what a mixture groups samples by, in words."""
    return _GROUP_NAMES.get(per) or f"Column {column_of(per)}"


def choose_groups(context: Context, view: View) -> None:
    """Choose what a mixture groups samples by, and how it draws from a group."""
    left, right = st.columns(2)
    columns = [f"col:{column}" for column in read_group_columns(context)]
    groups = list(dict.fromkeys([*MIXTURE_GROUPS, *columns, view.mix_per]))
    with left:
        name = "view.mix_per"
        st.selectbox(
            "Targets by",
            groups,
            format_func=name_grouping,
            **url_widgets.bind_widget(name, view.mix_per, _change_groups, name),
        )
    with right:
        names = _DRAW_NAMES.__getitem__
        url_widgets.choose_option("draw_by", "Draw from a group", list(DRAWS), view.draw_by, names)


def _change_groups(name: str) -> None:
    """Group by something else; the targets of the groups before do not apply."""
    change_view(mix_per=url_widgets.consume_value(name), target=())


def show_targets(context: Context, view: View) -> None:
    """Show the table of targets with their sum and the presets."""
    st.subheader("Targets", anchor=False)
    try:
        view, groups = fill_targets(context, view), read_groups(context, view)
    except InputError:  # no clusters or column: shown with the outcome
        return
    _show_table(context, view, groups)
    total = sum(share for _, share in view.target)
    figures.show_caption(describe_total(total, len(view.target), len(groups)))
    _show_presets(context, view, total)


def describe_total(total: float, n_targets: int, n_groups: int) -> str:
    """Return the sum of the targets in words, and who gets the rest."""
    shown = f"The targets add up to {_format_percent(total)}."
    if total > 1 + TOLERANCE:
        return f"{shown} Lower some, or normalise them to 100 %."
    if total > 1 - TOLERANCE:
        left_out = n_groups - n_targets
        return f"{shown} Groups without a target get nothing." if left_out > 0 else shown
    return f"{shown} Groups without a target share the other {_format_percent(1 - total)}."


def _format_percent(share: float) -> str:
    return f"{round(100 * share, 2):g} %"


def _show_presets(context: Context, view: View, total: float) -> None:
    """Show buttons that set all targets at once."""

    def spread(power: float) -> None:
        change_view(target=spread_over_groups(context, view, power))

    with st.container(horizontal=True, key="mixture-presets"):
        for name, (power, meaning) in _PRESETS.items():
            key = f"preset-{power}"
            st.button(name, key=key, help=meaning, on_click=spread, args=(power,))
        st.button(
            "Normalise to 100 %",
            key="normalize-targets",
            disabled=not total or abs(total - 1) <= TOLERANCE,
            on_click=lambda: change_view(target=scale_targets(view.target)),
        )


def _show_table(context: Context, view: View, groups: Mapping[str, GroupSize]) -> None:
    """Show one line per group with its size and its target, which can be typed over.

    The table keeps its rows until the targets change from elsewhere, because a table whose rows
    change while someone types loses the cursor.
    """
    basis = view.mix_per, view.amount == "tokens", str(view.where), context.scope
    before = st.session_state.get(_KEY)
    # The targets that the table was drawn with, those typed since, and its serial number.
    drawn, typed, serial, drawn_basis = before or (view.target, None, -1, basis)
    if typed != view.target or drawn_basis != basis:
        drawn, serial = view.target, serial + 1
        st.session_state[_KEY] = (drawn, view.target, serial, basis)
    key = f"target.{serial}"
    names = order_groups(groups, view)

    def save_edits() -> None:
        edits = st.session_state[key].get("edited_rows", {})
        edited = merge_targets(drawn, names, edits)
        st.session_state[_KEY] = (drawn, edited, serial, basis)
        change_view(target=edited)

    frame = _make_frame(context, view, groups, names, dict(drawn))
    number = st.column_config.NumberColumn
    size = "Scored tokens" if view.amount == "tokens" else "Scored"
    st.data_editor(
        frame,
        key=key,
        on_change=save_edits,
        hide_index=True,
        num_rows="fixed",
        placeholder="–",
        disabled=[_NAME, _SIZE],
        column_config={
            _NAME: st.column_config.TextColumn(
                name_grouping(view.mix_per),
            ),
            _SIZE: number(size, format="localized"),
            _TARGET: number("Target, %", min_value=0.0, max_value=100.0, step=0.01, format="%.2f"),
        },
        row_height=_ROW_HEIGHT,
        height=_ROW_HEIGHT * (min(len(names), FITTING_ROWS) + 1) + 3,
    )


def order_groups(groups: Mapping[str, GroupSize], view: View) -> list[str]:
    """Return the groups of the table, the largest first; those with targets are always in it."""
    unit = "tokens" if view.amount == "tokens" else "samples"
    named = [name for name in groups if name != NO_VALUE]
    largest = sorted(named, key=lambda name: -getattr(groups[name], unit))[:MAX_TARGETS]
    return [*largest, *(name for name, _ in view.target if name not in largest)]


def _make_frame(
    context: Context,
    view: View,
    groups: Mapping[str, GroupSize],
    names: list[str],
    targets: Mapping[str, float],
) -> pd.DataFrame:
    """Return the rows of the table; sizes are in the unit of the budget, targets in per cent."""
    unit = "tokens" if view.amount == "tokens" else "samples"
    titles = name_groups(context, view.mix_per)
    rows = []
    for name in names:
        size = getattr(groups.get(name), unit, 0)
        target = round(100 * targets[name], 6) if name in targets else None
        rows.append((titles.get(name, name), size, target))
    return pd.DataFrame(rows, columns=[_NAME, _SIZE, _TARGET]).astype({_TARGET: "float64"})


def name_groups(context: Context, per: str) -> dict[str, str]:
    """Return the titles of groups whose names are numbers."""
    if per != "cluster":
        return {}
    names = read_cluster_names(context)
    return {str(number): f"{number} {name}".strip() for number, name in names.items()}


def merge_targets(
    drawn: Targets, names: list[str], edits: Mapping[int, Mapping[str, Any]]
) -> Targets:
    """Return the targets with edited cells; ``edits`` maps a row of ``names`` to its cells."""
    targets = dict(drawn)
    for row, cells in edits.items():
        if _TARGET in cells:
            targets.pop(names[int(row)], None)
            if cells[_TARGET] is not None:
                targets[names[int(row)]] = round(cells[_TARGET] / 100, 8)
    return tuple(sorted(targets.items()))
