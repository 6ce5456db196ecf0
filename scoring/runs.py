"""A run: one model, template and dtype over one dataset, and the record that pins them down.

The run record is written once. Whoever goes on with the run must bring the same settings, model
and dataset; what differs is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scoring.errors import RunConflictError, WorkspaceError
from scoring.workspace import Workspace, checked_name, write_json


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that decides a run's numbers (``run.json``).

    ``model``, ``device``, ``device_name``, ``processor``, ``created_at``, ``versions`` and
    ``notice`` are kept for the reader; the rest must be equal when the run goes on.
    ``baseline_parameters`` are those of the run's own baselines: ``blur_sigma`` (share of the
    image's longer side), ``shuffle_seed``. ``tokens``: the parts hold a loss per answer token.
    """

    run_id: str
    model: str
    model_fingerprint: str
    model_family: str
    dataset_fingerprint: str
    baselines: tuple[str, ...]
    template: str
    dtype: str
    device: str
    score_eos: bool
    max_length: int
    truncate: bool
    created_at: str
    versions: dict[str, str] = field(default_factory=dict)
    notice: str | None = None
    tokens: bool = False
    baseline_parameters: dict[str, float] = field(default_factory=dict)
    processor: str | None = None  # classes that made ids and pixels
    device_name: str | None = None  # of the device's maker


_DECIDING = (
    "model_fingerprint",
    "dataset_fingerprint",
    "baselines",
    "template",
    "dtype",
    "score_eos",
    "max_length",
    "truncate",
    "tokens",
    "baseline_parameters",
)


def settings_digest(**settings: object) -> str:
    """A short name for a run: a digest of the settings that decide its numbers."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def begin_run(workspace: Workspace, record: RunRecord) -> RunRecord:
    """Writes the record of a new run, or returns the one that is there.

    Raises RunConflictError naming every setting in which the two differ.
    """
    path = workspace.run_dir(record.run_id) / "run.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(record))
        return record
    present = read_run(workspace, record.run_id)
    differences = [
        f"{name}: {getattr(present, name)!r} then, {getattr(record, name)!r} now"
        for name in _DECIDING
        if getattr(present, name) != getattr(record, name)
    ]
    if differences:
        raise RunConflictError(
            f"run {record.run_id!r} began with other settings ({'; '.join(differences)}); "
            "repeat the old ones, or give another name with --run"
        )
    return present


def read_run(workspace: Workspace, run_id: str) -> RunRecord:
    """The record of one run. Raises WorkspaceError naming the runs there are."""
    path = workspace.run_dir(run_id) / "run.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(run.run_id for run in list_runs(workspace)) or "none yet"
        raise WorkspaceError(f"no run {run_id!r} in {workspace.root}; there are: {known}") from None
    known_fields = {item.name for item in fields(RunRecord)}
    values = {name: value for name, value in raw.items() if name in known_fields}
    return RunRecord(**{**values, "baselines": tuple(values["baselines"])})


def list_runs(workspace: Workspace) -> list[RunRecord]:
    """The runs of a workspace, oldest first."""
    names = sorted(path.parent.name for path in workspace.runs_dir.glob("*/run.json"))
    runs = [read_run(workspace, name) for name in names]
    return sorted(runs, key=lambda run: (run.created_at, run.run_id))


def only_run(workspace: Workspace, run_id: str | None) -> RunRecord:
    """The named run, or without a name the newest one. Raises WorkspaceError where none is."""
    if run_id is not None:
        return read_run(workspace, checked_name(run_id, "run"))
    runs = list_runs(workspace)
    if not runs:
        raise WorkspaceError(
            f"{workspace.root} has no run yet; "
            f"score it with: visnec score -w {workspace.root} --model MODEL"
        )
    return runs[-1]


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a process is with a run (``progress.json``, replaced about once a second)."""

    phase: str  # score | predict
    done: int
    total: int
    rate: float  # samples per second of this process
    seconds_left: float | None
    state: str  # running | finished | stopped
    updated_at: str
    pid: int
    host: str
    statuses: dict[str, int]


def write_progress(workspace: Workspace, run_id: str, progress: RunProgress) -> None:
    """Replaces the progress of a run."""
    write_json(workspace.run_dir(run_id) / "progress.json", asdict(progress))


def read_progress(workspace: Workspace, run_id: str) -> RunProgress | None:
    """The latest progress of a run, or None where no process has reported any."""
    path: Path = workspace.run_dir(run_id) / "progress.json"
    try:
        return RunProgress(**json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def progress_now(
    phase: str, done: int, total: int, rate: float, state: str, statuses: dict[str, int]
) -> RunProgress:
    """Progress of this process at this moment."""
    left = (total - done) / rate if rate > 0 else None
    return RunProgress(
        phase=phase,
        done=done,
        total=total,
        rate=rate,
        seconds_left=left,
        state=state,
        updated_at=now(),
        pid=os.getpid(),
        host=socket.gethostname(),
        statuses=statuses,
    )


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
