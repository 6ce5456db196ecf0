"""Which samples a page lists: widgets over the filter, and the filter as its own text.

The text is the same grammar as on the command line and in the URL, so what was found here can be
used there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.charts.theme import category_label
from dashboard.data.context import Context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.samples import count_samples
from dashboard.data.scores import read_cluster_names, read_status_counts
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.navigation import PageName, go_to
from dashboard.view.state import change_view, current_view
from dashboard.widgets import figures, filter_chips, notices
from scoring.database.filters import DECISIONS, Filter, Range, parse_filter
from scoring.errors import FilterError
from scoring.necessity import Category
from scoring.samples import Status

_DECISION_NAMES = {
    "keep": "✓ keep",
    "drop": "✕ drop",
    "unsure": "? unsure",
    "none": "undecided",
}
_PROBLEM = "filter.problem"


def show(context: Context, compact: bool = False) -> None:
    """Draws the bar; what is chosen goes into the view. ``compact``: inside something else."""
    which = context.filter
    if context.filter_problem is not None and not compact:
        _show_filter_problem(context.filter_problem)
    with st.container(border=not compact, key="filter_bar"):
        first = st.columns([3, 3, 4])
        with first[0]:
            _choose_many("source", "Source", _sources(context), list(which.source))
        with first[1]:
            clusters = read_cluster_names(context)
            _choose_many(
                "cluster",
                "Cluster",
                list(clusters),
                list(which.cluster),
                lambda number: clusters.get(number, str(number)),
            )
        with first[2]:
            _type_text(which)
        with st.container(key="wrap-filter"):
            second = st.columns([4, 4, 3, 3])
            with second[0]:
                names = {str(one): category_label(one) for one in Category}
                _choose_pills("category", "Category", list(names), which.category, names)
            with second[1]:
                _choose_pills(
                    "decision", "Decision", list(DECISIONS), which.decision, _DECISION_NAMES
                )
            with second[2]:
                statuses = list(read_status_counts(context.without_filter())["status"])
                _choose_many(
                    "status", "Status", statuses, list(which.status), formatting.status_name
                )
            with second[3]:
                _type_range(which)
        if not compact:
            with st.container():  # a place of its own, so that what is below stays open
                show_chips(context)
        _show_as_text(which, compact)


def show_strip(context: Context, hint: str) -> None:
    """The filter in one line: its parts as chips, and the whole bar behind a button.

    ``hint`` stands there while there is no filter.
    """
    if context.filter_problem is not None:
        _show_filter_problem(context.filter_problem)
    with st.container(horizontal=True, vertical_alignment="center", key="filter_strip"):
        with st.popover("Filter", icon=":material/filter_list:", width="content"):
            show(context, compact=True)
        if context.filter:
            n = count_samples(context)
            if st.button(f"Show {formatting.plural(n, 'sample')}", icon=":material/grid_view:"):
                go_to(PageName.EXPLORE, sample=None)
            show_chips(context)
        else:
            figures.show_quiet(hint)


def _show_filter_problem(problem: str) -> None:
    notices.show_problem(FilterError(problem), "Part of the filter was left out")


def show_chips(context: Context) -> None:
    """The parts of the filter, each to be taken out."""
    which = context.filter
    removed = filter_chips.show(which, read_cluster_names(context))
    if removed is not None:
        st.session_state[_PROBLEM] = None
        change_view(filter=filter_chips.without(current_view().filter, removed))
        st.rerun(scope="fragment")


def _sources(context: Context) -> list[str]:
    return [str(name) for name in read_dataset_counts(context.store)["source"]]


def _name(field: str) -> str:
    return f"filter.{field}"


def _choose_many(
    field: str, label: str, options: list[Any], chosen: list[Any], name: Any = str
) -> None:
    """A list to choose several from; its options are shown as plain text. What a link names and
    the workspace lacks stays visible, so that it can be taken out again."""
    options = options + [one for one in chosen if one not in options]
    st.multiselect(
        label,
        options,
        key=url_widgets.widget_key(_name(field), [one for one in options if one in chosen]),
        format_func=name,
        placeholder="all",
        on_change=url_widgets.on_user_change,
        args=(_name(field), _take_values, field),
    )


def _choose_pills(
    field: str,
    label: str,
    options: list[str],
    chosen: tuple[Any, ...],
    names: dict[str, str] | None = None,
) -> None:
    st.pills(
        label,
        options,
        selection_mode="multi",
        key=url_widgets.widget_key(_name(field), [str(one) for one in chosen]),
        format_func=lambda one: (names or {}).get(one, one),
        on_change=url_widgets.on_user_change,
        args=(_name(field), _take_values, field),
    )


def _take_values(field: str) -> None:
    values = tuple(url_widgets.consume_value(_name(field)) or ())
    kinds: dict[str, Any] = {"category": Category, "status": Status}
    kind = kinds.get(field)
    changes: dict[str, Any] = {field: tuple(map(kind, values)) if kind else values}
    change_view(filter=replace(current_view().filter, **changes))


def _type_text(which: Filter) -> None:
    st.text_input(
        "Text",
        key=url_widgets.widget_key(_name("text"), which.text or ""),
        max_chars=300,
        placeholder="words, or ~/pattern/",
        help="In any turn, or in the id. Between ~/ and / stands a regular expression (RE2); a c "
        "behind it tells capitals apart: ~/colou?r/c",
        icon=":material/search:",
        on_change=url_widgets.on_user_change,
        args=(_name("text"), _take_text),
    )


def _take_text() -> None:
    words = str(url_widgets.consume_value(_name("text"))).strip() or None
    try:
        change_view(filter=replace(current_view().filter, text=words))
    except FilterError as error:
        st.session_state[_PROBLEM] = str(error)
    else:
        st.session_state[_PROBLEM] = None


def _type_range(which: Filter) -> None:
    left, right = st.columns(2, gap="small")
    limits = which.visnec
    for column, side, label in ((left, "min", "Score from"), (right, "max", "below")):
        with column:
            st.number_input(
                label,
                value=None,
                step=0.05,
                format="%.2f",
                key=url_widgets.widget_key(_name(side), getattr(limits, side) if limits else None),
                on_change=url_widgets.on_user_change,
                args=(_name(side), _take_range, side),
            )


def _take_range(side: str) -> None:
    url_widgets.consume_value(_name(side))
    low, high = url_widgets.current_value(_name("min")), url_widgets.current_value(_name("max"))
    change_view(filter=replace(current_view().filter, visnec=read_range(low, high)))


def read_range(low: float | None, high: float | None) -> Range | None:
    """The range between two typed limits; the wrong way round they change places."""
    if low is None and high is None:
        return None
    if low is not None and high is not None and low > high:
        low, high = high, low
    return Range(low, high)


def _show_as_text(which: Filter, compact: bool) -> None:
    place = (
        st.container()
        if compact
        else st.expander("Filter as text", expanded=bool(st.session_state.get(_PROBLEM)))
    )
    with place:
        problem = st.session_state.get(_PROBLEM)
        # What is not understood stays there, to be mended.
        typed = url_widgets.current_value(_name("expression")) if problem else None
        st.text_input(
            "The same filter for commands and links",
            key=url_widgets.widget_key(_name("expression"), str(which) if typed is None else typed),
            placeholder='source:scenes category:misaligned visnec:-1..0.25 text:"what colour"',
            on_change=url_widgets.on_user_change,
            args=(_name("expression"), _take_expression),
        )
        if problem:
            notices.show_problem(FilterError(problem), "This filter is not understood")


def _take_expression() -> None:
    try:
        found = parse_filter(str(url_widgets.consume_value(_name("expression"))))
    except FilterError as error:
        st.session_state[_PROBLEM] = str(error)
        return
    st.session_state[_PROBLEM] = None
    change_view(filter=found)
