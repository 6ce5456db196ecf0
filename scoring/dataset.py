"""The dataset of a workspace: records imported once, each with its exact bytes, as Parquet.

Import streams: a record is cut, understood and written, so memory stays bounded whatever the
file's size. The folder appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from scoring.dataset_parts import GROUP_ROWS, PartWriter
from scoring.errors import InputError, WorkspaceError
from scoring.readers import Reading, ReadOptions, SourceFile, open_sources
from scoring.readers.images import ImageProblem, resolve_image
from scoring.readers.values import Inline
from scoring.samples import Role, Sample, Status, Turn
from scoring.workspace import Workspace, save_settings, write_json

_ROOT_TRIALS = 200  # images of a file that settle which folder its paths are relative to
_CHECKPOINT_ROWS = 20_000

Progress = Callable[[int, int, int], None]
"""Called with samples read so far, bytes read so far, bytes in all."""


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One imported file, and what it was taken for. ``name`` is relative to what all share."""

    name: str
    sha256: str
    bytes: int
    format: str
    container: str
    n_records: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class ImageTrial:
    """Where the first images of a file were looked for, and how many of ``n_tried`` lie there.

    ``n_found`` is by candidate; the first of those that hold most was chosen.
    """

    file: str
    candidates: tuple[str, ...]
    n_found: tuple[int, ...]
    n_tried: int

    @property
    def best(self) -> int:
        """The position of the chosen folder."""
        return max(range(len(self.candidates)), key=lambda index: self.n_found[index])


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What ``dataset.json`` holds. The fingerprint is a digest of the files' digests, in order."""

    fingerprint: str
    n_samples: int
    imported_at: str
    files: tuple[DatasetFile, ...]


def import_dataset(
    workspace: Workspace,
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    progress: Progress | None = None,
    options: ReadOptions | None = None,
) -> DatasetInfo:
    """Imports dataset files into ``workspace``: files, folders, patterns, ``hf:owner/name``.

    Without ``image_roots`` the folder of a file or its parent is declared, whichever holds its
    first images. What was finished of an import that broke off is kept, file by file, and the
    same import goes on from there. Raises InputError, RecordError, or WorkspaceError when the
    workspace holds another dataset already; importing the same files again changes nothing.
    """
    options = options or ReadOptions()
    sources = open_sources(files, options)
    for root in image_roots:
        if not root.is_dir():
            raise InputError(f"the image folder {root} does not exist")
    workspace.root.mkdir(parents=True, exist_ok=True)
    partial = _Partial(workspace, sources, options)
    try:
        info, trials, inline = _write_dataset(partial, sources, image_roots, options, progress)
        if workspace.dataset_dir.exists():
            partial.discard()
            return _same_dataset(workspace, info)
        _declare_roots(workspace, trials, sources, image_roots, inline)
        partial.finish()
    except BaseException:
        partial.close()
        raise
    return info


@dataclass(frozen=True, slots=True)
class Preview:
    """What an import would take a file for: its kind, its first record, where its images lie."""

    source: SourceFile
    sample: Sample | None
    trial: ImageTrial


def preview_dataset(
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    options: ReadOptions | None = None,
) -> list[Preview]:
    """Looks at the first records of each file; raises as ``import_dataset`` does."""
    options = options or ReadOptions()
    previews = []
    for source in open_sources(files, options):
        images = _Trials(source, image_roots)
        with Reading(source, options) as reading:
            samples = list(islice(reading.samples(0), _ROOT_TRIALS))
        for sample in samples:
            images.take(sample)
        previews.append(Preview(source, samples[0] if samples else None, images.result()))
    return previews


