"""Imports: dataset files in, ``dataset/`` out, whole or not at all.

Import streams: a record is cut, understood and written, so memory stays bounded whatever the
file's size. What is added to a dataset stands behind what was there, whose rows stay as they are.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from scoring.dataset.image_root_detection import (
    ROOT_TRIALS,
    FileBases,
    RootDetection,
    RootDetector,
    parse_detection,
)
from scoring.dataset.parts import GROUP_ROWS, PartWriter
from scoring.dataset.records import DatasetFile, DatasetInfo, Edition, read_dataset_info
from scoring.dataset.staging import StagingArea
from scoring.errors import InputError, WorkspaceError
from scoring.images.remote import open_cache
from scoring.readers import ReadOptions, SourceFile, SourceReader, open_sources
from scoring.readers.detect import JSON
from scoring.readers.keyed import index_keyed_images
from scoring.readers.values import InlineReference
from scoring.runs.progress import read_progress
from scoring.runs.record import list_runs
from scoring.samples import Sample
from scoring.workspace import Workspace, declared_roots, resolve_links, save_settings, write_json

_CHECKPOINT_ROWS = 20_000

Progress = Callable[[int, int, int], None]
"""Called with samples read so far, bytes read so far, bytes in all."""


def import_dataset(
    workspace: Workspace,
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    progress: Progress | None = None,
    options: ReadOptions | None = None,
    append: bool = False,
) -> DatasetInfo:
    """Imports dataset files into ``workspace``: files, folders, patterns, ``hf:owner/name``.

    ``image_roots``: folders that image paths are relative to, and files that hold images by key.
    Without them the folder of a file or its parent is declared, whichever holds its
    first images. What was finished of an import that broke off is kept, file by file, and the
    same import goes on from there. With ``append`` the samples stand behind those that are there,
    whose rows, scores and decisions stay as they are. Raises InputError, RecordError, or
    WorkspaceError when the workspace holds another dataset already; importing or adding the same
    files again changes nothing.
    """
    options = options or ReadOptions()
    sources = open_sources(files, options)
    image_roots, images = _split_images(image_roots)
    by_key = index_keyed_images(images)
    workspace.root.mkdir(parents=True, exist_ok=True)
    holders = [one.file.path for one in sources if one.holds_images]
    _refuse_one_name(images, [resolve_links(path) for path in holders])
    base = None
    if append and workspace.dataset_dir.exists():
        base = read_dataset_info(workspace)
        refuse_while_scored(workspace)
        _refuse_one_name([*holders, *images], [*map(Path, _holders(base)), *workspace.image_roots])
    partial = StagingArea(workspace, sources, options, image_roots, base)
    try:
        found = _write_dataset(partial, sources, image_roots, by_key, options, progress)
        if workspace.dataset_dir.exists() and (base is None or _is_there(base, found.info)):
            partial.discard()
            return _same_dataset(workspace, found.info, image_roots)
        remote = [open_cache(workspace.remote_dir).resolve()] if options.allow_remote else []
        present = workspace.image_roots if base else ()
        _declare_roots(workspace, found, [*holders, *images], image_roots, [*present, *remote])
        if base is None:
            partial.finish()
            return found.info
        info = _added(base, found.info, partial.n_parts_before, found.n_parts)
        refuse_while_scored(workspace)
        partial.finish_addition(info)
    except BaseException:
        partial.close()
        raise
    return info


def _added(base: DatasetInfo, new: DatasetInfo, n_before: int, n_parts: int) -> DatasetInfo:
    """The dataset ``base`` with what ``new`` adds to it."""
    first = Edition(base.fingerprint, base.fingerprint, base.n_samples, n_before)
    joined = hashlib.sha256((base.fingerprint + new.fingerprint).encode()).hexdigest()
    last = Edition(joined, new.fingerprint, new.n_samples, n_parts)
    return DatasetInfo(
        fingerprint=joined,
        n_samples=new.n_samples,
        imported_at=new.imported_at,
        files=base.files + new.files,
        editions=(*(base.editions or (first,)), last),
    )


def _refuse_one_name(new: Sequence[Path], taken: Sequence[Path]) -> None:
    """Raises where images inside a new file would be taken for those inside another one."""
    names = {path.name for path in taken}
    for path in new:
        if path.name in names and resolve_links(path) not in taken:
            raise InputError(
                f"the dataset holds a file {path.name!r} already, and images inside files are "
                f"found by the file's name: rename {path} first"
            )


def _holders(info: DatasetInfo) -> list[str]:
    """The files of a dataset inside which images may lie."""
    return [one.name for one in info.files if one.container not in JSON]


def refuse_while_scored(workspace: Workspace) -> None:
    """Raises WorkspaceError naming a run that is at work: it goes by the dataset as it is."""
    for run in list_runs(workspace):
        progress = read_progress(workspace, run.run_id)
        if progress is not None and progress.state == "running":
            raise WorkspaceError(
                f"run {run.run_id!r} is at work ({progress.host}, process {progress.pid}); a "
                "dataset is added to between runs: stop it with Ctrl-C or wait, add, and score "
                "again, which goes on where it stopped"
            )


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would take a file for: its kind, its first record, where its images lie."""

    source: SourceFile
    sample: Sample | None
    detection: RootDetection


