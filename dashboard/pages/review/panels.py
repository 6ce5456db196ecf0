"""Threshold quality, and the decisions and agreement of all reviewers.

Only decisions from random queues represent the dataset; the figures show how many there are. The
labels are read once for all thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from dashboard.charts import plots
from dashboard.data.context import Context, read_workspace
from dashboard.data.reviews import read_labels, read_review_state, read_suspect_precision
from dashboard.data.scores import read_threshold_counts
from dashboard.data.threshold_stats import MIN_LABELS, describe_wrongly_dropped
from dashboard.text import formatting
from dashboard.view.state import Queue, QueueScope, View, change_view
from dashboard.widgets import figures, notices, page_frame
from scoring.reviews.resolution import PairAgreement
from scoring.reviews.threshold_estimation import (
    WeightedLabels,
    estimate_quality,
    estimate_quality_curve,
    suggest_threshold,
)

_EVIDENCE_NAMES = {
    "any": "Any evidence",
    "different": "High loss, another prediction",
    "misaligned": "Misaligned in several runs or baselines",
    "column": "High score, low in the column",
}
_SUSPECTS_HELP = (
    "Samples whose reference answer may be wrong, those with more kinds of evidence first. "
    "High loss, another prediction: the multimodal loss is in the highest tenth and above 0.693 "
    "(ln 2, a probability below one half per token), and the multimodal prediction has another "
    "option or less than half of its words in common with the reference. No probability of a "
    "prediction is stored, so this is used for its confidence. Misaligned: below the lower band "
    "limit in two or more sets of scores. Column: the score ranks the sample above the column by "
    "half of the samples or more."
)


@page_frame.view_fragment()
def show_threshold_quality(context: Context, view: View) -> None:
    """Show how often reviewers agree with each threshold and with the one in use."""
    labels = read_labels(context)
    st.subheader("Threshold quality", anchor=False)
    # The panel does not update while samples above it are decided.
    _show_time("Later decisions are not included.", "Recompute")
    if len(labels) < MIN_LABELS:
        notices.show_empty(
            "Not enough randomly sampled decisions",
            f"{len(labels)} of {MIN_LABELS} decisions needed to estimate precision and recall. "
            "Only a random queue represents the dataset.",
        )
        if st.button("Review a random sample", icon=":material/casino:"):
            change_view(queue=Queue.STRATIFIED, who=QueueScope.UNDECIDED, row=None)
            st.rerun()
        return
    threshold = view.threshold(context.workspace.bands)
    figures.show_caption(
        "Reviewers' keep and drop against keeping scores from the threshold on. Decisions are "
        "weighted by their sampling probability to represent all samples. 95 % confidence "
        "intervals."
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        curve = estimate_quality_curve(labels)
        figure = plots.threshold_quality_figure(curve, threshold, figures.use_dark_theme())
        figures.show_chart(figure, "settling")
    with right:
        _show_quality(context, threshold, labels)
        best = suggest_threshold(labels)
        if best is None:
            return
        figures.show_caption(
            f"Suggested threshold: {formatting.score(best.threshold)}, with the best precision and "
            f"recall together (F1 {best.f1:.2f}). F1 is cross-fitted: each label is judged at the "
            "threshold that the other labels suggest, since a label's own threshold flatters it."
        )
        if best.threshold != threshold and st.button(
            "Use this threshold", icon=":material/straighten:"
        ):
            change_view(cut=best.threshold)
            st.rerun()


@page_frame.view_fragment()
def show_suspects(context: Context, view: View) -> None:
    """Show what the suspects are, and how many of each kind reviewers found wrong."""
    st.subheader("Suspects", anchor=False, help=_SUSPECTS_HELP)
    _show_time("Later decisions are not included.", "Recount")
    rows = []
    for each in read_suspect_precision(context, view):
        share, interval = formatting.ABSENT, formatting.ABSENT
        if each.precision is not None:
            share = formatting.share(each.precision, 1, 0)
            interval = formatting.interval(each.low, each.high)
        name = _EVIDENCE_NAMES[each.evidence]
        rows.append((name, each.n, each.n_decided, each.n_wrong, share, interval))
    columns = ("Evidence", "Samples", "Decided", "Dropped or edited", "Precision", "95 % interval")
    figures.show_table(columns, rows, (1, 2, 3, 4))
    figures.show_caption(
        "Precision is the share of decided suspects that reviewers dropped or edited. It is about "
        "those decided, which are the strongest first, not about all suspects."
    )


def _show_time(remark: str, button: str) -> None:
    """Show when the panel was computed, and a button that reruns its fragment."""
    with st.container(horizontal=True, vertical_alignment="center"):
        now = formatting.moment(datetime.now(UTC).isoformat())
        figures.show_caption(f"As of {now}. {remark}")
        st.button(button, icon=":material/refresh:")


def _show_quality(context: Context, threshold: float, labels: WeightedLabels) -> None:
    quality = estimate_quality(labels, threshold)
    rows = []
    for name, estimate, about in (
        ("Precision of keeping", quality.precision, "of kept: reviewers keep"),
        ("Recall of keeping", quality.recall, "of reviewers' keep: kept"),
    ):
        if estimate is None:
            rows.append((name, formatting.ABSENT, "no decisions on that side"))
        else:
            interval = formatting.interval(estimate.low, estimate.high)
            rows.append((name, formatting.share(estimate.value, 1), f"{interval} {about}"))
    n_dropped = read_threshold_counts(context, threshold).n_dropped
    n_other = labels.n_undrawn
    sampled = f"{n_other:,} not randomly sampled" if n_other else "all randomly sampled"
    figures.show_figures(
        *rows,
        ("Wrongly dropped", *describe_wrongly_dropped(labels, threshold, n_dropped)),
        ("Decisions", len(labels), sampled),
    )


@st.fragment
def show_reviewers() -> None:
    """Show the tables of all reviewers; a sample counts once per reviewer."""
    state = read_review_state(read_workspace())
    if not state.reviewers and not state.damaged:
        return
    st.subheader("All reviewers", anchor=False)
    rows = [
        (
            person.reviewer,
            person.decided,
            person.keep,
            person.drop,
            person.unsure,
            formatting.moment(person.last_decided_at),
        )
        for person in state.reviewers
    ]
    columns = ("Reviewer", "Decided", "Keep", "Drop", "Unsure", "Last decision")
    figures.show_table(columns, rows, (1, 2, 3, 4))
    _show_time("Each sample counts once per reviewer.", "Refresh")
    if state.agreement.pairs:
        _show_agreement(state.agreement.pairs)
    if state.conflicts:
        left, right = st.columns([5, 2], vertical_alignment="center")
        with left:
            figures.show_caption(
                f"{formatting.plural(len(state.conflicts), 'sample')} with a tie, which the rule "
                "decides, or with an unsure reviewer."
            )
        if right.button("Review conflicts", icon=":material/balance:", width="stretch"):
            change_view(queue=Queue.CONFLICTS, who=QueueScope.ALL, row=None)
            st.rerun()
    if state.damaged:
        lines = "\n".join(f"{name}: {n}" for name, n in state.damaged.items())
        notices.show_note(
            "Unreadable lines in decision logs",
            f"Damaged, or cut short by a killed process. Other decisions are intact.\n{lines}",
        )


def _show_agreement(pairs: Sequence[PairAgreement]) -> None:
    st.subheader("Agreement", anchor=False)
    rows = [
        (
            f"{pair.first} and {pair.second}",
            pair.n_both,
            formatting.share(pair.raw, 1),
            formatting.ABSENT if pair.kappa is None else f"{pair.kappa:.2f}",
        )
        for pair in pairs
    ]
    columns = ("Reviewers", "Decided by both", "Same decision", "Cohen's kappa")
    figures.show_table(columns, rows, (1, 2, 3))
    figures.show_caption(
        "Kappa is the agreement beyond chance: 0 is chance level, 1 is full agreement. There is "
        "none where both made the same decision on every sample."
    )
