"""Threshold quality: how often reviewers agree with the threshold, with confidence intervals.

Only decisions from random queues represent the dataset; the figures show how many there are. The
labels are read once for all thresholds.
"""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard.charts import score_charts
from dashboard.data.context import Context, open_view_context, single_snapshot
from dashboard.data.reviews import read_labels
from dashboard.data.scores import read_threshold_counts
from dashboard.data.threshold_stats import MIN_LABELS, describe_wrongly_dropped
from dashboard.text import formatting
from dashboard.view.state import Queue, QueueScope, change_view, current_view
from dashboard.widgets import figures, notices
from dashboard.widgets.figures import Figure
from scoring.reviews.threshold_estimation import (
    ShareEstimate,
    WeightedLabels,
    estimate_quality,
    estimate_quality_curve,
    suggest_threshold,
)


@st.fragment
@single_snapshot()
def show_threshold_quality() -> None:
    """Show precision and recall for each threshold and for the one in use."""
    context = open_view_context(current_view()).context
    if context is None:
        return
    labels = read_labels(context)
    st.subheader("Threshold quality", anchor=False)
    # The panel does not update while samples above it are decided.
    with st.container(horizontal=True, vertical_alignment="center"):
        now = formatting.moment(datetime.now(UTC).isoformat())
        figures.show_caption(f"As of {now}. Later decisions are not included.")
        st.button("Recompute", icon=":material/refresh:")
    if len(labels) < MIN_LABELS:
        _show_too_few(labels)
        return
    threshold = current_view().threshold(context.workspace.bands)
    figures.show_caption(
        "Reviewers' keep and drop against keeping scores from the threshold on. Decisions are "
        "weighted by their sampling probability to represent all samples. 95 % confidence "
        "intervals."
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        curve = estimate_quality_curve(labels)
        figures.show_chart(
            score_charts.threshold_quality_figure(curve, threshold, figures.use_dark_theme()),
            "settling",
        )
    with right:
        _show_quality(context, threshold, labels)
        _show_suggestion(labels, threshold)


def _show_too_few(labels: WeightedLabels) -> None:
    notices.show_empty(
        "Not enough randomly sampled decisions",
        f"{len(labels)} of {MIN_LABELS} decisions needed to estimate precision and recall. Only a "
        "random queue represents the dataset.",
    )
    if st.button("Review a random sample", icon=":material/casino:"):
        change_view(queue=Queue.STRATIFIED, who=QueueScope.UNDECIDED, row=None)
        st.rerun()


def _show_quality(context: Context, threshold: float, labels: WeightedLabels) -> None:
    quality = estimate_quality(labels, threshold)
    n_dropped = read_threshold_counts(context, threshold).n_dropped
    n_other = labels.n_undrawn
    sampled = f"{n_other:,} not randomly sampled" if n_other else "all randomly sampled"
    figures.show_figures(
        [
            _make_figure("Precision of keeping", quality.precision, "of kept: reviewers keep"),
            _make_figure("Recall of keeping", quality.recall, "of reviewers' keep: kept"),
            Figure("Wrongly dropped", *describe_wrongly_dropped(labels, threshold, n_dropped)),
            Figure("Decisions", formatting.count(len(labels)), sampled),
        ]
    )


def _make_figure(name: str, estimate: ShareEstimate | None, about: str) -> Figure:
    if estimate is None:
        return Figure(name, formatting.ABSENT, "no decisions on that side")
    interval = f"{estimate.low:.0%} to {estimate.high:.0%}"
    return Figure(name, formatting.share(estimate.value, 1), f"{interval} {about}")


def _show_suggestion(labels: WeightedLabels, threshold: float) -> None:
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
