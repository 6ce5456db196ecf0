"""From a dataset to a database: read, skip what is done, score or predict, journal, build.

The work follows a plan written once per run: rows grouped by their first image, groups in the
order of the dataset. Results go to disk every half minute, and at once when the work is stopped.
"""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.baselines import NONE, SHUFFLED, BaselineSettings
from scoring.dataset import read_columns, read_dataset_info, read_samples
from scoring.errors import InputError
from scoring.image_cycle import ImageCycle, write_image_cycle
from scoring.journal import Journal
from scoring.models.base import VisionLanguageModel
from scoring.predictions import Predictor, begin_predictions, prediction_row
from scoring.runs import (
    RunProgress,
    RunRecord,
    begin_run,
    now,
    progress_now,
    read_run,
    settings_digest,
    write_progress,
)
from scoring.samples import Sample
from scoring.schemas import PREDICTIONS, SCORES
from scoring.scorer import Scorer, score_row
from scoring.store import build_database
from scoring.workspace import Workspace, replacing

CHUNK_ROWS = 512  # rows of the plan that one part covers at most
WINDOW_ROWS = 64  # samples decoded at a time: batches are sorted by length within a window
FLUSH_SECONDS = 30.0
_PROGRESS_SECONDS = 1.0
_PACKAGES = ("visnec-studio", "torch", "transformers", "tokenizers", "pillow", "numpy")

