"""The dataset of a workspace: records imported once, each with its exact bytes, as Parquet.

Here it is read. What belongs to it stands in ``dataset.json``, which is replaced whole: parts that
it does not count are not there yet.
"""

from __future__ import annotations

import json
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

from scoring.errors import InputError, WorkspaceError
from scoring.samples import Role, Sample, Status, Turn
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class DatasetFile:
    """One imported file, and the format that was detected. ``name`` is relative to what all share.

    ``unread``: number of records by the key that seems to hold an image and was not read.
    ``encoding``: that of its text, from which the records were converted to UTF-8; "" for UTF-8.
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

    def facts(self) -> dict[str, Any]:
        """As ``dataset.json`` holds it: later fields only where they are not empty."""
        facts = asdict(self)
        return {k: v for k, v in facts.items() if v or k not in ("unread", "encoding")}


@dataclass(frozen=True, slots=True)
class Edition:
    """A state of a dataset that was added to: all of it so far, and the files that came last.

    ``fingerprint`` is that of the whole, ``added`` that of the files that were added.
    """

    fingerprint: str
    added: str
    n_samples: int
    n_parts: int


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What ``dataset.json`` holds. The fingerprint is a digest of the files' digests, in order.

    ``editions`` are its states, the first import first and the present one last; empty where
    nothing was ever added. Rows keep their row_idx and their bytes from one to the next.
    """

    fingerprint: str
    n_samples: int
    imported_at: str
    files: tuple[DatasetFile, ...]
    editions: tuple[Edition, ...] = ()

    @property
    def origin(self) -> str:
        """The fingerprint of the first import: what a run of every edition is a run over."""
        return self.editions[0].fingerprint if self.editions else self.fingerprint

    def holds(self, fingerprint: str) -> bool:
        """Whether the rows of a dataset with that fingerprint stand here as they stood there."""
        return fingerprint in (self.fingerprint, *(one.fingerprint for one in self.editions))

    def facts(self) -> dict[str, Any]:
        """As ``dataset.json`` holds it; a dataset that was never added to has no editions."""
        facts = asdict(self) | {"files": [file.facts() for file in self.files]}
        if not self.editions:
            del facts["editions"]
        return facts


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
    editions = tuple(Edition(**edition) for edition in raw.pop("editions", ()))
    return DatasetInfo(files=files, editions=editions, **raw)


def dataset_parts(workspace: Workspace) -> list[Path]:
    """The Parquet parts, in the order of their rows; those that an addition has not finished
    are not among them.
    """
    parts = sorted(workspace.dataset_dir.glob("part-*.parquet"))
    try:
        editions = read_dataset_info(workspace).editions
    except WorkspaceError:
        return parts
    return parts[: editions[-1].n_parts] if editions else parts


def read_samples(
    workspace: Workspace, rows: Sequence[int] | NDArray[np.int64] | None = None
) -> Iterator[Sample]:
    """Samples in ascending order of row_idx: all of them, or those of ``rows``."""
    for table in _read_groups(workspace, rows, None):
        for row in table.to_pylist():
            yield sample_from_row(row)


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
    """The first and the last row of each row group; a part is never changed once it counts."""
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(group).column(0) for group in range(metadata.num_row_groups)]
    limits = [(column.statistics.min, column.statistics.max) for column in groups]
    first, last = np.array(limits, dtype=np.int64).reshape(-1, 2).T
    return first, last


def sample_from_row(row: Mapping[str, Any]) -> Sample:
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
