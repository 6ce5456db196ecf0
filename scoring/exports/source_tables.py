"""Export the selected rows of a Parquet or Arrow dataset with all their columns.

The rows are read again from the dataset's own files, at the positions recorded on import: every
column is exported unchanged, including those that were never parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from scoring.dataset.records import DatasetFile, read_columns, read_dataset_info
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import OutputFile, TableFile, repeat_rows
from scoring.exports.options import ExportOptions
from scoring.image_references import image_path, split_reference
from scoring.images.decode import find_container
from scoring.readers.tables import read_rows, read_table_schema
from scoring.rules.candidates import Ints
from scoring.workspace import Workspace

TABLE_KINDS = ("parquet", "arrow")


def resolve_columns(workspace: Workspace, options: ExportOptions) -> ExportOptions:
    """Return the options with the columns of a table decided.

    A dataset of tables keeps its own columns unless the options need the understood ones.

    Raises:
        InputError: The options ask for the dataset's own columns, and it has none, or several
            kinds.
    """
    if options.format != "parquet" or options.columns == "understood":
        return options
    if options.columns == "source":
        source_schema(workspace)
        return options
    if options.images == "embed" or options.turns != "keep":
        return options
    try:
        source_schema(workspace)
    except (InputError, WorkspaceError, RecordError):
        return options
    return replace(options, columns="source")


def source_schema(workspace: Workspace) -> pa.Schema:
    """Return the columns of the dataset's files.

    Raises:
        InputError: The files are not tables, or their columns differ.
        WorkspaceError: A file is gone.
    """
    common: pa.Schema | None = None
    for file in read_dataset_info(workspace).files:
        if file.container not in TABLE_KINDS:
            raise InputError(
                f"{file.name} is not a Parquet or Arrow file, so the dataset has no columns of its "
                "own. Export with --columns understood."
            )
        schema = read_table_schema(_locate_file(workspace, file))
        if common is not None and not schema.equals(common):
            raise InputError(
                f"The columns of {file.name} differ from those of the files before it. Export with "
                "--columns understood."
            )
        common = schema if common is None else common
    if common is None:
        raise InputError("The dataset has no files.")
    return common


def source_outputs(plan: ExportPlan) -> list[OutputFile]:
    """Return ``samples.parquet`` with the rows and columns of the dataset's files."""
    schema = source_schema(plan.workspace)
    if plan.weights is not None and plan.options.weights == "column":
        schema = _add_weight_column(schema, plan.options.weight_key)
    if plan.options.places_images:
        _check_paths(plan)
    return [TableFile("samples.parquet", schema, _read_rows(plan, schema))]


def _check_paths(plan: ExportPlan) -> None:
    """Raise InputError where a row names an image by a path that its copy cannot have."""
    for row_idx, reference in plan.read_references():
        path = image_path(reference)
        if split_reference(path) is None and plan.exported_path(reference) != path:
            raise InputError(
                f"Row {row_idx} names its image {path!r}, which is outside of the export's images, "
                "and rows are exported unchanged. Export with --columns understood, whose paths "
                "lead to the copies."
            )


def _add_weight_column(schema: pa.Schema, key: str) -> pa.Schema:
    if key in schema.names:
        raise InputError(f"The dataset has a column {key!r} already. Name another --weight-key.")
    metadata = dict(schema.metadata or {})
    try:
        value = json.loads(metadata[b"huggingface"])
        value["info"]["features"][key] = {"_type": "Value", "dtype": "float64"}
        metadata[b"huggingface"] = json.dumps(value).encode()
    except (KeyError, TypeError, ValueError):
        metadata.pop(b"huggingface", None)
    return schema.append(pa.field(key, pa.float64())).with_metadata(metadata or None)


def _read_rows(plan: ExportPlan, schema: pa.Schema) -> Iterator[pa.Table]:
    yield schema.empty_table()
    first_row = position = 0
    for file in read_dataset_info(plan.workspace).files:
        end_row = first_row + file.n_records
        end = int(np.searchsorted(plan.rows, end_row))
        if end > position:
            yield from _read_file_rows(plan, schema, file, position, end)
        first_row, position = end_row, end


def _read_file_rows(
    plan: ExportPlan, schema: pa.Schema, file: DatasetFile, start: int, end: int
) -> Iterator[pa.Table]:
    """Yield the rows of the samples at positions ``start`` to ``end``, all from one file."""
    rows = _rows_in_file(plan, start, end)
    position = start
    for batch in read_rows(_locate_file(plan.workspace, file), file.name, rows):
        table = pa.Table.from_batches([batch])
        span = slice(position, position + len(batch))
        position += len(batch)
        if len(schema) > table.num_columns and plan.weights is not None:
            table = table.append_column(schema.field(-1), pa.array(plan.weights[span]))
        table = table.replace_schema_metadata(schema.metadata)
        yield from [table] if plan.repeats is None else repeat_rows(table, plan.repeats[span])
    if position < end:
        raise WorkspaceError(
            f"{file.name} has fewer rows than were imported. Restore the file, or export with "
            "--columns understood."
        )


def _rows_in_file(plan: ExportPlan, start: int, end: int) -> Ints:
    """Return the rows within their own file of the samples at these positions."""
    rows = np.empty(end - start, np.int64)
    n = 0
    for table in read_columns(plan.workspace, ["row_idx", "origin"], plan.rows[start:end]):
        origins = table.column("origin").to_pylist()
        rows[n : n + len(origins)] = [int(origin.rpartition("#row=")[2]) for origin in origins]
        n += len(origins)
    return rows[:n]


def _locate_file(workspace: Workspace, file: DatasetFile) -> Path:
    """Return the path of a dataset file. Raise WorkspaceError where it is gone or has changed."""
    path = find_container(file.name, workspace.image_roots)
    if path is None or not path.is_file():
        raise WorkspaceError(
            f"{file.name} is gone, and its rows are read from it. Give its location with visnec "
            "relocate, or export with --columns understood."
        )
    if path.stat().st_size != file.bytes:
        raise WorkspaceError(
            f"{path} is not the file that was imported ({path.stat().st_size:,} bytes instead of "
            f"{file.bytes:,}). Restore it, or export with --columns understood."
        )
    return path
