"""Overview: the dataset, the score distribution, and the effect of a threshold."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import Context
from dashboard.data.facts import read_dataset_counts
from dashboard.data.reviews import read_review_state
from dashboard.data.scores import read_status_counts, read_summary
from dashboard.pages.overview import (
    column_panel,
    groups_panel,
    health_panel,
    plane_panel,
    threshold_editor,
)
from dashboard.text import formatting
from dashboard.view.navigation import Fragment
from dashboard.view.state import View
from dashboard.widgets import figures, notices, page_frame
from scoring.runs.record import list_runs
from scoring.samples import Status


def render() -> None:
    """Show the page."""
    about = "Dataset, scores and threshold. Choose a row or draw a box in the loss plane to filter."
    _, opened = page_frame.open_page("Overview", about, has_filter=True)
    context, dataset = opened.context, opened.dataset
    if dataset is not None and context is None:
        imported = formatting.moment(dataset.imported_at)
        figures.show_figures(
            ("Samples", dataset.n_samples, "imported"), ("Files", len(dataset.files), imported)
        )
    if page_frame.require_scores(opened) is None or context is None:
        return
    _show_dataset(context.without_filter())
    _show_scores()
    _show_run(context)


def _show_dataset(context: Context) -> None:
    statuses = read_status_counts(context)
    by_status = dict(zip(statuses["status"], statuses["n"], strict=True))
    total = int(statuses["n"].sum())
    scored = int(by_status.get(Status.SCORED, 0))
    pending = int(by_status.get(Status.PENDING, 0))
    sources = read_dataset_counts(context.store)
    with_image = int(sources["with_image"].sum())
    reviewers = read_review_state(context.workspace).reviewers
    decided = sum(reviewer.decided for reviewer in reviewers)
    figures.show_figures(
        ("Samples", total, formatting.plural(len(sources), "source")),
        ("With an image", with_image, formatting.share(with_image, total)),
        ("Scored", scored, formatting.share(scored, total)),
        ("Pending", pending, "not scored yet" if pending else "none left"),
        ("Without a score", total - scored - pending, "reasons below"),
        ("Decisions", decided, formatting.plural(len(reviewers), "reviewer")),
        in_line=True,
    )


@page_frame.view_fragment(Fragment.FILTERED)
def _show_scores(context: Context, _view: View) -> None:
    """Show all that depends on the bands and the filter."""
    if read_summary(context).n_scored:
        threshold_editor.show_heading(context)
        _show_threshold()
    else:
        text = (
            "Remove part of the filter. The statuses below show why these samples have no score."
            if context.filter
            else "The run may have just started. The statuses below show the other samples."
        )
        notices.show_empty("No scores here", text)
    left, right = figures.pair_columns("plane")
    with left:
        plane_panel.show_loss_plane()
    with right:
        health_panel.show_health(context)
    column_panel.show_columns()


@page_frame.view_fragment(Fragment.THRESHOLD)
def _show_threshold(context: Context, view: View) -> None:
    """Show what depends on the threshold: without filter, loss plane and statuses."""
    threshold = view.threshold(context.workspace.bands)
    threshold_editor.show_editor(context, view, threshold)
    groups_panel.show_groups(context, view, threshold)


def _show_run(context: Context) -> None:
    """Show the run and the settings that determined the scores."""
    st.subheader("This run", anchor=False)
    runs = {run.run_id: run for run in list_runs(context.workspace)}
    run = runs.get(context.scope.run_id)
    if run is None:
        return
    baseline = context.scope.baseline
    if run.imported_from:
        file = run.imported_from.partition(" sha256:")[0]
        settings = {"Scores": f"computed elsewhere, imported from {file}"}
    else:
        settings = {
            "Template, dtype, device": f"{run.template}, {run.dtype}, {run.device}",
            "End-of-answer token": "scored" if run.score_eos else "not scored",
        }
    figures.show_facts(
        {
            "Model": run.model,
            "Run": run.run_id,
            "Started": formatting.moment(run.created_at),
            "Blind baseline": formatting.BASELINE_NAMES.get(baseline, baseline),
            **settings,
            "Workspace": str(context.workspace.root),
        }
    )
