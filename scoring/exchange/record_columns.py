"""Import a dataset with some keys of its own records as columns.

The columns are checked before the dataset is published and stored after it. Importing the same
files again with other keys adds these; a column grows when records are appended.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scoring.columns.parts import (
    INTEGER,
    NUMBER,
    SAMPLE,
    TURN,
    ColumnRecord,
    list_columns,
    part_path,
)
from scoring.database.queries.column_import import ColumnMatcher, FileColumn
from scoring.dataset import importing
from scoring.dataset.importing import Progress
from scoring.dataset.record_values import ROW_KEY, RecordValues
from scoring.dataset.records import DatasetInfo, read_columns, read_dataset_info
from scoring.errors import InputError
from scoring.exchange.imported_columns import (
    ColumnImport,
    base_record,
    complete_record,
    list_readable,
    write_columns,
)
from scoring.issues import ImportIssues
from scoring.readers.options import ReadOptions
from scoring.workspace import Workspace

RECORD = "record"
"""What columns of records were matched by, in ``ColumnRecord.on``."""
_LINES = {"compression": "none", "format": "newline_delimited"}
_KEYS_SHOWN = 20


def import_dataset(
    workspace: Workspace,
    files: Sequence[Path | str],
    image_roots: Sequence[Path] = (),
    progress: Progress | None = None,
    options: ReadOptions | None = None,
    append: bool = False,
    columns: Sequence[str] = (),
) -> DatasetInfo:
    """Import dataset files into ``workspace``.

    An interrupted import keeps the files that it has finished; importing the same files again
    resumes it. Importing or adding files that are already there changes nothing but ``columns``.

    Args:
        workspace: the workspace, new or existing.
        files: files, folders, patterns, or ``hf:owner/name@revision#config/split``.
        image_roots: folders that image paths are relative to, and files that contain images by
            key. Default: for each file its folder or the parent, whichever has its first images.
        progress: called with samples read, bytes read and bytes in total.
        options: how to read the records.
        append: add to the dataset in the workspace; its rows, scores and decisions are kept.
        columns: keys of the records that become columns, or patterns such as ``*_ratings``.

    Raises:
        InputError: the input cannot be used, or some of the added files were imported before.
        RecordError: a file cannot be read.
        WorkspaceError: the workspace contains another dataset, or a run is active.
    """
    if not columns:
        return importing.import_dataset(workspace, files, image_roots, progress, options, append)
    return import_with_columns(workspace, files, image_roots, progress, options, append, columns)[0]


def import_with_columns(
    workspace: Workspace,
    files: Sequence[Path | str],
    image_roots: Sequence[Path],
    progress: Progress | None,
    options: ReadOptions | None,
    append: bool,
    columns: Sequence[str],
) -> tuple[DatasetInfo, ColumnImport]:
    """As ``import_dataset``; also return the columns."""
    workspace.root.mkdir(parents=True, exist_ok=True)
    issues, readable = ImportIssues(), dict[str, FileColumn]()
    with (
        tempfile.TemporaryDirectory(prefix=".import-columns.", dir=workspace.root) as folder,
        ColumnMatcher(Path(folder)) as matcher,
    ):

        def check(values: RecordValues) -> None:
            _load_values(matcher, values)
            readable.update(_list_columns(workspace, matcher, issues))

        values = RecordValues(columns, check)
        info = importing.import_dataset(
            workspace, files, image_roots, progress, options, append, values
        )
        return info, _store_columns(workspace, matcher, readable, values, issues)


def _load_values(matcher: ColumnMatcher, values: RecordValues) -> None:
    """Load the collected values. Raises InputError for a key that no record has."""
    present: list[str] = []
    paths = [path for path in values.paths if path.stat().st_size]
    if paths:
        source = "cells" if values.are_cells else "json"
        matcher.add_file("The dataset", paths, source, _LINES, (ROW_KEY,), (), (ROW_KEY,))
        matcher.shift_rows(values.first_row - values.first_read)
        present = matcher.keys
    missing = [
        pattern
        for pattern in values.patterns
        if not any(fnmatchcase(key, pattern) for key in present)
    ]
    if missing:
        known = list(values.keys)[:_KEYS_SHOWN]
        more = ", ..." if len(values.keys) > _KEYS_SHOWN else ""
        raise InputError(
            f"No record has a key {', '.join(map(repr, missing))}, which --columns names. Keys of "
            f"the records: {', '.join(known) or 'none'}{more}."
        )


def _list_columns(
    workspace: Workspace, matcher: ColumnMatcher, issues: ImportIssues
) -> dict[str, FileColumn]:
    """Return the columns of the records by name, with the types of the columns that they continue.

    Raises InputError for a name that another file's column has, or another type.
    """
    present = {column.name.lower(): column for column in list_columns(workspace)}
    columns = list_readable(matcher, "The dataset", "", issues)
    for name, column in columns.items():
        before = present.get(name.lower())
        if before is None:
            continue
        if (before.on, before.key) != (RECORD, column.key):
            raise InputError(
                f"There is a column {before.name!r} already, imported from {before.file} on "
                f"{before.imported_at}. Remove it first with visnec import-columns --remove "
                f"{before.name}."
            )
        types, per = {before.type, column.type}, TURN if column.is_list else SAMPLE
        if before.per != per or (len(types) > 1 and types != {INTEGER, NUMBER}):
            raise InputError(
                f"The column {name!r} has one {before.type} per {before.per}, and the key "
                f"{column.key!r} of these records one {column.type} per {per}."
            )
        if len(types) > 1:
            columns[name] = replace(column, type=NUMBER)
    return columns


def _store_columns(
    workspace: Workspace,
    matcher: ColumnMatcher,
    columns: dict[str, FileColumn],
    values: RecordValues,
    issues: ImportIssues,
) -> ColumnImport:
    """Write the columns of the records that were read, with the values that others have."""
    dataset = read_dataset_info(workspace)
    rows = (values.first_row, values.first_row + values.n_rows)
    needed = ["row_idx", "id", "images", "n_turns"]
    matcher.add_samples(read_columns(workspace, needed, np.arange(*rows)))
    matcher.match_rows("row_idx", issues)
    present = {column.name: column for column in list_columns(workspace)}
    base = base_record(dataset, _describe_files(dataset), dataset.fingerprint, RECORD)
    batches = [
        (
            complete_record(base, name, column),
            _join_values(workspace, present.get(name), rows, matcher.read_values(column, issues)),
        )
        for name, column in columns.items()
    ]
    kept = [column for name, column in present.items() if name in columns]
    stored = write_columns(workspace, batches, issues, kept)
    return ColumnImport(stored, matcher.n_rows, issues.as_rows())


def _join_values(
    workspace: Workspace,
    before: ColumnRecord | None,
    rows: tuple[int, int],
    new: Iterator[pa.RecordBatch],
) -> Iterator[pa.RecordBatch]:
    """Yield the values of a column, those of ``rows`` from ``new``, ascending by row_idx."""
    if before is None:
        yield from new
        return
    yield from _read_values(workspace, before, -1, rows[0])
    yield from new
    yield from _read_values(workspace, before, rows[1], before.n_samples)


def _read_values(
    workspace: Workspace, column: ColumnRecord, first: int, end: int
) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(part_path(workspace, column)) as file:
        for batch in file.iter_batches():
            row_idx = batch.column("row_idx")
            inside = pc.and_(pc.greater_equal(row_idx, first), pc.less(row_idx, end))
            yield batch.filter(inside)


def _describe_files(dataset: DatasetInfo) -> str:
    names = [file.name for file in dataset.files]
    return names[0] + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")
