"""The controls of a rule, of limits for single groups, and of samples that no rule applies to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import PurePath
from typing import Any, Final

import pandas as pd
import streamlit as st

from dashboard.data.context import Context
from dashboard.data.facts import read_clusterings
from dashboard.data.subsets import read_candidate_counts
from dashboard.pages.subset import group_choice, mixture_targets
from dashboard.pages.subset.rule_choices import (
    AT_LEAST,
    BY_AMOUNT,
    BY_LIMITS,
    BY_SHARE,
    fill_targets,
    has_ranking,
    read_limits,
    read_rule,
    uses_clusters,
)
from dashboard.pages.subset.rule_families import FAMILIES, RULE_MEANINGS, RULE_NAMES, family_of
from dashboard.pages.subset.rule_texts import show_texts
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.parameters import MAX_COUNT
from dashboard.view.state import (
    ACCOMPANIED,
    AMOUNTS,
    ARMS,
    GROUPS,
    MAX_SEED,
    WEIGHINGS,
    RuleKind,
    View,
    change_view,
)
from dashboard.widgets import figures, notices
from scoring.clustering.clusters import embedder_note
from scoring.errors import InputError
from scoring.rules import LOSSES, PAPER_RULES, Control
from scoring.rules.base import NamedLimits
from scoring.rules.evidence import EVIDENCE_MEANING, EVIDENCE_SECTION, find_evidence
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
_AMOUNT_NAMES: Final = {"share": "Share", "count": "Number", "tokens": "Answer tokens"}
_WEIGHING_NAMES: Final = {
    "softmax": "Score: exp(score / temperature)",
    "rank": "Rank: (share of lower scores) ^ (1 / temperature)",
    "ratio": "Ratio: (multimodal / text-only loss) ^ (1 / temperature), favors low scores",
}
_OPTIONS: Final = {  # besides share, limits and those of a control
    RuleKind.DROP_MISALIGNED: ("below",),
    RuleKind.TOP_COUNT: ("count",),
    RuleKind.TOP_TOKENS: ("tokens",),
    RuleKind.BUDGET: ("count", "floor", "ceiling"),
    RuleKind.WEIGHTS: ("temperature", "min_weight", "max_weight"),
    RuleKind.ABLATION: ("loss", "per"),
}
_COUNTS: Final = {  # label, lowest, highest
    "count": ("Samples to keep", 1, MAX_COUNT),
    "tokens": ("Answer tokens to keep", 1, MAX_COUNT),
    "floor": ("Floor per source", 0, MAX_COUNT),
    "max_repeat": ("Repeats at most", 1, MAX_COUNT),
    "seed": ("Seed", 0, MAX_SEED),
}
_NUMBERS: Final[dict[str, dict[str, Any]]] = {
    "below": {"label": "Drop scores below", "step": 0.01},
    "temperature": {
        "label": "Temperature",
        "step": 0.05,
        "min_value": 0.001,
        "help": "Low: the best samples dominate. High: all count alike. In nats per answer token "
        "for weights by score.",
    },
    "min_weight": {"label": "Lowest weight", "step": 0.05, "min_value": 0.0, "max_value": 1.0},
    "max_weight": {
        "label": "Highest weight",
        "step": 1.0,
        "min_value": 1.0,
        "max_value": 1e6,
        "format": "%.2f",
        "optional": True,
        "placeholder": "no limit",
        "convert": lambda weight: weight or 0.0,
    },
}
_NAME, _SAMPLES, _LOW, _HIGH = "name", "samples", "low", "high"  # columns of the limits table
_MAX_ROWS: Final = 500
_MAX_HEIGHT: Final = 320
_ROW_HEIGHT: Final = 35


def show_rule(context: Context, view: View) -> None:
    """Show the controls of the rule; choices go into the view."""
    family = family_of(view.rule)
    st.selectbox(
        "Select by",
        FAMILIES,
        format_func=lambda family: family.name,
        **url_widgets.bind_widget(
            _FAMILY, family, lambda: change_view(rule=url_widgets.consume_value(_FAMILY).rules[0])
        ),
    )
    figures.show_caption(family.meaning)
    if len(family.rules) > 1:
        url_widgets.choose_segment("rule", "Rule", family.rules, view.rule, RULE_NAMES.__getitem__)
    figures.show_caption(RULE_MEANINGS[view.rule])
    rank_by = view.rank_by if has_ranking(view, view.rule) else None
    evidence = f"Evidence: {find_evidence(view.rule, rank_by)}"
    figures.show_caption(evidence, f"{EVIDENCE_MEANING} See {EVIDENCE_SECTION}.")
    if view.rule is RuleKind.CONTROL:
        url_widgets.choose_option(
            "of",
            "Same size as",
            list(ACCOMPANIED),
            view.of,
            lambda kind: f"{family_of(kind).name}: {RULE_NAMES[kind]}",
        )
        _choose_options(context, view, view.of)
        show_texts(view, view.of)
        per = () if view.of in (RuleKind.ABLATION, RuleKind.BAND) else ("per",)
        is_seeded = view.of in (RuleKind.RANDOM, RuleKind.BAND)
        seed = ("seed",) if view.arm == "random" and not is_seeded else ()
        _show_row(view, "arm", *per, *seed)
    else:
        _choose_options(context, view, view.rule)
        show_texts(view, view.rule)
    _show_clustering(context, view)


def _show_clustering(context: Context, view: View) -> None:
    """Show the clustering that the rule uses, and for the paper's rules if it is not theirs."""
    try:
        rule = read_rule(fill_targets(context, view), context.workspace.bands)
    except InputError:
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
    if kind is RuleKind.MIXTURE:
        mixture_targets.choose_groups(context, view)
    if kind is RuleKind.BEST_OF_GROUP:
        group_choice.choose_groups(context, view)
    if kind is RuleKind.WEIGHTS:
        names = _WEIGHING_NAMES.__getitem__
        url_widgets.choose_option("weigh", "Weights by", list(WEIGHINGS), view.weigh, names)
    if kind is RuleKind.RANDOM:
        url_widgets.choose_flag("by_count", "Number instead of share", view.by_count)
        _show_row(view, "count" if view.by_count else "share", "seed")
    elif kind in _OPTIONS:
        _show_row(view, *_OPTIONS[kind])
    if kind in BY_LIMITS and not (kind is RuleKind.MIXTURE and view.draw_by == "all"):
        _choose_limits(context, view)
    if kind in BY_AMOUNT:
        _choose_amount(view, "per" if kind is RuleKind.BAND else "max_repeat", "seed")
    if kind is RuleKind.ANSWER_THRESHOLD:
        column = partial(st.column_config.NumberColumn, format="%.3f", step=0.001)
        ends = column("Score from"), column("Score below")
        counts = read_candidate_counts(context).by_kind
        _show_limits("answer_limits", "answer type", counts, view.answer_limits, ends)
    if kind is RuleKind.BUDGET:
        column = partial(st.column_config.NumberColumn, format="%d", step=1, min_value=0)
        ends = column("Floor"), column("Ceiling")
        counts = read_candidate_counts(context).by_source
        _show_limits("source_limits", "source", counts, view.source_limits, ends)
    if kind in AT_LEAST:
        _show_row(view, "share", "at_least")
    elif kind in BY_SHARE and kind not in (RuleKind.RANDOM, *BY_AMOUNT):
        _show_row(view, "share")


