"""Write table formats: Parquet, and the folder that ``datasets.load_from_disk`` reads.

Both have the same columns for every family of records, with the exact record among them: nothing is
lost and nothing must be parsed. The folder is written with pyarrow alone: an Arrow stream per shard
and two JSON files.

The rows of a Parquet or Arrow dataset can be exported as they came instead. They are read again
from the dataset's own files, at the positions recorded on import: every column is exported
unchanged, including those that were never parsed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scoring.dataset.records import (
    DatasetFile,
    read_columns,
    read_dataset_info,
    sample_from_row,
)
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.exports.added_columns import added_fields, read_added_values
from scoring.exports.export_plan import ExportPlan
from scoring.exports.export_records import (
    build_record,
    conversation_turn,
    exported_turns,
    train_mask,
)
from scoring.exports.files import BytesFile, RowReader, TableFile, repeat_rows
from scoring.exports.images import exported_path, read_image
from scoring.exports.messages import build_messages, message_type
from scoring.exports.options import ExportOptions
from scoring.exports.trainers import check_conversation
from scoring.image_references import image_path, split_reference
from scoring.images.decode import ImageProblem, find_container
from scoring.readers.tables import read_rows, read_table_schema
from scoring.rules.candidates import STATUSES
from scoring.samples import Sample
from scoring.workspace import Workspace

_SHARD_ROWS = 100_000
_EMBEDDED_SHARD_ROWS = 5_000
_STREAM_ROWS = 1_000  # of a batch in an Arrow stream
_PIECE_BYTES = 16 << 20  # of embedded images that become a table at a time
_TEXT = pa.string()
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", _TEXT)])
_TURN = pa.struct([("from", _TEXT), ("value", _TEXT)])
_DATASET_COLUMNS = ["original", "id", "source", "images", "turns", "status", "reason", "origin"]


def table_schema(plan: ExportPlan) -> pa.Schema:
    """Return the columns. Losses and scores are in nats per answer token, null where unscored."""
    options = plan.options
    images = ("images", pa.list_(_IMAGE if options.images == "embed" else _TEXT))
    scores = [
        *((name, pa.float64()) for name in ("loss_text", "loss_multimodal", "visnec")),
        ("n_answer_tokens", pa.int64()),
    ]
    weights = []
    if plan.weights is not None and options.weights != "repeat":
        weights.append((options.weight_key, pa.float64()))
    if options.format == "messages":
        messages = ("messages", pa.list_(message_type(options)))
        fields = [("id", _TEXT), ("source", _TEXT), messages, images, *weights]
        return pa.schema([*fields, *(scores if options.scores else ()), *added_fields(plan)])
    fields = [
        ("row_idx", pa.int64()),
        ("id", _TEXT),
        ("source", _TEXT),
        images,
        ("conversations", pa.list_(_TURN)),
        ("status", _TEXT),
        *scores,
        *weights,
        *added_fields(plan),
    ]
    if options.turns == "mask":
        fields.append(("turn_mask", pa.list_(pa.bool_())))
    return pa.schema([*fields, ("record", pa.binary())])


def parquet_outputs(plan: ExportPlan) -> list[TableFile]:
    """Return ``samples.parquet``."""
    schema = _add_features(table_schema(plan))
    return [TableFile("samples.parquet", schema, _build_tables(plan, schema))]


def _add_features(schema: pa.Schema) -> pa.Schema:
    """Return the columns with the metadata by which ``datasets`` recognises images."""
    features = json.dumps({"info": {"features": _features(schema)}})
    return schema.with_metadata({"huggingface": features})


def folder_outputs(plan: ExportPlan) -> list[BytesFile | TableFile]:
    """Return the Arrow streams with ``dataset_info.json`` and ``state.json``, as split ``train``.

    ``datasets.load_dataset`` refuses a folder with ``state.json``, so they are in one of their own.
    """
    schema, folder = table_schema(plan), ""
    features = _features(schema)
    if plan.options.version > 3:
        schema, folder = _add_features(schema), "train/"
    shard_rows = _EMBEDDED_SHARD_ROWS if plan.options.images == "embed" else _SHARD_ROWS
    n = max(1, -(-plan.n_written // shard_rows))
    names = [f"data-{shard:05d}-of-{n:05d}.arrow" for shard in range(n)]
    rows = RowReader(_build_tables(plan, schema))
    files: list[BytesFile | TableFile] = [
        TableFile(folder + name, schema, rows.read(shard_rows), _STREAM_ROWS) for name in names
    ]
    sidecars = {"dataset_info.json": _dataset_info(features), "state.json": _state(plan, names)}
    sidecars = {folder + name: value for name, value in sidecars.items()}
    if folder:
        sidecars["dataset_dict.json"] = {"splits": ["train"]}
    for name, value in sidecars.items():
        content = json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
        files.append(BytesFile(name, [(None, content)]))
    return files


def _dataset_info(features: dict[str, Any]) -> dict[str, Any]:
    texts = dict.fromkeys(("citation", "description", "homepage", "license"), "")
    return {**texts, "features": features}


def _state(plan: ExportPlan, names: list[str]) -> dict[str, Any]:
    """Return the content of ``state.json`` for the files of these names."""
    subset = plan.outcome.definition.to_dict()
    del subset["created_at"]
    digest = hashlib.sha256(np.ascontiguousarray(plan.rows, "<i8").tobytes()).hexdigest()
    source = {"subset": subset, "rows": digest, "options": plan.options.to_dict()}
    fingerprint = hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()[:16]
    return {
        **dict.fromkeys(("_format_columns", "_format_type")),
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint,
        "_format_kwargs": {},
        "_output_all_columns": False,
        "_split": "train" if plan.options.version > 3 else None,
    }


def _build_tables(plan: ExportPlan, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows in pieces whose images fit into memory."""
    for start, table in plan.read_tables(_DATASET_COLUMNS):
        first = n_bytes = 0
        images: list[list[Any]] = []
        for offset, references in enumerate(table.column("images").to_pylist()):
            images.append(_image_values(plan, start + offset, references))
            n_bytes += sum(len(image["bytes"]) for image in images[-1] if isinstance(image, dict))
            if n_bytes < _PIECE_BYTES and offset + 1 < len(table):
                continue
            piece = table.slice(first, len(images))
            built = _build_table(plan, schema, start + first, piece, images)
            if plan.repeats is None:
                yield built
            else:
                yield from repeat_rows(built, plan.repeats[start + first : start + offset + 1])
            first, n_bytes, images = offset + 1, 0, []