def preview_dataset(
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    options: ReadOptions | None = None,
) -> list[Preview]:
    """Looks at the first records of each file; raises as ``import_dataset`` does."""
    options = options or ReadOptions()
    image_roots, images = _split_images(image_roots)
    by_key = index_keyed_images(images)
    previews = []
    for source in open_sources(files, options):
        trials = RootDetector(source, image_roots)
        with SourceReader(source, options, by_key) as reading:
            samples = list(islice(reading.samples(0), ROOT_TRIALS))
        for sample in samples:
            trials.take(sample)
        previews.append(Preview(source, samples[0] if samples else None, trials.result()))
    return previews


@dataclass(frozen=True, slots=True)
class _Written:
    """What reading all files came to. ``inline``: a JSON record holds an image itself."""

    info: DatasetInfo
    trials: list[RootDetection]
    bases: FileBases
    inline: bool
    n_parts: int


def _write_dataset(
    partial: StagingArea,
    sources: Sequence[SourceFile],
    image_roots: Sequence[Path],
    by_key: Mapping[str, InlineReference],
    options: ReadOptions,
    progress: Progress | None,
) -> _Written:
    """Reads all files that are not yet read."""
    state = partial.state()
    done = [DatasetFile(**file) for file in state["files"]]
    trials = [parse_detection(trial) for trial in state["trials"]]
    n_samples, inline = int(state["n_samples"]), bool(state["inline"])
    writer = PartWriter(partial.folder, int(state["n_parts"]))
    total = sum(source.file.path.stat().st_size for source in sources)
    n_bytes = sum(file.bytes for file in done)
    kept, bases, older = n_samples, partial.file_bases(), partial.older_bases().default
    for source in sources[len(done) :]:
        before, images = n_samples, RootDetector(source, image_roots, older)
        with SourceReader(source, options, by_key) as reading:
            for sample in bases.placed(reading.samples(n_samples), images):
                writer.write(sample)
                n_samples += 1
                if progress and n_samples % GROUP_ROWS == 0:
                    progress(n_samples, n_bytes + reading.n_bytes, total)
            sha256 = reading.sha256()
        inline = inline or (images.inline and not source.holds_images)
        size = source.file.path.stat().st_size
        n_bytes += size
        found = source.format
        described = (found.family, found.container, n_samples - before, found.why)
        unread = dict(reading.unread)
        done.append(
            DatasetFile(
                source.file.name, sha256, size, *described, unread=unread, encoding=found.encoding
            )
        )
        trials.append(images.result())
        if n_samples - kept >= _CHECKPOINT_ROWS and len(done) < len(sources):
            writer.close()
            kept = n_samples
            finished = {"files": list(map(asdict, done)), "trials": list(map(asdict, trials))}
            parts = {"n_samples": n_samples, "n_parts": writer.n_parts, "inline": inline}
            partial.keep({**finished, **parts, **bases.facts()})
    writer.close()
    if not sum(file.n_records for file in done):
        raise InputError(f"{', '.join(str(one.file.path) for one in sources)}: no record found")
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    info = DatasetInfo(_fingerprint(done, sources, options), n_samples, moment, tuple(done))
    write_json(partial.folder / "dataset.json", info.facts())
    write_json(partial.folder / "images.json", list(map(asdict, trials)))
    if progress:
        progress(n_samples, total, total)
    return _Written(info, trials, bases, inline, writer.n_parts)


