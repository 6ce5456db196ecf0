"""Subset: select samples by a rule, see the outcome, save it, export it, verify it."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.subsets import read_subset_outcome
from dashboard.pages.subset import (
    exports,
    mixture_outcome,
    mixture_targets,
    outcome,
    panels,
    rule_controls,
    rule_texts,
    saved_subsets,
)
from dashboard.pages.subset.rule_choices import describe_missing_choice, read_definition
from dashboard.view.navigation import PageName, go_to
from dashboard.view.state import RuleKind, View
from dashboard.widgets import figures, notices, page_frame
from scoring.errors import VisnecError


def render() -> None:
    """Show the page."""
    _, opened = page_frame.open_page("Subset", "Select samples by a rule and export them")
    context = page_frame.require_scores(opened)
    if context is None:
        return
    _show_selection()
    saved_subsets.show_saved_subsets(context.without_filter())
    exports.show_exports(context.without_filter())


@page_frame.view_fragment()
def _show_selection(context: Context, view: View) -> None:
    """Show rule and outcome."""
    context = context.without_filter()  # a subset ignores the filter of other pages
    with st.container(border=True, key="pair-rule"):
        rule, others = st.columns([6, 5], gap="large")
        with rule:
            rule_controls.show_rule(context, view)
            rule_texts.show_filter(view)
        with others:
            rule_controls.show_unscored(context, view)
            saved_subsets.show_save_form(context, view)
    if view.rule is RuleKind.MIXTURE:
        targets, groups = figures.pair_columns("mixture", 4, 9)
        with targets:
            mixture_targets.show_targets(context, view)
    else:
        groups = st.container()
    if (missing := describe_missing_choice(view)) is not None:
        notices.show_note("Nothing is selected yet", missing)
        return
    try:
        result = read_subset_outcome(context, read_definition(context, view))
    except VisnecError as error:
        with groups:
            notices.show_problem(error, "This rule cannot be applied")
        return
    if view.rule is RuleKind.MIXTURE:
        with groups:
            mixture_outcome.show_mixture(context, view, result)
    outcome.show_outcome(context, result)
    opened = panels.show_panel(context, view, result)
    if opened is not None:
        go_to(PageName.EXPLORE, sample=opened)
