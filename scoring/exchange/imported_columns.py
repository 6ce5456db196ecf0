"""Import columns: values per sample or per answer from Parquet, JSON lines or CSV.

A file of ratings, CLIP scores or labels becomes one column per key, joined to the dataset by
``row_idx``, ``id`` or image. All columns of a file are imported or none.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from scoring.columns.parts import (
    SAMPLE,
    TURN,
    ColumnRecord,
    column_name,
    keep_part,
    list_columns,
    publish_columns,
    remove_unused_parts,
    write_part,
)
from scoring.database.build.build import build_database
from scoring.database.queries.column_import import ColumnMatcher, FileColumn
from scoring.dataset.records import DatasetInfo, read_columns, read_dataset_info
from scoring.errors import InputError
from scoring.exchange.score_files import CSV, JSON_ARRAY, PARQUET, detect_kind
from scoring.issues import ImportIssues
from scoring.runs.record import utc_now
from scoring.workspace import Workspace

KEYS = {
    "row_idx": ("row_idx",),
    "id": ("id", "question_id", "qa_uid"),
    "image": ("image", "image_path"),
}
"""What rows can be matched by, and the names in a file that are accepted for it."""
_KEY_NAMES = tuple(name for names in KEYS.values() for name in names)
_CODECS = {None: "none", "gzip": "gzip", "zstd": "zstd"}


@dataclass(frozen=True, slots=True)
class ColumnImport:
    """The columns that a file became; ``already``: as they were before, nothing was changed.

    ``findings`` (what, n, examples) lists the rows and columns of the file that were not used.
    """

    columns: tuple[ColumnRecord, ...]
    n_rows: int
    findings: list[dict[str, Any]]
    already: bool = False


def import_columns(
    workspace: Workspace,
    path: Path,
    *,
    on: str = "row_idx",
    prefix: str = "",
    columns: Sequence[str] = (),
    replace_existing: bool = False,
) -> ColumnImport:
    """Import the columns of a file and build the database.

    Values are numbers, texts or booleans; a list has one value per answer. Importing the same file
    again changes nothing.

    Args:
        workspace: A workspace with a dataset.
        path: Parquet, JSON lines, JSON or CSV with a header, one row per sample or image.
        on: What the rows are matched by: ``row_idx``, ``id`` or ``image`` (the path in the record).
        prefix: Text before each name.
        columns: Keys to import, with dots for nested objects; by default all that have values.
        replace_existing: Replace columns of the same names.

    Raises InputError if the file cannot be read, none of its rows matches, two rows are about the
    same sample, or a column has values of several types or a name that is in use.
    """
    if on not in KEYS:
        raise InputError(f"Cannot match rows by {on!r}. Choose one of: {', '.join(KEYS)}.")
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    issues = ImportIssues()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with (
        tempfile.TemporaryDirectory(prefix=".import-columns.", dir=workspace.root) as folder,
        ColumnMatcher(Path(folder)) as matcher,
    ):
        matcher.add_file(str(path), [path], *_reader_of(path), KEYS[on], columns, _KEY_NAMES)
        matcher.add_samples(read_columns(workspace, ["row_idx", "id", "images", "n_turns"]))
        if not matcher.match_rows(on, issues):
            raise InputError(
                f"No row of {path} matches this dataset by {on}{issues.in_words()}. Choose another "
                "key with --on."
            )
        base = base_record(read_dataset_info(workspace), path.name, digest, on)
        return store_columns(workspace, matcher, base, prefix, issues, replace_existing)


def store_columns(
    workspace: Workspace,
    matcher: ColumnMatcher,
    base: ColumnRecord,
    prefix: str,
    issues: ImportIssues,
    replace_existing: bool,
) -> ColumnImport:
    """Store the columns that a matcher has read and build the database."""
    columns = list_readable(matcher, base.file, prefix, issues)
    records = {name: complete_record(base, name, column) for name, column in columns.items()}
    present = _check_names(workspace, list(records.values()), replace_existing)
    if len(present) == len(records):
        return ColumnImport(tuple(present), matcher.n_rows, issues.as_rows(), already=True)
    values = [(records[name], matcher.read_values(columns[name], issues)) for name in records]
    stored = write_columns(workspace, values, issues)
    return ColumnImport(stored, matcher.n_rows, issues.as_rows())


def list_readable(
    matcher: ColumnMatcher, file: str, prefix: str, issues: ImportIssues
) -> dict[str, FileColumn]:
    """Return the columns of a file that can be read, by name.

    Raises InputError if there are none, two would have the same name, or an integer is too large.
    """
    columns = [matcher.read_column(key, issues) for key in matcher.keys]
    named = [(column_name(prefix + column.key), column) for column in columns if column is not None]
    for _, column in named:
        matcher.refuse_large_integers(column)
    if not named:
        raise InputError(f"{file} has no columns to import{issues.in_words()}.")
    names = [name.lower() for name, _ in named]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"Several keys would be columns of the same name: {', '.join(repeated)}. Choose keys "
            "with --columns."
        )
    return dict(named)


def complete_record(base: ColumnRecord, name: str, column: FileColumn) -> ColumnRecord:
    """Return the record of a column of the file that ``base`` is about."""
    per = TURN if column.is_list else SAMPLE
    return replace(base, name=name, key=column.key, type=column.type, per=per)


def write_columns(
    workspace: Workspace,
    values: Sequence[tuple[ColumnRecord, Iterable[pa.RecordBatch]]],
    issues: ImportIssues,
    kept: Iterable[ColumnRecord] = (),
) -> tuple[ColumnRecord, ...]:
    """Write columns, replace those of the same names, and build the database.

    Of the columns ``kept``, parts that are replaced stay for the exports that name them.
    """
    try:
        written = [write_part(workspace, record, batches) for record, batches in values]
        stored = tuple(replace(record, findings=issues.as_rows()) for record in written)
        parts = {record.name: record.part for record in stored}
        for column in kept:
            if column.part != parts[column.name]:
                keep_part(workspace, column)
        publish_columns(workspace, stored)
        build_database(workspace)
    finally:  # builds that began before have read the parts that were replaced
        remove_unused_parts(workspace, [record.name for record, _ in values])
    return stored


def _check_names(
    workspace: Workspace, records: Sequence[ColumnRecord], replace_existing: bool
) -> list[ColumnRecord]:
    """Return the columns that are stored already. Raises InputError for a name in use."""
    present = {column.name.lower(): column for column in list_columns(workspace)}
    same = []
    for record in records:
        column = present.get(record.name.lower())
        if column is None:
            continue
        is_same_file = (column.name, column.sha256) == (record.name, record.sha256)
        is_same_file &= (column.key, column.on) == (record.key, record.on)
        if is_same_file and column.dataset_fingerprint == record.dataset_fingerprint:
            same.append(column)
        elif not is_same_file and (not replace_existing or column.name != record.name):
            raise InputError(
                f"There is a column {column.name!r} already, imported from {column.file} on "
                f"{column.imported_at}. Import this one under another name with --prefix, or "
                "replace it with --replace."
            )
    return same


def base_record(dataset: DatasetInfo, file: str, digest: str, on: str) -> ColumnRecord:
    """Return what all columns of a file have in common."""
    return ColumnRecord(
        name="",
        type="",
        per=SAMPLE,
        part="",
        file=file,
        sha256=digest,
        key="",
        on=on,
        imported_at=utc_now(),
        dataset_fingerprint=dataset.fingerprint,
        n_samples=dataset.n_samples,
        n_values=0,
    )


def _reader_of(path: Path) -> tuple[str, dict[str, Any]]:
    """Return DuckDB's kind of reader for a file and the options for it."""
    kind, codec = detect_kind(path)
    if kind == PARQUET:
        return "parquet", {"hive_partitioning": False}
    if codec not in _CODECS:
        raise InputError(f"{path} is compressed as {codec}. Decompress it first.")
    if kind == CSV:
        delimiter = "\t" if ".tsv" in path.suffixes else ","
        options = {"all_varchar": True, "header": True, "delim": delimiter, "quote": '"'}
        return "csv", {"compression": _CODECS[codec], "escape": '"', **options}
    layout = "array" if kind == JSON_ARRAY else "newline_delimited"
    return "json", {"compression": _CODECS[codec], "format": layout}