def _split_images(given: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """(folders of images, files of images by key). Raises InputError for what is neither."""
    for path in given:
        if not path.exists():
            raise InputError(f"the image folder {path} does not exist")
    return [path for path in given if path.is_dir()], [path for path in given if path.is_file()]


def _fingerprint(
    files: Sequence[DatasetFile], sources: Sequence[SourceFile], options: ReadOptions
) -> str:
    """A digest of the files' digests, and of what was said about how they are meant."""
    said = replace(options, keep_going=False)
    told = (
        ""
        if said == ReadOptions()
        else repr((said.family, sorted(said.columns.items()), sorted(said.roles.items())))
    )
    told += said.encoding
    listed = [repr(source.file.said) for source in sources if source.file.said]
    told += "".join(listed)
    return hashlib.sha256(("".join(file.sha256 for file in files) + told).encode()).hexdigest()


def _declare_roots(
    workspace: Workspace,
    found: _Written,
    holders: Sequence[Path],
    image_roots: Sequence[Path],
    present: Sequence[Path],
) -> None:
    """Writes down where images may be opened: folders, and files that hold images themselves.

    What is ``present`` stays in front, so that the images of what was there are found as before.
    """
    nothing = not holders or any(trial.n_tried for trial in found.trials)
    fallback = [Path(trial.candidates[0]) for trial in found.trials[:1] if nothing]
    named = [root.resolve() for root in image_roots] or fallback
    roots = [*(found.bases.default or named), *map(resolve_links, holders)]
    records = workspace.dataset_dir.resolve()
    inline = found.inline or records in present
    folders = dict.fromkeys([*present, *roots, records])
    del folders[records]  # stands last: a folder of the same name may be among the others
    declared = declared_roots(workspace, [*folders, *([records] if inline else [])])
    bases = tuple(declared_roots(workspace, folders) for folders in found.bases.bases)
    save_settings(replace(workspace, settings=workspace.settings.with_roots(declared, bases)))


def relocate_command(workspace: Workspace, folders: Sequence[Path | str]) -> str:
    """The command that makes ``folders`` those that images are looked for in."""
    named = " ".join(f"--images {shlex.quote(str(one))}" for one in folders)
    return f"visnec relocate -w {shlex.quote(str(workspace.root))} {named}"


def _is_there(base: DatasetInfo, new: DatasetInfo) -> bool:
    """Whether the same files make up the dataset, or were added to it."""
    added = [one.added for one in base.editions] or [base.fingerprint]
    return new.fingerprint in added


def _same_dataset(
    workspace: Workspace, info: DatasetInfo, image_roots: Sequence[Path]
) -> DatasetInfo:
    present = read_dataset_info(workspace)
    if not _is_there(present, info):
        raise WorkspaceError(
            f"{workspace.root} already holds another dataset "
            f"({', '.join(file.name for file in present.files[:5])}, {present.n_samples:,} "
            "samples); add this one to it with --append, or import it into a workspace of its own"
        )
    known = {*workspace.image_roots, *(one for base in workspace.image_roots.bases for one in base)}
    for root in image_roots:
        if root.resolve() not in known:
            raise WorkspaceError(
                f"{workspace.root} holds this dataset already and does not look for its images in "
                f"{root}; to have them looked for there: {relocate_command(workspace, image_roots)}"
            )
    return present