def _build_table(
    plan: ExportPlan, schema: pa.Schema, start: int, table: pa.Table, images: list[list[Any]]
) -> pa.Table:
    selected = plan.rows[start : start + len(table)]
    rows = table.to_pylist()
    samples = [sample_from_row(row) for row in rows]
    candidates = plan.outcome.candidates
    indices = np.searchsorted(candidates.row_idx, selected)
    is_edited = np.isin(selected, list(plan.edits))  # the scores are of the record before
    statuses = [str(STATUSES[code]) for code in candidates.status[indices].tolist()]
    for offset in np.flatnonzero(is_edited).tolist():
        statuses[offset] = rows[offset]["status"]
    columns: dict[str, Any] = {
        "row_idx": selected,
        "id": [row["id"] for row in rows],
        "source": [row["source"] for row in rows],
        "images": images,
        "status": statuses,
        "n_answer_tokens": pa.array(
            candidates.n_answer_tokens[indices], mask=~candidates.scored[indices] | is_edited
        ),
        "turn_mask": [train_mask(plan, sample) for sample in samples],
    }
    if plan.options.format == "messages":
        columns["messages"] = [build_messages(plan, sample, []) for sample in samples]
    else:
        columns["record"] = [
            build_record(plan, position, row["original"], sample)
            for position, (row, sample) in enumerate(zip(rows, samples, strict=True), start)
        ]
        columns["conversations"] = [_build_conversation(plan, sample) for sample in samples]
    for name in ("loss_text", "loss_multimodal", "visnec"):  # null where NaN
        scores = np.where(is_edited, np.nan, getattr(candidates, name)[indices])
        columns[name] = pa.array(scores, from_pandas=True)
    if plan.weights is not None:
        columns[plan.options.weight_key] = plan.weights[start : start + len(rows)]
    added = [read_added_values(plan, start + offset) for offset in range(len(rows))]
    for column in plan.added:
        columns[column.name] = [values[column.name] for values in added]
    arrays = {field.name: pa.array(columns[field.name], field.type) for field in schema}
    return pa.Table.from_pydict(arrays, schema)


