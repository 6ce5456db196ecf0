"""Export a subset as files for a training run, with the manifest that rebuilds them."""

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
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from scoring.database.connection import Store
from scoring.errors import InputError, MissingImagesError, StorageError
from scoring.exports.card import card_outputs
from scoring.exports.export_edits import pin_exported_edits
from scoring.exports.export_plan import ExportPlan, plan_export
from scoring.exports.files import BytesFile, FileDigest, OutputFile
from scoring.exports.formats import plan_outputs
from scoring.exports.images import LIST, distinct_images
from scoring.exports.manifest import Manifest, build_manifest, read_inputs, read_manifest
from scoring.exports.options import FOLDERS, MANIFEST, ExportOptions, is_output_name
from scoring.exports.tables import resolve_columns
from scoring.exports.temporary_lock import TemporaryLock
from scoring.image_references import image_path
from scoring.images.decode import ImageProblem, resolve_image
from scoring.reviews.decisions import log_offsets
from scoring.reviews.pinned_edits import current_edits
from scoring.subsets.definitions import (
    ResolvedSubset,
    SubsetDefinition,
    read_rule_inputs,
    resolve_definition,
)
from scoring.workspace import Workspace, open_workspace

_WAIT_SECONDS = 0.2  # between two attempts while another export is running
_SHOWN = 3  # missing images that an error names
_STEP = 1000  # samples between two reports of progress

Progress = Callable[[int, int], None]
"""Called with samples written so far and in all (over all files); may raise to stop the export."""

OnWait = Callable[[], None]
"""Called several times a second while another export is running; may raise to stop this one."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportResult:
    """A finished export. ``n_new_parts`` parts were not in the database yet."""

    folder: Path
    manifest: Manifest
    outcome: ResolvedSubset
    n_new_parts: int

    @property
    def n_samples(self) -> int:
        """Number of samples exported."""
        return len(self.outcome.subset.selected)

    @property
    def start_command(self) -> str:
        """The command that trains on the export; empty unless it was written for a trainer."""
        return self.manifest.start_command(str(self.folder))


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
    """Export the samples that ``definition`` selects now. On an error nothing is exported.

    Args:
        workspace: The workspace.
        store: Its database.
        definition: The subset.
        to: Target folder; by default ``exports/<name>``.
        format: One of ``scoring.exports.FORMATS``, or all options of an export.
        progress: Called with samples written and in all.
        overwrite: Replace an export in that folder.
        on_wait: Called while another export of the workspace is running.
        allow_missing_images: Export although images are missing.

    Raises:
        InputError: The folder contains other files, or an export and not ``overwrite``.
        MissingImagesError: Images that the export should contain are missing.
        RuleError: The subset has weights and the options do not use them, or the reverse.
        RecordError: A record would make the file unreadable.
        StorageError: The disk is full or not writable.
    """
    options = ExportOptions(format) if isinstance(format, str) else format
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    options = resolve_columns(workspace, options)
    folder = (to or workspace.exports_dir / definition.name).absolute()
    if options.names_folder:
        options = replace(options, folder=str(folder))
    owner = workspace.settings.workspace_id
    with _explain_os_errors(folder), _lock_exports(workspace, folder, on_wait):
        _clear_leftovers(folder, owner)
        check_folder(folder, overwrite)
        while True:  # until no build has changed the database between the reads
            generation = store.generation
            rows, parts = read_rule_inputs(store, definition), store.part_names()
            offsets: Mapping[str, int] = log_offsets(workspace) if definition.hand_wins else {}
            outcome = resolve_definition(workspace, definition, rows, offsets)
            edits = current_edits(workspace)
            plan = plan_export(workspace, store, outcome, options, edits)
            if store.generation == generation:
                break
        inputs = read_inputs(workspace, definition, parts, offsets, options.add_columns)
        inputs = replace(inputs, edits=pin_exported_edits(plan, edits))
        manifest = build_manifest(plan, inputs, asdict(workspace.bands))
        missing = folder.with_name(f"{folder.name}.missing-images.jsonl")
        with _stage_folder(folder, owner) as temporary:
            if not allow_missing_images and options.takes_images:  # before hours of copying
                _refuse_missing(_list_missing(plan, progress), missing)
            manifest = _write_files(plan, manifest, temporary, progress)
            if manifest.n_missing_images and not allow_missing_images:  # missing since then
                with (temporary / LIST).open("rb") as file:
                    lines = map(json.loads, file)
                    _refuse_missing(
                        (line for line in lines if "problem" in line and "undecodable" not in line),
                        missing,
                    )
        missing.unlink(missing_ok=True)
    return ExportResult(folder, manifest, plan.outcome, store.build_state().n_new_parts)


def check_folder(folder: Path, overwrite: bool = False) -> None:
    """Raise InputError where an export cannot be written to the folder."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file. Name a folder to export to.")
    paths = (*folder.iterdir(), *(folder / FOLDERS[-1]).glob("*"))
    present = {path.relative_to(folder).as_posix() for path in paths}
    if not present:
        return
    own = {name for name in present if name in (MANIFEST, *FOLDERS) or is_output_name(name)}
    foreign = sorted(present - own)
    if foreign or MANIFEST not in present:
        shown = ", ".join(foreign[:3]) or f"no {MANIFEST}"
        raise InputError(
            f"{folder} contains other files than an export ({shown}). Name another folder."
        )
    if not overwrite:
        raise InputError(
            f"{folder} contains an export. Name another folder, or replace it with --overwrite."
        )
    read_manifest(folder)


