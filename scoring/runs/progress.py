"""Progress of a run: one file per process, added up by the reader.

No process writes another's file, so no locks are needed. Every process counts the parts of all;
the count of the one that has seen most is used. What is not in a part yet is added up.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from scoring.runs.leases import has_exited, identify_process, read_file_clock
from scoring.runs.record import utc_now
from scoring.workspace import Workspace

SILENT_SECONDS = 30.0  # a process reports about once a second
_WRITE_SECONDS = 1.0
_RATE_SECONDS = 60.0  # the rate is that of the last minute
_LISTED_SOURCES = 200


@dataclass(slots=True)
class SampleCounts:
    """Samples that are done: in total, by status and by source."""

    done: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)

    def add(self, other: SampleCounts) -> None:
        """Add ``other`` to these counts."""
        self.done += other.done
        self.statuses = dict(Counter(self.statuses) + Counter(other.statuses))
        self.sources = dict(Counter(self.sources) + Counter(other.sources))


@dataclass(frozen=True, slots=True)
class ProcessProgress:
    """The report of one process (``progress/<host>-<pid>.json``)."""

    phase: str  # score | leave_one_out | predict | predict_turns
    state: str  # running | finished | stopped
    process: dict[str, Any]
    updated_at: str
    total: int  # samples of all processes together
    rate: float  # samples per second of this process
    written: SampleCounts  # samples it has seen in the parts, its own and others'
    in_flight: SampleCounts  # samples it has finished beyond that
    source_totals: dict[str, int]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """The progress of a run, all its processes together.

    A run is ``silent`` if its processes ended without reporting it: what they had not written will
    be done again.
    """

    phase: str  # score | leave_one_out | predict | predict_turns
    done: int
    total: int
    rate: float  # samples per second of the active processes
    seconds_left: float | None
    state: str  # running | finished | stopped | silent
    updated_at: str
    pid: int  # of the process that reported last
    host: str
    statuses: dict[str, int]
    # samples done and total, by source, the largest first
    sources: dict[str, tuple[int, int]] = field(default_factory=dict)
    n_processes: int = 1  # active ones
    n_silent: int = 0


def read_progress(workspace: Workspace, run_id: str) -> RunProgress | None:
    """Return the progress of a run, or None if no process has reported on it."""
    folder = workspace.run_dir(run_id) / "progress"
    reports = [(path, report) for path in folder.glob("*.json") if (report := _read_report(path))]
    if not reports:
        return None
    phase = max((report for _, report in reports), key=lambda report: report.updated_at).phase
    active: list[ProcessProgress] = []
    ended: list[ProcessProgress] = []
    for path, report in reports:
        if report.phase == phase:
            (
                active
                if is_active(path, {"state": report.state, "process": report.process})
                else ended
            ).append(report)
    last = max((*active, *ended), key=lambda report: report.updated_at)
    widest = max((*active, *ended), key=lambda report: (report.written.done, report.updated_at))
    counts = SampleCounts()
    for part in (widest.written, *(report.in_flight for report in active)):
        counts.add(part)
    done = min(counts.done, widest.total)
    rate = sum(report.rate for report in active)
    n_silent = sum(report.state == "running" for report in ended)
    if active:
        state = "running"
    elif done >= widest.total:
        state = "finished"
    else:
        state = "silent" if n_silent else "stopped"
    return RunProgress(
        phase=last.phase,
        done=done,
        total=widest.total,
        rate=rate,
        seconds_left=(widest.total - done) / rate if rate > 0 else None,
        state=state,
        updated_at=last.updated_at,
        pid=int(last.process["pid"]),
        host=str(last.process["host"]),
        statuses=dict(counts.statuses),
        sources={
            name: (min(counts.sources.get(name, 0), total), total)
            for name, total in widest.source_totals.items()
        },
        n_processes=len(active),
        n_silent=n_silent,
    )


class ReportFile:
    """The report of this process in a folder; a thread rewrites it about once a second.

    So a process that works on one window for a long time does not count as silent. A report that
    cannot be written, on a full disk for example, does not stop the work.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._process = folder, identify_process()
        name = re.sub(r"[^A-Za-z0-9_-]", "_", self._process["host"])
        self._path = folder / f"{name}-{self._process['pid']}.json"
        self._values: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, daemon=True, name="progress")

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            for path in self._folder.glob("*.json"):  # of ended processes: the parts have all
                values = read_values(path)
                if values is None or not is_active(path, values):
                    path.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.write()

    def report(self, **values: Any) -> None:
        """Set the report; ``state`` is running, finished or stopped. Values are copied."""
        self._values = {"process": self._process, **copy.deepcopy(values)}

    def write(self) -> None:
        """Write the report now."""
        if self._values is None:
            return
        temporary = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with self._lock, suppress(OSError):
            try:
                temporary.write_text(json.dumps({**self._values, "updated_at": utc_now()}), "utf-8")
                temporary.replace(self._path)
            finally:
                temporary.unlink(missing_ok=True)

    def _keep_writing(self) -> None:
        while not self._ended.wait(_WRITE_SECONDS):
            self.write()


class ProgressFile(ReportFile):
    """The report of this process on a run."""

    def __init__(self, workspace: Workspace, run_id: str) -> None:
        super().__init__(workspace.run_dir(run_id) / "progress")

    def report(self, **values: Any) -> None:
        """Set the fields of ``ProcessProgress`` that the caller knows; counts are copied.

        Only the largest sources are listed: a file that is read every second stays small.
        """
        largest = Counter(values["source_totals"]).most_common(_LISTED_SOURCES)
        values |= {name: asdict(values[name]) for name in ("written", "in_flight")}
        super().report(**values | {"source_totals": dict(largest)})


class Rate:
    """Samples per second over the last minute."""

    def __init__(self) -> None:
        self._points = deque([(time.monotonic(), 0)])

    def update(self, done: int) -> float:
        """Return the rate, now that this process has done ``done`` samples in total."""
        now = time.monotonic()
        self._points.append((now, done))
        while len(self._points) > 2 and now - self._points[1][0] > _RATE_SECONDS:
            self._points.popleft()
        began, before = self._points[0]
        return (done - before) / (now - began) if now > began else 0.0


def read_values(path: Path) -> dict[str, Any] | None:
    """Return the report in a file; None if it is gone, or is none."""
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _read_report(path: Path) -> ProcessProgress | None:
    try:
        values = read_values(path) or {}
        counts = {name: SampleCounts(**values[name]) for name in ("written", "in_flight")}
        return ProcessProgress(**values | counts)
    except (TypeError, KeyError):
        return None


def is_active(path: Path, values: Mapping[str, Any]) -> bool:
    """Return whether the process of a report is running, as far as this machine can see."""
    try:
        if values["state"] != "running" or has_exited(values["process"]):
            return False
        touched = path.stat().st_mtime
        if abs(time.time() - touched) < SILENT_SECONDS:
            return True
        # This machine's clock may be wrong, or may have gone back since the last report.
        return abs(read_file_clock(path.parent) - touched) < SILENT_SECONDS
    except (OSError, KeyError, TypeError, ValueError):
        return False
