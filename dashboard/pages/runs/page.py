"""Runs: which model scored what, the progress of active runs, and why samples have no score."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data.context import Context, OpenedWorkspace, read_workspace
from dashboard.data.facts import read_prediction_counts, read_scopes
from dashboard.data.scores import read_status_counts, read_status_reasons, read_summary
from dashboard.pages.runs import edit_run
from dashboard.text import formatting
from dashboard.view.navigation import PageName, page_link
from dashboard.view.state import View
from dashboard.widgets import figures, notices, page_frame, poller
from dashboard.widgets.figures import Bar, Cell, Link
from scoring.database.filters import Filter
from scoring.database.values import Scope
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import RunRecord, list_runs

_SECONDS = 2
_MAX_SOURCES = 12


def render() -> None:
    """Show the page."""
    view, opened = page_frame.open_page("Runs", "Models, settings and progress")
    if opened.dataset is None:
        page_frame.require_scores(opened)
        return
    runs = list_runs(opened.workspace)
    if not runs:
        notices.show_empty(
            "No run yet",
            f"{formatting.plural(opened.dataset.n_samples, 'sample')} to score. A run can be "
            "stopped at any time and resumes where it stopped.",
            f"visnec score -w {opened.workspace.root} --model MODEL_ID_OR_PATH --predict",
        )
    for record in reversed(runs):
        with st.container(border=True, key=f"run-{record.run_id}"):
            _show_run(opened, view, record, len(runs) == 1)


def _show_run(opened: OpenedWorkspace, view: View, record: RunRecord, is_only_run: bool) -> None:
    kind = "run of edits · " if record.edits else ""
    st.html(
        f'<div class="vn-run"><b>{escape(record.run_id)}</b> '
        f'<span class="vn-quiet">{kind}{escape(record.model)} · started '
        f"{escape(formatting.moment(record.created_at))}</span></div>"
    )
    if record.edits:
        _show_progress(record.run_id)
        left, right = st.columns([5, 7], gap="large")
        with left:
            _show_record(opened, record)
        with right:
            edit_run.show_scores(opened, record)
        return
    current, context = opened.context, None
    if record.notice and (current is None or current.scope.run_id != record.run_id):
        figures.show_caption(record.notice)  # the page frame shows that of the current run
    if not record.imported_from:
        _show_progress(record.run_id)
    # The database may be older than the run's result files.
    scopes = pd.DataFrame() if current is None else read_scopes(current.store)
    stored = [row for row in scopes.to_dict("records") if row["run_id"] == record.run_id]
    if current is not None and stored:
        scope = Scope(record.run_id, str(stored[0]["baseline"]), current.scope.clustering_id)
        context = replace(current.without_filter(), scope=scope)
        _show_figures(context, stored[0])
    else:
        notices.show_note(
            "This run is not in the database yet", "Its figures appear once its results are loaded."
        )
    left, right = st.columns([5, 7], gap="large")
    with left:
        _show_record(opened, record)
    if context is not None:
        with right:
            _show_statuses(context)
            _show_reasons(context, view)
        if not is_only_run:
            link = escape(page_link(PageName.OVERVIEW, View(run=record.run_id)))
            st.html(f'<a href="{link}" class="vn-go" target="_self">Show scores</a>')


# ---- progress ------------------------------------------------------------------------------------


def _show_progress(run_id: str) -> None:
    progress = read_progress(read_workspace(), run_id)
    if progress is None:
        figures.show_caption("No process has reported on this run.")
    elif progress.state == "running":
        _watch_progress(run_id)
    else:
        _draw_progress(progress)


@st.fragment
def _watch_progress(run_id: str) -> None:
    """Show the progress of an active run, and rerun the page when it ends."""
    progress = read_progress(read_workspace(), run_id)
    if progress is None or progress.state != "running":
        poller.rerun_page()
    else:
        _draw_active(progress)
    poller.rerun_every(f"progress-{run_id}", _SECONDS)


def _draw_active(progress: RunProgress) -> None:
    _draw_progress(progress)
    ordered = sorted(progress.statuses.items(), key=lambda item: -item[1])
    counted = ", ".join(
        f"{formatting.count(n)} {formatting.status_name(status)}" for status, n in ordered
    )
    figures.show_caption(f"So far: {counted}" if counted else "No samples finished yet")
    if len(progress.sources) > 1:
        _draw_sources(progress)


def _draw_progress(progress: RunProgress) -> None:
    text = formatting.describe_progress(progress, formatting.seconds_since(progress.updated_at))
    if progress.state != "finished":
        figures.show_progress_bar(progress.done, progress.total, text)
    figures.show_caption(text)


def _draw_sources(progress: RunProgress) -> None:
    """Show the progress of each source, the largest first."""
    rows: list[tuple[Cell, ...]] = []
    for name, (done, total) in list(progress.sources.items())[:_MAX_SOURCES]:
        share = formatting.share(done, total)
        bar = Bar(done / total if total else 0.0, f"{share} of {name or 'no source'}")
        rows.append((name or formatting.ABSENT, bar, done, total, share))
    figures.show_table(("Source", "", "Done", "Samples", "Share"), rows, (2, 3, 4))
    n_rest = len(progress.sources) - _MAX_SOURCES
    if n_rest > 0:
        figures.show_caption(f"and {formatting.plural(n_rest, 'smaller source')}")


# ---- results and settings ------------------------------------------------------------------------


def _show_figures(context: Context, stored: dict[Any, Any]) -> None:
    n_scored, n_samples = stored["n_scored"], stored["n_samples"]
    n_predictions = read_prediction_counts(context.store).get(context.scope.run_id, 0)
    predicted = "with and without the image" if n_predictions else "none; score --predict"
    mean = formatting.score(read_summary(context).mean)
    figures.show_figures(
        ("Samples", n_samples, "in the dataset"),
        ("Scored", n_scored, formatting.share(n_scored, n_samples)),
        ("Predictions", n_predictions, predicted),
        ("Mean VisNec", mean, "nats per answer token"),
    )


def _show_record(opened: OpenedWorkspace, record: RunRecord) -> None:
    """Show the settings that reproduce the run's scores."""
    st.subheader("Settings", anchor=False)
    baselines = (formatting.BASELINE_NAMES.get(name, name) for name in record.baselines)
    facts = {"Model": record.model, "Blind baselines": ", ".join(baselines)}
    if record.imported_from:
        name, _, digest = record.imported_from.partition(" sha256:")
        facts |= {
            "Imported from": name,
            "SHA-256": f"{digest[:16]}…",
            "Settings": "unknown: these scores were computed elsewhere",
            "Imported": formatting.moment(record.created_at),
        }
    else:
        facts |= _list_settings(record)
    figures.show_facts(facts)
    dataset = opened.dataset
    if dataset is not None and not dataset.includes_edition(record.dataset_fingerprint):
        notices.show_note(
            "Scored on another version of the dataset",
            "The run's dataset fingerprint differs from this dataset's.",
        )


