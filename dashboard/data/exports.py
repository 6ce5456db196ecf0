"""Exports of a workspace: those that run in the background and those on disk; pushes to the hub.

A running export belongs to the process, not to a session: it goes on while pages are closed, anyone
who opens the workspace sees it and may stop it, and a stopped or failed one leaves nothing behind.
Finished exports are read from their manifests each time; the folders are the truth.
"""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from dashboard.data.cache import APP_CACHE
from dashboard.data.context import open_store
from scoring.errors import InputError, VisnecError
from scoring.exports.export import ExportResult, OnWait, Progress, check_folder, export_subset
from scoring.exports.manifest import Manifest, read_manifest
from scoring.exports.options import FOLDERS, MANIFEST, ExportOptions
from scoring.exports.push import PushResult, push
from scoring.hub.upload import PushTarget
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace

Work = Callable[[Progress, OnWait], ExportResult | PushResult]
State = Literal["running", "done", "stopped", "failed"]
_LISTED_SECONDS = 3600.0
_lock = threading.Lock()


# ---- exports in the background -------------------------------------------------------------------


class ExportStopped(Exception):
    """A user stopped the export."""


@dataclass(eq=False)
class ExportJob:
    """A background export, or a push of a finished one to ``repository``.

    ``choices`` is everything that decides its contents. It is ``waiting`` while another export of
    the workspace runs. ``error`` is the message of a failed one. A push cannot be stopped.
    """

    name: str
    folder: Path
    choices: object = None
    waiting: bool = False
    done: int = 0
    total: int = 0
    state: State = "running"
    error: str = ""
    result: ExportResult | PushResult | None = None
    repository: str = ""
    number: int = field(default_factory=count().__next__)  # among those of this process
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def request_stop(self) -> None:
        """Ask the export to stop; it does so within its next thousand samples, or while waiting."""
        self._stop.set()

    def wait_for_end(self, seconds: float) -> bool:
        """Wait for the end for at most ``seconds``; return whether it has ended."""
        return self._over.wait(seconds)

    @property
    def seconds_so_far(self) -> float:
        """Time since the start, up to the end."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def seconds_left(self) -> float | None:
        """Time left at the pace so far; None before the first samples are done."""
        if not self.done or not self.total:
            return None
        return (time.monotonic() - self.started) * (self.total - self.done) / self.done

    def run_work(self, work: Work) -> None:
        """Run ``work`` and record how it ended."""
        try:
            self.result = work(self._on_progress, self._on_wait)
            self.state = "done"
        except ExportStopped:
            self.state = "stopped"
        except (VisnecError, OSError) as error:
            self.state, self.error = "failed", str(error)
        except Exception as error:  # a bug must not leave a progress bar that never moves
            self.state, self.error = "failed", f"internal error: {error!r}"
            raise
        finally:
            self.ended = time.monotonic()
            self._over.set()

    def _on_progress(self, done: int, total: int) -> None:
        self.done, self.total, self.waiting = done, total, False
        self._raise_if_stopped()

    def _on_wait(self) -> None:
        self.waiting = True
        self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise ExportStopped


def start_export(
    workspace: Workspace,
    definition: SubsetDefinition,
    options: ExportOptions,
    folder: Path,
    overwrite: bool = False,
    allow_missing_images: bool = False,
) -> ExportJob:
    """Start an export in the background.

    Raises:
        InputError: For a folder that cannot be used, or one that another export is writing to.
    """
    if not folder.is_absolute():
        raise InputError(f"{folder} is not an absolute path; start it with /")
    check_folder(folder, overwrite)
    store = open_store(workspace)

    def work(progress: Progress, on_wait: OnWait) -> ExportResult:
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

    choices = (definition, options, allow_missing_images)
    return start_export_job(workspace.root, definition.name, folder, work, choices)


def start_export_job(
    root: Path,
    name: str,
    folder: Path,
    work: Work,
    choices: object = None,
    repository: str = "",
) -> ExportJob:
    """Start an export of the workspace at ``root``, or return the same one if it is running.

    Raises:
        InputError: If an export with other choices is writing to the same folder.
    """
    with _lock:
        jobs = _jobs_of(root)
        for job in jobs:
            if job.folder == folder and job.state == "running":
                if (job.name, job.choices) == (name, choices):
                    return job
                if job.repository:
                    raise InputError(
                        f"{job.name} is being pushed to {job.repository}; wait until it ends"
                    )
                raise InputError(
                    f"{job.name} is being exported to {folder} with other choices; wait until it "
                    "ends, stop it, or choose another folder"
                )
        job = ExportJob(name, folder, choices, repository=repository)
        jobs[:] = [old for old in jobs if old.folder != folder and not _has_expired(old)]
        jobs.append(job)
    threading.Thread(target=job.run_work, args=(work,), name=f"export {name}", daemon=True).start()
    return job


def start_push(workspace: Workspace, folder: Path, target: PushTarget) -> ExportJob:
    """Start to push an export of the workspace in the background.

    Raises:
        InputError: If an export is being written to the folder, or pushed elsewhere from it.
    """

    def work(_progress: Progress, _on_wait: OnWait) -> PushResult:
        return push(workspace, folder.name, target)

    return start_export_job(workspace.root, folder.name, folder, work, target, target.repository)


def list_export_jobs(root: Path) -> list[ExportJob]:
    """Return this process's exports: running ones and those that ended in the last hour."""
    with _lock:
        return [job for job in _jobs_of(root) if not _has_expired(job)]