def _choose_limits(context: Context, view: View) -> None:
    """Show the score limits."""
    low, high = read_limits(view, view.threshold(context.workspace.bands))
    number = url_widgets.choose_number
    left, right = st.columns(2)
    with left:
        number("minimum", "Score from", low, optional=True, placeholder="no limit")
    with right:
        number("maximum", "Score below", high, optional=True, placeholder="no limit")


def _choose_amount(view: View, *fields: str) -> None:
    """Show the size of a draw in one of its units, next to other fields."""
    names = _AMOUNT_NAMES.__getitem__
    url_widgets.choose_segment("amount", "Size by", AMOUNTS, view.amount, names)
    _show_row(view, view.amount, *fields)


def _show_row(view: View, *fields: str) -> None:
    """Show fields of the view side by side, stacked when the window is narrow."""
    for field, column in zip(fields, st.columns(len(fields)), strict=True):
        with column:
            _show_field(view, field)


def _show_field(view: View, field: str) -> None:
    """Show the widget of one option."""
    value = getattr(view, field)
    kind = view.of if view.rule is RuleKind.CONTROL else view.rule
    if field in _COUNTS:
        label, lowest, highest = _COUNTS[field]
        value = min(max(value, lowest), highest)
        url_widgets.choose_count(field, label, value, min_value=lowest, max_value=highest)
    elif field == "at_least":
        groups = {RuleKind.PER_SOURCE: "source", RuleKind.ABLATION: "group"}
        group = groups.get(kind, "cluster")
        about = f"Keeps small {group}s whose share rounds down to zero"
        label, value = f"Minimum per {group}", min(value, MAX_COUNT)
        url_widgets.choose_count(field, label, value, max_value=MAX_COUNT, help=about)
    elif field == "ceiling":
        url_widgets.choose_count(
            field,
            "Ceiling per source",
            value,
            min_value=1,
            max_value=MAX_COUNT,
            optional=True,
            placeholder="no limit",
        )
    elif field in ("loss", "arm"):
        orders = list(LOSSES if field == "loss" else ARMS)
        label = "Rank by" if field == "loss" else "Select by order"
        url_widgets.choose_option(field, label, orders, value, _ORDER_NAMES.__getitem__)
    elif field == "per":
        value = value or ("cluster" if kind is RuleKind.ABLATION else "dataset")
        names = _GROUP_NAMES.__getitem__
        url_widgets.choose_option(
            field,
            "In proportion from" if kind is RuleKind.BAND else "Same number from",
            list(GROUPS),
            value,
            names,
        )
    elif field == "share":
        url_widgets.choose_share(field, "Share", value, step=1.0)
    else:
        shown = (value or None) if field == "max_weight" else value
        url_widgets.choose_number(field, value=shown, **_NUMBERS[field])


