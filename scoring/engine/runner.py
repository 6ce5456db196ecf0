"""Processes the open rows of a run and writes parts, alone or among other processes.

Chunks are leased, prepared ahead, computed, and written about every half minute, and at once when
the run is stopped or fails. A part contains only rows whose leases this process still holds at that
moment. A process that finds nothing to lease waits for the others and takes over from those that
die.
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

from scoring.database.build.refresh import build_if_outdated
from scoring.engine.plan import Plan
from scoring.engine.prefetch import Prefetcher, SampleTask, Window
from scoring.engine.run_counts import RunCounts
from scoring.errors import StorageError
from scoring.runs.journal import Journal
from scoring.runs.leases import ChunkLeases
from scoring.runs.progress import ProgressFile, Rate, RunProgress, SampleCounts, read_progress
from scoring.workspace import Workspace

FLUSH_SECONDS = 30.0
_MOST_BUFFERED = 20_000  # rows: limits what is not yet in a part, for fast models
_FIRST_BUILD = 2_000  # rows after which the database is first built, for the dashboard
_REPORT_SECONDS = 1.0
_WAIT_SECONDS = 0.5

OnProgress = Callable[[RunProgress], None]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The state of a run at the end of a command, as numbers of samples."""

    run_id: str
    total: int
    done_before: int
    done: int
    n_succeeded: int  # done, with a score under any blind baseline or both predictions
    stopped: bool
    statuses: dict[str, int]  # under the first baseline, which each sample has once
    by_baseline: dict[str, dict[str, int]]  # of the run so far, by status under each baseline
    n_text_altered: int = 0  # scored, with control tokens in their text that were read as text
    n_thoughts_dropped: int = 0  # scored without thoughts, which the chat template drops
    left_out: RunSummary | None = None  # of the losses without one of several images
    later_turns: RunSummary | None = None  # of the predictions after the first answer


@dataclass(frozen=True, slots=True)
class RunPhase:
    """One phase of a run: which positions of the plan to process, and where results go."""

    workspace: Workspace
    run_id: str
    phase: str  # score | leave_one_out | predict | predict_turns
    plan: Plan
    journal: Journal
    wanted: NDArray[np.bool_]  # (n,) flags by position
    baselines: Sequence[str] = ()
    scores: RunCounts | None = None  # for the statuses, if the results are not scores themselves

    def count_rows(self) -> RunCounts:
        """Count the rows in the parts of this phase."""
        return RunCounts(self.plan, self.journal, self.wanted, self.baselines)


def summarize_run(
    run_id: str, run_counts: RunCounts, scores: RunCounts | None = None
) -> RunSummary:
    """Return the summary of the parts; statuses are from ``scores`` if it is given."""
    scores = scores or run_counts
    return RunSummary(
        run_id=run_id,
        total=run_counts.total,
        done_before=run_counts.counts.done,
        done=run_counts.counts.done,
        n_succeeded=run_counts.n_succeeded,
        stopped=run_counts.counts.done < run_counts.total,
        statuses=dict(scores.counts.statuses),
        by_baseline={name: dict(counter) for name, counter in scores.by_baseline.items()},
        n_text_altered=scores.n_text_altered,
        n_thoughts_dropped=scores.n_thoughts_dropped,
    )


