"""The controls of a rule, and of samples that the rule does not apply to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Final

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.facts import read_clusterings
from dashboard.data.subsets import read_candidate_counts
from dashboard.pages.subset import limits_table
from dashboard.pages.subset.rule_choices import (
    AT_LEAST,
    BY_SHARE,
    FAMILIES,
    RULE_MEANINGS,
    RULE_NAMES,
    Family,
    family_of,
    read_limits,
    read_rule,
    uses_clusters,
)
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.parameters import MAX_COUNT
from dashboard.view.state import (
    ACCOMPANIED,
    ARMS,
    GROUPS,
    MAX_SEED,
    WEIGHINGS,
    RuleKind,
    View,
    change_view,
)
from dashboard.widgets import figures, notices
from scoring.clustering.embedder_names import embedder_note
from scoring.errors import RuleError
from scoring.rules import LOSSES, PAPER_RULES, Control
from scoring.samples import Status

_FAMILY: Final = "rule_family"
_GROUP_NAMES: Final = {
    "dataset": "Whole dataset",
    "cluster": "Each cluster",
    "source": "Each source",
}
_ORDER_NAMES: Final = {
    "random": "Random",
    "visnec": "Highest VisNec score",
    "text-loss": "Highest text-only loss",
    "multimodal-loss": "Lowest multimodal loss",
    "high-multimodal-loss": "Highest multimodal loss",
}
_WEIGHING_NAMES: Final = {
    "softmax": "Score: exp(score / temperature)",
    "rank": "Rank: (share of lower scores) ^ (1 / temperature)",
}


def show_rule(context: Context, view: View) -> None:
    """Show the controls of the rule; choices go into the view."""
    family = family_of(view.rule)
    st.selectbox(
        "Select by",
        FAMILIES,
        format_func=lambda family: family.name,
        key=url_widgets.widget_key(_FAMILY, family),
        on_change=url_widgets.on_user_change,
        args=(_FAMILY, _change_family),
    )
    figures.show_caption(family.meaning)
    if len(family.rules) > 1:
        url_widgets.choose_segment("rule", "Rule", family.rules, view.rule, RULE_NAMES.__getitem__)
    figures.show_caption(RULE_MEANINGS[view.rule])
    if view.rule is RuleKind.CONTROL:
        _choose_control(context, view)
    else:
        _choose_options(context, view, view.rule)
    _show_clustering(context, view)


def _change_family() -> None:
    family: Family = url_widgets.consume_value(_FAMILY)
    change_view(rule=family.rules[0])


def _show_clustering(context: Context, view: View) -> None:
    """Show the clustering that the rule uses, and for the paper's rules if it is not theirs."""
    try:
        rule = read_rule(view, view.threshold(context.workspace.bands))
    except RuleError:
        return
    if not uses_clusters(rule):
        return
    frame = read_clusterings(context.store)
    frame = frame[frame["clustering_id"] == context.scope.clustering_id]
    if frame.empty:
        notices.show_note(
            "This rule needs clusters",
            "It selects within clusters of similar instructions.",
            f"visnec cluster -w {context.workspace.root}",
        )
        return
    embedder, k, seed = (frame.iloc[0][name] for name in ("embedder", "k", "seed"))
    figures.show_caption(f"Clusters: K = {k}, seed {seed}, embedder {PurePath(embedder).name}")
    is_paper_rule = isinstance(rule.of if isinstance(rule, Control) else rule, PAPER_RULES)
    if is_paper_rule and (note := embedder_note(embedder)):
        notices.show_note("These are not the paper's clusters", note)


# ---- the options of each rule --------------------------------------------------------------------


def _choose_options(context: Context, view: View, kind: RuleKind) -> None:
    """Show the options of a rule; for a control, those of the other rule."""
    if kind in (RuleKind.THRESHOLD, RuleKind.ANSWER_THRESHOLD):
        low, high = read_limits(view, view.threshold(context.workspace.bands))
        number = url_widgets.choose_number
        _show_row(
            lambda: number("minimum", "Score from", low, optional=True, placeholder="no limit"),
            lambda: number("maximum", "below", high, optional=True, placeholder="no limit"),
        )
    if kind is RuleKind.ANSWER_THRESHOLD:
        counts = read_candidate_counts(context).by_kind
        limits_table.show_answer_limits(counts, view.answer_limits)
    elif kind is RuleKind.TOP_COUNT:
        _choose_count("count", "Samples to keep", view.count)
    elif kind is RuleKind.TOP_TOKENS:
        _choose_count("tokens", "Answer tokens to keep", view.tokens)
    elif kind is RuleKind.BUDGET:
        _choose_budget(context, view)
    elif kind is RuleKind.WEIGHTS:
        _choose_weights(view)
    elif kind is RuleKind.RANDOM:
        _choose_random(view)
    elif kind is RuleKind.ABLATION:
        _show_row(
            lambda: url_widgets.choose_option(
                "loss", "Rank by", list(LOSSES), view.loss, _ORDER_NAMES.__getitem__
            ),
            lambda: _choose_group(view, "cluster"),
        )
    if kind in AT_LEAST:
        groups = {RuleKind.PER_SOURCE: "source", RuleKind.ABLATION: "group"}
        group = groups.get(kind, "cluster")
        _show_row(
            lambda: _choose_share(view),
            lambda: _choose_count(
                "at_least",
                f"Minimum per {group}",
                view.at_least,
                lowest=0,
                help=f"Keeps small {group}s whose share rounds down to zero",
            ),
        )
    elif kind in BY_SHARE and kind is not RuleKind.RANDOM:
        _choose_share(view)