def _list_settings(record: RunRecord) -> dict[str, str]:
    truncated = ", longer samples truncated" if record.truncate else ""
    settings = {
        "Fingerprint": f"{record.model_fingerprint[:16]}…",
        "Family": record.model_family,
        "Template": record.template,
        "Dtype": record.dtype,
        "Device": record.device + (f" ({record.device_name})" if record.device_name else ""),
    }
    if record.processor:
        settings["Processor"] = record.processor
    if "blur_sigma" in record.baseline_parameters:
        share = 100 * record.baseline_parameters["blur_sigma"]
        settings["Blur"] = f"sigma {share:g} % of the image's longer side"
    if "shuffle_seed" in record.baseline_parameters:
        settings["Shuffle seed"] = f"{record.baseline_parameters['shuffle_seed']:.0f}"
    if record.tokens:
        settings["Token values"] = "stored"
    return settings | {
        "End-of-answer token": "scored" if record.score_eos else "not scored",
        "Maximum length": f"{formatting.count(record.max_length)} tokens{truncated}",
        "Started": formatting.moment(record.created_at),
        "Versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }


def _show_statuses(context: Context) -> None:
    """Show the statuses of all samples."""
    st.subheader("Statuses", anchor=False)
    counts = read_status_counts(context)
    total = int(counts["n"].sum())
    rows: list[tuple[Cell, ...]] = []
    for status, n in zip(map(str, counts["status"]), counts["n"], strict=True):
        if n:
            name, meaning = formatting.status_name(status), formatting.status_meaning(status)
            rows.append((name, n, formatting.share(n, total), meaning))
    rows.append(("All samples", total, formatting.share(total, total), ""))
    figures.show_table(("Status", "Samples", "Share", "Meaning"), rows, (1, 2), total=True)


def _show_reasons(context: Context, view: View) -> None:
    """Show the most common reasons, each with an example that opens in Explore."""
    scope = context.scope
    target = replace(
        view, run=scope.run_id, baseline=scope.baseline, filter=Filter(), page=None, row=None
    )
    rows: list[tuple[Cell, ...]] = []
    for row in read_status_reasons(context).to_dict("records"):
        status = formatting.status_name(str(row["status"]))
        reason = formatting.ABSENT if pd.isna(row["reason"]) else str(row["reason"])
        example = int(row["example_row_idx"])
        address = page_link(PageName.EXPLORE, replace(target, sample=example))
        rows.append((status, reason, row["n"], Link(f"row {example:,}", address)))
    if rows:
        figures.show_table(("Status", "Reason", "Samples", "Example"), rows, (2,))
