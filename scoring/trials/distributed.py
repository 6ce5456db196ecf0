"""Runs the units of a trial on a Ray cluster: a task per unit, on actors that hold the model.

Only positions of units go through Ray: the actors read and write the shared workspace like any
other process, so a trial begun here can be resumed without Ray and vice versa. Needs the extra
``[ray]``; imported only on request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoring.engine.distributed import actor_error, actor_resources, ray_session
from scoring.engine.workers import WorkersResult
from scoring.trials.plan import TrialPlan, read_plan
from scoring.trials.progress import TrialProgress, open_units, read_trial_progress
from scoring.trials.run import TrialRunner
from scoring.trials.workers import TrialJob
from scoring.workspace import Workspace, open_workspace

_POLL_SECONDS = 1.0


def run_trial_distributed(
    workspace: Workspace,
    job: TrialJob,
    actors: int,
    *,
    on_progress: Callable[[TrialProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> WorkersResult:
    """Run ``job`` on ``actors`` actors of the cluster at RAY_ADDRESS, or on local ones.

    Setting ``stop`` ends the actors within a step. Raises InputError if Ray is not installed,
    WorkerError if an actor fails, and what ``run_trial`` raises.
    """
    plan, stop = read_plan(workspace, job.name), stop or threading.Event()
    with ray_session() as ray:
        try:
            return _run_units(ray, workspace, plan, job, actors, on_progress, stop)
        except ray.exceptions.RayError as error:
            raise actor_error(error) from error


class TrialActor:
    """An actor: a model that runs the units it gets."""

    def __init__(self, job: str) -> None:
        given = TrialJob.from_json(job)
        workspace = open_workspace(Path(given.workspace))
        plan = read_plan(workspace, given.name)
        self._stop = threading.Event()
        self._runner = TrialRunner(
            workspace, plan, device=given.device, keep_models=given.keep_models
        )

    def run(self, unit: int) -> None:
        """Run one unit, unless it is done or another process works on it."""
        if not self._stop.is_set():
            self._runner.run([unit], stop=self._stop)

    def stop(self) -> None:
        """End the unit in flight within a step."""
        self._stop.set()


def _run_units(
    ray: Any,
    workspace: Workspace,
    plan: TrialPlan,
    job: TrialJob,
    actors: int,
    on_progress: Callable[[TrialProgress], None] | None,
    stop: threading.Event,
) -> WorkersResult:
    resources = actor_resources(ray, actors, job.device)
    actor = ray.remote(max_concurrency=2, **resources)(TrialActor)  # a unit, and a call to stop
    pool = [actor.remote(job.to_json()) for _ in range(actors)]
    pending = open_units(workspace, plan)[::-1]
    running: dict[Any, Any] = {}
    idle = list(pool)
    has_stopped = False
    while running or (pending and not stop.is_set()):
        while idle and pending and not stop.is_set():
            worker = idle.pop()
            running[worker.run.remote(pending.pop())] = worker
        if stop.is_set() and not has_stopped:
            has_stopped = True
            for worker in pool:
                worker.stop.remote()
        done, _ = ray.wait(list(running), timeout=_POLL_SECONDS)
        for task in done:
            idle.append(running.pop(task))
            ray.get(task)  # raises the error of the unit
        if on_progress:
            on_progress(read_trial_progress(workspace, plan))
    return WorkersResult(None, bool(open_units(workspace, plan)), ())
