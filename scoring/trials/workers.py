"""Several processes of this machine on one trial, which share its units through leases."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from scoring.engine.workers import LostWorker, WorkersResult, run_processes
from scoring.trials.plan import read_plan
from scoring.trials.progress import TrialProgress, read_trial_progress
from scoring.workspace import Workspace, open_workspace


@dataclass(frozen=True, slots=True)
class TrialJob:
    """The work of each worker: the units of a trial that have no result."""

    workspace: str
    name: str
    device: str | None = None
    keep_models: bool = False

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> TrialJob:
        """Return the job that ``to_json`` wrote."""
        return cls(**json.loads(line))


def run_trial_workers(
    workspace: Workspace,
    job: TrialJob,
    n: int,
    *,
    on_progress: Callable[[TrialProgress], None] | None = None,
    on_lost: Callable[[LostWorker], None] | None = None,
    stop: threading.Event | None = None,
) -> WorkersResult:
    """Run ``job`` in ``n`` processes and wait for them; setting ``stop`` ends them within a step.

    The unit of a worker that died is taken over by another.
    """
    plan = read_plan(workspace, job.name)

    def report_progress(_: str | None) -> None:
        if on_progress:
            on_progress(read_trial_progress(workspace, plan))

    return run_processes(
        "scoring.cli.trial_worker",
        job.to_json(),
        n,
        device=job.device,
        on_poll=report_progress,
        on_lost=on_lost,
        stop=stop,
    )


def run_trial_job(line: str, stop: threading.Event) -> bool:
    """Do the work of a worker; return whether it was stopped before the end."""
    from scoring.trials.run import run_trial

    job = TrialJob.from_json(line)
    summary = run_trial(
        open_workspace(Path(job.workspace)),
        job.name,
        device=job.device,
        keep_models=job.keep_models,
        stop=stop,
    )
    return summary.stopped
