"""Export the selected rows of a Parquet or Arrow dataset with all their columns.

The rows are read again from the dataset's own files, at the positions recorded on import: every
column is exported unchanged, including those that were never parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from scoring.dataset.records import DatasetFile, read_columns, read_dataset_info
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import OutputFile, TableFile, repeat_rows
from scoring.exports.images import exported_path
from scoring.exports.options import ExportOptions
from scoring.image_references import image_path, split_reference
from scoring.images.decode import find_container
from scoring.readers.tables import read_rows, read_table_schema
from scoring.workspace import Workspace

_TABLE_KINDS = ("parquet", "arrow")


def resolve_columns(workspace: Workspace, options: ExportOptions) -> ExportOptions:
    """Return the options with the columns of a table decided.

    A dataset of tables keeps its own columns unless the options need the understood ones.

    Raises:
        InputError: The options ask for the dataset's own columns, and it has none, or several
            kinds.
    """
    if options.columns == "source":
        source_schema(workspace)
    is_open = options.format == "parquet" and options.columns is None
    if is_open and options.images != "embed" and options.turns == "keep":
        with suppress(InputError, WorkspaceError, RecordError):
            source_schema(workspace)
            return replace(options, columns="source")
    return options


def source_schema(workspace: Workspace) -> pa.Schema:
    """Return the columns of the dataset's files.

    Raises:
        InputError: The files are not tables, or their columns differ.
        WorkspaceError: A file is gone.
    """
    common: pa.Schema | None = None
    for file in read_dataset_info(workspace).files:
        if file.container not in _TABLE_KINDS:
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
    for row_idx, reference in plan.read_references() if plan.options.places_images else ():
        path = image_path(reference)
        if split_reference(path) is None and exported_path(plan, reference) != path:
            raise InputError(
                f"Row {row_idx} names its image {path!r}, which is outside of the export's images, "
                "and rows are exported unchanged. Export with --columns understood, whose paths "
                "lead to the copies."
            )
    return [TableFile("samples.parquet", schema, _read_rows(plan, schema))]


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
    """Yield the selected rows of one file after the other."""
    yield schema.empty_table()
    end_row = position = 0
    for file in read_dataset_info(plan.workspace).files:
        end_row += file.n_records
        end = int(np.searchsorted(plan.rows, end_row))
        if end == position:
            continue
        columns = read_columns(plan.workspace, ["row_idx", "origin"], plan.rows[position:end])
        origins = (origin for table in columns for origin in table.column("origin").to_pylist())
        rows = np.fromiter((int(origin.rpartition("#row=")[2]) for origin in origins), np.int64)
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
