"""Runs: which model scored what, how far a run in flight is, and why samples have no score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data.context import Context, OpenedWorkspace, read_workspace
from dashboard.data.facts import read_prediction_counts, read_scopes
from dashboard.data.scores import read_status_counts, read_status_reasons, read_summary
from dashboard.text import formatting
from dashboard.view.navigation import PageName, page_link
from dashboard.view.state import View
from dashboard.widgets import figures, notices, page_frame, poller
from dashboard.widgets.figures import Bar, Figure, Table
from scoring.database.filters import Filter
from scoring.database.values import Scope
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import RunRecord, list_runs
from scoring.samples import Status
from scoring.workspace import Workspace

_SECONDS = 2
_LISTED_SOURCES = 12


@dataclass(frozen=True, slots=True)
class _InDatabase:
    """What the database holds of a run; it may be older than the run's parts."""

    context: Context
    n_scored: int
    n_samples: int
    n_predictions: int


def render() -> None:
    """The page."""
    view, opened = page_frame.open_page("Runs", "Which model scored what, with which settings")
    if opened.dataset is None:
        page_frame.require_scores(opened, "A run")
        return
    runs = list_runs(opened.workspace)
    if not runs:
        _show_no_runs(opened)
        return
    for record in reversed(runs):
        _show_run(opened, view, record, len(runs) == 1)


def _show_no_runs(opened: OpenedWorkspace) -> None:
    n = opened.dataset.n_samples if opened.dataset else 0
    notices.show_empty(
        "No run yet",
        f"A run is one model over the whole dataset: "
        f"{formatting.plural(n, 'sample')} are waiting. It "
        "can be stopped at any time and goes on where it stopped.",
        f"visnec score -w {opened.workspace.root} --model MODEL_ID_OR_PATH --predict",
    )


def _show_run(opened: OpenedWorkspace, view: View, record: RunRecord, alone: bool) -> None:
    stored = _stored(opened, record)
    with st.container(border=True, key=f"run-{record.run_id}"):
        _show_heading(record)
        on_show = opened.context is not None and opened.context.scope.run_id == record.run_id
        if record.notice and not on_show:  # the frame of the page says it of the run on show
            figures.show_quiet(record.notice)
        if not record.imported_from:
            _show_progress(opened.workspace, record.run_id)
        if stored is None:
            notices.show_note(
                "This run is not in the database yet",
                "Its figures appear once the new parts are taken in.",
            )
        else:
            _show_figures(stored)
        left, right = st.columns([5, 7], gap="large")
        with left:
            _show_record(opened, record)
        with right:
            if stored is not None:
                _show_statuses(stored, view)
        if not alone and stored is not None:
            link = page_link(PageName.OVERVIEW, View(run=record.run_id))
            href = escape(link, quote=True)
            st.html(f'<a href="{href}" class="vn-go" target="_self">Show its scores</a>')


def _stored(opened: OpenedWorkspace, record: RunRecord) -> _InDatabase | None:
    """The run as the database has it, under its first baseline, or None where it lacks it."""
    context = opened.context
    if context is None:
        return None
    frame = read_scopes(context.store)
    rows = frame[frame["run_id"] == record.run_id].to_dict("records")
    if not rows:
        return None
    scope = Scope(record.run_id, str(rows[0]["baseline"]), context.scope.clustering_id)
    predictions = read_prediction_counts(context.store)
    return _InDatabase(
        replace(context.without_filter(), scope=scope),
        int(rows[0]["n_scored"]),
        int(rows[0]["n_samples"]),
        predictions.get(record.run_id, 0),
    )


def _show_heading(record: RunRecord) -> None:
    st.html(
        f'<div class="vn-run"><b>{escape(record.run_id)}</b> '
        f'<span class="vn-quiet">{escape(record.model)} · begun '
        f"{escape(formatting.moment(record.created_at))}</span></div>"
    )


@st.fragment
def _show_live(run_id: str) -> None:
    """How far a run in flight is, read again by itself; the page is drawn anew when it ends."""
    progress = read_progress(read_workspace(), run_id)
    if progress is None or progress.state != "running":
        st.rerun()
    _draw_progress(progress)
    poller.show(f"progress-{run_id}", _SECONDS)


def _show_progress(workspace: Workspace, run_id: str) -> None:
    progress = read_progress(workspace, run_id)
    if progress is None:
        figures.show_quiet("No process has reported on this run.")
    elif progress.state == "running":
        _show_live(run_id)
    else:
        _draw_progress(progress)


def _draw_progress(progress: RunProgress) -> None:
    said = formatting.describe_progress(progress, formatting.seconds_since(progress.updated_at))
    if progress.state != "finished":
        done = progress.done / progress.total if progress.total else 0.0
        figures.show_progress_bar(done, said)
    figures.show_quiet(said)
    if progress.state == "running":
        figures.show_quiet(_statuses_so_far(progress))
        _draw_sources(progress)


def _statuses_so_far(progress: RunProgress) -> str:
    ordered = sorted(progress.statuses.items(), key=lambda item: -item[1])
    counted = ", ".join(
        f"{formatting.count(n)} {formatting.status_name(status)}" for status, n in ordered
    )
    return f"So far: {counted}" if counted else "No sample is done yet"