def dismiss_export_job(root: Path, job: ExportJob) -> None:
    """Remove a finished export from the list; its files stay."""
    with _lock:
        jobs = _jobs_of(root)
        jobs[:] = [listed for listed in jobs if listed is not job]


def _jobs_of(root: Path) -> list[ExportJob]:
    return APP_CACHE.export_jobs.get(root, list[ExportJob])


def _has_expired(job: ExportJob) -> bool:
    return job.ended is not None and time.monotonic() - job.ended > _LISTED_SECONDS


# ---- exports on disk -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """An export in the workspace; ``files`` are the files that exist, with their sizes in bytes."""

    folder: Path
    manifest: Manifest
    files: tuple[tuple[Path, int], ...]
    version: str  # changes when the export is written again
    n_images: int = 0  # in its image folder
    images_bytes: int = 0

    @property
    def n_bytes(self) -> int:
        """Total size of its files, images included."""
        return sum(size for _, size in self.files) + self.images_bytes


def default_export_folder(workspace: Workspace, name: str, file_format: str) -> Path:
    """Return the folder for an export: one per subset and format."""
    folder = name if file_format == "llava" else f"{name}-{file_format}"
    return workspace.exports_dir / folder


def read_exports(workspace: Workspace) -> tuple[list[ExportSummary], list[str]]:
    """Return the workspace's exports by folder, and an error message for each unreadable one."""
    exports: list[ExportSummary] = []
    problems: list[str] = []
    for path in sorted(workspace.exports_dir.glob(f"[!.]*/{MANIFEST}")):
        try:
            exports.append(_read_export(path))
        except (VisnecError, OSError) as error:
            problems.append(str(error))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{path} is not an export manifest: {error!r}")
    return exports, problems


def _read_export(path: Path) -> ExportSummary:
    manifest = read_manifest(path)
    names = [*(output.name for output in manifest.outputs), path.name]
    files = [path.parent / name for name in names]  # read_manifest has checked these names
    sizes = tuple(
        (file, file.stat().st_size) for file in files if file.is_file() and not file.is_symlink()
    )
    version = f"{path.stat().st_mtime_ns}-{sum(size for _, size in sizes)}"
    images = manifest.counts.get("written", {}).get("images", {})
    return ExportSummary(
        folder=path.parent,
        manifest=manifest,
        files=sizes,
        version=version,
        n_images=int(images.get("files", 0)),
        images_bytes=int(images.get("bytes", 0)) if (path.parent / FOLDERS[0]).is_dir() else 0,
    )


def zip_export(export: ExportSummary) -> bytes:
    """Return all files of an export as one archive; links are not followed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(export.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, f"{export.folder.name}/{path.relative_to(export.folder)}")
    return buffer.getvalue()
