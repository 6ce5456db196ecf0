"""Which runs are active, and whether a page is out of date."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dashboard.data.context import OpenedWorkspace, has_database, open_store
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import list_runs


@dataclass(frozen=True, slots=True)
class WorkspaceState:
    """What a page was drawn from: dataset, database, runs, and which of the runs are active."""

    dataset: str | None
    generation: str | None
    runs: tuple[str, ...]
    active: tuple[str, ...]


def read_state(opened: OpenedWorkspace) -> WorkspaceState:
    """Return the current state of the workspace."""
    workspace, dataset = opened.workspace, opened.dataset
    has_scores = dataset is not None and has_database(workspace)
    return WorkspaceState(
        dataset=dataset.fingerprint if dataset else None,
        generation=open_store(workspace).generation if has_scores else None,
        runs=tuple(run.run_id for run in list_runs(workspace)),
        active=tuple(read_active_runs(opened)),
    )


def read_active_runs(opened: OpenedWorkspace) -> dict[str, RunProgress]:
    """Return the progress of each run that a process is working on."""
    workspace = opened.workspace
    runs = [run.run_id for run in list_runs(workspace) if not run.imported_from]
    reports = {run: read_progress(workspace, run) for run in runs}
    return {run: report for run, report in reports.items() if report and report.state == "running"}


def state_digest(opened: OpenedWorkspace) -> str:
    """Return a digest that changes with the state and with the progress of active runs."""
    progress = [
        (run, report.done, report.updated_at) for run, report in read_active_runs(opened).items()
    ]
    return hashlib.sha256(repr((read_state(opened), progress)).encode()).hexdigest()
