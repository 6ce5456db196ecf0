"""The threshold settled by hand labels: how often the cut agrees with people, and how surely.

Only decisions from random draws stand for the dataset; the figures say how many there are. The
labels are read once for all cuts, so that what they say about a moved one is arithmetic.
"""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard.charts import score_charts
from dashboard.data.context import Context, open_view_context
from dashboard.data.reviews import read_labels
from dashboard.data.scores import read_threshold_counts
from dashboard.data.threshold_stats import MIN_LABELS, describe_wrongly_dropped
from dashboard.text import formatting
from dashboard.view.navigation import PageName, go_to
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


def ask_for_labels(labels: WeightedLabels) -> None:
    """Where there are too few labels, what to do about it; on pages other than Review."""
    if len(labels) < MIN_LABELS and st.button(
        "Give labels, to see how much is wrongly dropped",
        icon=":material/casino:",
        help="Opens a random draw from each source and category on the Review page",
    ):
        go_to(PageName.REVIEW, queue=Queue.STRATIFIED, who=QueueScope.UNDECIDED, row=None)


@st.fragment
def show() -> None:
    """Draws precision and recall by the cut, and what they are where the cut stands."""
    context = open_view_context(current_view()).context
    if context is None:
        return
    labels = read_labels(context)
    st.subheader("What the decisions say about the cut", anchor=False)
    _show_as_of()
    if len(labels) < MIN_LABELS:
        _show_too_few(labels)
        return
    cut = current_view().threshold(context.workspace.bands)
    figures.show_quiet(
        "People's keep and drop against keeping scores from the cut on, carried over to all "
        "samples by how likely each was to be drawn; 95 % intervals."
    )
    left, right = st.columns([3, 2], gap="large")
    with left:
        dark = st.context.theme.type == "dark"
        st.plotly_chart(
            score_charts.threshold_quality_figure(estimate_quality_curve(labels), cut, dark),
            theme="streamlit",
            config={"displayModeBar": False, "scrollZoom": False},
            key="settling",
        )
    with right:
        _show_quality(context, cut, labels)
        _show_best(labels, cut)


def _show_too_few(labels: WeightedLabels) -> None:
    notices.show_empty(
        "Too few decisions that stand for the dataset",
        f"{formatting.plural(len(labels), 'decision')} so far; from {MIN_LABELS} on, "
        f"precision and recall of "
        "any cut are estimated here. A random queue gives decisions that stand for the others; "
        "an order by score does not.",
    )
    if st.button("Review a random draw", icon=":material/casino:"):
        change_view(queue=Queue.STRATIFIED, who=QueueScope.UNDECIDED, row=None)
        st.rerun()


def _show_as_of() -> None:
    """The panel stands still while samples are decided above it, and says so."""
    with st.container(horizontal=True, vertical_alignment="center"):
        moment = formatting.moment(datetime.now(UTC).isoformat())
        figures.show_quiet(f"As of {moment}; decisions since then are not in it.")
        st.button("Work out again", icon=":material/refresh:")


def _show_quality(context: Context, cut: float, labels: WeightedLabels) -> None:
    quality = estimate_quality(labels, cut)
    unknown = labels.n_undrawn
    n_dropped = read_threshold_counts(context, cut).n_dropped
    about = f"{unknown:,} of them from no random draw" if unknown else "all from random draws"
    figures.show_figures(
        [
            _estimate("precision of keeping", quality.precision, "of the kept, people keep"),
            _estimate("recall of keeping", quality.recall, "of what people keep is kept"),
            Figure("wrongly dropped", *describe_wrongly_dropped(labels, cut, n_dropped)),
            Figure("decisions", formatting.count(len(labels)), about),
        ]
    )


def _estimate(name: str, estimate: ShareEstimate | None, about: str) -> Figure:
    if estimate is None:
        return Figure(name, formatting.ABSENT, "no decision on that side of the cut")
    interval = f"{estimate.low:.0%} to {estimate.high:.0%}"
    return Figure(name, formatting.share(estimate.value, 1), f"{interval} {about}")


def _show_best(labels: WeightedLabels, cut: float) -> None:
    best = suggest_threshold(labels)
    if best is None:
        return
    figures.show_quiet(
        f"These labels suggest {formatting.score(best.threshold)}: precision and "
        f"recall together are "
        f"best there. F1 {best.f1:.2f}, cross-fitted: each label is judged at the threshold that "
        "the others choose. Figures at a threshold that their own labels chose are too high."
    )
    if best.threshold != cut and st.button("Move the cut there", icon=":material/straighten:"):
        change_view(cut=best.threshold)
        st.rerun()
