"""Writes of the pages: the only caller of scoring's writing functions.

Decisions, subsets, exports, band limits, and the derived database. A decision counts as saved
only after :func:`record_decisions` has returned: by then it is on disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dashboard.data import export_jobs
from dashboard.data.context import Context
from dashboard.data.export_jobs import ExportJob
from scoring.database.build.build import Progress, build_database
from scoring.database.build.refresh import build_if_behind
from scoring.database.values import BuildReport
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError, StorageError, VisnecError
from scoring.exports import ExportOptions
from scoring.exports.export import ExportResult, OnWait, check_folder, export_subset
from scoring.exports.export import Progress as ExportProgress
from scoring.exports.verify import VerifyReport, verify_manifest
from scoring.necessity import Bands
from scoring.reviews.decision_log import Decision, DecisionDraft, DecisionEvent
from scoring.reviews.decisions import ReviewLog, open_review_log
from scoring.subsets.definitions import SubsetDefinition, delete_subset, save_subset
from scoring.workspace import Workspace, open_workspace, save_settings

MAX_NOTE = 2000
_SHORTEST_REST = 5.0
_logs: dict[tuple[Path, str], ReviewLog] = {}
_builders: dict[Path, _Follower] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of drafts that a page handed in, by event id.

    ``refused`` make no sense and will never be saved; a page forgets them and says why.
    """

    saved: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None


def record_decisions(
    workspace: Workspace, reviewer: str, drafts: Sequence[Mapping[str, Any]]
) -> Receipt:
    """Saves what a browser handed in, in its order; repeating it changes nothing.

    Drafts come from outside and are checked one by one, so that a damaged one cannot hold up the
    others. Raises VisnecError or OSError where the log cannot be written: then nothing counts as
    saved and the browser keeps it all.
    """
    n_samples = read_dataset_info(workspace).n_samples
    good: list[DecisionDraft] = []
    refused: list[str] = []
    problem = None
    for raw in drafts:
        try:
            good.append(_draft(raw, n_samples))
        except (InputError, TypeError, ValueError) as error:
            refused.append(str(raw.get("event_id", "")))
            problem = f"a decision was not understood and left out ({error})"
    if good:
        _log(workspace, reviewer).append(good)
    return Receipt(tuple(str(draft.event_id) for draft in good), tuple(refused), problem)


def _draft(raw: Mapping[str, Any], n_samples: int) -> DecisionDraft:
    row_idx, decision, note = raw.get("row_idx"), raw.get("decision"), raw.get("note")
    event_id, undoes = raw.get("event_id"), raw.get("undoes")
    if not isinstance(row_idx, int) or not 0 <= row_idx < n_samples:
        raise InputError(f"the dataset has no row {row_idx!r}")
    if not isinstance(event_id, str) or not 8 <= len(event_id) <= 64:
        raise InputError(f"{event_id!r} is no event id")
    if undoes is not None and not isinstance(undoes, str):
        raise InputError(f"{undoes!r} is no event id")
    return DecisionDraft(
        row_idx=row_idx,
        decision=None if decision is None else Decision(decision),
        event_id=event_id,
        note=None if note is None else str(note)[:MAX_NOTE],
        queue=None if raw.get("queue") is None else str(raw["queue"])[:200],
        sampling_probability=raw.get("sampling_probability"),
        decided_at=raw.get("decided_at"),
        undoes=undoes,
        draw=None if raw.get("draw") is None else str(raw["draw"]),
    )


def record_decision(workspace: Workspace, reviewer: str, draft: DecisionDraft) -> DecisionEvent:
    """Saves one decision of an ordinary button."""
    return _log(workspace, reviewer).append([draft])[0]


def record_bulk(
    workspace: Workspace, reviewer: str, rows: Sequence[int], decision: Decision
) -> list[DecisionEvent]:
    """Saves one verdict on many samples; :func:`undo_bulk` takes it back whole.

    Raises InputError where the dataset lacks one of the rows: then none is saved.
    """
    n_samples = read_dataset_info(workspace).n_samples
    beyond = next((row for row in rows if not 0 <= row < n_samples), None)
    if beyond is not None:
        raise InputError(f"the dataset has no row {beyond!r}; reload the page")
    return _log(workspace, reviewer).append_bulk(rows, decision)


def undo_bulk(workspace: Workspace, reviewer: str, queue: str) -> int:
    """Takes one verdict on many samples back; on how many it still held."""
    return len(_log(workspace, reviewer).undo_bulk(queue))


