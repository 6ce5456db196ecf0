"""Tables as they came: the rows of a Parquet or Arrow dataset that a subset keeps.

The one decision behind it: the rows are read again from the dataset's own files, by the place that
was noted at import, so every column goes out as it came in, those that nobody understood included.
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
    """The options with a word on the columns of a table, where the user gave none.

    A dataset of tables keeps its own columns unless the choices need the understood ones. Raises
    InputError where its own are asked for and it has none, or several kinds.
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
    """The columns that all files of the dataset have.

    Raises InputError where they are no tables or differ, WorkspaceError where one is gone.
    """
    found: pa.Schema | None = None
    for file in read_dataset_info(workspace).files:
        if file.container not in TABLE_KINDS:
            raise InputError(
                f"{file.name} is no Parquet or Arrow file, so the dataset has no columns of its "
                "own; export with --columns understood"
            )
        schema = read_table_schema(_path(workspace, file))
        if found is not None and not schema.equals(found):
            raise InputError(
                f"the columns of {file.name} are not those of the files before it; export with "
                "--columns understood"
            )
        found = schema if found is None else found
    if found is None:
        raise InputError("the dataset has no file")
    return found


def source_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``samples.parquet`` with the rows and columns of the dataset's files."""
    schema = source_schema(chosen.workspace)
    if chosen.weights is not None and chosen.options.weights == "column":
        schema = _with_weight(schema, chosen.options.weight_key)
    _check_paths(chosen)
    return [TableFile("samples.parquet", schema, _tables(chosen, schema))]


def _check_paths(chosen: ExportPlan) -> None:
    """Raises InputError where a row names an image by a path that its copy cannot have."""
    if not chosen.options.places_images:
        return
    for row_idx, reference in chosen.references():
        path = image_path(reference)
        if split_reference(path) is None and chosen.exported_path(reference) != path:
            raise InputError(
                f"row {row_idx} names its image {path!r}, which leads out of the export's images; "
                "rows go out as they came, so export with --columns understood, whose paths lead "
                "to the copies"
            )


def _with_weight(schema: pa.Schema, key: str) -> pa.Schema:
    if key in schema.names:
        raise InputError(f"the dataset has a column {key!r} already; name another --weight-key")
    metadata = dict(schema.metadata or {})
    try:
        told = json.loads(metadata[b"huggingface"])
        told["info"]["features"][key] = {"_type": "Value", "dtype": "float64"}
        metadata[b"huggingface"] = json.dumps(told).encode()
    except (KeyError, TypeError, ValueError):
        metadata.pop(b"huggingface", None)
    return schema.append(pa.field(key, pa.float64())).with_metadata(metadata or None)


def _tables(chosen: ExportPlan, schema: pa.Schema) -> Iterator[pa.Table]:
    yield schema.empty_table()
    first = place = 0
    for file in read_dataset_info(chosen.workspace).files:
        end = first + file.n_records
        n = int(np.searchsorted(chosen.rows, end)) - place
        if n:
            rows = _places(chosen, place, place + n)
            yield from _of_file(chosen, schema, file, rows, place)
        first, place = end, place + n


def _of_file(
    chosen: ExportPlan, schema: pa.Schema, file: DatasetFile, rows: Ints, place: int
) -> Iterator[pa.Table]:
    n_read = 0
    for batch in read_rows(_path(chosen.workspace, file), file.name, rows):
        table = pa.Table.from_batches([batch])
        begin, n_read = place + n_read, n_read + len(batch)
        span = slice(begin, begin + len(batch))
        if len(schema) > table.num_columns and chosen.weights is not None:
            table = table.append_column(schema.field(-1), pa.array(chosen.weights[span]))
        table = table.replace_schema_metadata(schema.metadata)
        yield from [table] if chosen.repeats is None else repeat_rows(table, chosen.repeats[span])
    if n_read < len(rows):
        raise WorkspaceError(
            f"{file.name} holds fewer rows than were imported; bring back the file as it was, or "
            "export with --columns understood"
        )


def _places(chosen: ExportPlan, begin: int, end: int) -> Ints:
    """The rows of their own file that the samples at these places came from."""
    found = np.empty(end - begin, np.int64)
    done = 0
    for table in read_columns(chosen.workspace, ["row_idx", "origin"], chosen.rows[begin:end]):
        origins = table.column("origin").to_pylist()
        found[done : done + len(origins)] = [int(one.rpartition("#row=")[2]) for one in origins]
        done += len(origins)
    return found[:done]


def _path(workspace: Workspace, file: DatasetFile) -> Path:
    """Where the file lies. Raises WorkspaceError where it is gone or another one."""
    path = find_container(file.name, workspace.image_roots)
    if path is None or not path.is_file():
        raise WorkspaceError(
            f"{file.name} is gone; its rows are read from it: say where it is with visnec "
            "relocate, or export with --columns understood"
        )
    if path.stat().st_size != file.bytes:
        raise WorkspaceError(
            f"{path} is not the file that was imported ({path.stat().st_size:,} bytes, it had "
            f"{file.bytes:,}); bring it back, or export with --columns understood"
        )
    return path
