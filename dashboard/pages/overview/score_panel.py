"""The score distribution with its limits, and what a moved limit changes."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import Context, read_workspace
from dashboard.data.reviews import read_labels
from dashboard.data.scores import choose_bin_count, read_ecdf, read_histogram
from dashboard.data.threshold_stats import MIN_LABELS, threshold_stats
from dashboard.pages.overview import threshold_editor
from dashboard.pages.overview.threshold_editor import Callbacks, Distribution, EditorAction
from dashboard.view.fragments import Fragment, rerun_fragment
from dashboard.view.links import threshold_url
from dashboard.view.navigation import PageName, go_to
from dashboard.view.state import Queue, QueueScope, RuleKind, change_view, current_view
from dashboard.widgets import figures
from scoring.database.filters import Range
from scoring.database.values import ScoreSummary


def show_heading() -> None:
    """Show title and instructions; a moved limit changes neither."""
    st.subheader("VisNec score", anchor=False)
    figures.show_caption(
        "Text-only loss minus multimodal loss, in nats per answer token. Drag a limit, move it "
        "with the arrow keys, or type it. Drag across the histogram to filter by score."
    )


def show_scores(context: Context, summary: ScoreSummary, threshold: float) -> None:
    """Show the editor; changes go into the view."""
    view = current_view()
    edges, counts = read_histogram(context, choose_bin_count(summary))
    action = threshold_editor.show_editor(
        Distribution(
            edges,
            counts,
            read_ecdf(context),
            f"{context.store.generation}-{context.scope}-{context.filter}-{len(edges)}",
        ),
        threshold_stats(view),
        threshold_url(context.scope, context.filter, context.store.generation),
        context.workspace.bands,
        Callbacks(_change_limits, _filter_by_score, _change_scale, _handle_action),
        log_counts=view.log,
        follows=view.cut is None,
    )
    if action is EditorAction.SUBSET:
        go_to(PageName.SUBSET, rule=RuleKind.THRESHOLD, minimum=threshold, maximum=None)
    if action is EditorAction.REVIEW:
        go_to(PageName.REVIEW, queue=Queue.THRESHOLD, cut=threshold, row=None)
    if len(read_labels(context)) < MIN_LABELS and st.button(
        "Label samples to estimate wrong drops",
        icon=":material/casino:",
        help="Opens a random draw from each source and category on the Review page",
    ):
        go_to(PageName.REVIEW, queue=Queue.STRATIFIED, who=QueueScope.UNDECIDED, row=None)


def _change_limits(limits: dict[str, float]) -> None:
    """Change the view; a threshold alone does not rerun what depends on the bands only."""
    bands = current_view().bands(read_workspace().bands)
    low, high = limits.get("low", bands.low), limits.get("high", bands.high)
    if low > high:
        return
    change_view(**limits)
    if (low, high) != (bands.low, bands.high):
        rerun_fragment(Fragment.SCORES)


def _filter_by_score(ends: tuple[float, float]) -> None:
    change_view(filter=replace(current_view().filter, visnec=Range(*ends)))
    rerun_fragment(Fragment.SCORES)


def _change_scale(log_counts: bool) -> None:
    change_view(log=log_counts)


def _handle_action(action: EditorAction) -> None:
    if action is EditorAction.SAVE:
        workspace = read_workspace()
        actions.save_bands(workspace, current_view().bands(workspace.bands))
        change_view(low=None, high=None)
    elif action is EditorAction.RESET:
        change_view(low=None, high=None, cut=None)
    else:
        return  # a callback cannot open another page
    rerun_fragment(Fragment.SCORES)