def _write_files(
    plan: ExportPlan, manifest: Manifest, folder: Path, progress: Progress | None
) -> Manifest:
    """Write every file, the manifest last."""
    total, done = plan.n_steps, 0

    def count_samples(_: str, n: int) -> None:
        nonlocal done
        before, done = done, min(done + n, total)
        if progress and done // _STEP > before // _STEP and done < total:
            progress(done, total)

    def write_file(output: OutputFile) -> FileDigest:
        return output.write(folder / output.name, count_samples)

    if progress:
        progress(0, total)
    files = [write_file(output) for output in plan_outputs(plan)]
    manifest = manifest.with_outputs(plan, files)
    files += [write_file(output) for output in card_outputs(plan, manifest)]
    manifest = manifest.with_outputs(plan, files)
    if progress:
        progress(total, total)
    write_file(BytesFile(MANIFEST, [(None, manifest.to_bytes())]))
    return manifest


def _list_missing(plan: ExportPlan, progress: Progress | None) -> Iterator[Mapping[str, object]]:
    """Yield the images that are in none of the folders; ``progress`` may stop it."""

    def read_references() -> Iterator[tuple[int, str]]:
        for number, reference in enumerate(plan.read_references()):
            if progress and number % _STEP == 0:
                progress(0, plan.n_steps)
            yield reference

    for row_idx, reference in distinct_images(read_references()):
        try:
            resolve_image(reference, plan.workspace.image_roots)
        except ImageProblem as problem:
            yield {
                "image": image_path(reference),
                "row_idx": row_idx,
                "status": str(problem.status),
                "problem": str(problem),
            }


def _refuse_missing(missing: Iterator[Mapping[str, object]], path: Path) -> None:
    """Write the missing images to ``path`` and raise MissingImagesError, if there are any."""
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
    count = f"{n:,} images are" if n > 1 else "1 image is"
    raise MissingImagesError(
        f"{count} missing, so nothing was exported: {'; '.join(shown)}{more}. The full list is in "
        f"{path}. Restore the images, name their folder with visnec relocate, or export without "
        "them (option --allow-missing-images)."
    )


@contextmanager
def _explain_os_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into StorageError with a remedy."""
    try:
        yield
    except OSError as error:
        problem = error.strerror or str(error)
        remedy = "Export again"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "Free disk space and export again"
        elif error.filename is not None:
            if _is_in_target(Path(os.fsdecode(error.filename)), folder):
                remedy = "Name another folder and export again"
            else:
                problem = f"{error.filename} cannot be read ({problem})"
                remedy = "Export again when it can be read"
        kept = "the earlier export is unchanged" if folder.exists() else "nothing was left there"
        raise StorageError(
            f"The export to {folder} stopped: {problem}; {kept}. {remedy}."
        ) from error


def _is_in_target(path: Path, folder: Path) -> bool:
    """Return whether an export to ``folder`` writes to ``path``, or to a folder inside it."""
    is_staged = any(
        parent.parent == folder.parent and parent.name.startswith(f".{folder.name}.")
        for parent in (path, *path.parents)
    )
    is_inside = path.is_relative_to(folder) or folder.is_relative_to(path)
    return is_staged or is_inside or path.name.endswith(".lock")


@contextmanager
def _lock_exports(workspace: Workspace, folder: Path, on_wait: OnWait | None) -> Iterator[None]:
    """Allow one export at a time into a workspace, or into a folder elsewhere."""
    if folder.is_relative_to(workspace.root.absolute()):
        workspace.exports_dir.mkdir(parents=True, exist_ok=True)
        lock: FileLock | TemporaryLock = FileLock(workspace.exports_dir / ".export.lock")
    else:  # a read-only workspace exports to elsewhere
        key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        name = f"visnec-export-{os.getuid()}-{key}.lock"
        lock = TemporaryLock(Path(tempfile.gettempdir()) / name)
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


def _clear_leftovers(target: Path, owner: str) -> None:
    """Remove what a killed export left, after restoring the export that it was replacing."""
    for path in sorted(target.parent.iterdir()) if target.parent.is_dir() else ():
        if path.name.startswith(_hidden_stem(target, owner)) and path.name.endswith(".tmp"):
            if path.name.endswith(".old.tmp") and not target.exists():
                path.rename(target)
            else:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _stage_folder(target: Path, owner: str) -> Iterator[Path]:
    """Yield a folder that replaces ``target`` if the block succeeds, and else leaves no trace.

    Its files are flushed before it gets the name of the target, so a kill at any moment leaves no
    partial file there, and the next export removes what was left behind.
    """
    stem = _hidden_stem(target, owner) + secrets.token_hex(4)
    new, old = (target.with_name(stem + suffix) for suffix in (".tmp", ".old.tmp"))
    target.parent.mkdir(parents=True, exist_ok=True)
    new.mkdir()
    try:
        yield new
        _flush_folder(new)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        _flush_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _hidden_stem(target: Path, owner: str) -> str:
    """Return a name with the workspace's id: another one may export into the same folder."""
    return f".{target.name}.{owner[:8]}."


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
