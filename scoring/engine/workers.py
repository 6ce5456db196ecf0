"""Several processes of this machine on one run: started, listened to, ended together.

Workers are plain processes that share the run through its claims like any others. Each lives on a
pipe from its parent: what to do comes in as one line, and when the pipe closes, because the
parent was asked to stop or is dead, the worker finishes its samples in flight and ends.
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
from scoring.runs.progress import RunProgress, read_progress
from scoring.workspace import Workspace, open_workspace

STOPPED = 130  # exit code of a worker that was asked to stop
_POLL_SECONDS = 0.2
_TAIL_LINES = 15

Say = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """The work of each worker: load the model, score and, with ``predict``, predict."""

    workspace: str
    model: ModelOptions
    score: ScoreOptions = field(default_factory=ScoreOptions)
    predict: bool = False
    max_new_tokens: int | None = None

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Job:
        """Return the job that ``to_json`` wrote."""
        job = json.loads(line)
        baselines = BaselineSettings(**job["score"].pop("baselines"))
        score = ScoreOptions(baselines=baselines, **job.pop("score"))
        return cls(model=ModelOptions(**job.pop("model")), score=score, **job)


@dataclass(frozen=True, slots=True)
class LostWorker:
    """A worker that ended before its time, and the last lines it said."""

    number: int
    exit_code: int
    output_tail: str


@dataclass(frozen=True, slots=True)
class WorkersResult:
    """How the workers ended. ``run_id`` is None where none came as far as to begin the run."""

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
    """Runs ``job`` in ``n`` processes and waits for them; setting ``stop`` ends them softly.

    What a worker that died had claimed is taken over by the others at once.
    """
    stop = stop or threading.Event()
    workers = [_Worker(number, n, job) for number in range(n)]
    lost: list[LostWorker] = []
    try:
        living = list(workers)
        while living:
            time.sleep(_POLL_SECONDS)
            if stop.is_set():
                for worker in living:
                    worker.ask_to_stop()
            for worker in [one for one in living if one.has_ended()]:
                living.remove(worker)
                if (found := worker.lost()) is not None:
                    lost.append(found)
                    if on_lost:
                        on_lost(found)
            _show(workspace, workers, on_progress)
    finally:
        for worker in workers:
            worker.end()
    codes = [worker.exit_code for worker in workers]
    return WorkersResult(_run_id(workers), stop.is_set() or STOPPED in codes, tuple(lost))


class _Worker:
    """One child process, its two pipes and what came out of them."""

    def __init__(self, number: int, n: int, job: Job) -> None:
        self.number, self.run_id = number, job.score.run_id
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scoring.cli.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=worker_environment(number, n, job.model.device),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which passes it on
        )
        self._stdin = cast("IO[str]", self._process.stdin)
        with suppress(BrokenPipeError):  # it died at once; its last words tell
            self._stdin.write(job.to_json() + "\n")
            self._stdin.flush()
        self._listeners = [
            threading.Thread(target=target, daemon=True) for target in (self._listen, self._hear)
        ]
        for listener in self._listeners:
            listener.start()

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        return self._process.returncode

    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def ask_to_stop(self) -> None:
        """Closes its pipe."""
        with suppress(BrokenPipeError):
            self._stdin.close()

    def lost(self) -> LostWorker | None:
        """What is to be told of a worker that did not end well."""
        if self._process.returncode in (0, STOPPED):
            return None
        for listener in self._listeners:
            listener.join(timeout=5)
        return LostWorker(self.number, self._process.returncode, "\n".join(self._tail))

    def end(self) -> None:
        """Ends it for good, where it has not ended by itself."""
        self.ask_to_stop()
        if not self.has_ended():
            self._process.terminate()
            self._process.wait()

    def _listen(self) -> None:
        for line in cast("IO[str]", self._process.stdout):
            with suppress(ValueError, AttributeError):  # a library may write to stdout as well
                self.run_id = json.loads(line).get("run_id", self.run_id)

    def _hear(self) -> None:
        for line in cast("IO[str]", self._process.stderr):
            self._tail.append(line.rstrip("\n"))


def worker_environment(number: int, n: int, device: str | None) -> dict[str, str]:
    """The environment of worker ``number`` of ``n``: its GPU where there are any, its cores."""
    cores = max(1, usable_cores() // n)
    environment = {**os.environ, "VISNEC_CORES": str(cores)}
    environment.setdefault("OMP_NUM_THREADS", str(cores))
    if device in (None, "cuda") and (devices := visible_devices()):
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return environment


def visible_devices() -> Sequence[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one.strip() for one in named.split(",") if one.strip()]
    import torch  # seconds to import, and only here is it needed

    return [str(number) for number in range(torch.cuda.device_count())]


def run_job(job: Job, say: Say, stop: threading.Event) -> bool:
    """What a worker does; True where it was stopped before its end."""
    from scoring.models import load_model

    workspace = open_workspace(Path(job.workspace))
    model = load_model(**asdict(job.model))
    record = build_run_record(workspace, model, job.score)
    say({"run_id": record.run_id})
    options = replace(job.score, run_id=record.run_id)
    summary = score_dataset(workspace, model, options, stop=stop, build=False)
    if not job.predict or summary.stopped:
        return summary.stopped
    predicted = predict_dataset(
        workspace,
        model,
        record.run_id,
        max_new_tokens=job.max_new_tokens,
        stop=stop,
        build=False,
    )
    return predicted.stopped


def _run_id(workers: Sequence[_Worker]) -> str | None:
    return next((one.run_id for one in workers if one.run_id), None)


def _show(
    workspace: Workspace,
    workers: Sequence[_Worker],
    on_progress: Callable[[RunProgress], None] | None,
) -> None:
    run_id = _run_id(workers)
    if on_progress is None or run_id is None:
        return
    progress = read_progress(workspace, run_id)
    if progress is not None:
        on_progress(progress)