# ---- limits of single groups ---------------------------------------------------------------------


def _show_limits(
    field: str, group: str, counts: Mapping[str, int], limits: NamedLimits, ends: tuple[Any, Any]
) -> None:
    """Show a table to type limits of each answer type or source into; ``ends`` are its columns.

    What is typed goes into the view at once. The table keeps its rows until the view changes from
    elsewhere, because a table whose rows change while someone types loses the cursor.
    """
    present = [name for name in counts if counts[name]]
    largest = sorted(present, key=lambda name: -counts[name])[:_MAX_ROWS]
    names = [*largest, *(name for name, _, _ in limits if name not in largest)]
    # The limits that the table was drawn with, those typed since, and its serial number.
    drawn, typed, serial = st.session_state.get(f"{field}.state", (limits, None, -1))
    if typed != limits:
        drawn, serial = limits, serial + 1
        st.session_state[f"{field}.state"] = (limits, limits, serial)
    key = f"{field}.{serial}"

    def save_edits() -> None:
        edits = st.session_state[key].get("edited_rows", {})
        edited = merge_edits(drawn, names, edits, whole=field == "source_limits")
        st.session_state[f"{field}.state"] = (drawn, edited, serial)
        change_view(**{field: edited})

    known = {name: (low, high) for name, low, high in drawn}
    frame = pd.DataFrame(
        [(name, counts.get(name, 0), *known.get(name, (None, None))) for name in names],
        columns=[_NAME, _SAMPLES, _LOW, _HIGH],
    )
    label = f"Limits by {group}"
    if limits:
        label += f": {formatting.plural(len(limits), group)}"
    with st.expander(label, expanded=bool(limits), key=f"{field}.unfolded"):
        st.data_editor(
            frame.astype({_LOW: "float64", _HIGH: "float64"}),
            key=key,
            on_change=save_edits,
            hide_index=True,
            num_rows="fixed",
            placeholder="–",
            disabled=[_NAME, _SAMPLES],
            column_order=[_NAME, _SAMPLES, _LOW, _HIGH],
            column_config={
                _NAME: st.column_config.TextColumn(group.capitalize()),
                _SAMPLES: st.column_config.NumberColumn("Scored", format="localized"),
                _LOW: ends[0],
                _HIGH: ends[1],
            },
            height=min(_MAX_HEIGHT, _ROW_HEIGHT * (len(names) + 1) + 3),
        )
        figures.show_caption("Empty cells use the common limits above.")


def merge_edits(
    drawn: NamedLimits, names: list[str], edits: Mapping[int, Mapping[str, Any]], whole: bool
) -> NamedLimits:
    """Return the limits with edited cells; ``edits`` maps a row of ``names`` to its cells."""
    ends: dict[str, list[float | None]] = {name: [low, high] for name, low, high in drawn}
    for row, cells in edits.items():
        pair = ends.setdefault(names[int(row)], [None, None])
        for end, column in enumerate((_LOW, _HIGH)):
            if column in cells:
                value = cells[column]
                pair[end] = int(value) if whole and value is not None else value
    return tuple(
        (name, low, high)
        for name, (low, high) in sorted(ends.items())
        if low is not None or high is not None
    )


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
