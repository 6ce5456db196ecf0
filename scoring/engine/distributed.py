"""Scores on a Ray cluster: actors hold the model and process chunks of the plan.

Only chunk numbers go through Ray: the actors read the dataset and write parts in the shared
workspace like any other process, so a run started here can be resumed without Ray and vice versa.
Needs the extra ``[ray]``; imported only on request.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from scoring import errors
from scoring.dataset.records import read_dataset_info
from scoring.engine.pipeline import build_run_record, build_scorer, read_run_summary, scoring_phase
from scoring.engine.plan import CHUNK_ROWS
from scoring.engine.runner import Runner
from scoring.engine.workers import Job, WorkersResult
from scoring.errors import InputError, VisnecError, WorkerError
from scoring.runs.progress import RunProgress, read_progress
from scoring.runs.record import begin_run
from scoring.workspace import Workspace, open_workspace

BATCH_CHUNKS = 8  # chunks that an actor gets at a time; their rows become a part
_SPARE_CPUS = 1.0  # for Ray's own tasks: it hangs silently if actors use every CPU
_POLL_SECONDS = 1.0


def score_distributed(
    workspace: Workspace,
    job: Job,
    actors: int,
    *,
    on_progress: Callable[[RunProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> WorkersResult:
    """Run ``job`` on ``actors`` actors of the cluster at RAY_ADDRESS, or on local ones.

    Rows already in the run's parts are skipped. Setting ``stop`` stops the actors gracefully.
    Raises InputError if Ray is not installed or cannot run the job, WorkerError if an actor fails.
    """
    if job.predict:
        raise InputError(
            "--engine ray cannot predict. Run visnec predict afterwards, or use --workers."
        )
    if job.score.leave_one_out:
        raise InputError(
            "--engine ray cannot leave out images. Use --leave-one-out afterwards without it."
        )
    if job.score.retry:
        raise InputError("--engine ray cannot retry. Use --retry without it, or with --workers.")
    with ray_session() as ray:
        try:
            return _run_actors(ray, workspace, job, actors, on_progress, stop or threading.Event())
        except ray.exceptions.RayError as error:
            raise actor_error(error) from error


@contextmanager
def ray_session() -> Iterator[Any]:
    """Yield Ray, connected to a cluster or started here. Raises InputError without the extra."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            "--engine ray needs Ray, which is not installed; "
            "install it with: pip install 'visnec-studio[ray]'"
        ) from error
    must_start = not ray.is_initialized()
    if must_start:
        ray.init(log_to_driver=False, logging_level="ERROR", configure_logging=True)
    try:
        yield ray
    finally:
        if must_start:
            ray.shutdown()


class ScoreChunks:
    """An actor: a model that scores the open rows of the chunks it gets."""

    def __init__(self, job: str, stop_flag: Any) -> None:
        from scoring.models import load_model

        given = Job.from_json(job)
        workspace = open_workspace(Path(given.workspace))
        model, options = load_model(**asdict(given.model)), given.score
        self._record = begin_run(workspace, build_run_record(workspace, model, options))
        stop = threading.Event()

        def watch_flag() -> None:
            import ray

            while not stop.wait(_POLL_SECONDS):
                if ray.get(stop_flag.is_set.remote()):
                    stop.set()

        threading.Thread(target=watch_flag, daemon=True).start()
        phase = scoring_phase(workspace, self._record, options.limit)
        self._n_chunks = len(phase.plan.chunk_starts)
        scorer = build_scorer(workspace, self._record, model)
        self._runner = Runner(phase, scorer, stop=stop, build=False)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Score the chunks in the column ``chunk``; return their run and the rows scored."""
        chunks = batch["chunk"][batch["chunk"] < self._n_chunks].tolist()
        done = 0
        if chunks:
            summary = self._runner.run(chunks)
            done = summary.done - summary.done_before
        return {"run_id": np.array([self._record.run_id]), "done": np.array([done])}


def _run_actors(
    ray: Any,
    workspace: Workspace,
    job: Job,
    actors: int,
    on_progress: Callable[[RunProgress], None] | None,
    stop: threading.Event,
) -> WorkersResult:
    flag = ray.remote(num_cpus=0)(threading.Event).remote()  # an actor, read by all others
    run_id, finished = job.score.run_id, threading.Event()

    def forward_stop() -> None:
        while not finished.wait(0.2):
            if stop.is_set():
                flag.set.remote()
                return

    threading.Thread(target=forward_stop, daemon=True).start()
    try:
        while True:
            n_done = 0
            for row in _score_chunks(ray, workspace, job, actors, flag):
                run_id, n_done = str(row["run_id"]), n_done + int(row["done"])
                if on_progress and (progress := read_progress(workspace, run_id)):
                    on_progress(progress)
            summary = read_run_summary(workspace, run_id, job.score.limit) if run_id else None
            if stop.is_set() or summary is None or not summary.stopped or not n_done:
                break  # without progress, the rest is leased by other processes
    finally:
        finished.set()
    return WorkersResult(run_id, summary is None or summary.stopped, ())


def _score_chunks(ray: Any, workspace: Workspace, job: Job, actors: int, flag: Any) -> Any:
    """Yield one row per batch of chunks, when it is done."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    # The run's plan is known to the actors only: its chunks may be half as long as usual, and
    # numbers after the last one are left out.
    n_samples = read_dataset_info(workspace).n_samples
    n_rows = n_samples if job.score.limit is None else min(job.score.limit, n_samples)
    if job.score.edits:
        n_rows = n_samples  # edited samples may be anywhere
    n_chunks = -(-2 * n_rows // CHUNK_ROWS)
    blocks = np.array_split(np.arange(n_chunks), max(1, -(-n_chunks // BATCH_CHUNKS)))
    return (
        ray.data.from_numpy(blocks)
        .rename_columns({"data": "chunk"})
        .map_batches(
            ScoreChunks,
            batch_size=BATCH_CHUNKS,
            compute=ray.data.ActorPoolStrategy(size=actors),
            fn_constructor_kwargs={"job": job.to_json(), "stop_flag": flag},
            **actor_resources(ray, actors, job.model.device),
        )
        .iter_rows()
    )


def actor_resources(ray: Any, actors: int, device: str | None) -> dict[str, float]:
    """Return the share of the cluster that each of ``actors`` asks for."""
    available = ray.cluster_resources()
    cpus = max(available.get("CPU", 1.0) - _SPARE_CPUS, 0.5)
    resources: dict[str, float] = {"num_cpus": min(1.0, int(100 * cpus / actors) / 100)}
    if available.get("GPU", 0) and device in (None, "cuda"):
        resources["num_gpus"] = min(1.0, available["GPU"] / actors)
    return resources


def actor_error(error: Exception) -> VisnecError:
    """Return the actor's own error, without the trace through Ray.

    For an actor that died during its start, Ray only keeps the trace as text.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, VisnecError):
        cause = getattr(cause, "cause", None) or cause.__cause__
    if isinstance(cause, VisnecError):
        return cause
    traced = re.findall(r"^scoring\.errors\.(\w+): (.+)", str(error), flags=re.MULTILINE)
    kind = getattr(errors, traced[-1][0], None) if traced else None
    if isinstance(kind, type) and issubclass(kind, VisnecError):
        return kind(traced[-1][1])
    last = str(error).strip().splitlines()[-1:]
    return WorkerError(
        f"An actor exited early ({''.join(last)}). Progress is saved; run the same command to "
        "resume."
    )