class _Partial:
    """The folder of an import on its way: it goes on where it stopped, or leaves no trace."""

    def __init__(
        self, workspace: Workspace, sources: Sequence[SourceFile], options: ReadOptions
    ) -> None:
        self._workspace = workspace
        facts = [
            (
                str(one.file.path.resolve()),
                one.file.path.stat().st_size,
                one.file.path.stat().st_mtime_ns,
            )
            for one in sources
        ]
        key = hashlib.sha256(repr((facts, options)).encode("utf-8", "replace")).hexdigest()[:12]
        self.folder = workspace.root / f".dataset.{key}.partial"
        self.folder.mkdir(exist_ok=True)
        self._lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise WorkspaceError(
                f"another process is importing the same files into {workspace.root}; wait for it"
            ) from None
        self._clear_others()

    def _clear_others(self) -> None:
        """Removes what imports of other files left, unless they are at work."""
        for path in self._workspace.root.glob(".dataset.*.partial"):
            if path != self.folder:
                other = FileLock(path / ".lock", timeout=0)
                with contextlib.suppress(Timeout, OSError):
                    with other:
                        pass
                    shutil.rmtree(path, ignore_errors=True)

    def state(self) -> dict[str, Any]:
        """What is finished: files, rows and parts."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "state.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {"files": [], "trials": [], "n_samples": 0, "n_parts": 0, "inline": False}
        return found

    def keep(self, state: Mapping[str, Any]) -> None:
        """Notes that all files so far are on disk."""
        write_json(self.folder / "state.json", state)

    def finish(self) -> None:
        """Gives the folder its place in the workspace."""
        (self.folder / "state.json").unlink(missing_ok=True)
        self._lock.release()
        (self.folder / ".lock").unlink(missing_ok=True)
        self.folder.replace(self._workspace.dataset_dir)

    def close(self) -> None:
        """Leaves what can be gone on with, and nothing else."""
        if (self.folder / "state.json").exists():
            self._lock.release()
        else:
            self.discard()

    def discard(self) -> None:
        """Leaves nothing."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def _write_dataset(
    partial: _Partial,
    sources: Sequence[SourceFile],
    image_roots: Sequence[Path],
    options: ReadOptions,
    progress: Progress | None,
) -> tuple[DatasetInfo, list[ImageTrial], bool]:
    """Reads all files that are not yet read; whether any JSON record holds an image itself."""
    state = partial.state()
    done = [DatasetFile(**file) for file in state["files"]]
    trials = [_trial(trial) for trial in state["trials"]]
    n_samples, inline = int(state["n_samples"]), bool(state["inline"])
    writer = PartWriter(partial.folder, int(state["n_parts"]))
    total = sum(source.file.path.stat().st_size for source in sources)
    n_bytes = sum(file.bytes for file in done)
    kept = n_samples
    for source in sources[len(done) :]:
        before, images = n_samples, _Trials(source, image_roots)
        with Reading(source, options) as reading:
            for sample in reading.samples(n_samples):
                writer.write(sample)
                images.take(sample)
                n_samples += 1
                if progress and n_samples % GROUP_ROWS == 0:
                    progress(n_samples, n_bytes + reading.n_bytes, total)
            sha256 = reading.sha256()
        inline = inline or (images.inline and not source.holds_images)
        size = source.file.path.stat().st_size
        n_bytes += size
        found = source.format
        described = (found.family, found.container, n_samples - before, found.why)
        done.append(DatasetFile(source.file.name, sha256, size, *described))
        trials.append(images.result())
        if n_samples - kept >= _CHECKPOINT_ROWS and len(done) < len(sources):
            writer.close()
            kept = n_samples
            finished = {"files": list(map(asdict, done)), "trials": list(map(asdict, trials))}
            parts = {"n_samples": n_samples, "n_parts": writer.n_parts, "inline": inline}
            partial.keep({**finished, **parts})
    writer.close()
    if not n_samples:
        raise InputError(f"{', '.join(str(one.file.path) for one in sources)}: no record found")
    info = DatasetInfo(
        _fingerprint(done, options),
        n_samples,
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(done),
    )
    write_json(partial.folder / "dataset.json", asdict(info))
    write_json(partial.folder / "images.json", list(map(asdict, trials)))
    if progress:
        progress(n_samples, total, total)
    return info, trials, inline


def _fingerprint(files: Sequence[DatasetFile], options: ReadOptions) -> str:
    """A digest of the files' digests, and of what was said about how they are meant."""
    said = replace(options, keep_going=False)
    told = (
        ""
        if said == ReadOptions()
        else repr((said.family, sorted(said.columns.items()), sorted(said.roles.items())))
    )
    return hashlib.sha256(("".join(file.sha256 for file in files) + told).encode()).hexdigest()


class _Trials:
    """Tries the first images of one file in the folders that its paths may be relative to."""

    def __init__(self, source: SourceFile, image_roots: Sequence[Path]) -> None:
        self._source = source
        folder = source.file.path.resolve().parent
        declared = [root.resolve() for root in image_roots]
        inside = any(folder.is_relative_to(root) for root in declared)
        own = [folder] if inside or not declared else []
        self.candidates = [*declared, *own] if declared else [folder, folder.parent]
        self._roots = [*declared, *own]
        self._found = [0] * len(self.candidates)
        self._tried = 0
        self.inline = False

    def take(self, sample: Sample) -> None:
        """Tries a sample's first image, as long as it takes to be sure."""
        for image in sample.images[:1]:
            if isinstance(image, Inline):
                self.inline = True
            elif self._tried < _ROOT_TRIALS and sample.status is Status.PENDING:
                self._tried += 1
                for index, root in enumerate(self.candidates):
                    others = [one for one in self._roots if one != root]
                    self._found[index] += _resolves(image, [root, *others], root)

    def result(self) -> ImageTrial:
        """What was found out."""
        candidates = tuple(map(str, self.candidates))
        return ImageTrial(self._source.file.name, candidates, tuple(self._found), self._tried)


def _trial(raw: Mapping[str, Any]) -> ImageTrial:
    candidates, n_found = tuple(raw["candidates"]), tuple(raw["n_found"])
    return ImageTrial(raw["file"], candidates, n_found, raw["n_tried"])


