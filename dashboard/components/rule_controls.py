"""The choices that make a subset: rule, its numbers, and what becomes of the samples it cannot
judge."""

from __future__ import annotations

import streamlit as st

from dashboard.components import bound, figures, notices
from dashboard.loaders import Context
from dashboard.rule_choices import BY_SHARE, PER_CLUSTER, RULE_MEANINGS, RULE_NAMES, limits
from dashboard.state import RuleKind, View


def show(context: Context, view: View) -> None:
    """Draws the controls; what is chosen goes into the view."""
    kind = bound.choose("rule", "Rule", list(RULE_NAMES), view.rule, RULE_NAMES.__getitem__)
    figures.show_quiet(RULE_MEANINGS[kind])
    if kind is RuleKind.THRESHOLD:
        _choose_limits(context, view)
    elif kind is RuleKind.TOP_COUNT:
        bound.choose_count("count", "Samples to keep", view.count)
    elif kind is RuleKind.RANDOM:
        left, right = st.columns(2)
        with left:
            _choose_share(view)
        with right:
            bound.choose_count("seed", "Seed", view.seed)
    elif kind in BY_SHARE:
        _choose_share(view)
    if kind in PER_CLUSTER and context.scope.clustering_id is None:
        notices.show_note(
            "This rule needs clusters",
            "It chooses inside clusters of similar instructions.",
            f"visnec cluster -w {context.workspace.root}",
        )


def _choose_limits(context: Context, view: View) -> None:
    low, high = limits(view, view.threshold(context.workspace.bands))
    left, right = st.columns(2)
    with left:
        bound.choose_number("minimum", "Scores from", low, optional=True, placeholder="no limit")
    with right:
        bound.choose_number("maximum", "below", high, optional=True, placeholder="no limit")


def _choose_share(view: View) -> None:
    bound.choose_number(
        "share",
        "Share, %",
        round(100 * view.share, 6),
        step=1.0,
        lowest=0.01,
        highest=100.0,
        digits="%.2f",
        convert=lambda percent: min(max(round(percent / 100, 8), 1e-6), 1.0),
    )


def show_others(view: View) -> None:
    """What becomes of samples that a person decided about and of those without a score."""
    bound.switch(
        "hand",
        "Decisions by hand win over the rule",
        view.hand,
        help="Keep and drop of the majority of reviewers; a tie and unsure leave it to the rule",
    )
    bound.switch(
        "text_only",
        "Take text-only samples in",
        view.text_only,
        help="Samples without an image have no score, so no rule can judge them",
    )
    bound.switch(
        "unscored",
        "Take other samples without a score in",
        view.unscored,
        help="Missing or bad images, no answer, too long, and those not scored yet",
    )
