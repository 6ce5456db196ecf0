"""What a page was drawn from and which runs are at work: whether there is something to show."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dashboard.data.context import OpenedWorkspace, has_database, open_store
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import list_runs


@dataclass(frozen=True, slots=True)
class WorkspaceState:
    """What a page was drawn from: dataset, database, its runs, and those that are at work."""

    dataset: str | None
    generation: str | None
    runs: tuple[str, ...]
    at_work: tuple[str, ...]


def read_state(opened: OpenedWorkspace) -> WorkspaceState:
    """The state of the workspace now."""
    workspace, dataset = opened.workspace, opened.dataset
    generation = None
    if dataset is not None and has_database(workspace):
        generation = open_store(workspace).generation
    runs = tuple(run.run_id for run in list_runs(workspace))
    fingerprint = dataset.fingerprint if dataset else None
    return WorkspaceState(fingerprint, generation, runs, tuple(read_running_progress(opened)))


def read_running_progress(opened: OpenedWorkspace) -> dict[str, RunProgress]:
    """The runs on which a process works now, by their names."""
    workspace = opened.workspace
    runs = [run.run_id for run in list_runs(workspace) if not run.imported_from]
    found = {run: read_progress(workspace, run) for run in runs}
    return {run: one for run, one in found.items() if one is not None and one.state == "running"}


def state_digest(opened: OpenedWorkspace) -> str:
    """Another one whenever the state or the progress of a run at work is another."""
    progress = [
        (run, one.done, one.updated_at) for run, one in read_running_progress(opened).items()
    ]
    return hashlib.sha256(repr((read_state(opened), progress)).encode()).hexdigest()
