"""Writes a subset as files that a training run reads, with the manifest that rebuilds them.

The one decision behind it: an export is a folder that appears whole. It is written beside its
place under a hidden name, flushed, the manifest last, and then renamed; a kill at any moment
leaves no half file under the final name, and the next export clears away what it left.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.errors import InputError, MissingImagesError, StorageError
from scoring.exports import ExportOptions, ExportPlan, is_output_name, plan_export, read_outputs
from scoring.exports.card import card_outputs
from scoring.exports.files import BytesFile, FileDigest, OutputFile
from scoring.exports.images import LIST, list_missing_images
from scoring.exports.manifest import (
    ExportInputs,
    Manifest,
    build_manifest,
    read_inputs,
    read_manifest,
)
from scoring.exports.names import FOLDERS
from scoring.exports.source_tables import resolve_columns
from scoring.reviews.decisions import log_offsets
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition, resolve_definition
from scoring.workspace import Workspace, open_workspace

MANIFEST = "manifest.json"
_WAIT_SECONDS = 0.2  # between two looks at whether another export is done
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHOWN = 3  # missing images that an error names
_STEP = 1000  # samples between two reports of progress

Progress = Callable[[int, int], None]
"""Called with samples written so far, samples in all (over all files of the format).

What it raises stops the export, which then leaves nothing.
"""

OnWait = Callable[[], None]
"""Called several times a second while another export of the workspace is at work; what it raises
stops this one before it begins."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportResult:
    """Where an export lies and what it holds. ``n_new_parts`` were not in the database yet."""

    folder: Path
    manifest: Manifest
    outcome: ResolvedSubset
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
    format: str | ExportOptions = "llava",  # noqa: A002 - the word that commands and manifests use
    progress: Progress | None = None,
    overwrite: bool = False,
    on_wait: OnWait | None = None,
    allow_missing_images: bool = False,
) -> ExportResult:
    """Exports the samples that ``definition`` takes now into the folder ``to``.

    ``to`` defaults to ``exports/<name>``. ``format`` is one of ``scoring.exports.FORMATS``, or all
    the choices of an export. ``on_wait`` is called while another export goes first. Raises
    InputError for a folder with other things in it, or with an export unless ``overwrite``;
    MissingImagesError where images that were to go along are missing, unless
    ``allow_missing_images``; RuleError; RecordError for a kept record that would spoil the file;
    StorageError where the disk is full or may not be written. Then nothing is exported.
    """
    options = ExportOptions(format) if isinstance(format, str) else format
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    options = resolve_columns(workspace, options)
    folder = (to or workspace.exports_dir / definition.name).absolute()
    with _told(folder), _locked(workspace, folder, on_wait):
        place = _Folder(folder, workspace)
        place.clear_leftovers()
        check_folder(folder, overwrite)
        outcome, inputs = _resolve_now(workspace, store, definition)
        chosen = plan_export(workspace, store, outcome, options)
        manifest = build_manifest(chosen, inputs, asdict(workspace.bands))
        missing = folder.with_name(f"{folder.name}.missing-images.jsonl")
        with place as temporary:
            if not allow_missing_images:  # before hours of copying
                _refuse(_list_missing(chosen, progress), missing)
            manifest = _write_all(chosen, manifest, temporary, progress)
            if manifest.n_missing_images and not allow_missing_images:
                _refuse(_listed_missing(temporary), missing)
        missing.unlink(missing_ok=True)
    return ExportResult(folder, manifest, chosen.outcome, store.build_state().n_new_parts)


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Whether an export may go there. Raises InputError naming what stands in the way."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder to export to")
    present = {path.name for path in folder.iterdir()}
    if not present:
        return
    stray = [one for one in sorted(present) if not _is_ours(one)]
    if MANIFEST not in present or stray:
        what = ", ".join(stray[:3]) or "no manifest.json"
        raise InputError(
            f"{folder} holds other things than an export ({what}); name another folder"
        )
    if not overwrite:
        raise InputError(f"{folder} holds an export already; name another folder, or overwrite it")
    read_manifest(folder)


def _is_ours(name: str) -> bool:
    return name == MANIFEST or name in FOLDERS or is_output_name(name)


def _write_all(
    chosen: ExportPlan, manifest: Manifest, folder: Path, progress: Progress | None
) -> Manifest:
    """Every file, the manifest last."""
    outputs = read_outputs(chosen)
    report = _Report(progress, chosen.n_steps)
    report.begin()
    facts = [_write(folder, one, report) for one in outputs]
    manifest = manifest.written(chosen, facts)
    if chosen.options.card:
        facts += [_write(folder, one, report) for one in card_outputs(chosen, manifest)]
        manifest = manifest.written(chosen, facts)
    report.end()
    _write(folder, BytesFile(MANIFEST, [(None, manifest.to_bytes())]), report)
    return manifest


