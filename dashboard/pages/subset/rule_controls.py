"""The choices that make a subset: rule, its numbers, and what becomes of the samples it cannot
judge."""

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
    limits,
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
    "dataset": "the whole dataset",
    "cluster": "each cluster",
    "source": "each source",
}
_ORDER_NAMES: Final = {
    "random": "at random",
    "visnec": "highest VisNec score",
    "text-loss": "highest text-only loss",
    "multimodal-loss": "lowest multimodal loss",
    "high-multimodal-loss": "highest multimodal loss",
}
_WEIGHING_NAMES: Final = {
    "softmax": "score: exp(score / temperature)",
    "rank": "rank: share of lower scores, to the power of 1 / temperature",
}


def show(context: Context, view: View) -> None:
    """Draws the controls; what is chosen goes into the view."""
    _choose_rule(view)
    figures.show_quiet(RULE_MEANINGS[view.rule])
    if view.rule is RuleKind.CONTROL:
        _choose_control(context, view)
    else:
        _choose_options(context, view, view.rule)
    _tell_of_clusters(context, view)


def _choose_rule(view: View) -> None:
    """First the question, then the rule that answers it."""
    family = family_of(view.rule)
    key = url_widgets.widget_key(_FAMILY, family)
    st.selectbox(
        "Choose by",
        FAMILIES,
        format_func=_name,
        key=key,
        on_change=url_widgets.on_user_change,
        args=(_FAMILY, _take_family),
    )
    figures.show_quiet(family.meaning)
    if len(family.rules) > 1:
        url_widgets.choose_segment("rule", "Rule", family.rules, view.rule, RULE_NAMES.__getitem__)


def _name(family: Family) -> str:
    return family.name


def _take_family() -> None:
    family: Family = url_widgets.consume_value(_FAMILY)
    change_view(rule=family.rules[0])


def _tell_of_clusters(context: Context, view: View) -> None:
    """What the clusters are made of; for the paper's rules also where that is not the paper's."""
    try:
        rule = read_rule(view, view.threshold(context.workspace.bands))
    except RuleError:
        return
    if not uses_clusters(rule):
        return
    found = read_clusterings(context.store)
    found = found[found["clustering_id"] == context.scope.clustering_id]
    if found.empty:
        notices.show_note(
            "This rule needs clusters",
            "It chooses inside clusters of similar instructions.",
            f"visnec cluster -w {context.workspace.root}",
        )
        return
    embedder, k, seed = (found.iloc[0][name] for name in ("embedder", "k", "seed"))
    figures.show_quiet(f"Clusters: K = {k}, seed {seed}, embedder {PurePath(embedder).name}")
    by_paper = isinstance(rule.of if isinstance(rule, Control) else rule, PAPER_RULES)
    if by_paper and (note := embedder_note(embedder)):
        notices.show_note("These are not the paper's clusters", note)


# ---- the numbers of each rule --------------------------------------------------------------------


def _choose_options(context: Context, view: View, kind: RuleKind) -> None:
    """The numbers of a rule; of the inner one where a control accompanies it."""
    if kind in (RuleKind.THRESHOLD, RuleKind.ANSWER_THRESHOLD):
        _choose_limits(context, view)
    if kind is RuleKind.ANSWER_THRESHOLD:
        limits_table.show_answer_limits(read_candidate_counts(context).by_kind, view.answer_limits)
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
        _in_a_row(
            lambda: url_widgets.choose_option(
                "loss", "Take first", list(LOSSES), view.loss, _ORDER_NAMES.__getitem__
            ),
            lambda: _choose_group(view, "cluster"),
        )
    if kind in BY_SHARE and kind is not RuleKind.RANDOM:
        _choose_share_and_least(view, kind)


def _choose_limits(context: Context, view: View) -> None:
    low, high = limits(view, view.threshold(context.workspace.bands))
    _in_a_row(
        lambda: url_widgets.choose_number(
            "minimum", "Scores from", low, optional=True, placeholder="no limit"
        ),
        lambda: url_widgets.choose_number(
            "maximum", "below", high, optional=True, placeholder="no limit"
        ),
    )