def read_image_trials(workspace: Workspace) -> list[ImageTrial]:
    """Where the import looked for images, by file; empty where that is not known."""
    try:
        raw = json.loads((workspace.dataset_dir / "images.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [_trial(one) for one in raw]


def _resolves(reference: str, roots: Sequence[Path], base: Path) -> bool:
    """Whether ``reference``, joined to ``base``, is a file inside any of ``roots``."""
    try:
        place = resolve_image(reference, roots)
    except ImageProblem:
        return False
    return place.path == (base / reference).resolve() or place.box is not None


def _declare_roots(
    workspace: Workspace,
    trials: Sequence[ImageTrial],
    sources: Sequence[SourceFile],
    image_roots: Sequence[Path],
    inline: bool,
) -> None:
    """Writes down where images may be opened: folders, and files that hold images themselves."""
    best = [(Path(one.candidates[one.best]), one.n_found[one.best]) for one in trials]
    chosen = [root for root, n_found in best if n_found]
    own_images_only = all(one.holds_images for one in sources) and not any(
        trial.n_tried for trial in trials
    )
    fallback = [] if own_images_only else [root for root, _ in best[:1]]
    roots = [*(root.resolve() for root in image_roots), *chosen]
    roots = roots or fallback
    roots += [one.file.path.resolve() for one in sources if one.holds_images]
    roots += [workspace.dataset_dir.resolve()] if inline else []
    base = workspace.root.resolve()
    declared = [
        str(root.relative_to(base)) if root.is_relative_to(base) else str(root)
        for root in dict.fromkeys(roots)
    ]
    settings = replace(workspace.settings, image_roots=tuple(declared))
    save_settings(replace(workspace, settings=settings))


def _same_dataset(workspace: Workspace, info: DatasetInfo) -> DatasetInfo:
    present = read_dataset_info(workspace)
    if present.fingerprint != info.fingerprint:
        raise WorkspaceError(
            f"{workspace.root} already holds another dataset "
            f"({', '.join(file.name for file in present.files[:5])}, {present.n_samples:,} "
            "samples); import this one into a workspace of its own"
        )
    return present


def read_dataset_info(workspace: Workspace) -> DatasetInfo:
    """What was imported. Raises WorkspaceError where nothing was."""
    path = workspace.dataset_dir / "dataset.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(
            f"{workspace.root} holds no dataset yet; "
            f"import one with: visnec import DATA -w {workspace.root}"
        ) from None
    files = tuple(DatasetFile(**file) for file in raw.pop("files"))
    return DatasetInfo(files=files, **raw)


def dataset_parts(workspace: Workspace) -> list[Path]:
    """The Parquet parts, in the order of their rows."""
    return sorted(workspace.dataset_dir.glob("part-*.parquet"))


def read_samples(
    workspace: Workspace, rows: Sequence[int] | NDArray[np.int64] | None = None
) -> Iterator[Sample]:
    """Samples in ascending order of row_idx: all of them, or those of ``rows``."""
    for table in _read_groups(workspace, rows, None):
        for row in table.to_pylist():
            yield sample_of_row(row)


def read_sample(workspace: Workspace, row_idx: int) -> Sample:
    """One sample. Raises InputError where the dataset has no such row."""
    for sample in read_samples(workspace, [row_idx]):
        return sample
    raise InputError(f"the dataset has no row {row_idx}")


def read_originals(
    workspace: Workspace, rows: Sequence[int] | NDArray[np.int64]
) -> Iterator[tuple[int, bytes | None]]:
    """(row_idx, exact bytes of the record) of ``rows``, ascending, in bounded memory.

    None for a record that came as no JSON: its ``origin`` tells where it lies.
    """
    for table in _read_groups(workspace, rows, ["row_idx", "original"]):
        originals = table.column("original").to_pylist()
        yield from zip(table.column("row_idx").to_pylist(), originals, strict=True)


def read_columns(
    workspace: Workspace, columns: Sequence[str], rows: NDArray[np.int64] | None = None
) -> Iterator[pa.Table]:
    """The named columns of the whole dataset, or of ``rows``, one row group at a time."""
    yield from _read_groups(workspace, rows, list(columns))


def _read_groups(
    workspace: Workspace,
    rows: Sequence[int] | NDArray[np.int64] | None,
    columns: list[str] | None,
) -> Iterator[pa.Table]:
    """Row groups that hold any of ``rows``, cut down to them; statistics spare the others."""
    wanted = None if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    for path in dataset_parts(workspace):
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                statistics = file.metadata.row_group(group).column(0).statistics
                if wanted is None:
                    yield file.read_row_group(group, columns=columns)
                    continue
                low, high = np.searchsorted(wanted, [statistics.min, statistics.max + 1])
                if low < high:
                    table = file.read_row_group(group, columns=columns)
                    keep = pc.is_in(table.column("row_idx"), pa.array(wanted[low:high]))
                    yield table.filter(keep)


def sample_of_row(row: dict[str, Any]) -> Sample:
    """The sample that a row of ``schemas.DATASET`` or ``schemas.PLAN`` holds."""
    return Sample(
        row_idx=row["row_idx"],
        id=row["id"],
        source=row["source"],
        images=tuple(row["images"]),
        turns=tuple(
            Turn(Role(turn["role"]), turn["text"], tuple(turn["image_offsets"]))
            for turn in row["turns"]
        ),
        original=row.get("original") or b"",
        status=Status(row["status"]),
        reason=row["reason"],
        origin=row.get("origin"),
    )
