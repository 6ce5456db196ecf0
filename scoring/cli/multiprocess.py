"""Scoring by several processes: ``score --workers N`` and ``score --engine ray``."""

from __future__ import annotations

from dataclasses import asdict

import typer

from scoring.bundled import BUNDLED_MODEL
from scoring.cli.console import (
    baselines_table,
    done_words,
    print_json,
    run_progress,
    say,
    say_alterations,
    say_unfinished_thoughts,
    stopping,
    talk,
)
from scoring.database.build.refresh import build_if_behind
from scoring.dataset.records import read_dataset_info
from scoring.engine.pipeline import count_unfinished_thoughts, read_run_summary
from scoring.engine.workers import Job, LostWorker, WorkersResult, run_workers
from scoring.errors import InputError, WorkerError
from scoring.workspace import Workspace

__all__ = ["ENGINES", "Job", "is_shared", "score_shared"]

ENGINES = ("local", "ray")


def is_shared(workers: int, engine: str) -> bool:
    """Whether more than this process is asked for. Raises InputError for an unknown engine."""
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; known are {', '.join(ENGINES)}")
    return workers > 1 or engine != "local"


def score_shared(place: Workspace, job: Job, workers: int, engine: str, json: bool) -> None:
    """Scores with ``workers`` processes and tells how it ended, also by the exit code."""
    read_dataset_info(place)  # before the slow part: is there anything to score?
    if workers > 1 and job.model.get("device_map"):
        raise InputError(
            "--device-map spreads one model over the devices, and each of several workers would "
            "have one; leave --workers out"
        )
    if engine == "local":
        _check_model(job)
    what = "actors of Ray" if engine == "ray" else "workers"
    say(f"Starting {workers} {what}, each loads {job.model['name']}")
    with stopping() as stop, run_progress("Scoring") as show:
        if engine == "ray":
            from scoring.engine.distributed import score_distributed

            outcome = score_distributed(place, job, workers, on_progress=show, stop=stop)
        else:
            outcome = run_workers(
                place, job, workers, on_progress=show, on_lost=_tell_lost, stop=stop
            )
    if outcome.run_id is None:
        raise _failed(outcome)
    build_if_behind(place)
    summary = read_run_summary(place, outcome.run_id, job.limit)
    talk.print(baselines_table(f"Run {summary.run_id}", summary.by_baseline))
    say_alterations(summary)
    if job.predict:
        say_unfinished_thoughts(count_unfinished_thoughts(place, outcome.run_id))
    kept = done_words(summary, "a score")
    if json:
        print_json(asdict(summary))
    if outcome.lost:
        names = ", ".join(str(one.number) for one in outcome.lost)
        raise WorkerError(
            f"worker {names} ended before its time (see above); {kept}, and all of that is kept. "
            "The same command does what is missing"
        )
    if outcome.stopped:
        say(f"Stopped; {kept}, and all of that is kept. The same command goes on from there.")
        raise typer.Exit(130)
    say(kept)


def _check_model(job: Job) -> None:
    """Raises ModelError for a mistyped path, before each worker does."""
    from scoring.models.options import check_template, resolve_model_folder

    check_template(job.model.get("template"))
    if job.model["name"] != BUNDLED_MODEL:
        resolve_model_folder(job.model["name"], job.model.get("revision"))


def _tell_lost(lost: LostWorker) -> None:
    say(f"Worker {lost.number} ended with code {lost.exit_code}; others take over its samples")
    say(lost.output_tail)


def _failed(outcome: WorkersResult) -> Exception:
    if outcome.stopped and not outcome.lost:
        return typer.Exit(130)
    codes = {one.exit_code for one in outcome.lost}
    said = outcome.lost[0].output_tail if outcome.lost else "no worker began the run"
    return InputError(said) if codes == {2} else WorkerError(f"no worker began the run: {said}")