def undo_last_decision(workspace: Workspace, reviewer: str) -> list[DecisionEvent]:
    """Takes back the reviewer's latest decision that holds, one on many samples whole; the undo
    events, none where there was nothing."""
    return _log(workspace, reviewer).undo_latest()


def _log(workspace: Workspace, reviewer: str) -> ReviewLog:
    """One open log per reviewer and process: it remembers what it has read."""
    with _lock:
        key = (workspace.root, reviewer)
        if key not in _logs:
            _logs[key] = open_review_log(workspace, reviewer)
        return _logs[key]


def save_bands(workspace: Workspace, bands: Bands) -> Workspace:
    """Makes these limits the workspace's own; other settings stay as they are on disk now."""
    current = open_workspace(workspace.root)
    changed = replace(current, settings=replace(current.settings, bands=bands))
    save_settings(changed)
    return changed


def save_subset_definition(
    workspace: Workspace, definition: SubsetDefinition, overwrite: bool = False
) -> Path:
    """Saves a subset under its name. Raises InputError where another one has the name."""
    return save_subset(workspace, definition, overwrite)


def forget_subset(workspace: Workspace, name: str) -> None:
    """Removes a saved definition; its exports stay."""
    delete_subset(workspace, name)


def start_export(
    context: Context,
    definition: SubsetDefinition,
    options: ExportOptions,
    folder: Path,
    overwrite: bool = False,
    allow_missing_images: bool = False,
) -> ExportJob:
    """Begins an export that goes on while pages are looked at. Raises InputError for a folder
    that it may not take, and where another export goes there now."""
    if not folder.is_absolute():
        raise InputError(f"{folder} is no whole path; begin it with /")
    check_folder(folder, overwrite)
    workspace, store = context.workspace, context.store

    def work(progress: ExportProgress, on_wait: OnWait) -> ExportResult:
        return export_subset(
            workspace,
            store,
            definition,
            folder,
            options,
            progress,
            overwrite,
            on_wait,
            allow_missing_images,
        )

    about = (definition, options, allow_missing_images)
    return export_jobs.start(workspace.root, definition.name, folder, work, about)


def running_exports(workspace: Workspace) -> list[ExportJob]:
    """Exports of this process, those at work and those that ended within the hour."""
    return export_jobs.jobs(workspace.root)


def dismiss_export(workspace: Workspace, job: ExportJob) -> None:
    """Forgets how an export ended; its files stay."""
    export_jobs.dismiss(workspace.root, job)


def export_folder(workspace: Workspace, name: str, file_format: str) -> Path:
    """Where an export goes: one folder per subset and format, so that formats lie side by side."""
    folder = name if file_format == "llava" else f"{name}-{file_format}"
    return workspace.exports_dir / folder


def verify_export(workspace: Workspace, folder: Path, progress: Any = None) -> VerifyReport:
    """Rebuilds an export and compares every byte. Raises VerificationError."""
    return verify_manifest(folder, workspace, progress)


def build_workspace_database(workspace: Workspace, progress: Progress | None = None) -> BuildReport:
    """Builds the derived database from the parts. Raises StorageError where it cannot be written,
    WorkspaceError where the parts cannot be read.
    """
    try:
        return build_database(workspace, progress)
    except OSError as error:
        raise StorageError(
            f"the database of {workspace.root} cannot be built: {error.strerror or error}; make "
            "room, or let somebody who may write there run visnec build"
        ) from error


def follow_parts(workspace: Workspace) -> None:
    """Has the database take new parts in, in the background and not too often.

    Building it costs the more the larger it is, so the pause grows with what the last one took.
    """
    with _lock:
        builder = _builders.setdefault(workspace.root, _Follower())
    builder.begin(workspace)


class _Follower:
    """Builds the database of one workspace, at most one thread at a time."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._rest_until = 0.0

    def begin(self, workspace: Workspace) -> None:
        if time.monotonic() < self._rest_until or not self._busy.acquire(blocking=False):
            return
        threading.Thread(target=self._build, args=(workspace,), daemon=True).start()

    def _build(self, workspace: Workspace) -> None:
        began = time.monotonic()
        try:
            build_if_behind(workspace, wait=False)
        except (VisnecError, OSError):
            pass  # the page says what is wrong when it opens the database itself
        finally:
            took = time.monotonic() - began
            self._rest_until = time.monotonic() + max(_SHORTEST_REST, 10 * took)
            self._busy.release()