def _list_missing(chosen: ExportPlan, progress: Progress | None) -> Iterator[Mapping[str, object]]:
    """Images that are in none of the folders, of those that are to go along."""
    if chosen.options.takes_images:
        yield from list_missing_images(_watched(chosen, progress), chosen.workspace.image_roots)


def _watched(chosen: ExportPlan, progress: Progress | None) -> Iterator[tuple[int, str]]:
    """The images of all samples; the progress, which may stop the export, is asked on the way."""
    for place, one in enumerate(chosen.references()):
        if progress and place % _STEP == 0:
            progress(0, chosen.n_steps)
        yield one


def _listed_missing(folder: Path) -> Iterator[Mapping[str, object]]:
    """Images that went missing while they were written."""
    with (folder / LIST).open("rb") as file:
        for line in map(json.loads, file):
            if "problem" in line and "undecodable" not in line:
                yield line


def _refuse(missing: Iterator[Mapping[str, object]], path: Path) -> None:
    """Lists the images in the file ``path`` and raises MissingImagesError; nothing without any."""
    first = next(missing, None)
    if first is None:
        return
    n, shown = 0, []
    with path.open("wb") as file:
        for line in chain([first], missing):
            file.write(json.dumps(line).encode() + b"\n")
            n += 1
            if n <= _SHOWN:
                shown.append(str(line["problem"]))
    more = f"; and {n - _SHOWN:,} more" if n > _SHOWN else ""
    what = f"{n:,} images are" if n > 1 else "1 image is"
    raise MissingImagesError(
        f"{what} missing, so nothing was exported: {'; '.join(shown)}{more}. The full list is in "
        f"{path}. Restore the images, name their folder with visnec relocate, or export without "
        "them (option --allow-missing-images)"
    )


def _write(folder: Path, output: OutputFile, report: _Report) -> FileDigest:
    return output.write(folder / output.name, report.step)


def _resolve_now(
    workspace: Workspace, store: Store, definition: SubsetDefinition
) -> tuple[ResolvedSubset, ExportInputs]:
    """The subset and exactly the inputs it came from, though builds and reviews may go on."""
    while True:
        generation = store.generation
        found, parts = read_candidates(store, definition.scope), store.part_names()
        if store.generation == generation:
            break
    offsets: Mapping[str, int] = log_offsets(workspace) if definition.hand_wins else {}
    outcome = resolve_definition(workspace, definition, found, offsets)
    return outcome, read_inputs(workspace, definition, parts, offsets)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Says what a disk that is full or closed, or a file that cannot be read, means for it."""
    try:
        yield
    except OSError as error:
        what = error.strerror or str(error)
        kept = "what lay there is untouched" if folder.exists() else "nothing was left there"
        remedy = "Export again"
        if error.errno in _FULL:
            remedy = "Make room and export again"
        elif error.filename is not None and _is_place(Path(os.fsdecode(error.filename)), folder):
            remedy = "Name another folder and export again"
        elif error.filename is not None:
            what = f"{error.filename} cannot be read ({what})"
            remedy = "Export again when it can"
        raise StorageError(f"the export to {folder} stopped: {what}; {kept}. {remedy}") from error


def _is_place(path: Path, folder: Path) -> bool:
    """Whether ``path`` is where an export to ``folder`` writes, or a folder around that."""
    hidden = f".{folder.name}."
    inside = path.is_relative_to(folder) or any(
        parent.parent == folder.parent and parent.name.startswith(hidden)
        for parent in (path, *path.parents)
    )
    return inside or folder.is_relative_to(path) or path.name.endswith(".lock")


@contextmanager
def _locked(workspace: Workspace, folder: Path, on_wait: OnWait | None) -> Iterator[None]:
    """One export at a time into a workspace, or into a folder elsewhere."""
    if folder.is_relative_to(workspace.root.absolute()):
        workspace.exports_dir.mkdir(parents=True, exist_ok=True)
        path = workspace.exports_dir / ".export.lock"
    else:  # a workspace that may only be read exports to elsewhere
        key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"visnec-export-{os.getuid()}-{key}.lock"
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
            break
        except Timeout:
            if on_wait:
                on_wait()
    try:
        yield
    finally:
        lock.release()


class _Report:
    """Counts samples and passes every thousandth, and the last, on."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def begin(self) -> None:
        if self._progress:
            self._progress(0, self._total)

    def step(self, name: str, n: int) -> None:  # noqa: ARG002 - all files count together
        before = self._done
        self._done = min(before + n, self._total)
        if self._progress and self._done // _STEP > before // _STEP and self._done < self._total:
            self._progress(self._done, self._total)

    def end(self) -> None:
        if self._progress:
            self._progress(self._total, self._total)


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
