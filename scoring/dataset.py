"""The dataset of a workspace: records imported once, each with its exact bytes, as Parquet.

Import streams: a record is cut, understood and written, so memory stays bounded whatever the
file's size. The folder appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.errors import InputError, WorkspaceError
from scoring.readers import FileFormat, HashingReader, detect_format, read_records
from scoring.readers.images import ImageProblem, resolve_image
from scoring.readers.llava import to_sample
from scoring.samples import Role, Sample, Status, Turn
from scoring.schemas import DATASET
from scoring.workspace import Workspace, save_settings, write_json

PART_ROWS = 100_000
GROUP_ROWS = 1_000  # a row group is what a look-up of one sample decodes
_GROUP_BYTES = 32 << 20
_ROOT_TRIALS = 200  # records whose images settle which folder the paths are relative to

Progress = Callable[[int, int, int], None]
"""Called with samples read so far, bytes read so far, bytes in all."""


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One imported file."""

    name: str
    sha256: str
    bytes: int
    format: str
    container: str
    n_records: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What ``dataset.json`` holds. The fingerprint is a digest of the files' digests, in order."""

    fingerprint: str
    n_samples: int
    imported_at: str
    files: tuple[DatasetFile, ...]


def import_dataset(
    workspace: Workspace,
    files: Sequence[Path],
    image_roots: Sequence[Path] = (),
    progress: Progress | None = None,
) -> DatasetInfo:
    """Imports LLaVA JSON or JSONL files into ``workspace``, in the given order.

    Without ``image_roots`` the folder of the first file or its parent is declared, whichever
    holds the first images. Raises InputError, RecordError, or WorkspaceError when the workspace
    holds another dataset already; importing the same files again changes nothing.
    """
    formats = [detect_format(path) for path in _existing(files)]
    total = sum(path.stat().st_size for path in files)
    workspace.root.mkdir(parents=True, exist_ok=True)
    temporary = workspace.root / f".dataset.{uuid.uuid4().hex[:8]}.tmp"
    temporary.mkdir()
    try:
        info = _write_dataset(temporary, files, formats, total, progress)
        if workspace.dataset_dir.exists():
            return _same_dataset(workspace, info)
        roots = list(image_roots) or [_guess_image_root(temporary, files[0])]
        _declare_roots(workspace, roots)
        temporary.replace(workspace.dataset_dir)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return info


def _existing(files: Sequence[Path]) -> Sequence[Path]:
    if not files:
        raise InputError("no file to import; name a LLaVA JSON or JSONL file")
    for path in files:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise InputError(f"{path} {what}; name a LLaVA JSON or JSONL file")
    return files


def _write_dataset(
    folder: Path,
    files: Sequence[Path],
    formats: Sequence[FileFormat],
    total: int,
    progress: Progress | None,
) -> DatasetInfo:
    writer = _PartWriter(folder)
    done: list[DatasetFile] = []
    n_samples = n_bytes = 0
    for path, fmt in zip(files, formats, strict=True):
        before = n_samples
        reader = HashingReader(path)
        with reader, io.BufferedReader(reader) as file:
            for record in read_records(file, str(path), fmt.container):
                writer.write(to_sample(n_samples, record, path.stem))
                n_samples += 1
                if progress and n_samples % GROUP_ROWS == 0:
                    progress(n_samples, n_bytes + reader.n_bytes, total)
            while file.read(1 << 20):  # what follows the last record belongs to the fingerprint
                pass
            n_bytes += reader.n_bytes
            described = (fmt.family, fmt.container, n_samples - before)
            done.append(DatasetFile(path.name, reader.sha256(), reader.n_bytes, *described))
    writer.close()
    if not n_samples:
        raise InputError(f"{', '.join(str(path) for path in files)}: no record found")
    digest = hashlib.sha256("".join(file.sha256 for file in done).encode()).hexdigest()
    info = DatasetInfo(
        digest, n_samples, datetime.now(UTC).isoformat(timespec="seconds"), tuple(done)
    )
    write_json(folder / "dataset.json", asdict(info))
    if progress:
        progress(n_samples, n_bytes, total)
    return info


class _PartWriter:
    """Buffers samples into row groups and row groups into part files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self._bytes = self._in_part = self._n_parts = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, sample: Sample) -> None:
        self._rows.append(_row(sample))
        self._bytes += len(sample.original)
        if len(self._rows) >= GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            path = self._folder / f"part-{self._n_parts:05d}.parquet"
            self._writer = pq.ParquetWriter(path, DATASET, compression="zstd")
            self._n_parts, self._in_part = self._n_parts + 1, 0
        self._writer.write_table(pa.Table.from_pylist(self._rows, DATASET))
        self._in_part += len(self._rows)
        self._rows, self._bytes = [], 0
        if self._in_part >= PART_ROWS:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._writer is not None:
            self._writer.close()


def _row(sample: Sample) -> dict[str, Any]:
    return {
        "row_idx": sample.row_idx,
        "id": sample.id,
        "source": sample.source,
        "images": sample.images,
        "n_images": len(sample.images),
        "n_turns": sample.n_turns,
        "question": sample.question,
        "answer": sample.answer,
        "turns": [
            {"role": turn.role.value, "text": turn.text, "image_offsets": turn.image_offsets}
            for turn in sample.turns
        ],
        "status": sample.status.value,
        "reason": sample.reason,
        "original": sample.original,
    }


def _same_dataset(workspace: Workspace, info: DatasetInfo) -> DatasetInfo:
    present = read_dataset_info(workspace)
    if present.fingerprint != info.fingerprint:
        raise WorkspaceError(
            f"{workspace.root} already holds another dataset "
            f"({', '.join(file.name for file in present.files)}, {present.n_samples:,} samples); "
            "import this one into a workspace of its own"
        )
    return present


def _guess_image_root(folder: Path, file: Path) -> Path:
    """The folder of the dataset file or its parent: whichever holds more of the first images."""
    table = pq.ParquetFile(folder / "part-00000.parquet").read_row_group(0, columns=["images"])
    references = [paths[0] for paths in table.column("images").to_pylist() if paths][:_ROOT_TRIALS]
    candidates = [file.resolve().parent, file.resolve().parent.parent]

    def found(root: Path) -> int:
        return sum(_resolves(reference, root) for reference in references)

    return max(candidates, key=found)  # the first of equals: the file's own folder


def _resolves(reference: str, root: Path) -> bool:
    try:
        resolve_image(reference, [root])
    except ImageProblem:
        return False
    return True


def _declare_roots(workspace: Workspace, roots: Sequence[Path]) -> None:
    base = workspace.root.resolve()
    declared = []
    for root in roots:
        if not root.is_dir():
            raise InputError(f"the image folder {root} does not exist")
        path = root.resolve()
        inside = path.is_relative_to(base)
        declared.append(str(path.relative_to(base)) if inside else str(path))
    save_settings(
        replace(workspace, settings=replace(workspace.settings, image_roots=tuple(declared)))
    )


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
) -> Iterator[tuple[int, bytes]]:
    """(row_idx, exact bytes of the record) of ``rows``, ascending, in bounded memory."""
    for table in _read_groups(workspace, rows, ["row_idx", "original"]):
        originals = table.column("original").to_pylist()
        yield from zip(table.column("row_idx").to_pylist(), originals, strict=True)


def read_columns(workspace: Workspace, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The named columns of the whole dataset, one row group at a time."""
    yield from _read_groups(workspace, None, list(columns))


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
        original=row.get("original", b""),
        status=Status(row["status"]),
        reason=row["reason"],
    )
