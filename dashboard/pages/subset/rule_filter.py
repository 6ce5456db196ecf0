"""The filter of a subset: a field for its text, kept with what is wrong with it."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard.view import url_widgets
from dashboard.view.state import View, change_view
from dashboard.widgets import notices
from scoring.errors import FilterError
from scoring.subsets.rule_inputs import parse_pinned_filter

_FIELD: Final = "subset.where"
_PROBLEM: Final = "subset.where.problem"


def show_filter(view: View) -> None:
    """Show the filter inside which the rule selects; a valid one goes into the view."""
    problem = st.session_state.get(_PROBLEM)
    # An invalid text stays in the field to be corrected.
    typed = url_widgets.current_value(_FIELD) if problem else None
    st.text_input(
        "Only samples that match",
        max_chars=1000,
        placeholder='all, or a filter such as source:coco col:clip>0.3 text:"what colour"',
        help="The rule selects from these, so shares and numbers are of these. Samples that do not "
        "match are kept only by a manual decision.",
        **url_widgets.bind_widget(_FIELD, str(view.where) if typed is None else typed, _change),
    )
    if problem:
        notices.show_problem(FilterError(problem), "Invalid filter")


def _change() -> None:
    st.session_state[_PROBLEM] = None
    try:
        change_view(where=parse_pinned_filter(str(url_widgets.consume_value(_FIELD))))
    except FilterError as error:
        st.session_state[_PROBLEM] = str(error)
