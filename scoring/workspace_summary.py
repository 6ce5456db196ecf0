"""Summarize a workspace: its dataset, runs, decisions, subsets and trials."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Any

from scoring.columns.parts import list_columns
from scoring.database.connection import Store
from scoring.database.queries.edited_scores import read_edited_scores
from scoring.database.queries.image_use import image_use_values, read_image_use
from scoring.database.queries.scorer_fit import (
    find_fit_problem,
    format_categories,
    read_scorer_fits,
)
from scoring.dataset.records import read_dataset_info
from scoring.errors import WorkspaceError
from scoring.exchange.imported_scores import read_import_report
from scoring.reviews.decisions import read_events
from scoring.reviews.pinned_edits import current_edits
from scoring.reviews.resolution import latest_decisions, reviewer_progress
from scoring.runs.progress import read_progress
from scoring.runs.record import RunRecord, list_runs
from scoring.samples import Status
from scoring.subsets.definitions import list_subsets
from scoring.trials.plan import list_trials, read_plan
from scoring.trials.results import read_results
from scoring.workspace import Workspace


def read_status(workspace: Workspace) -> dict[str, Any]:
    """Return what is in a workspace, from its dataset to its trials, as JSON values."""
    decisions = latest_decisions(read_events(workspace))
    edits = {edit.event.event_id for edit in current_edits(workspace)}
    checks = _checks_by_run(workspace)
    unchecked: dict[str, Any] = {"scores": [], "image_use": None}
    return {
        "dataset": asdict(read_dataset_info(workspace)),
        "runs": [
            _run_status(workspace, run)
            | {"edits": _count_stale_edits(run, edits)}
            | checks.get(run.run_id, unchecked)
            for run in list_runs(workspace)
        ],
        "edits": {"samples": len(edits), "to_score": _count_unscored_edits(workspace, edits)},
        "reviewers": [asdict(progress) for progress in reviewer_progress(decisions)],
        "columns": [asdict(column) for column in list_columns(workspace)],
        "subsets": [subset.name for subset in list_subsets(workspace)],
        "trials": [_trial_status(workspace, name) for name in list_trials(workspace)],
    }


def _count_stale_edits(run: RunRecord, edits: set[str]) -> dict[str, int] | None:
    """Return the edits of a run of edits, and how many are not current; None for other runs."""
    if not run.edits:
        return None
    stale = sum(pin.event_id not in edits for pin in run.edits)
    return {"samples": len(run.edits), "stale": stale}


def _count_unscored_edits(workspace: Workspace, edits: set[str]) -> int:
    """Return how many of the current edits no run of edits has an outcome for."""
    with suppress(WorkspaceError):  # as for the checks
        scores = read_edited_scores(Store(workspace)) if edits else []
        return len(edits - {score.event_id for score in scores if score.status != Status.PENDING})
    return len(edits)


def _trial_status(workspace: Workspace, name: str) -> dict[str, Any]:
    plan = read_plan(workspace, name)
    done = {(result.arm, result.seed) for result in read_results(workspace, plan)}
    return {"name": name, "done": len(done), "total": len(plan.units)}


def _checks_by_run(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Return counts of the scores in the database, per baseline of each run, oldest first, and
    whether these runs use the images."""
    checks: dict[str, dict[str, Any]] = {}
    with suppress(WorkspaceError):  # there is no database yet, or one of another version
        store = Store(workspace)
        for fit in read_scorer_fits(store, workspace.bands):
            counts = asdict(fit) | {
                "text": format_categories(fit),
                "problem": find_fit_problem(fit),
            }
            of_run = checks.setdefault(counts.pop("run_id"), {"scores": []})
            of_run["scores"].append(counts)
        for run_id, of_run in checks.items():
            of_run["image_use"] = image_use_values(read_image_use(store, run_id))
    return checks


def _run_status(workspace: Workspace, run: RunRecord) -> dict[str, Any]:
    status: dict[str, Any] = {"run_id": run.run_id, "model": run.model, "state": "not begun"}
    status |= {"done": 0, "total": 0, "rate": 0.0, "seconds_left": None, "processes": 0}
    status |= {"sources": {}, "statuses": {}}
    if run.imported_from:
        report = read_import_report(workspace, run.run_id)
        counts = {"done": report.n_samples, "total": report.n_samples, "statuses": report.statuses}
        return status | {"state": "imported"} | counts
    if progress := read_progress(workspace, run.run_id):
        status["state"] = f"{progress.phase} {progress.state}"
        status["processes"] = progress.n_processes
        for name in ("done", "total", "rate", "seconds_left", "sources", "statuses"):
            status[name] = getattr(progress, name)
    return status
