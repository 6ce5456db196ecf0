"""Reading the dataset of a workspace: imported records with their exact bytes, as Parquet.

``dataset.json`` is replaced atomically and limits the parts that belong to the dataset.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.errors import WorkspaceError
from scoring.readers.conversation import NO_IMAGE_REASON
from scoring.readers.detect import JSON
from scoring.samples import Role, Sample, Status, Turn
from scoring.workspace import Workspace

_MAX_REASONS = 10_000
_REASON_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One imported file and its detected format. Stored in ``dataset.json``.

    Attributes:
        name: path relative to the common folder of all files.
        why: the evidence for the format.
        unread: number of records by the key that seems to contain an image which was not read.
        encoding: encoding from which its records were converted to UTF-8; "" for UTF-8.
    """

    name: str
    sha256: str
    bytes: int
    format: str
    container: str
    n_records: int
    why: str = ""
    unread: Mapping[str, int] = field(default_factory=dict)
    encoding: str = ""

    @property
    def contains_images(self) -> bool:
        """Whether the file itself may contain images (those inside JSON belong to its records)."""
        return self.container not in JSON

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``dataset.json``; newer fields only if they are not empty."""
        values = asdict(self)
        return {k: v for k, v in values.items() if v or k not in ("unread", "encoding")}


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

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``dataset.json``; editions only if something was added."""
        values = asdict(self) | {"files": [file.as_json() for file in self.files]}
        if not self.editions:
            del values["editions"]
        return values


def read_dataset_info(workspace: Workspace) -> DatasetInfo:
    """Return what was imported. Raises WorkspaceError if nothing was."""
    path = workspace.dataset_dir / "dataset.json"
    try:
        raw = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WorkspaceError(
            f"{workspace.root} has no dataset yet. "
            f"Import one with: visnec import DATA -w {workspace.root}"
        ) from None
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
    for table in _read_groups(workspace, rows, None):
        for row in table.to_pylist():
            yield sample_from_row(row)


def read_columns(
    workspace: Workspace, columns: Sequence[str], rows: NDArray[np.int64] | None = None
) -> Iterator[pa.Table]:
    """Yield the named columns of the whole dataset, or of ``rows``, one row group at a time."""
    yield from _read_groups(workspace, rows, list(columns))


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


def _read_groups(
    workspace: Workspace,
    rows: Sequence[int] | NDArray[np.int64] | None,
    columns: list[str] | None,
) -> Iterator[pa.Table]:
    """Yield row groups filtered to ``rows``; groups without any are skipped by statistics."""
    wanted = None if rows is None else np.unique(np.asarray(rows, dtype=np.int64))
    for path in dataset_parts(workspace):
        stat = path.stat()
        first, last = _group_limits(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))
        if wanted is None:
            low, high = np.zeros(len(first), dtype=int), np.ones(len(first), dtype=int)
        else:
            low, high = np.searchsorted(wanted, first), np.searchsorted(wanted, last + 1)
        groups = np.flatnonzero(low < high)
        if not len(groups):
            continue
        with pq.ParquetFile(path) as file:
            for group in groups:
                table = file.read_row_group(int(group), columns=columns)
                if wanted is not None:
                    inside = pa.array(wanted[low[group] : high[group]])
                    table = table.filter(pc.is_in(table.column("row_idx"), inside))
                yield table


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