OnProgress = Callable[[RunProgress], None]
Work = Callable[[Sequence[Sample]], list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a command over a run ended.

    ``by_baseline`` counts the samples of the run so far by status, under each of its blind
    baselines; ``statuses`` are those of the first, which each sample has once.
    """

    run_id: str
    total: int
    done_before: int
    done: int
    stopped: bool
    statuses: dict[str, int]
    by_baseline: dict[str, dict[str, int]]


def score_dataset(
    workspace: Workspace,
    model: VisionLanguageModel,
    *,
    run_id: str | None = None,
    baselines: Sequence[str] | BaselineSettings = (NONE,),
    tokens: bool = False,
    limit: int | None = None,
    truncate: bool = False,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> RunSummary:
    """Scores the dataset with and without images; goes on where the run stopped.

    ``tokens``: keep the losses of every answer token. ``limit``: at most so many rows of the
    plan, for a first look. Setting ``stop`` ends the work after the samples in flight, with
    everything kept. Raises RunConflictError where the run began with other settings.
    """
    blind = baselines if isinstance(baselines, BaselineSettings) else BaselineSettings(baselines)
    record = begin_run(workspace, _record(workspace, model, run_id, blind, truncate, tokens))
    journal = Journal(workspace.run_dir(record.run_id) / "scores", SCORES)
    scorer = Scorer(
        model,
        workspace.image_roots,
        baselines=blind,
        cycle=open_image_cycle(workspace, record.run_id, blind),
        truncate=truncate,
        tokens=tokens,
    )

    def work(samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return [score_row(score) for score in scorer.score(scorer.prepare(samples))]

    rows = _plan(workspace, record.run_id)[:limit]
    return _Runner(workspace, record.run_id, "score", journal, on_progress, stop).run(rows, work)


def predict_dataset(
    workspace: Workspace,
    model: VisionLanguageModel,
    run_id: str,
    *,
    rows: NDArray[np.int64] | None = None,
    max_new_tokens: int | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
) -> RunSummary:
    """Predicts answers for the scored samples of a run, or for those among ``rows``.

    Goes on where it stopped, with the ``max_new_tokens`` it began with (64 unless given). Raises
    InputError where another model than the run's is brought, RunConflictError where the run's
    predictions began with another ``max_new_tokens``.
    """
    record = read_run(workspace, run_id)
    if record.model_fingerprint != model.info.fingerprint:
        raise InputError(f"run {run_id!r} was scored by {record.model}, not by {model.info.name}")
    settings = begin_predictions(workspace, run_id, max_new_tokens)
    journal = Journal(workspace.run_dir(run_id) / "predictions", PREDICTIONS)
    predictor = Predictor(model, workspace.image_roots, max_new_tokens=settings.max_new_tokens)

    def work(samples: Sequence[Sample]) -> list[dict[str, Any]]:
        return [prediction_row(prediction) for prediction in predictor.predict(samples)]

    scored = scored_rows(workspace, run_id)
    wanted = scored if rows is None else np.intersect1d(scored, rows)
    plan = _plan(workspace, run_id)
    ordered = plan[np.isin(plan, wanted)]
    return _Runner(workspace, run_id, "predict", journal, on_progress, stop).run(ordered, work)


def scored_rows(workspace: Workspace, run_id: str) -> NDArray[np.int64]:
    """Rows that have a score in this run, ascending."""
    journal = Journal(workspace.run_dir(run_id) / "scores", SCORES)
    table = journal.read(["row_idx", "status"])
    scored = table.filter(pc.equal(table.column("status"), "scored"))
    return np.unique(scored.column("row_idx").to_numpy())


class _Runner:
    """Takes rows through ``work`` into a journal, and tells how far it is."""

    def __init__(
        self,
        workspace: Workspace,
        run_id: str,
        phase: str,
        journal: Journal,
        on_progress: OnProgress | None,
        stop: threading.Event | None,
    ) -> None:
        self._workspace, self._run_id, self._phase = workspace, run_id, phase
        self._journal, self._on_progress = journal, on_progress
        self._stop = stop or threading.Event()
        self._began = self._reported = time.monotonic()
        baselines = read_run(workspace, run_id).baselines
        self._statuses = {baseline: Counter[str]() for baseline in baselines}
        self._buffer: list[dict[str, Any]] = []
        self._done = self._done_before = self._total = 0

    def run(self, rows: NDArray[np.int64], work: Work) -> RunSummary:
        """Works through ``rows`` in chunks, skipping those that a part holds already."""
        flags = self._journal.done(read_dataset_info(self._workspace).n_samples)
        scores = Journal(self._workspace.run_dir(self._run_id) / "scores", SCORES)
        self._count(scores.read(["baseline", "status"]).to_pylist())
        self._total, self._done_before = len(rows), int(flags[rows].sum())
        self._done, built = self._done_before, self._done_before
        self._report("running")
        for chunk, start in enumerate(range(0, len(rows), CHUNK_ROWS)):
            mine = rows[start : start + CHUNK_ROWS]
            self._chunk(chunk, mine[~flags[mine]], work)
            if self._stop.is_set():
                break
            if self._done >= max(2 * built, 4 * CHUNK_ROWS) and self._done < self._total:
                build_database(self._workspace)  # at geometric growth, for the pages to follow
                built = self._done
        stopped = self._done < self._total
        self._report("stopped" if stopped else "finished")
        build_database(self._workspace)
        return RunSummary(
            run_id=self._run_id,
            total=self._total,
            done_before=self._done_before,
            done=self._done,
            stopped=stopped,
            statuses=dict(next(iter(self._statuses.values()))),
            by_baseline={name: dict(counted) for name, counted in self._statuses.items()},
        )

    def _chunk(self, chunk: int, rows: NDArray[np.int64], work: Work) -> None:
        flushed = time.monotonic()
        try:
            for start in range(0, len(rows), WINDOW_ROWS):
                if self._stop.is_set():
                    break
                wanted = rows[start : start + WINDOW_ROWS]
                samples = {
                    sample.row_idx: sample for sample in read_samples(self._workspace, wanted)
                }
                self._take(work([samples[row] for row in wanted.tolist()]), len(wanted))
                if time.monotonic() - flushed > FLUSH_SECONDS:
                    self._flush(chunk)
                    flushed = time.monotonic()
        finally:
            self._flush(chunk)

    def _take(self, results: list[dict[str, Any]], n_samples: int) -> None:
        self._buffer += results
        if self._phase == "score":
            self._count(results)
        self._done += n_samples
        if time.monotonic() - self._reported > _PROGRESS_SECONDS:
            self._report("running")
        elif self._on_progress:
            self._on_progress(self._now("running"))

    def _count(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self._statuses.setdefault(row["baseline"], Counter())[row["status"]] += 1

    def _flush(self, chunk: int) -> None:
        if self._buffer:
            self._journal.write(chunk, self._buffer)
            self._buffer = []

    def _now(self, state: str) -> RunProgress:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (self._done - self._done_before) / seconds
        statuses = dict(next(iter(self._statuses.values())))
        return progress_now(self._phase, self._done, self._total, rate, state, statuses)

    def _report(self, state: str) -> None:
        progress = self._now(state)
        write_progress(self._workspace, self._run_id, progress)
        self._reported = time.monotonic()
        if self._on_progress:
            self._on_progress(progress)


def _record(
    workspace: Workspace,
    model: VisionLanguageModel,
    run_id: str | None,
    baselines: BaselineSettings,
    truncate: bool,
    tokens: bool,
) -> RunRecord:
    info, dataset = model.info, read_dataset_info(workspace)
    deciding = {
        "model_fingerprint": info.fingerprint,
        "dataset_fingerprint": dataset.fingerprint,
        "baselines": baselines.names,
        "template": info.template,
        "dtype": info.dtype,
        "score_eos": info.score_eos,
        "max_length": info.max_length,
        "truncate": truncate,
    }
    if tokens:
        deciding["tokens"] = True
    if parameters := baselines.parameters():
        deciding["baseline_parameters"] = parameters
    return RunRecord(
        run_id=run_id or settings_digest(**deciding),
        model=info.name,
        model_family=info.family,
        device=info.device,
        device_name=info.device_name,
        processor=info.processor,
        created_at=now(),
        versions=_versions(),
        notice=info.notice,
        **deciding,  # type: ignore[arg-type]
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def open_image_cycle(
    workspace: Workspace, run_id: str, baselines: BaselineSettings
) -> ImageCycle | None:
    """The shuffled order of the dataset's images, beside the run; None where no baseline needs it.

    It depends on the dataset and the seed alone, so that a lost one is written the same again.
    """
    if SHUFFLED not in baselines.names:
        return None
    path = workspace.run_dir(run_id) / "images.arrow"
    if not path.exists():
        write_image_cycle(path, lambda: _first_images(workspace), baselines.shuffle_seed)
    return ImageCycle(path, baselines.shuffle_seed)


def _first_images(workspace: Workspace) -> Iterator[list[str | None]]:
    for table in read_columns(workspace, ["images"]):
        yield [paths[0] if paths else None for paths in table.column(0).to_pylist()]


def _plan(workspace: Workspace, run_id: str) -> NDArray[np.int64]:
    """The run's order of rows; written when the run begins, read back ever after."""
    path = workspace.run_dir(run_id) / "plan.parquet"
    if not path.exists():
        with replacing(path) as file:
            pq.write_table(pa.table({"row_idx": _grouped_by_image(workspace)}), file)
    rows: NDArray[np.int64] = pq.read_table(path).column("row_idx").to_numpy()
    return rows


def _grouped_by_image(workspace: Workspace) -> NDArray[np.int64]:
    """Rows that share their first image side by side; groups by the first row of each."""
    leader: dict[str, int] = {}
    keys: list[NDArray[np.int64]] = []
    for table in read_columns(workspace, ["row_idx", "images"]):
        rows = table.column("row_idx").to_pylist()
        images = table.column("images").to_pylist()
        groups = [
            leader.setdefault(paths[0], row) if paths else row
            for row, paths in zip(rows, images, strict=True)
        ]
        keys.append(np.array(groups, dtype=np.int64))
    return np.argsort(np.concatenate(keys), kind="stable")
