"""Several processes of this machine on one run: started, monitored and stopped together.

Workers are ordinary processes that share the run through leases. Each has a pipe from its parent:
its job arrives as one line, and when the pipe closes, because the parent was asked to stop or died,
the worker finishes its samples in flight and exits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

from scoring.engine.baselines import BaselineSettings
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import build_run_record, predict_dataset, score_dataset
from scoring.engine.prefetch import usable_cores
from scoring.models.options import ModelOptions
from scoring.predictions.records import TurnChoice
from scoring.reviews.pinned_edits import PinnedEdit
from scoring.runs.progress import RunProgress, read_progress
from scoring.workspace import Workspace, open_workspace

STOPPED = 130  # exit code of a worker that was asked to stop
_POLL_SECONDS = 0.2
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Job:
    """The work of each worker: load the model, score and predict the answers ``predict`` names."""

    workspace: str
    model: ModelOptions
    score: ScoreOptions = field(default_factory=ScoreOptions)
    predict: TurnChoice | None = None
    max_new_tokens: int | None = None

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Job:
        """Return the job that ``to_json`` wrote."""
        job = json.loads(line)
        baselines = BaselineSettings(**job["score"].pop("baselines"))
        edits = tuple(PinnedEdit(**edit) for edit in job["score"].pop("edits"))
        score = ScoreOptions(baselines=baselines, edits=edits, **job.pop("score"))
        return cls(model=ModelOptions(**job.pop("model")), score=score, **job)


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker that exited early, with the end of its output."""

    number: int
    exit_code: int
    output_tail: str


@dataclass(frozen=True, slots=True)
class WorkersResult:
    """How the workers ended. ``run_id`` is None if no worker got as far as starting the run."""

    run_id: str | None
    stopped: bool
    lost: tuple[LostWorker, ...]


def run_workers(
    workspace: Workspace,
    job: Job,
    n: int,
    *,
    on_progress: Callable[[RunProgress], None] | None = None,
    on_lost: Callable[[LostWorker], None] | None = None,
    stop: threading.Event | None = None,
) -> WorkersResult:
    """Run ``job`` in ``n`` processes and wait for them; setting ``stop`` stops them gracefully.

    The leases of a worker that died are taken over by the others at once.
    """

    def report_progress(run_id: str | None) -> None:
        if on_progress and run_id and (progress := read_progress(workspace, run_id)):
            on_progress(progress)

    result = run_processes(
        "scoring.cli.worker",
        job.to_json(),
        n,
        device=job.model.device,
        on_poll=report_progress,
        on_lost=on_lost,
        stop=stop,
    )
    return replace(result, run_id=result.run_id or job.score.run_id)


def run_processes(
    module: str,
    job: str,
    n: int,
    *,
    device: str | None,
    on_poll: Callable[[str | None], None],
    on_lost: Callable[[LostWorker], None] | None = None,
    stop: threading.Event | None = None,
) -> WorkersResult:
    """Run ``python -m module`` in ``n`` processes that read the line ``job`` from stdin.

    ``on_poll`` is called several times a second with the run that a worker has reported, if any.
    """
    stop = stop or threading.Event()
    workers = [_Worker(number, n, module, job, device) for number in range(n)]
    lost_workers: list[LostWorker] = []
    try:
        running = list(workers)
        while running:
            time.sleep(_POLL_SECONDS)
            if stop.is_set():
                for worker in running:
                    worker.ask_to_stop()
            for worker in [worker for worker in running if worker.process.poll() is not None]:
                running.remove(worker)
                if (lost := worker.describe_loss()) is not None:
                    lost_workers.append(lost)
                    if on_lost:
                        on_lost(lost)
            on_poll(_find_run_id(workers))
    finally:
        for worker in workers:  # that have not exited by themselves
            worker.ask_to_stop()
            if worker.process.poll() is None:
                worker.process.terminate()
                worker.process.wait()
    stopped = stop.is_set() or STOPPED in [worker.process.returncode for worker in workers]
    return WorkersResult(_find_run_id(workers), stopped, tuple(lost_workers))


class _Worker:
    """One child process, its pipes and its output."""

    def __init__(self, number: int, n: int, module: str, job: str, device: str | None) -> None:
        self.number = number
        self.run_id: str | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.process = subprocess.Popen(  # noqa: S603 - a module of ours
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=worker_environment(number, n, device),
            start_new_session=True,  # Ctrl-C reaches only the parent, which passes it on
        )
        self._stdin, stdout, stderr = (
            cast("IO[str]", pipe)
            for pipe in (self.process.stdin, self.process.stdout, self.process.stderr)
        )
        with suppress(BrokenPipeError):  # it died at once; its output shows why
            self._stdin.write(job + "\n")
            self._stdin.flush()

        def read_stdout() -> None:
            for line in stdout:
                with suppress(ValueError, AttributeError):  # a library may write to stdout as well
                    self.run_id = json.loads(line).get("run_id", self.run_id)

        def read_stderr() -> None:
            self._tail.extend(line.rstrip("\n") for line in stderr)

        self._listeners = [
            threading.Thread(target=target, daemon=True) for target in (read_stdout, read_stderr)
        ]
        for listener in self._listeners:
            listener.start()

    def ask_to_stop(self) -> None:
        """Close its pipe."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def describe_loss(self) -> LostWorker | None:
        """Return the exit code and output of a worker that failed."""
        if self.process.returncode in (0, STOPPED):
            return None
        for listener in self._listeners:
            listener.join(timeout=5)
        return LostWorker(self.number, self.process.returncode, "\n".join(self._tail))


def _find_run_id(workers: Sequence[_Worker]) -> str | None:
    return next((worker.run_id for worker in workers if worker.run_id), None)


def worker_environment(number: int, n: int, device: str | None) -> dict[str, str]:
    """Return the environment of worker ``number`` of ``n``: its GPU, if any, and its cores."""
    cores = max(1, usable_cores() // n)
    environment = {**os.environ, "VISNEC_CORES": str(cores)}
    environment.setdefault("OMP_NUM_THREADS", str(cores))
    if device not in (None, "cuda"):
        return environment
    configured = os.environ.get("CUDA_VISIBLE_DEVICES")
    if configured is None:
        import torch  # takes seconds to import and is only needed here

        devices = list(map(str, range(torch.cuda.device_count())))
    else:
        devices = [name.strip() for name in configured.split(",") if name.strip()]
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return environment


def run_job(job: Job, send: Callable[[dict[str, Any]], None], stop: threading.Event) -> bool:
    """Do the work of a worker; return whether it was stopped before the end."""
    from scoring.models import load_model

    workspace = open_workspace(Path(job.workspace))
    model = load_model(**asdict(job.model))
    record = build_run_record(workspace, model, job.score)
    send({"run_id": record.run_id})
    options = replace(job.score, run_id=record.run_id)
    summary = score_dataset(workspace, model, options, stop=stop, build=False)
    if not job.predict or summary.stopped:
        return summary.stopped
    settings: Any = {"max_new_tokens": job.max_new_tokens, "turns": job.predict}
    return predict_dataset(
        workspace, model, record.run_id, **settings, stop=stop, build=False
    ).stopped
