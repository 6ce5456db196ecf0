"""Writes a subset as files that a training run reads, with the manifest that rebuilds them.

The one decision behind it: an export is a folder that appears whole. It is written beside its
place under a hidden name, flushed, the manifest last, and then renamed; a kill at any moment
leaves no half file under the final name, and the next export clears away what it left.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from scoring.errors import InputError
from scoring.manifest import FileFact, Inputs, Manifest, build_manifest, read_inputs, read_manifest
from scoring.outputs import FORMATS, Piece, Records, read_pieces
from scoring.reviews import log_offsets, read_events
from scoring.samples import Status
from scoring.store import Store, candidates
from scoring.subsets import Outcome, SubsetDefinition, resolve
from scoring.workspace import Workspace

MANIFEST = "manifest.json"
_STEP = 1000  # samples between two reports of progress

Progress = Callable[[int, int], None]
"""Called with samples written so far, samples in all (over all files of the format)."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportResult:
    """Where an export lies and what it holds. ``n_new_parts`` were not in the database yet."""

    folder: Path
    manifest: Manifest
    outcome: Outcome
    n_new_parts: int

    @property
    def n_samples(self) -> int:
        """Samples exported."""
        return len(self.outcome.subset.selected)


def export_subset(
    workspace: Workspace,
    store: Store,
    definition: SubsetDefinition,
    to: Path | None = None,
    format: str = "llava",  # noqa: A002 - the word that commands and manifests use
    progress: Progress | None = None,
    overwrite: bool = False,
) -> ExportResult:
    """Exports the samples that ``definition`` takes now into the folder ``to``.

    ``to`` defaults to ``exports/<name>``. Formats: see ``scoring.outputs``. Raises InputError for
    a folder with other things in it, or with an export unless ``overwrite``; RuleError;
    RecordError for a kept record that would spoil the file.
    """
    if format not in FORMATS:
        raise InputError(f"no format {format!r}; there are: {', '.join(FORMATS)}")
    folder = (to or workspace.exports_dir / definition.name).absolute()
    workspace.exports_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(workspace.exports_dir / ".export.lock"):
        place = _Folder(folder, workspace)
        place.clear_leftovers()
        check_folder(folder, overwrite)
        outcome, inputs = _resolve_now(workspace, store, definition)
        manifest = build_manifest(outcome, inputs, asdict(workspace.bands), format)
        with place as temporary:
            pieces = read_pieces(selected_records(workspace, outcome), format)
            total = len(outcome.subset.selected) * len(pieces)
            report = _Report(progress, total)
            outputs = tuple(
                _write_file(temporary / name, name, one, report) for name, one in pieces.items()
            )
            manifest = replace(manifest, outputs=outputs)
            _write_file(temporary / MANIFEST, MANIFEST, [(None, manifest.to_bytes())], report)
    return ExportResult(folder, manifest, outcome, store.build_state().n_new_parts)


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Whether an export may go there. Raises InputError naming what stands in the way."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder to export to")
    present = {path.name for path in folder.iterdir()}
    if not present:
        return
    known = {MANIFEST, *(name for files in FORMATS.values() for name in files)}
    if MANIFEST not in present or present - known:
        stray = ", ".join(sorted(present - known)[:3]) or "no manifest.json"
        raise InputError(
            f"{folder} holds other things than an export ({stray}); name another folder"
        )
    if not overwrite:
        raise InputError(f"{folder} holds an export already; name another folder, or overwrite it")
    read_manifest(folder)


def selected_records(workspace: Workspace, outcome: Outcome) -> Records:
    """The records of a subset, for writing or comparing."""
    found, subset = outcome.candidates, outcome.subset
    bad = found.row_idx[found.has_status(Status.BAD_RECORD) & subset.kept]
    return Records(workspace, subset.selected, frozenset(bad.tolist()))


def _resolve_now(
    workspace: Workspace, store: Store, definition: SubsetDefinition
) -> tuple[Outcome, Inputs]:
    """The subset and exactly the inputs it came from, though builds and reviews may go on."""
    while True:
        generation = store.generation
        found, parts = candidates(store, definition.scope), store.parts()
        if store.generation == generation:
            break
    offsets: Mapping[str, int] = log_offsets(workspace) if definition.hand_wins else {}
    outcome = resolve(definition, found, read_events(workspace, offsets))
    return outcome, read_inputs(workspace, definition, parts, offsets)


class _Report:
    """Counts samples and passes every thousandth, and the last, on."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def step(self) -> None:
        self._done += 1
        if self._progress and (self._done % _STEP == 0 or self._done == self._total):
            self._progress(self._done, self._total)


def _write_file(path: Path, name: str, pieces: Iterable[Piece], report: _Report) -> FileFact:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for row_idx, piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
            if row_idx is not None:
                report.step()
        file.flush()
        os.fsync(file.fileno())
    return FileFact(name, size, digest.hexdigest())


class _Folder:
    """A folder that takes its place when the block ends well, or leaves no trace."""

    def __init__(self, target: Path, workspace: Workspace) -> None:
        self._target = target
        # Named after the workspace: another one may be exporting into the same parent folder.
        self._stem = f".{target.name}.{workspace.settings.workspace_id[:8]}."
        token = secrets.token_hex(4)
        self._new = target.with_name(f"{self._stem}{token}.tmp")
        self._old = target.with_name(f"{self._stem}{token}.old.tmp")

    def __enter__(self) -> Path:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._new.mkdir()
        return self._new

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._take_place()
        finally:
            shutil.rmtree(self._new, ignore_errors=True)

    def _take_place(self) -> None:
        _flush_folder(self._new)
        if self._target.exists():
            self._target.rename(self._old)
        try:
            self._new.rename(self._target)
        except BaseException:
            if self._old.exists():
                self._old.rename(self._target)
            raise
        _flush_folder(self._target.parent)
        shutil.rmtree(self._old, ignore_errors=True)

    def clear_leftovers(self) -> None:
        """Removes what a killed export left; an old export it had put aside comes back first."""
        folder = self._target.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith(self._stem) and path.name.endswith(".tmp"):
                if path.name.endswith(".old.tmp") and not self._target.exists():
                    path.rename(self._target)
                else:
                    shutil.rmtree(path, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