def _draw_sources(progress: RunProgress) -> None:
    """How far each source is, the largest first."""
    if len(progress.sources) < 2:
        return
    listed = list(progress.sources.items())
    rows: list[tuple[str | Bar, ...]] = []
    for name, (done, total) in listed[:_LISTED_SOURCES]:
        share = formatting.share(done, total)
        bar = Bar({"kept": done / total if total else 0.0}, f"{share} of {name or 'no source'}")
        rows.append(
            (name or formatting.ABSENT, bar, formatting.count(done), formatting.count(total), share)
        )
    figures.show_table(
        Table(("source", "", "done", "samples", "share"), rows, frozenset({2, 3, 4}))
    )
    if len(listed) > _LISTED_SOURCES:
        figures.show_quiet(
            f"and {formatting.plural(len(listed) - _LISTED_SOURCES, 'smaller source')}"
        )


def _show_figures(stored: _InDatabase) -> None:
    scored = stored.n_scored
    summary = read_summary(stored.context)
    figures.show_figures(
        [
            Figure("samples", formatting.count(stored.n_samples), "in the dataset"),
            Figure("scored", formatting.count(scored), formatting.share(scored, stored.n_samples)),
            Figure(
                "predictions",
                formatting.count(stored.n_predictions),
                "both answers of a sample" if stored.n_predictions else "none; score --predict",
            ),
            Figure("mean VisNec", formatting.score(summary.mean), "nats per answer token"),
        ]
    )


def _show_record(opened: OpenedWorkspace, record: RunRecord) -> None:
    """The settings that pin the run's numbers down."""
    st.subheader("Record", anchor=False)
    names = (formatting.BASELINE_NAMES.get(one, one) for one in record.baselines)
    common = {"model": record.model, "blind baselines": ", ".join(names)}
    figures.show_facts(
        common | (_imported_facts(record) if record.imported_from else _settings_facts(record))
    )
    if opened.dataset is not None and not opened.dataset.holds(record.dataset_fingerprint):
        notices.show_note(
            "Scored on another state of the dataset",
            "The run's dataset fingerprint is not that of the dataset here.",
        )


def _settings_facts(record: RunRecord) -> dict[str, str]:
    return {
        "fingerprint": f"{record.model_fingerprint[:16]}…",
        "family": record.model_family,
        "template": record.template,
        "dtype": record.dtype,
        "device": record.device + (f" ({record.device_name})" if record.device_name else ""),
        **({"processor": record.processor} if record.processor else {}),
        **_baseline_facts(record),
        **({"token values": "kept"} if record.tokens else {}),
        "end token": "scored" if record.score_eos else "not scored",
        "longest": f"{formatting.count(record.max_length)} tokens"
        + (", longer ones truncated" if record.truncate else ""),
        "begun": formatting.moment(record.created_at),
        "versions": ", ".join(f"{name} {one}" for name, one in record.versions.items()),
    }


def _baseline_facts(record: RunRecord) -> dict[str, str]:
    """What the run's own baselines were made with."""
    found = {}
    if "blur_sigma" in record.baseline_parameters:
        share = 100 * record.baseline_parameters["blur_sigma"]
        found["blur"] = f"sigma {share:g} % of the image's longer side"
    if "shuffle_seed" in record.baseline_parameters:
        found["shuffle seed"] = f"{record.baseline_parameters['shuffle_seed']:.0f}"
    return found


def _imported_facts(record: RunRecord) -> dict[str, str]:
    """What is known of scores that were computed elsewhere."""
    name, _, digest = str(record.imported_from).partition(" sha256:")
    return {
        "imported from": name,
        "sha256": f"{digest[:16]}…",
        "settings": "of the scoring are not known here",
        "imported": formatting.moment(record.created_at),
    }


def _show_statuses(stored: _InDatabase, view: View) -> None:
    """Every sample is in one row of this table, with the commonest reasons and an example."""
    st.subheader("What became of every sample", anchor=False)
    counts = read_status_counts(stored.context)
    total = int(counts["n"].sum())
    rows: list[tuple[str | Bar, ...]] = [
        (
            formatting.status_name(str(row["status"])),
            formatting.count(row["n"]),
            formatting.share(row["n"], total),
            _meaning(str(row["status"])),
        )
        for row in counts.to_dict("records")
        if row["n"]
    ]
    rows.append(("all samples", formatting.count(total), formatting.share(total, total), ""))
    columns = ("status", "samples", "share", "meaning")
    figures.show_table(Table(columns, rows, frozenset({1, 2}), total=True))
    _show_reasons(stored, view)


def _meaning(status: str) -> str:
    return formatting.STATUS_MEANINGS[Status(status)] if status in list(Status) else ""


def _show_reasons(stored: _InDatabase, view: View) -> None:
    frame = read_status_reasons(stored.context)
    if frame.empty:
        return
    scope = stored.context.scope
    shown = replace(view, run=scope.run_id, baseline=scope.baseline, filter=Filter(), page=None)
    body = "".join(_reason(row, shown) for row in frame.to_dict("records"))
    st.html(
        '<div class="vn-table"><table><thead><tr><th scope="col">status</th>'
        '<th scope="col">reason, as the run gave it</th><th class="number" scope="col">samples</th>'
        f'<th scope="col">example</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def _reason(row: Mapping[Any, Any], view: View) -> str:
    """One row of the reasons; the example opens in Explore."""
    example = int(row["example_row_idx"])
    link = page_link(PageName.EXPLORE, replace(view, sample=example, row=None))
    reason = formatting.ABSENT if pd.isna(row["reason"]) else str(row["reason"])
    return (
        f"<tr><td>{escape(formatting.status_name(str(row['status'])))}</td><td>{escape(reason)}</td>"
        f'<td class="number">{formatting.count(row["n"])}</td>'
        f'<td><a href="{escape(link, quote=True)}" target="_self">row {example:,}</a></td></tr>'
    )
