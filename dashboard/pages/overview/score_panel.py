"""The scores' distribution with its limits: what is drawn, and what becomes of a moved limit."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard.data import actions
from dashboard.data.context import Context, read_workspace
from dashboard.data.reviews import read_labels
from dashboard.data.scores import choose_bin_count, read_ecdf, read_histogram
from dashboard.data.threshold_stats import threshold_stats
from dashboard.pages.overview import threshold_editor
from dashboard.pages.overview.threshold_editor import Act, Distribution, Takers
from dashboard.view.fragments import Fragment, rerun_fragment
from dashboard.view.links import threshold_url
from dashboard.view.navigation import PageName, go_to
from dashboard.view.state import Queue, RuleKind, change_view, current_view
from dashboard.widgets import figures, labels_panel
from scoring.database.filters import Range
from scoring.database.values import ScoreSummary


def show_heading() -> None:
    """Title and what to do here; no moved limit changes it."""
    st.subheader("VisNec score", anchor=False)
    figures.show_quiet(
        "Text-only loss minus multimodal loss, in nats per answer token. Drag a limit, move it "
        "with the arrow keys, or type it. Draw across the bars to see only the scores between."
    )


def show(context: Context, summary: ScoreSummary, cut: float) -> None:
    """Draws the editor; what is changed goes into the view."""
    view = current_view()
    edges, counts = read_histogram(context, choose_bin_count(summary))
    asked = threshold_editor.show(
        Distribution(
            edges,
            counts,
            read_ecdf(context),
            f"{context.store.generation}-{context.scope}-{context.filter}-{len(edges)}",
        ),
        threshold_stats(view),
        threshold_url(context.scope, context.filter, context.store.generation),
        context.workspace.bands,
        Takers(_take_limits, _take_stretch, _take_log, _take_act),
        log_counts=view.log,
        follows=view.cut is None,
    )
    if asked is Act.SUBSET:
        go_to(PageName.SUBSET, rule=RuleKind.THRESHOLD, minimum=cut, maximum=None)
    if asked is Act.REVIEW:
        go_to(PageName.REVIEW, queue=Queue.THRESHOLD, cut=cut, row=None)
    labels_panel.ask_for_labels(read_labels(context))


def _take_limits(limits: dict[str, float]) -> None:
    """What was moved: a cut alone leaves alone what does not depend on it."""
    bands = current_view().bands(read_workspace().bands)
    low, high = limits.get("low", bands.low), limits.get("high", bands.high)
    if low > high:
        return
    change_view(**limits)
    if (low, high) != (bands.low, bands.high):
        rerun_fragment(Fragment.SCORES)


def _take_stretch(stretch: tuple[float, float]) -> None:
    change_view(filter=replace(current_view().filter, visnec=Range(*stretch)))
    rerun_fragment(Fragment.SCORES)


def _take_log(log_counts: bool) -> None:
    change_view(log=log_counts)


def _take_act(act: Act) -> None:
    if act is Act.SAVE:
        workspace = read_workspace()
        actions.save_bands(workspace, current_view().bands(workspace.bands))
        change_view(low=None, high=None)
    elif act is Act.RESET:
        change_view(low=None, high=None, cut=None)
    else:
        return  # another page, which no callback can open
    rerun_fragment(Fragment.SCORES)
