"""Import of dataset files into ``dataset/``, completely or not at all.

Records are split, parsed and written one at a time, so memory stays bounded for any file size.
Samples added to a dataset follow the existing ones, whose rows never change.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path

from scoring.dataset.image_root_detection import MAX_PROBES, RootDetection, RootDetector
from scoring.dataset.record_values import RecordValues
from scoring.dataset.records import (
    GROUP_ROWS,
    DatasetFile,
    DatasetInfo,
    Edition,
    PartWriter,
    dataset_parts,
    read_dataset_info,
)
from scoring.dataset.staging import ImportState, StagingArea
from scoring.errors import InputError, WorkspaceError
from scoring.image_references import ImageRoots
from scoring.images.containers import index_keyed_images
from scoring.images.digests import FOLDER as DIGESTS_FOLDER
from scoring.images.digests import IMPORTED, DigestWriter
from scoring.images.remote import open_cache
from scoring.readers.options import ReadOptions
from scoring.readers.sources import SourceFile, SourceReader, open_sources
from scoring.readers.values import InlineReference
from scoring.runs.progress import read_progress
from scoring.runs.record import list_runs
from scoring.samples import Sample
from scoring.workspace import (
    Workspace,
    create_workspace,
    open_workspace,
    resolve_links,
    save_image_roots,
    write_json,
)

_CHECKPOINT_ROWS = 20_000

Progress = Callable[[int, int, int], None]
"""Called with samples read so far, bytes read so far, and bytes in total."""


@dataclass(frozen=True, slots=True)
class _ImportRequest:
    """What to import. ``image_files`` contain images by key; ``containers`` contain any images."""

    sources: Sequence[SourceFile]
    options: ReadOptions
    image_folders: Sequence[Path]
    image_files: Sequence[Path]
    images_by_key: Mapping[str, InlineReference]

    @property
    def containers(self) -> list[Path]:
        files = [source.file.data_path for source in self.sources if source.contains_images]
        return [*files, *self.image_files]


def import_dataset(
    workspace: Workspace,
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    progress: Progress | None = None,
    options: ReadOptions | None = None,
    append: bool = False,
    values: RecordValues | None = None,
) -> DatasetInfo:
    """Import dataset files into ``workspace``.

    An interrupted import keeps the files that it has finished; importing the same files again
    resumes it. Importing or adding files that are already there changes nothing.

    Args:
        workspace: the workspace, new or existing.
        files: files, folders, patterns, or ``hf:owner/name@revision#config/split``.
        image_roots: folders that image paths are relative to, and files that contain images by
            key. Default: for each file its folder or the parent, whichever has its first images.
        progress: called now and then.
        options: how to read the records.
        append: add to the dataset in the workspace; its rows, scores and decisions are kept.
        values: collects keys of the records (see ``scoring.exchange.record_columns``).

    Raises:
        InputError: the input cannot be used, or some of the added files were imported before.
        RecordError: a file cannot be read.
        WorkspaceError: the workspace contains another dataset, or a run is active.
    """
    request = _open_request(files, image_roots, options or ReadOptions())
    if append:  # with the image folders of the imports before
        workspace = open_workspace(workspace.root)
    workspace.root.mkdir(parents=True, exist_ok=True)
    base = _check_names(workspace, request, append)
    keys = values.patterns if values else ()
    staging = StagingArea(
        workspace, request.sources, request.options, request.image_folders, base, keys
    )
    try:
        state = _read_sources(request, staging, progress, values)
        new = _write_info(request, staging, state)
        is_known = workspace.dataset_dir.exists() and (base is None or base.contains_files(new))
        if values is not None:
            first_read = base.n_samples if base else 0
            known = read_dataset_info(workspace).first_row_of(new) if is_known else first_read
            n_rows = new.n_samples - first_read
            values.finish(staging.folder, request.sources, known, first_read, n_rows)
        if is_known:
            staging.discard()
            return _check_same_dataset(workspace, new, request.image_folders)
        if base is not None and not request.options.columns:  # those may choose another question
            _refuse_known_files(base, new, staging)
        _declare_roots(workspace, request, state, is_addition=base is not None)
        if base is None:
            staging.publish()
            return new
        n_parts_before = len(dataset_parts(workspace))
        first = Edition(base.fingerprint, base.fingerprint, base.n_samples, n_parts_before)
        joined = hashlib.sha256((base.fingerprint + new.fingerprint).encode()).hexdigest()
        last = Edition(joined, new.fingerprint, new.n_samples, state.n_parts)
        info = replace(
            new,
            fingerprint=joined,
            files=base.files + new.files,
            editions=(*(base.editions or (first,)), last),
        )
        _refuse_while_scored(workspace)
        staging.publish_addition(info)
    except BaseException:
        staging.close()
        raise
    return info


@dataclass(frozen=True, slots=True)
class Preview:
    """How an import would read a file: its format, its first record, and where its images are.

    ``keys`` are those of the first record that is an object.
    """

    source: SourceFile
    sample: Sample | None
    detection: RootDetection
    keys: tuple[str, ...] = ()


def open_or_import(path: Path, folder: Path) -> Workspace:
    """Open a workspace, or import a dataset file as one in ``folder``. Raises InputError."""
    if (path / "workspace.json").is_file():
        return open_workspace(path)
    import_dataset(create_workspace(folder), [path])
    return open_workspace(folder)  # with the image folders of the import


def preview_dataset(
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    options: ReadOptions | None = None,
) -> list[Preview]:
    """Read the first records of each file. Raises the same errors as ``import_dataset``."""
    request = _open_request(files, image_roots, options or ReadOptions())
    previews = []
    for source in request.sources:
        detector, keys = RootDetector(source, request.image_folders), list[tuple[str, ...]]()
        with SourceReader(source, request.options, request.images_by_key) as reader:
            reader.on_record = partial(_note_keys, keys)
            n_shown = min(request.options.limit or MAX_PROBES, MAX_PROBES)
            samples = list(islice(reader.samples(0), n_shown))
        for sample in samples:
            detector.add_sample(sample)
        first = samples[0] if samples else None
        previews.append(Preview(source, first, detector.detection, *keys[:1]))
    return previews


def _note_keys(keys: list[tuple[str, ...]], _: int, record: object) -> None:
    if isinstance(record, Mapping) and not keys:
        keys.append(tuple(map(str, record)))


def _open_request(
    files: Sequence[Path | str], image_roots: Sequence[Path], options: ReadOptions
) -> _ImportRequest:
    """Detect the formats of the files and index images by key."""
    sources = open_sources(files, options)
    for path in image_roots:
        if not path.exists():
            raise InputError(f"The image folder {path} does not exist.")
    folders = [path for path in image_roots if path.is_dir()]
    image_files = [path for path in image_roots if path.is_file()]
    images_by_key = index_keyed_images(image_files)
    return _ImportRequest(sources, options, folders, image_files, images_by_key)


def _check_names(workspace: Workspace, request: _ImportRequest, append: bool) -> DatasetInfo | None:
    """Refuse container files whose names are taken; return the dataset to add to, if any.

    References find the file of an image by its name, so two files must not have the same.
    """
    sources = [source.file.data_path for source in request.sources if source.contains_images]
    _refuse_same_names(request.image_files, [resolve_links(path) for path in sources])
    if not append or not workspace.dataset_dir.exists():
        return None
    base = read_dataset_info(workspace)
    _refuse_while_scored(workspace)
    present = [Path(file.name) for file in base.files if file.contains_images]
    _refuse_same_names(request.containers, [*present, *workspace.image_roots])
    return base


def _refuse_same_names(new: Sequence[Path], present: Sequence[Path]) -> None:
    names = {path.name for path in present}
    for path in new:
        if path.name in names and resolve_links(path) not in present:
            raise InputError(
                f"The dataset already has a file named {path.name!r}, and images inside files are "
                f"looked up by file name. Rename {path} first."
            )


def _refuse_known_files(base: DatasetInfo, new: DatasetInfo, staging: StagingArea) -> None:
    """Raise InputError if the dataset already has the samples of a file."""
    known = {(file.sha256, file.format) for file in base.files}
    repeated = [file.name for file in new.files if (file.sha256, file.format) in known]
    if repeated:
        staging.discard()
        names = ", ".join(repeated[:5]) + (", ..." if repeated[5:] else "")
        raise InputError(
            f"{len(repeated):,} of {len(new.files):,} files are already imported, with the same "
            f"content: {names}. Nothing was added. Leave them out and run the command again."
        )


def _refuse_while_scored(workspace: Workspace) -> None:
    """Raise WorkspaceError if a run is active, because it relies on the dataset as it is."""
    for run in list_runs(workspace):
        progress = read_progress(workspace, run.run_id)
        if progress is not None and progress.state == "running":
            raise WorkspaceError(
                f"Run {run.run_id!r} is still active ({progress.host}, process {progress.pid}). "
                "Stop it with Ctrl-C or wait before adding data, then score again to resume it."
            )


def _read_sources(
    request: _ImportRequest,
    staging: StagingArea,
    progress: Progress | None,
    values: RecordValues | None,
) -> ImportState:
    """Read and write the samples of all files that are not finished yet."""
    state = staging.load_state()
    known = staging.bases_before().default
    n_present = staging.base.n_samples if staging.base else 0
    last = None if request.options.limit is None else n_present + request.options.limit
    writer = PartWriter(staging.folder, state.n_parts)
    digests = DigestWriter(staging.folder / DIGESTS_FOLDER, IMPORTED)
    total = sum(source.file.data_path.stat().st_size for source in request.sources)
    n_bytes = sum(file.bytes for file in state.files)
    n_checkpoint = state.n_samples
    for source in request.sources[len(state.files) :]:
        n_before = state.n_samples
        detector = RootDetector(source, request.image_folders, known)
        with (
            SourceReader(source, request.options, request.images_by_key) as reader,
            values.collect_file(staging.folder, n_before, last)
            if values
            else nullcontext() as reader.on_record,
        ):
            samples = reader.samples(n_before)
            limit = None if last is None else max(last - n_before, 0)
            for sample in state.bases.assign_base(islice(samples, limit), detector):
                writer.write(sample)
                digests.add_inline(sample.images)
                state.n_samples += 1
                if progress and state.n_samples % GROUP_ROWS == 0:
                    progress(state.n_samples, n_bytes + reader.n_bytes, total)
            unread = dict(reader.unread)
            is_copy = source.file.first_records is not None
            is_partial = is_copy or (limit is not None and next(samples, None) is not None)
            sha256 = reader.sha256()
        if detector.has_inline_images and not source.contains_images:
            state.has_inline_images = True
        size, layout = source.file.data_path.stat().st_size, source.format
        n_bytes += size
        n_records, hub = state.n_samples - n_before, source.file.hub
        facts = (layout.family, layout.container, n_records, layout.why, unread, layout.encoding)
        described = request.options.with_defaults(source.file.listed_options).describe_records()
        later = (is_partial, hub.to_dict() if hub else {}, described)
        state.files.append(DatasetFile(source.file.name, sha256, size, *facts, *later))
        state.detections.append(detector.detection)
        is_last = len(state.files) == len(request.sources)
        if state.n_samples - n_checkpoint >= _CHECKPOINT_ROWS and not is_last:
            writer.close()
            digests.flush()
            n_checkpoint, state.n_parts = state.n_samples, writer.n_parts
            staging.save_state(state)
    writer.close()
    digests.flush()
    state.n_parts = writer.n_parts
    if progress:
        progress(state.n_samples, total, total)
    return state


def _write_info(request: _ImportRequest, staging: StagingArea, state: ImportState) -> DatasetInfo:
    """Write ``dataset.json`` and ``images.json`` of the imported files."""
    if not sum(file.n_records for file in state.files):
        paths = ", ".join(str(source.file.data_path) for source in request.sources)
        raise InputError(f"No records found in {paths}.")
    # The fingerprint also covers the options that affect how the files are read.
    options = replace(request.options, keep_going=False)
    text = "".join(file.sha256 for file in state.files)
    if options != ReadOptions():
        columns, roles = sorted(options.columns.items()), sorted(options.roles.items())
        text += repr((options.family, columns, roles))
    text += options.encoding
    if any(file.is_partial for file in state.files):
        text += f"limit={options.limit}"
    for source in request.sources:
        if source.file.listed_options:
            text += repr(source.file.listed_options)
    fingerprint = hashlib.sha256(text.encode()).hexdigest()
    imported_at = datetime.now(UTC).isoformat(timespec="seconds")
    info = DatasetInfo(fingerprint, state.n_samples, imported_at, tuple(state.files))
    write_json(staging.folder / "dataset.json", info.as_json())
    write_json(staging.folder / "images.json", list(map(asdict, state.detections)))
    return info


def _declare_roots(
    workspace: Workspace, request: _ImportRequest, state: ImportState, *, is_addition: bool
) -> None:
    """Store where images may be opened: folders, and files that contain images.

    Roots that are already there come first, so existing images are found as before.
    """
    present = list(workspace.image_roots) if is_addition else []
    if request.options.allow_remote:
        present.append(open_cache(workspace.remote_dir).resolve())
    containers = request.containers
    folders = list(state.bases.default) or [root.resolve() for root in request.image_folders]
    if not folders and (not containers or any(d.n_tried for d in state.detections)):
        folders = [Path(detection.candidates[0]) for detection in state.detections[:1]]
    records = workspace.dataset_dir.resolve()
    is_inline = state.has_inline_images or records in present
    roots = dict.fromkeys([*present, *folders, *map(resolve_links, containers)])
    roots.pop(records, None)  # must be last: another folder may have the same name
    last = [records] if is_inline else []
    save_image_roots(workspace, ImageRoots([*roots, *last], state.bases.bases))


def _check_same_dataset(
    workspace: Workspace, new: DatasetInfo, image_folders: Sequence[Path]
) -> DatasetInfo:
    """Return the dataset in the workspace. Raises WorkspaceError if it differs from ``new``."""
    present = read_dataset_info(workspace)
    if not present.contains_files(new):
        names = ", ".join(file.name for file in present.files[:5])
        raise WorkspaceError(
            f"{workspace.root} already contains another dataset ({names}, {present.n_samples:,} "
            "samples). Add this one to it with --append, or import it into a new workspace."
        )
    known = workspace.image_roots.all_folders()
    for folder in image_folders:
        if folder.resolve() not in known:
            named = " ".join(f"--images {shlex.quote(str(path))}" for path in image_folders)
            raise WorkspaceError(
                f"{workspace.root} already contains this dataset, and {folder} is not one of its "
                "image folders. To change them: "
                f"visnec relocate -w {shlex.quote(str(workspace.root))} {named}"
            )
    return present
