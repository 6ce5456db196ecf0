"""Columns in the workspace: stored, listed, removed.

``columns/<name>/`` has one part with the values, ``values-*.parquet``, and ``column.json``, which
names that part and records where the values come from. Replacing ``column.json`` replaces the
column; a part is never edited. When a dataset grows, a part from before is kept for the exports
that name it, next to its record ``values-*.json``.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.errors import InputError, WorkspaceError
from scoring.workspace import Workspace, check_name, open_atomic, write_json

_RECORD = "column.json"
INTEGER, NUMBER, TEXT, BOOLEAN = TYPES = ("integer", "number", "text", "boolean")
"""Types of values. Integers are exact up to 2**53, because they are compared as doubles."""
ARROW_TYPES = {
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    TEXT: pa.string(),
    BOOLEAN: pa.bool_(),
}
SAMPLE, TURN = "sample", "turn"


@dataclass(frozen=True, slots=True)
class ColumnRecord:
    """Contents of ``column.json``.

    ``per`` is sample, or turn for a list with one value per answer. ``key`` is the name in the
    file, ``on`` what the rows were matched by. ``n_values`` samples have a value. ``findings``
    (what, n, examples) lists the rows of the file that were not used. A computed column has the
    command as its ``file``, the digest of its values as ``sha256``, and ``settings``.
    """

    name: str
    type: str
    per: str
    part: str
    file: str
    sha256: str
    key: str
    on: str
    imported_at: str
    dataset_fingerprint: str
    n_samples: int
    n_values: int
    findings: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def column_name(text: str) -> str:
    """Return the name under which a key of a file is stored: other characters become ``_``."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-").rstrip(".")
    return check_name(name, "column")


def list_columns(workspace: Workspace) -> list[ColumnRecord]:
    """Return the columns of the workspace by name. Raises WorkspaceError."""
    return [_read_record(path) for path in sorted(workspace.columns_dir.glob(f"[!.]*/{_RECORD}"))]


def part_path(workspace: Workspace, column: ColumnRecord) -> Path:
    """Return the file with the values of a column: row_idx, and value or a list of values."""
    return workspace.columns_dir / column.name / column.part


def write_part(
    workspace: Workspace, column: ColumnRecord, batches: Iterable[pa.RecordBatch]
) -> ColumnRecord:
    """Write the values of a column and return its record, which ``publish_columns`` stores.

    A part is named after its content, so that writing the same values again keeps the part that
    exports name in their manifests.
    """
    value = ARROW_TYPES[column.type]
    value = pa.list_(value) if column.per == TURN else value
    schema = pa.schema([("row_idx", pa.int64()), ("value", value)])
    n_values, folder = 0, workspace.columns_dir / column.name
    unnamed = folder / f"values-{secrets.token_hex(6)}.parquet"
    with (
        open_atomic(unnamed) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for batch in batches:
            writer.write_batch(batch.cast(schema))
            n_values += len(batch)
    with unnamed.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    part = unnamed.replace(folder / f"values-{digest[:16]}.parquet")
    return replace(column, part=part.name, n_values=n_values)


def publish_columns(workspace: Workspace, columns: Iterable[ColumnRecord]) -> None:
    """Store the records of written parts; each replaces the column of its name, if any."""
    for column in columns:
        write_json(workspace.columns_dir / column.name / _RECORD, asdict(column))


def keep_part(workspace: Workspace, column: ColumnRecord) -> None:
    """Keep the part of a column that is about to be replaced, and its record."""
    write_json(_kept_record(part_path(workspace, column)), asdict(column))


def record_of_part(part: Path) -> Path:
    """Return the file with the record that a part belongs to, kept from before or current."""
    kept = _kept_record(part)
    return kept if kept.exists() else part.with_name(_RECORD)


def _kept_record(part: Path) -> Path:
    return part.with_suffix(".json")


def remove_unused_parts(workspace: Workspace, names: Iterable[str]) -> None:
    """Delete the parts of the named columns that are neither current nor kept."""
    for name in names:
        folder = workspace.columns_dir / name
        is_column = (folder / _RECORD).exists()
        current = _read_record(folder / _RECORD).part if is_column else None
        for path in folder.glob("values-*.parquet"):
            if path.name != current and not _kept_record(path).exists():
                path.unlink(missing_ok=True)
        if not is_column:
            with suppress(OSError):
                folder.rmdir()


def remove_column(workspace: Workspace, name: str) -> None:
    """Remove a column. Raises InputError if there is none of that name."""
    known = [column.name for column in list_columns(workspace)]
    if name not in known:
        raise InputError(f"No column {name!r}. Columns: {', '.join(known) or 'none'}.")
    folder = workspace.columns_dir / name
    (folder / _RECORD).unlink()  # first: a folder without it is not a column
    shutil.rmtree(folder)


def _read_record(path: Path) -> ColumnRecord:
    try:
        return ColumnRecord(**json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WorkspaceError(
            f"Cannot read {path} ({error}). Remove {path.parent} and import the column again."
        ) from error
