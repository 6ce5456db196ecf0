"""Subset: choose samples by a rule, see what comes of it, save it, export it, verify it."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context, open_view_context
from dashboard.data.subsets import read_subset_outcome
from dashboard.pages.subset import (
    export_list,
    rule_controls,
    saved_subsets,
    subset_outcome,
    subset_panels,
)
from dashboard.pages.subset.rule_choices import read_definition
from dashboard.view.navigation import PageName, go_to
from dashboard.view.state import View, current_view
from dashboard.widgets import notices, page_frame
from scoring.errors import VisnecError


def render() -> None:
    """The page."""
    _, opened = page_frame.open_page("Subset", "Choose samples by a rule, and export them")
    if page_frame.require_scores(opened, "A subset") is None:
        return
    _show_choice()
    _show_kept()


@st.fragment
def _show_choice() -> None:
    """Rule and outcome: all that moves with the choices."""
    view = current_view()
    context = _context(view)
    if context is None:
        return
    with st.container(border=True, key="pair-rule"):
        rule, others = st.columns([6, 5], gap="large")
        with rule:
            rule_controls.show(context, view)
        with others:
            rule_controls.show_others(context, view)
            saved_subsets.show_save(context, view)
    opened = _show_outcome(context, view)
    if opened is not None:
        go_to(PageName.EXPLORE, sample=opened)


def _context(view: View) -> Context | None:
    """A subset is chosen from the whole dataset, whatever other pages filter."""
    context = open_view_context(view).context
    return None if context is None else context.without_filter()


def _show_outcome(context: Context, view: View) -> int | None:
    try:
        outcome = read_subset_outcome(context, read_definition(context, view))
    except VisnecError as error:
        notices.show_problem(error, "These choices make no subset yet")
        return None
    subset_outcome.show(context, outcome)
    return subset_panels.show(context, view, outcome)


def _show_kept() -> None:
    context = _context(current_view())
    if context is not None:
        saved_subsets.show_list(context)
        export_list.show(context)
