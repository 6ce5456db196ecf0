"""The dataset of a workspace: imported records with their exact bytes, as Parquet parts.

``dataset.json`` is replaced atomically and limits the parts that belong to the dataset. Arrays are
written column by column for each row group: building them from one dictionary per row took twice as
long as the rest of an import.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.errors import InputError, WorkspaceError
from scoring.readers.conversation import NO_IMAGE_REASON
from scoring.readers.detect import JSON
from scoring.samples import Role, Sample, Status, Turn
from scoring.schemas import DATASET, TURN
from scoring.workspace import Workspace, require_dataset

PART_ROWS = 100_000
GROUP_ROWS = 1_000  # rows that looking up one sample decodes
_GROUP_BYTES = 16 << 20
_MAX_REASONS = 10_000
_REASON_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One imported file and its detected format. Stored in ``dataset.json``.

    ``unread`` is the number of records by the key that seems to contain an image which was not
    read.
    """

    name: str  # relative to the common folder of all files
    sha256: str
    bytes: int
    format: str
    container: str
    n_records: int
    why: str = ""  # the evidence for the format
    unread: Mapping[str, int] = field(default_factory=dict)
    encoding: str = ""  # from which its records were converted to UTF-8
    is_partial: bool = False  # an import with a limit read only its first records
    hub: Mapping[str, str] = field(default_factory=dict)  # repository, commit, ...: HubFile
    # given options that describe its records: ReadOptions.describe_records; {} if unknown
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contains_images(self) -> bool:
        """Whether the file itself may contain images (those inside JSON belong to its records)."""
        return self.container not in JSON

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``dataset.json``; newer fields only if they are not empty."""
        values, newer = asdict(self), ("unread", "encoding", "is_partial", "hub", "reading")
        return {k: v for k, v in values.items() if v or k not in newer}


@dataclass(frozen=True, slots=True)
class Edition:
    """A state of a growing dataset.

    ``fingerprint`` covers the whole dataset at that time, ``added`` the files added last.
    """

    fingerprint: str
    added: str
    n_samples: int
    n_parts: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Contents of ``dataset.json``. The fingerprint is a digest of the files' digests, in order.

    ``editions`` are the states from the first import to the current one; empty if nothing was ever
    added. Rows keep their row_idx and their bytes across editions.
    """

    fingerprint: str
    n_samples: int
    imported_at: str
    files: tuple[DatasetFile, ...]
    editions: tuple[Edition, ...] = ()

    @property
    def origin(self) -> str:
        """Fingerprint of the first import, shared by the runs over all editions."""
        return self.editions[0].fingerprint if self.editions else self.fingerprint

    def includes_edition(self, fingerprint: str) -> bool:
        """Return whether a dataset with that fingerprint is this one or an earlier edition."""
        return fingerprint in (self.fingerprint, *(state.fingerprint for state in self.editions))

    def at_edition(self, fingerprint: str, n_files: int) -> DatasetInfo:
        """Return the dataset as it was in an edition, of its first ``n_files`` files."""
        number = [state.fingerprint for state in self.editions].index(fingerprint)
        return replace(
            self,
            fingerprint=fingerprint,
            n_samples=self.editions[number].n_samples,
            files=self.files[:n_files],
            editions=self.editions[: number + 1] if number else (),
        )

    def contains_files(self, new: DatasetInfo) -> bool:
        """Return whether the files of ``new`` are this dataset, or were added to it."""
        return new.fingerprint in ([e.added for e in self.editions] or [self.fingerprint])

    def first_row_of(self, new: DatasetInfo) -> int:
        """Return the row of the first sample of ``new``, whose files are in this dataset."""
        starts = [0, *(state.n_samples for state in self.editions)]
        added = [state.added for state in self.editions]
        return starts[added.index(new.fingerprint)] if new.fingerprint in added else 0

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``dataset.json``; editions only if something was added."""
        values = asdict(self) | {"files": [file.as_json() for file in self.files]}
        if not self.editions:
            del values["editions"]
        return values


def read_dataset_info(workspace: Workspace) -> DatasetInfo:
    """Return what was imported. Raises WorkspaceError if nothing was."""
    require_dataset(workspace)
    path = workspace.dataset_record or workspace.dataset_dir / "dataset.json"
    raw = json.loads(path.read_text("utf-8"))
    files = tuple(DatasetFile(**file) for file in raw.pop("files"))
    editions = tuple(Edition(**edition) for edition in raw.pop("editions", ()))
    return DatasetInfo(files=files, editions=editions, **raw)


def dataset_parts(workspace: Workspace) -> list[Path]:
    """Return the Parquet parts in row order, without those of an unfinished addition."""
    parts = sorted(workspace.dataset_dir.glob("part-*.parquet"))
    try:
        editions = read_dataset_info(workspace).editions
    except WorkspaceError:
        return parts
    return parts[: editions[-1].n_parts] if editions else parts


def read_samples(
    workspace: Workspace, rows: Sequence[int] | NDArray[np.int64] | None = None
) -> Iterator[Sample]:
    """Yield all samples or those of ``rows``, in ascending order of row_idx."""
    for table in read_columns(workspace, None, rows):
        for row in table.to_pylist():
            yield sample_from_row(row)


def read_sample(workspace: Workspace, row_idx: int) -> Sample:
    """Return one sample as it was imported. Raises InputError for a row that is not there."""
    sample = next(read_samples(workspace, [row_idx]), None)
    if sample is None:
        n = read_dataset_info(workspace).n_samples
        raise InputError(f"There is no sample {row_idx}. The dataset has rows 0 to {n - 1}.")
    return sample


def read_columns(
    workspace: Workspace,
    columns: Sequence[str] | None,
    rows: Sequence[int] | NDArray[np.int64] | None = None,
) -> Iterator[pa.Table]:
    """Yield the named columns, or all, of the dataset or of ``rows``, by row group.

    Groups without any of the rows are skipped by statistics.
    """
    names = None if columns is None else list(columns)
    wanted = None if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    for path in dataset_parts(workspace):
        stat = path.stat()
        first, last = _group_limits(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))
        groups = np.arange(len(first))
        if wanted is not None:
            low, high = np.searchsorted(wanted, first), np.searchsorted(wanted, last + 1)
            groups = np.flatnonzero(low < high)
        if not len(groups):
            continue
        with pq.ParquetFile(path) as file:
            for group in groups:
                table = file.read_row_group(int(group), columns=names)
                if wanted is not None:
                    inside = pa.array(wanted[low[group] : high[group]])
                    table = table.filter(pc.is_in(table.column("row_idx"), inside))
                yield table


def pending_images(workspace: Workspace) -> Iterator[list[str]]:
    """Yield the images of each sample that may be scored, in dataset order."""
    for table in read_columns(workspace, ["images", "status"]):
        for images, status in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if status == Status.PENDING:
                yield images


def count_statuses(workspace: Workspace) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Count the samples by status, and by status and reason those that need attention.

    Pending samples and records without an image are not counted by reason. At most
    10,000 different reasons are counted, by their first 600 characters.
    """
    statuses, reasons = Counter[str](), Counter[tuple[str, str]]()
    for table in read_columns(workspace, ["status", "reason"]):
        names = table.column(0).to_pylist()
        statuses.update(names)
        for status, reason in zip(names, table.column(1).to_pylist(), strict=True):
            key = (status, str(reason)[:_REASON_CHARACTERS])
            needs_attention = status != Status.PENDING and reason != NO_IMAGE_REASON
            if needs_attention and (key in reasons or len(reasons) < _MAX_REASONS):
                reasons[key] += 1
    return statuses, reasons