def _build_conversation(plan: ExportPlan, sample: Sample) -> list[dict[str, object]]:
    turns = [conversation_turn(turn) for turn in exported_turns(plan, sample)]
    if trainer := plan.options.trains_with:
        check_conversation(trainer, sample.row_idx, turns, len(sample.images))
    return turns


def _image_values(plan: ExportPlan, position: int, references: list[str]) -> list[Any]:
    """Return paths, or embedded images of which those that cannot be read are None.

    images.jsonl lists these. ``datasets`` stops loading at bytes that cannot be decoded, and opens
    a path without bytes.
    """
    if plan.options.images != "embed":
        return [exported_path(plan, reference) for reference in references]
    values: list[dict[str, Any] | None] = []
    for reference in references if plan.n_repeats(position) else ():
        try:
            content = read_image(plan, position, reference)
        except ImageProblem as problem:
            if plan.options.format == "messages":
                raise RecordError(
                    f"Row {plan.rows[position]} cannot be written as messages: {problem}. Drop the "
                    "sample, or export with images copied."
                ) from problem
            values.append(None)
        else:
            values.append({"bytes": content, "path": image_path(reference)})
    return values


def _features(fields: Iterable[pa.Field]) -> dict[str, Any]:
    """Return columns, or fields of a struct, in the notation of ``datasets``."""
    return {field.name: _feature(field.type) for field in fields}


def _feature(kind: pa.DataType) -> Any:
    if kind == _IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        feature = _feature(kind.value_type)
        is_list_of_structs = pa.types.is_struct(kind.value_type) and kind.value_type != _IMAGE
        return [feature] if is_list_of_structs else {"_type": "Sequence", "feature": feature}
    if pa.types.is_struct(kind):
        return _features(kind)
    return {"_type": "Value", "dtype": "float64" if kind == pa.float64() else str(kind)}


def resolve_columns(workspace: Workspace, options: ExportOptions) -> ExportOptions:
    """Return the options with the columns of a table decided.

    A dataset of tables keeps its own columns unless the options need the understood ones. Raises
    InputError if the options ask for the dataset's own, and it has none, or several kinds.
    """
    if options.columns == "source":
        source_schema(workspace)
    is_open = options.format == "parquet" and options.columns is None
    is_open = is_open and options.image_prefix is None and not options.absolute_images
    is_open = is_open and options.images != "embed" and not options.add_columns
    if is_open and options.turns == "keep":
        with suppress(InputError, WorkspaceError, RecordError):
            source_schema(workspace)
            return replace(options, columns="source")
    return options


def source_schema(workspace: Workspace) -> pa.Schema:
    """Return the columns of the dataset's files.

    Raises InputError if they are no tables or their columns differ, WorkspaceError if one is gone.
    """
    common: pa.Schema | None = None
    for file in read_dataset_info(workspace).files:
        if file.container not in ("parquet", "arrow"):
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


def source_outputs(plan: ExportPlan) -> list[TableFile]:
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
    return [TableFile("samples.parquet", schema, _read_source_rows(plan, schema))]


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


def _read_source_rows(plan: ExportPlan, schema: pa.Schema) -> Iterator[pa.Table]:
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