def _choose_share_and_least(view: View, kind: RuleKind) -> None:
    if kind not in AT_LEAST:
        _choose_share(view)
        return
    group = "source" if kind is RuleKind.PER_SOURCE else "cluster"
    if kind is RuleKind.ABLATION:
        group = "group"
    _in_a_row(
        lambda: _choose_share(view),
        lambda: _choose_count(
            "at_least",
            f"At least, of each {group}",
            view.at_least,
            lowest=0,
            help=f"So that no small {group} is lost where its share rounds down to nothing",
        ),
    )


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
    url_widgets.choose_flag("by_count", "By number instead of share", view.by_count)
    _in_a_row(
        lambda: (
            _choose_count("count", "Samples to keep", view.count)
            if view.by_count
            else _choose_share(view)
        ),
        lambda: _choose_seed(view),
    )


def _choose_budget(context: Context, view: View) -> None:
    _in_a_row(
        lambda: _choose_count("count", "Samples to keep", view.count),
        lambda: _choose_count("floor", "Floor of each source", view.floor, lowest=0),
        lambda: _choose_optional_count("ceiling", "Ceiling of each source", view.ceiling),
    )
    limits_table.show_source_limits(read_candidate_counts(context).by_source, view.source_limits)


def _choose_weights(view: View) -> None:
    url_widgets.choose_option(
        "weigh", "Weights by", list(WEIGHINGS), view.weigh, _WEIGHING_NAMES.__getitem__
    )
    _in_a_row(
        lambda: url_widgets.choose_number(
            "temperature",
            "Temperature",
            view.temperature,
            step=0.05,
            lowest=0.001,
            help="Low: the best count most. High: all count alike. In nats per answer token where "
            "weights go by the score",
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
    per = view.per or "dataset"
    url_widgets.choose_option(
        "of", "As many as this rule takes", list(ACCOMPANIED), view.of, _full_name
    )
    _choose_options(context, view, view.of)
    _in_a_row(
        lambda: url_widgets.choose_option(
            "arm", "Take instead", list(ARMS), view.arm, _ORDER_NAMES.__getitem__
        ),
        lambda: _choose_group(view, per) if view.of is not RuleKind.ABLATION else None,
        lambda: _choose_seed(view) if view.arm == "random" else None,
    )


def _full_name(kind: RuleKind) -> str:
    return f"{family_of(kind).name}: {RULE_NAMES[kind]}"


def _choose_group(view: View, default: str) -> None:
    url_widgets.choose_option(
        "per", "As many from", list(GROUPS), view.per or default, _GROUP_NAMES.__getitem__
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


def _choose_optional_count(field: str, label: str, value: int | None) -> None:
    url_widgets.choose_optional_count(field, label, value, highest=MAX_COUNT)


def _in_a_row(*fields: Callable[[], object]) -> None:
    """Fields side by side, or below each other where there is no room."""
    for place, column in enumerate(st.columns(len(fields))):
        with column:
            fields[place]()


# ---- the samples that a rule cannot judge --------------------------------------------------------


def show_others(context: Context, view: View) -> None:
    """What becomes of samples that a person decided about and of those without a score."""
    counts = read_candidate_counts(context)
    url_widgets.choose_flag(
        "hand",
        f"Decisions by hand win over the rule ({formatting.count(counts.n_decided)} verdicts)",
        view.hand,
        help="Keep and drop of the majority of reviewers; a tie and unsure leave it to the rule",
    )
    n_text_only = counts.by_status.get(Status.TEXT_ONLY, 0)
    url_widgets.choose_flag(
        "text_only",
        f"Take text-only samples in ({formatting.count(n_text_only)})",
        view.text_only,
        help="Samples without an image have no score, so no rule can judge them",
    )
    others = {
        status: n
        for status, n in counts.by_status.items()
        if status not in (Status.SCORED, Status.TEXT_ONLY, Status.BAD_RECORD)
    }
    url_widgets.choose_flag(
        "unscored",
        f"Take other samples without a score in ({formatting.count(sum(others.values()))})",
        view.unscored,
        help="Missing or bad images, no answer, too long, and those not scored yet",
    )
    said = ", ".join(
        f"{formatting.count(n)} {formatting.STATUS_NAMES[one]}" for one, n in others.items() if n
    )
    n_bad = counts.by_status.get(Status.BAD_RECORD, 0)
    bad = f"{formatting.plural(n_bad, 'bad record')} stay out unless kept by hand" if n_bad else ""
    figures.show_quiet("; ".join(part for part in (said, bad) if part))
