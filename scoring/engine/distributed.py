"""The same scoring on a Ray cluster: actors hold the model, chunks of the plan flow through them.

What flows is numbers of chunks and nothing else: the actors read the dataset and write parts in
the shared workspace like any other process, so a run begun here goes on without Ray and the other
way round. Needs the extra ``[ray]``; imported only when asked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scoring import errors
from scoring.engine.pipeline import (
    build_run_record,
    build_scoring_task,
    read_run_summary,
    scoring_phase,
)
from scoring.engine.plan import open_plan
from scoring.engine.runner import Runner
from scoring.engine.workers import Job, WorkersResult
from scoring.errors import InputError, VisnecError, WorkerError
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import begin_run
from scoring.workspace import Workspace, open_workspace

BATCH_CHUNKS = 8  # chunks that an actor is given at a time; their rows become a part
_SPARE_CPUS = 1.0  # for Ray's own tasks: where actors take every CPU it waits without a word
_POLL_SECONDS = 1.0


def score_distributed(
    workspace: Workspace,
    job: Job,
    actors: int,
    *,
    on_progress: Callable[[RunProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> WorkersResult:
    """Runs ``job`` on ``actors`` actors: of the cluster that RAY_ADDRESS names, or local ones.

    Rows that the run's parts hold are left out. Setting ``stop`` ends the actors softly. Raises
    InputError without Ray, WorkerError where an actor fails.
    """
    if job.predict:
        raise InputError(
            "--engine ray scores only; predict afterwards with: visnec predict, or --workers"
        )
    if job.score.retry:
        raise InputError("--engine ray scores what is open only; --retry without it, or --workers")
    ray = _import_ray()
    stop = stop or threading.Event()
    begun = not ray.is_initialized()
    if begun:
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True)
    try:
        return _score(ray, workspace, job, actors, on_progress, stop)
    except ray.exceptions.RayError as error:
        raise _explained(error) from error
    finally:
        if begun:
            ray.shutdown()


class ScoreChunks:
    """An actor: one model, and the open rows of whichever chunks it is given."""

    def __init__(self, job: str, stop_flag: Any) -> None:
        from scoring.models import load_model

        self._job = Job.from_json(job)
        workspace = open_workspace(Path(self._job.workspace))
        model = load_model(**asdict(self._job.model))
        options = self._job.score
        self._record = begin_run(workspace, build_run_record(workspace, model, options))
        self._stop = threading.Event()
        threading.Thread(target=self._watch, args=(stop_flag,), daemon=True).start()
        self._runner = Runner(
            scoring_phase(workspace, self._record, options.limit),
            build_scoring_task(workspace, self._record, model),
            stop=self._stop,
            build=False,
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Scores the chunks in the column ``chunk``; gives their run and how many are done."""
        summary = self._runner.run(batch["chunk"].tolist())
        done = np.array([summary.done - summary.done_before])
        return {"run_id": np.array([self._record.run_id]), "done": done}

    def _watch(self, stop_flag: Any) -> None:
        import ray

        while not self._stop.wait(_POLL_SECONDS):
            if ray.get(stop_flag.is_set.remote()):
                self._stop.set()


class _Flag:
    """Set by the driver, read by all actors."""

    def __init__(self) -> None:
        self._set = False

    def set(self) -> None:
        """Asks for the end."""
        self._set = True

    def is_set(self) -> bool:
        """Whether the end is asked for."""
        return self._set


def _score(
    ray: Any,
    workspace: Workspace,
    job: Job,
    actors: int,
    on_progress: Callable[[RunProgress], None] | None,
    stop: threading.Event,
) -> WorkersResult:
    flag = ray.remote(num_cpus=0)(_Flag).remote()
    run_id, finished = job.score.run_id, threading.Event()
    threading.Thread(target=_pass_on, args=(stop, finished, flag), daemon=True).start()
    try:
        while True:
            n_done = 0
            for row in _chunks_scored(ray, workspace, job, actors, flag):
                run_id, n_done = str(row["run_id"]), n_done + int(row["done"])
                if on_progress and (progress := read_progress(workspace, run_id)):
                    on_progress(progress)
            standing = read_run_summary(workspace, run_id, job.score.limit) if run_id else None
            if stop.is_set() or standing is None or not standing.stopped or not n_done:
                break  # what is left without progress, others hold
    finally:
        finished.set()
    return WorkersResult(run_id, standing is None or standing.stopped, ())


def _chunks_scored(ray: Any, workspace: Workspace, job: Job, actors: int, flag: Any) -> Any:
    """One row per batch of chunks, as they are done."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    plan = open_plan(workspace)
    n_rows = len(plan.rows) if job.score.limit is None else min(job.score.limit, len(plan.rows))
    n_chunks = int(plan.chunk_of(np.array([n_rows - 1]))[0]) + 1 if n_rows else 0
    blocks = max(1, -(-n_chunks // BATCH_CHUNKS))
    numbers = np.arange(n_chunks)
    dataset = ray.data.from_numpy(np.array_split(numbers, blocks)).rename_columns({"data": "chunk"})
    return dataset.map_batches(
        ScoreChunks,
        batch_size=BATCH_CHUNKS,
        compute=ray.data.ActorPoolStrategy(size=actors),
        fn_constructor_kwargs={"job": job.to_json(), "stop_flag": flag},
        **_resources(ray, job, actors),
    ).iter_rows()


def _resources(ray: Any, job: Job, actors: int) -> dict[str, float]:
    """What an actor takes of the cluster: a GPU where there are any, and never the last CPU."""
    there = ray.cluster_resources()
    cpus = max(there.get("CPU", 1.0) - _SPARE_CPUS, 0.5)
    wanted: dict[str, float] = {"num_cpus": min(1.0, int(100 * cpus / actors) / 100)}
    if there.get("GPU", 0) and job.model.device in (None, "cuda"):
        wanted["num_gpus"] = min(1.0, there["GPU"] / actors)
    return wanted


def _pass_on(stop: threading.Event, finished: threading.Event, flag: Any) -> None:
    while not finished.wait(0.2):
        if stop.is_set():
            flag.set.remote()
            return


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            "--engine ray needs Ray, which is not installed; "
            "install it with: pip install 'visnec-studio[ray]'"
        ) from error
    return ray


def _explained(error: Exception) -> VisnecError:
    """The error of the actor in its own words, without the trace through Ray.

    Of an actor that died while it began, Ray keeps the trace alone.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, VisnecError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    if isinstance(cause, VisnecError):
        return cause
    told = re.findall(r"^scoring\.errors\.(\w+): (.+)", str(error), flags=re.MULTILINE)
    kind = getattr(errors, told[-1][0], None) if told else None
    if isinstance(kind, type) and issubclass(kind, VisnecError):
        return kind(told[-1][1])
    last = str(error).strip().splitlines()[-1:]
    return WorkerError(
        f"an actor ended before its time ({''.join(last)}); what its parts hold is kept, the same "
        "command goes on from there"
    )