def _choose_share(view: View) -> None:
    url_widgets.choose_number(
        "share",
        "Share, %",
        round(100 * view.share, 6),
        step=1.0,
        lowest=0.01,
        highest=100.0,
        digits="%.2f",
        convert=lambda percent: min(max(round(percent / 100, 8), 1e-6), 1.0),
    )


def _choose_random(view: View) -> None:
    url_widgets.choose_flag("by_count", "Number instead of share", view.by_count)
    _show_row(
        lambda: (
            _choose_count("count", "Samples to keep", view.count)
            if view.by_count
            else _choose_share(view)
        ),
        lambda: _choose_seed(view),
    )


def _choose_budget(context: Context, view: View) -> None:
    _show_row(
        lambda: _choose_count("count", "Samples to keep", view.count),
        lambda: _choose_count("floor", "Floor per source", view.floor, lowest=0),
        lambda: url_widgets.choose_optional_count(
            "ceiling", "Ceiling per source", view.ceiling, highest=MAX_COUNT
        ),
    )
    counts = read_candidate_counts(context).by_source
    limits_table.show_source_limits(counts, view.source_limits)


def _choose_weights(view: View) -> None:
    url_widgets.choose_option(
        "weigh", "Weights by", list(WEIGHINGS), view.weigh, _WEIGHING_NAMES.__getitem__
    )
    _show_row(
        lambda: url_widgets.choose_number(
            "temperature",
            "Temperature",
            view.temperature,
            step=0.05,
            lowest=0.001,
            help="Low: the best samples dominate. High: all count alike. In nats per answer token "
            "for weights by score.",
        ),
        lambda: url_widgets.choose_number(
            "min_weight", "Lowest weight", view.min_weight, step=0.05, lowest=0.0, highest=1.0
        ),
        lambda: url_widgets.choose_number(
            "max_weight",
            "Highest weight",
            view.max_weight or None,
            step=1.0,
            lowest=1.0,
            highest=1e6,
            digits="%.2f",
            optional=True,
            placeholder="no limit",
            convert=lambda value: value or 0.0,
        ),
    )


def _choose_control(context: Context, view: View) -> None:
    url_widgets.choose_option(
        "of",
        "Same size as",
        list(ACCOMPANIED),
        view.of,
        lambda kind: f"{family_of(kind).name}: {RULE_NAMES[kind]}",
    )
    _choose_options(context, view, view.of)
    _show_row(
        lambda: url_widgets.choose_option(
            "arm", "Select by order", list(ARMS), view.arm, _ORDER_NAMES.__getitem__
        ),
        lambda: _choose_group(view, "dataset") if view.of is not RuleKind.ABLATION else None,
        lambda: _choose_seed(view) if view.arm == "random" else None,
    )


def _choose_group(view: View, default: str) -> None:
    url_widgets.choose_option(
        "per", "Same number from", list(GROUPS), view.per or default, _GROUP_NAMES.__getitem__
    )


def _choose_seed(view: View) -> None:
    _choose_count("seed", "Seed", view.seed, lowest=0, highest=MAX_SEED)


def _choose_count(
    field: str,
    label: str,
    value: int,
    lowest: int = 1,
    highest: int = MAX_COUNT,
    help: str | None = None,  # noqa: A002 - Streamlit's word
) -> None:
    url_widgets.choose_count(
        field, label, min(max(value, lowest), highest), lowest=lowest, highest=highest, help=help
    )


def _show_row(*fields: Callable[[], object]) -> None:
    """Show fields side by side, stacked when the window is narrow."""
    for show_field, column in zip(fields, st.columns(len(fields)), strict=True):
        with column:
            show_field()


# ---- samples that the rule does not apply to -----------------------------------------------------


def show_unscored(context: Context, view: View) -> None:
    """Show the choices for samples with a manual decision and for those without a score."""
    count = formatting.count
    counts = read_candidate_counts(context)
    n_decisions = formatting.plural(counts.n_decided, "decision")
    url_widgets.choose_flag(
        "hand",
        f"Manual decisions override the rule ({n_decisions})",
        view.hand,
        help="Keep or drop by the majority of reviewers. The rule decides ties and unsure.",
    )
    n_text_only = counts.by_status.get(Status.TEXT_ONLY, 0)
    url_widgets.choose_flag(
        "text_only",
        f"Include text-only samples ({count(n_text_only)})",
        view.text_only,
        help="Samples without an image have no score",
    )
    others = {
        status: n
        for status, n in counts.by_status.items()
        if status not in (Status.SCORED, Status.TEXT_ONLY, Status.BAD_RECORD)
    }
    url_widgets.choose_flag(
        "unscored",
        f"Include other samples without a score ({count(sum(others.values()))})",
        view.unscored,
        help="Missing or bad images, no answer, too long, or not scored yet",
    )
    parts = [", ".join(f"{formatting.STATUS_NAMES[s]} {count(n)}" for s, n in others.items() if n)]
    if n_bad := counts.by_status.get(Status.BAD_RECORD, 0):
        parts.append(f"{formatting.plural(n_bad, 'bad record')} excluded unless kept manually")
    figures.show_caption("; ".join(filter(None, parts)))