@lru_cache(maxsize=4096)
def _group_limits(
    path: Path,
    identity: tuple[int, ...],  # noqa: ARG001 - part of the key
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and last row of each row group. Cached: parts never change."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(group).column(0) for group in range(metadata.num_row_groups)]
    limits = [(column.statistics.min, column.statistics.max) for column in groups]
    first, last = np.array(limits, dtype=np.int64).reshape(-1, 2).T
    return first, last


def sample_from_row(row: Mapping[str, Any]) -> Sample:
    """Return the sample stored in a row of ``schemas.DATASET`` or ``schemas.PLAN``."""
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


class PartWriter:
    """Collects samples into row groups and row groups into part files.

    ``n_parts`` is the number of existing parts; any files after them are replaced.
    """

    def __init__(self, folder: Path, n_parts: int = 0) -> None:
        self._folder = folder
        self.n_parts = n_parts
        self._samples: list[Sample] = []
        self._bytes = self._in_part = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, sample: Sample) -> None:
        """Add the next sample."""
        self._samples.append(sample)
        self._bytes += len(sample.original) or sum(len(turn.text) for turn in sample.turns)
        if len(self._samples) >= GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Finish the part; the next sample starts a new one."""
        if self._samples:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        if self._writer is None:
            path = self._folder / f"part-{self.n_parts:05d}.parquet"
            self._writer = pq.ParquetWriter(path, DATASET, compression="zstd")
            self.n_parts, self._in_part = self.n_parts + 1, 0
        self._writer.write_table(dataset_table(self._samples))
        self._in_part += len(self._samples)
        self._samples, self._bytes = [], 0
        if self._in_part >= PART_ROWS:
            self._writer.close()
            self._writer = None


def dataset_table(samples: list[Sample]) -> pa.Table:
    """Return samples as rows of ``schemas.DATASET``."""
    texts = pa.string()
    turns = [turn for sample in samples for turn in sample.turns]
    offsets = _list_column(
        [len(turn.image_offsets) for turn in turns],
        pa.array([offset for turn in turns for offset in turn.image_offsets], pa.int32()),
    )
    roles = pa.array([turn.role.value for turn in turns], texts)
    turn_texts = pa.array([turn.text for turn in turns], texts)
    inner = pa.StructArray.from_arrays([roles, turn_texts, offsets], fields=list(TURN))
    columns = [
        pa.array([sample.row_idx for sample in samples], pa.int64()),
        pa.array([sample.id for sample in samples], texts),
        pa.array([sample.source for sample in samples], texts),
        _list_column(
            [len(sample.images) for sample in samples],
            pa.array([image for sample in samples for image in sample.images], texts),
        ),
        pa.array([len(sample.images) for sample in samples], pa.int32()),
        pa.array([sample.n_turns for sample in samples], pa.int32()),
        pa.array([sample.question for sample in samples], texts),
        pa.array([sample.answer for sample in samples], texts),
        _list_column([len(sample.turns) for sample in samples], inner),
        pa.array([sample.status.value for sample in samples], texts),
        pa.array([sample.reason for sample in samples], texts),
        pa.array([sample.original or None for sample in samples], pa.binary()),
        pa.array([sample.origin for sample in samples], texts),
    ]
    return pa.Table.from_arrays(columns, schema=DATASET)


def _list_column(lengths: list[int], values: pa.Array) -> pa.Array:
    ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values)
