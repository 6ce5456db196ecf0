"""The filter of a page: widgets, removable chips, and the filter as text.

The text is the grammar of the command line and the URL, so a filter built here works there too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.charts.theme import category_label
from dashboard.data.context import Context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.samples import count_samples
from dashboard.data.scores import read_cluster_names, read_status_counts
from dashboard.frontend import assets
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import PageName, change_filter, go_to
from dashboard.view.state import current_view
from dashboard.widgets import figures, notices
from scoring.database.areas import Area
from scoring.database.filters import DECISIONS, Filter, Range, parse_filter
from scoring.errors import FilterError
from scoring.necessity import Category
from scoring.samples import Status

_DECISION_NAMES = {"keep": "✓ keep", "drop": "✕ drop", "unsure": "? unsure", "none": "undecided"}
_PROBLEM = "filter.problem"
_CHIPS = "filter_chips"
CLEAR = ""
_NAMES = {
    "visnec": "VisNec score",
    "loss_text": "text-only loss",
    "loss_multimodal": "multimodal loss",
    "tokens": "answer tokens",
    "content": "content tokens",
    "turns": "answers",
    "col": "column",
}
_chips = st.components.v2.component(
    "visnec_filter_chips",
    html=assets.HTML,
    css=assets.style("filter_chips"),
    js=assets.script("filter_chips"),
)


def show_filter_line(context: Context, has_count: bool = True) -> None:
    """Show a button that opens the filter, a chip per value of it, and the number of samples."""
    with st.container(horizontal=True, vertical_alignment="center", key="filter_line"):
        with st.popover("Filter", icon=":material/filter_list:", width="content"):
            _show_widgets(context)
        _show_chips(context)
        if has_count:
            n_samples = formatting.plural(count_samples(context), "sample")
            if not context.filter:
                figures.show_caption(n_samples)
            elif st.button(f"Show {n_samples}", icon=":material/grid_view:"):
                go_to(PageName.EXPLORE, sample=None)
    if context.filter_problem is not None:
        notices.show_problem(FilterError(context.filter_problem), "Part of the filter was ignored")


def _show_widgets(context: Context) -> None:
    current = context.filter
    with st.container(key="filter_widgets"):
        source, cluster = st.columns(2)
        sources = list(map(str, read_dataset_counts(context.store)["source"]))
        _choose_values(source, "source", sources, current.source)
        clusters = read_cluster_names(context)
        _choose_values(
            cluster, "cluster", list(clusters), current.cluster, lambda n: clusters.get(n, str(n))
        )
        st.text_input(
            "Text",
            max_chars=300,
            placeholder="words, or ~/pattern/",
            help="Searches turns and ids. ~/colou?r/ is a regular expression (RE2); ~/colou?r/c is "
            "case-sensitive.",
            icon=":material/search:",
            **url_widgets.bind_widget("filter.text", current.text or "", _change_text),
        )
        category, decision = st.columns(2)
        names = {str(name): category_label(name) for name in Category}
        _choose_pills(category, "category", current.category, names)
        decisions = {name: _DECISION_NAMES[name] for name in DECISIONS}
        _choose_pills(decision, "decision", current.decision, decisions)
        status, low, high = st.columns([2, 1, 1])
        statuses = list(read_status_counts(context.without_filter())["status"])
        _choose_values(status, "status", statuses, current.status, formatting.status_name)
        limits = ((low, "min", "Score from"), (high, "max", "Score below"))
        for column, side, label in limits:
            value = getattr(current.visnec, side, None)
            bound = url_widgets.bind_widget(f"filter.{side}", value, _change_range, side)
            column.number_input(label, value=None, step=0.05, format="%.2f", **bound)
        _show_expression(current)


def _choose_values(
    column: DeltaGenerator,
    field: str,
    options: list[Any],
    chosen: Sequence[Any],
    name: Callable[[Any], str] = str,
) -> None:
    """Show a list to choose several values from.

    Values of a link that the workspace lacks stay visible, so they can be removed.
    """
    options = options + [value for value in chosen if value not in options]
    values = [value for value in options if value in chosen]
    bound = url_widgets.bind_widget(f"filter.{field}", values, _change_values, field)
    column.multiselect(field.capitalize(), options, format_func=name, placeholder="all", **bound)


def _choose_pills(
    column: DeltaGenerator, field: str, chosen: Sequence[Any], names: dict[str, str]
) -> None:
    column.pills(
        field.capitalize(),
        list(names),
        selection_mode="multi",
        format_func=names.__getitem__,
        **url_widgets.bind_widget(f"filter.{field}", list(map(str, chosen)), _change_values, field),
    )


def _change_values(field: str) -> None:
    enums: dict[str, Any] = {"category": Category, "status": Status}
    enum = enums.get(field, lambda value: value)
    values = url_widgets.consume_value(f"filter.{field}") or ()
    changes: dict[str, Any] = {field: tuple(map(enum, values))}
    change_filter(replace(current_view().filter, **changes))


def _change_text() -> None:
    words = str(url_widgets.consume_value("filter.text")).strip() or None
    _try_filter(lambda: replace(current_view().filter, text=words))


def _change_expression() -> None:
    expression = str(url_widgets.consume_value("filter.expression"))
    _try_filter(lambda: parse_filter(expression))


def _try_filter(read: Callable[[], Filter]) -> None:
    """Change the filter, or keep it and remember what is wrong with the new one."""
    st.session_state[_PROBLEM] = None
    try:
        where = read()
    except FilterError as error:
        st.session_state[_PROBLEM] = str(error)
    else:
        change_filter(where)


def _change_range(side: str) -> None:
    url_widgets.consume_value(f"filter.{side}")
    low, high = url_widgets.current_value("filter.min"), url_widgets.current_value("filter.max")
    change_filter(replace(current_view().filter, visnec=read_range(low, high)))


def read_range(low: float | None, high: float | None) -> Range | None:
    """Return the range between two typed limits, in either order."""
    if low is None and high is None:
        return None
    if low is not None and high is not None and low > high:
        low, high = high, low
    return Range(low, high)


def _show_expression(current: Filter) -> None:
    problem = st.session_state.get(_PROBLEM)
    # An invalid text stays in the field to be corrected.
    typed = url_widgets.current_value("filter.expression") if problem else None
    shown = str(current) if typed is None else typed
    st.text_input(
        "Filter as text",
        placeholder='source:scenes category:misaligned visnec:-1..0.25 text:"what colour"',
        **url_widgets.bind_widget("filter.expression", shown, _change_expression),
    )
    if problem:
        notices.show_problem(FilterError(problem), "Invalid filter")


# ---- chips ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chip:
    """One value of a filter: the key that removes it, and its text."""

    key: str
    name: str
    value: str


def _show_chips(context: Context) -> None:
    """Show the values of the filter as chips, and remove those that are clicked."""

    def remove() -> None:
        removed = (st.session_state.get(_CHIPS) or {}).get("removed")
        if isinstance(removed, str):
            st.session_state[_PROBLEM] = None
            change_filter(remove_chip(current_view().filter, removed))

    chips = read_chips(context.filter, read_cluster_names(context))
    if chips:
        data = {"parts": [asdict(chip) for chip in chips]}
        _chips(key=_CHIPS, data=data, on_removed_change=remove)


def read_chips(current: Filter, cluster_names: Mapping[int, str]) -> list[Chip]:
    """Return a chip for each value of the filter, in the order of its text."""

    def format_value(field: str, value: Any) -> str:
        if isinstance(value, Range):  # it includes its lower limit and excludes its upper one
            low = "" if value.min is None else f"from {formatting.limit(value.min)}"
            high = "" if value.max is None else f"below {formatting.limit(value.max)}"
            return " ".join(filter(None, (low, high)))
        if isinstance(value, Area):
            return f"{len(value.corners)} corners on {value.map}"
        if field == "cluster":
            return cluster_names.get(value, str(value))
        if field == "status":
            return formatting.status_name(value)
        return "undecided" if field == "decision" and value == "none" else str(value)

    chips: list[Chip] = []
    for item in fields(current):
        value, name = getattr(current, item.name), _NAMES.get(item.name, item.name)
        if isinstance(value, tuple):
            for single in value:
                text = format_value(item.name, single)
                chips.append(Chip(f"{item.name}={single}", name, text))
        elif value is not None:
            chips.append(Chip(f"{item.name}=", name, format_value(item.name, value)))
    return chips


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
    return replace(current, **{field: rest})
