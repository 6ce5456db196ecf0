"""Overview: what is in this workspace, how the scores lie, and what a threshold does to them."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context, OpenedWorkspace, open_view_context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.reviews import read_review_state
from dashboard.data.scores import read_status_counts, read_summary
from dashboard.pages.overview import groups_panel, health_panel, score_panel
from dashboard.text import formatting
from dashboard.view.fragments import Fragment
from dashboard.view.state import current_view
from dashboard.widgets import figures, filter_bar, notices, page_frame, plane_panel
from dashboard.widgets.figures import Figure
from scoring.runs.record import RunRecord, list_runs
from scoring.samples import Status


def render() -> None:
    """The page."""
    _, opened = page_frame.open_page("Overview", "What is here, and what a threshold does to it")
    context = opened.context
    if opened.dataset is not None and context is None:
        _show_dataset_only(opened)
    if page_frame.require_scores(opened, "The overview") is None or context is None:
        return
    _show_workspace(opened, context.without_filter())
    _show_scores()
    _show_run(context)


def _show_dataset_only(opened: OpenedWorkspace) -> None:
    dataset = opened.dataset
    if dataset is None:
        return
    figures.show_figures(
        [
            Figure("samples", formatting.count(dataset.n_samples), "imported"),
            Figure(
                "files",
                formatting.count(len(dataset.files)),
                formatting.moment(dataset.imported_at),
            ),
        ]
    )


def _show_workspace(opened: OpenedWorkspace, context: Context) -> None:
    """The dataset in a line of figures."""
    statuses = read_status_counts(context)
    by_status = dict(zip(statuses["status"], statuses["n"], strict=True))
    total = int(statuses["n"].sum())
    scored = int(by_status.get(Status.SCORED, 0))
    sources = read_dataset_counts(context.store)
    with_image = int(sources["with_image"].sum())
    reviewers = read_review_state(opened.workspace).reviewers
    decided = sum(one.decided for one in reviewers)
    pending = int(by_status.get(Status.PENDING, 0))
    rest = total - scored - pending
    figures.show_figures(
        [
            Figure("samples", formatting.count(total), formatting.plural(len(sources), "source")),
            Figure(
                "with an image", formatting.count(with_image), formatting.share(with_image, total)
            ),
            Figure("scored", formatting.count(scored), formatting.share(scored, total)),
            Figure(
                "pending", formatting.count(pending), "not scored yet" if pending else "none left"
            ),
            Figure("without a score", formatting.count(rest), "each with a reason, below"),
            Figure(
                "decisions",
                formatting.count(decided),
                formatting.plural(len(reviewers), "reviewer"),
            ),
        ]
    )


@st.fragment(key=Fragment.SCORES)
def _show_scores() -> None:
    """Everything that moves with the bands and the filter, so that nothing beside it is stale."""
    context = open_view_context(current_view()).context
    if context is None:
        return
    filter_bar.show_strip(
        context, "All samples. Choose a row, or draw a box in the plane, to narrow."
    )
    if read_summary(context).n_scored:
        score_panel.show_heading()
        _show_cut()
    else:
        _show_nothing_scored(context)
    with st.container(key="pair-plane"):
        left, right = st.columns([6, 5], gap="large")
        with left:
            plane_panel.show()
        with right:
            health_panel.show(context)


@st.fragment(key=Fragment.CUT)
def _show_cut() -> None:
    """What a moved cut changes: drawn without the filter, the loss plane and the statuses."""
    context = open_view_context(current_view()).context
    if context is None:
        return
    summary = read_summary(context)
    cut = current_view().threshold(context.workspace.bands)
    score_panel.show(context, summary, cut)
    groups_panel.show(context, cut)


def _show_nothing_scored(context: Context) -> None:
    if context.filter:
        notices.show_empty(
            "No sample under this filter has a score",
            "Take a part of the filter out; the statuses below say what became of these.",
        )
    else:
        notices.show_empty(
            "No sample of this run has a score yet",
            "The run may just have begun; its statuses below say what became of the others.",
        )


def _show_run(context: Context) -> None:
    st.subheader("This run", anchor=False)
    runs = {run.run_id: run for run in list_runs(context.workspace)}
    run = runs.get(context.scope.run_id)
    if run is None:
        return
    figures.show_facts(
        {
            "model": run.model,
            "run": run.run_id,
            "begun": formatting.moment(run.created_at),
            "blind baseline": formatting.BASELINE_NAMES.get(
                context.scope.baseline, context.scope.baseline
            ),
            **_settings(run),
            "workspace": str(context.workspace.root),
        }
    )


def _settings(run: RunRecord) -> dict[str, str]:
    """What decided the scores, as far as it is known."""
    if run.imported_from:
        file = run.imported_from.partition(" sha256:")[0]
        return {"scores": f"computed elsewhere, imported from {file}"}
    return {
        "template, dtype, device": f"{run.template}, {run.dtype}, {run.device}",
        "end of the answer scored": "yes" if run.score_eos else "no",
    }
