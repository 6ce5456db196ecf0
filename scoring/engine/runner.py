"""Takes the open rows of a run through a model into parts, alone or among other processes.

Chunks are claimed, prepared ahead, worked out and written about every half minute, and at once
when the work is stopped or fails. A part holds only rows whose claims are still this process's
own at that moment. Who finds nothing left to claim waits for the others and takes over from those
that die.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.build.refresh import build_if_behind
from scoring.engine.plan import Plan
from scoring.engine.prefetch import Prefetcher, SampleTask, Window
from scoring.engine.run_counts import RunCounts
from scoring.errors import StorageError
from scoring.runs.journal import Journal
from scoring.runs.leases import ChunkLeases
from scoring.runs.progress import (
    ProgressFile,
    Rate,
    RunProgress,
    SampleCounts,
    largest_sources,
    read_progress,
)
from scoring.workspace import Workspace

FLUSH_SECONDS = 30.0
_MOST_BUFFERED = 20_000  # rows: what waits for its part stays bounded on a fast model too
_FIRST_BUILD = 2_000  # rows after which the pages are first given something to show
_REPORT_SECONDS = 1.0
_WAIT_SECONDS = 0.5

OnProgress = Callable[[RunProgress], None]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """How a command over a run ended.

    ``n_succeeded`` of the ``done`` samples have a score under any of its blind baselines, or both
    predictions. ``by_baseline`` counts the samples of the run so far by status, under each
    baseline; ``statuses`` are those of the first, which each sample has once. The other two
    count scored samples: with control tokens in their text that were read as text, and with
    thoughts that the chat template drops, so that only the final answer was scored.
    """

    run_id: str
    total: int
    done_before: int
    done: int
    n_succeeded: int
    stopped: bool
    statuses: dict[str, int]
    by_baseline: dict[str, dict[str, int]]
    n_text_altered: int = 0
    n_thoughts_dropped: int = 0


@dataclass(frozen=True, slots=True)
class RunPhase:
    """One phase of a run: which positions of the plan are wanted, and where results go.

    ``scores`` is brought where the results are not scores themselves: their statuses are told.
    """

    workspace: Workspace
    run_id: str
    phase: str  # score | predict
    plan: Plan
    journal: Journal
    wanted: NDArray[np.bool_]
    baselines: Sequence[str] = ()
    scores: RunCounts | None = None


def summarize_run(run_id: str, tally: RunCounts, scores: RunCounts | None = None) -> RunSummary:
    """What the parts hold; ``scores`` tells the statuses where ``tally`` counts something else."""
    scores = scores or tally
    return RunSummary(
        run_id=run_id,
        total=tally.total,
        done_before=tally.counts.done,
        done=tally.counts.done,
        n_succeeded=tally.n_succeeded,
        stopped=tally.counts.done < tally.total,
        statuses=dict(scores.counts.statuses),
        by_baseline={name: dict(one) for name, one in scores.by_baseline.items()},
        n_text_altered=scores.n_text_altered,
        n_thoughts_dropped=scores.n_thoughts_dropped,
    )


class Runner:
    """Works on one task until nothing of it is left, or until ``stop`` is set."""

    def __init__(
        self,
        task: RunPhase,
        work: SampleTask,
        *,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
        build: bool = True,
    ) -> None:
        self._task, self._work, self._build = task, work, build
        self._on_progress, self._stop = on_progress, stop or threading.Event()
        task.journal.remove_abandoned()
        self._tally = RunCounts(task.plan, task.journal, task.wanted, task.baselines)
        self._scores = task.scores or self._tally
        self._tally.counts.statuses = self._scores.counts.statuses
        self._rate, self._n_own = Rate(), 0
        self._finished: dict[int, list[dict[str, Any]]] = {}  # rows by chunk, not in a part yet
        self._in_flight = SampleCounts()
        self._flushed = self._reported = time.monotonic()
        self._sweep: Iterator[int] = iter(())
        self._warned = False  # of a build in the middle that failed

    def run(self, chunks: Sequence[int] | None = None) -> RunSummary:
        """Works on ``chunks``, by default on all; leaves those among named ones that others hold.

        Raises StorageError where a part cannot be written, saying what is kept.
        """
        task, before = self._task, self._tally.counts.done
        folder = task.workspace.run_dir(task.run_id) / "claims" / task.phase
        with ExitStack() as stack:
            self._leases = stack.enter_context(ChunkLeases(folder))
            self._file = stack.enter_context(ProgressFile(task.workspace, task.run_id))
            self._ahead = stack.enter_context(Prefetcher(task.plan, self._work))
            self._built = before
            self._report("running")
            try:
                self._loop(chunks)
            finally:
                self._end(more_to_come=chunks is not None and not self._stop.is_set())
        if self._build:
            build_if_behind(task.workspace)
        self._show()
        return replace(summarize_run(task.run_id, self._tally, self._scores), done_before=before)

    def _loop(self, chunks: Sequence[int] | None) -> None:
        self._begin_sweep(chunks)
        while not self._stop.is_set():
            while not self._ahead.is_full and (window := self._claim_window()):
                self._ahead.put(window)
            if len(self._ahead):
                self._compute()
                self._flush_if_due()
                continue
            self._flush()
            if chunks is not None or not self._tally.left.any():
                return
            self._stop.wait(_WAIT_SECONDS)  # the rest is held by others
            self._tally.refresh()
            self._begin_sweep(None)
            self._report_if_due()

    def _begin_sweep(self, chunks: Sequence[int] | None) -> None:
        """Goes through open chunks once, in order; what others hold is met again next time."""
        candidates = np.flatnonzero(self._tally.left) if chunks is None else np.asarray(chunks)
        self._sweep = iter(candidates.tolist())

    def _claim_window(self) -> Window | None:
        """Enough chunks for a window: one, or more where only some of their rows are open."""
        positions: list[NDArray[np.int64]] = []
        chunks: list[int] = []
        missing = self._task.plan.chunk_rows
        for chunk in self._sweep:
            if chunk in self._leases.held or not self._tally.left[chunk]:
                continue
            if not self._leases.acquire(chunk):
                continue
            self._tally.refresh()  # what its last holder wrote was there before it let go
            found = self._tally.open_positions(chunk)
            if not len(found):
                self._leases.release([chunk])
                continue
            positions.append(found)
            chunks.append(chunk)
            missing -= len(found)
            if missing <= 0:
                break
        return Window(tuple(chunks), np.concatenate(positions)) if chunks else None

    def _compute(self) -> None:
        window, pieces = self._ahead.get()
        rows = [row for piece in pieces for row in self._work.compute(piece)]
        plan = self._task.plan
        by_chunk: dict[int, list[dict[str, Any]]] = {chunk: [] for chunk in window.chunks}
        chunks = plan.chunk_of(plan.position_of[[row["row_idx"] for row in rows]])
        for chunk, row in zip(chunks.tolist(), rows, strict=True):
            by_chunk[chunk].append(row)
        self._finished |= by_chunk
        self._in_flight.add(self._tally.counts_of(rows))
        self._n_own += len(window.positions)
        self._report_if_due()

    def _flush_if_due(self) -> None:
        n_rows = sum(map(len, self._finished.values()))
        if time.monotonic() - self._flushed > FLUSH_SECONDS or n_rows > _MOST_BUFFERED:
            self._flush()
            done = self._tally.counts.done
            if self._build and done >= max(2 * self._built, _FIRST_BUILD):
                self._build_meanwhile()  # at geometric growth
                self._built = done

    def _build_meanwhile(self) -> None:
        """Gives the pages what there is so far; what goes wrong there must not end the scoring."""
        try:
            build_if_behind(self._task.workspace, wait=False)
        except Exception as error:  # noqa: BLE001 - the build at the end tells for good
            if not self._warned:
                said = " ".join(str(error).split())
                warnings.warn(
                    f"the database could not be brought up to date meanwhile ({said}); "
                    "the work goes on, and it is tried again at the end",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._warned = True

    def _flush(self) -> None:
        """Writes what is worked out and still claimed as one part, and gives the claims back."""
        finished, self._finished = self._finished, {}
        self._in_flight = SampleCounts()
        mine = [chunk for chunk in sorted(finished) if self._leases.is_held(chunk)]
        rows = [row for chunk in mine for row in finished[chunk]]
        if rows:
            try:
                self._task.journal.write_part(mine[0], rows)
            except OSError as error:
                raise self._not_written(error) from error
        self._tally.refresh()
        self._leases.release(finished)
        self._flushed = time.monotonic()

    def _not_written(self, error: OSError) -> StorageError:
        counts, task = self._tally.counts, self._task
        return StorageError(
            f"a part cannot be written to {task.journal.folder} ({error.strerror or error}); "
            f"{counts.done:,} of {self._tally.total:,} samples are kept. Put this right "
            "(is the disk full?), then the same command goes on from there"
        )

    def _end(self, *, more_to_come: bool) -> None:
        """Whatever ended the loop, what is worked out is kept."""
        try:
            self._flush()
        finally:
            done = self._tally.counts.done >= self._tally.total
            self._report("finished" if done else "running" if more_to_come else "stopped")

    def _report_if_due(self) -> None:
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._report("running")

    def _report(self, state: str) -> None:
        self._file.report(
            phase=self._task.phase,
            state=state,
            total=self._tally.total,
            rate=self._rate.update(self._n_own),
            written=self._tally.counts,
            in_flight=self._in_flight,
            source_totals=largest_sources(self._tally.source_totals),
        )
        self._reported = time.monotonic()
        if state == "running":
            self._show()

    def _show(self) -> None:
        if self._on_progress is None:
            return
        self._file.write()
        progress = read_progress(self._task.workspace, self._task.run_id)
        if progress is not None:
            self._on_progress(progress)