class Runner:
    """Processes one phase until no row is open, or until ``stop`` is set."""

    def __init__(
        self,
        phase: RunPhase,
        task: SampleTask,
        *,
        on_progress: OnProgress | None = None,
        stop: threading.Event | None = None,
        build: bool = True,
        before_build: Callable[[], object] = lambda: None,
    ) -> None:
        self._phase, self._task, self._build = phase, task, build
        self._before_build = before_build  # writes what is derived from all parts
        self._on_progress, self._stop = on_progress, stop or threading.Event()
        phase.journal.remove_abandoned()
        self._counts = phase.count_rows()
        self._scores = phase.scores or self._counts
        self._counts.counts.statuses = self._scores.counts.statuses
        self._rate, self._n_own = Rate(), 0
        self._computed: dict[int, list[dict[str, Any]]] = {}  # rows by chunk, not in a part yet
        self._in_flight = SampleCounts()
        self._flushed = self._reported = time.monotonic()
        self._sweep: Iterator[int] = iter(())
        self._has_warned = False  # about a failed build during the run

    def run(self, chunks: Sequence[int] | None = None) -> RunSummary:
        """Process ``chunks``, by default all; of given ones, those leased by others are skipped.

        Raises StorageError, with the number of saved samples, if a part cannot be written.
        """
        phase, before = self._phase, self._counts.counts.done
        folder = phase.workspace.run_dir(phase.run_id) / "claims" / phase.phase
        with ExitStack() as stack:
            self._leases = stack.enter_context(ChunkLeases(folder))
            self._file = stack.enter_context(ProgressFile(phase.workspace, phase.run_id))
            self._ahead = stack.enter_context(Prefetcher(phase.plan, self._task))
            self._built = before
            self._report("running")
            try:
                self._process_chunks(chunks)
            finally:
                self._finish(more_to_come=chunks is not None and not self._stop.is_set())
        self._before_build()
        if self._build:
            build_if_outdated(phase.workspace)
        self._show_progress()
        return replace(summarize_run(phase.run_id, self._counts, self._scores), done_before=before)

    def _process_chunks(self, chunks: Sequence[int] | None) -> None:
        self._start_sweep(chunks)
        while not self._stop.is_set():
            while not self._ahead.is_full and (window := self._lease_window()):
                self._ahead.put_window(window)
            if len(self._ahead):
                self._compute_window()
                continue
            self._flush()
            if chunks is not None or not self._counts.open_rows.any():
                return
            self._stop.wait(_WAIT_SECONDS)  # others have leased the rest
            self._counts.read_new_parts()
            self._start_sweep(None)
            self._report_if_due()

    def _start_sweep(self, chunks: Sequence[int] | None) -> None:
        """Visit the open chunks once, in order; a later sweep revisits those leased by others."""
        candidates = np.flatnonzero(self._counts.open_rows) if chunks is None else np.array(chunks)
        self._sweep = iter(candidates.tolist())

    def _lease_window(self) -> Window | None:
        """Lease enough chunks for a window: one, or more if only some of their rows are open."""
        positions: list[NDArray[np.int64]] = []
        chunks: list[int] = []
        missing = self._phase.plan.chunk_rows
        for chunk in self._sweep:
            is_open = chunk not in self._leases.held and self._counts.open_rows[chunk]
            if not is_open or not self._leases.acquire(chunk):
                continue
            self._counts.read_new_parts()  # the previous owner flushes before releasing its lease
            open_positions = self._counts.open_positions(chunk)
            if not len(open_positions):
                self._leases.release([chunk])
                continue
            positions.append(open_positions)
            chunks.append(chunk)
            missing -= len(open_positions)
            if missing <= 0:
                break
        return Window(tuple(chunks), np.concatenate(positions)) if chunks else None

    def _compute_window(self) -> None:
        window, pieces = self._ahead.get_window()
        rows = [row for piece in pieces for row in self._task.compute_rows(piece)]
        plan = self._phase.plan
        by_chunk: dict[int, list[dict[str, Any]]] = {chunk: [] for chunk in window.chunks}
        chunks = plan.chunk_of(plan.position_of[[row["row_idx"] for row in rows]])
        for chunk, row in zip(chunks.tolist(), rows, strict=True):
            by_chunk[chunk].append(row)
        self._computed |= by_chunk
        self._in_flight.add(self._counts.count_rows(rows))
        self._n_own += len(window.positions)
        self._report_if_due()
        n_rows = sum(map(len, self._computed.values()))
        if time.monotonic() - self._flushed > FLUSH_SECONDS or n_rows > _MOST_BUFFERED:
            self._flush()
            done = self._counts.counts.done
            if self._build and done >= max(2 * self._built, _FIRST_BUILD):
                self._build_during_run()  # at geometric growth
                self._built = done

    def _build_during_run(self) -> None:
        """Build the database with the results so far; a failure here must not end the scoring."""
        try:
            build_if_outdated(self._phase.workspace, wait=False)
        except Exception as error:  # noqa: BLE001 - the build at the end raises
            if not self._has_warned:
                reason = " ".join(str(error).split())
                warnings.warn(
                    f"The database could not be updated during the run ({reason}). Scoring "
                    "continues; the update is retried at the end.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._has_warned = True

    def _flush(self) -> None:
        """Write the computed rows that are still leased as one part, and release the leases."""
        computed, self._computed = self._computed, {}
        self._in_flight = SampleCounts()
        held = [chunk for chunk in sorted(computed) if self._leases.is_held(chunk)]
        rows = [row for chunk in held for row in computed[chunk]]
        journal = self._phase.journal
        try:
            if rows:
                journal.write_part(held[0], rows)
        except OSError as error:
            raise StorageError(
                f"A part cannot be written to {journal.folder} ({error.strerror or error}). "
                f"{self._counts.counts.done:,} of {self._counts.total:,} samples are saved. "
                "Fix this (is the disk full?), then run the same command to resume."
            ) from error
        self._counts.read_new_parts()
        self._leases.release(computed)
        self._flushed = time.monotonic()

    def _finish(self, *, more_to_come: bool) -> None:
        """Save the computed rows, however the loop ended."""
        try:
            self._flush()
        finally:
            done = self._counts.counts.done >= self._counts.total
            self._report("finished" if done else "running" if more_to_come else "stopped")

    def _report_if_due(self) -> None:
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._report("running")

    def _report(self, state: str) -> None:
        self._file.report(
            phase=self._phase.phase,
            state=state,
            total=self._counts.total,
            rate=self._rate.update(self._n_own),
            written=self._counts.counts,
            in_flight=self._in_flight,
            source_totals=self._counts.source_totals,
        )
        self._reported = time.monotonic()
        if state == "running":
            self._show_progress()

    def _show_progress(self) -> None:
        if self._on_progress is not None:
            self._file.write()
            if progress := read_progress(self._phase.workspace, self._phase.run_id):
                self._on_progress(progress)
