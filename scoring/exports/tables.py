"""Formats that are tables: Parquet, and the folder that ``datasets.load_from_disk`` reads.

The one decision behind it: both hold the same columns, understood the same way for every family of
records, with the exact record beside them, so that nothing is lost and nothing must be parsed. The
folder is written with pyarrow alone: an Arrow stream per shard and the two JSON files beside them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from scoring.dataset.records import sample_from_row
from scoring.exports.export_plan import ExportPlan, conversation_turn
from scoring.exports.files import BytesFile, OutputFile, TableFile, repeat_rows
from scoring.image_references import image_path
from scoring.images.decode import ImageProblem
from scoring.rules.candidates import STATUSES

_SHARD_ROWS = 100_000
_EMBEDDED_SHARD_ROWS = 5_000
_STREAM_ROWS = 1_000  # of a batch in an Arrow stream
_PIECE_BYTES = 16 << 20  # of embedded images that become a table at a time
_TEXT = pa.string()
_IMAGE = pa.struct([("bytes", pa.binary()), ("path", _TEXT)])
_TURN = pa.struct([("from", _TEXT), ("value", _TEXT)])
_READ = ["original", "id", "source", "images", "turns", "status", "reason", "origin"]


def table_schema(chosen: ExportPlan) -> pa.Schema:
    """The columns. Losses and scores are in nats per answer token, null where there are none."""
    embedded = chosen.options.images == "embed"
    fields = [
        pa.field("row_idx", pa.int64()),
        pa.field("id", _TEXT),
        pa.field("source", _TEXT),
        pa.field("images", pa.list_(_IMAGE if embedded else _TEXT)),
        pa.field("conversations", pa.list_(_TURN)),
        pa.field("status", _TEXT),
        pa.field("loss_text", pa.float64()),
        pa.field("loss_multimodal", pa.float64()),
        pa.field("visnec", pa.float64()),
        pa.field("n_answer_tokens", pa.int64()),
    ]
    if chosen.weights is not None and chosen.options.weights != "repeat":
        fields.append(pa.field(chosen.options.weight_key, pa.float64()))
    if chosen.options.turns == "mask":
        fields.append(pa.field("turn_mask", pa.list_(pa.bool_())))
    return pa.schema([*fields, pa.field("record", pa.binary())])


def parquet_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """``samples.parquet``, with the metadata by which ``datasets`` knows images."""
    schema = table_schema(chosen)
    features = json.dumps({"info": {"features": _features(schema)}})
    schema = schema.with_metadata({"huggingface": features})
    return [TableFile("samples.parquet", schema, _tables(chosen, schema))]


def folder_outputs(chosen: ExportPlan) -> list[OutputFile]:
    """Arrow streams, ``dataset_info.json`` and ``state.json``."""
    schema = table_schema(chosen)
    shard = _EMBEDDED_SHARD_ROWS if chosen.options.images == "embed" else _SHARD_ROWS
    n = max(1, -(-chosen.n_written // shard))
    names = [f"data-{place:05d}-of-{n:05d}.arrow" for place in range(n)]
    tables = _Cut(_tables(chosen, schema), shard)
    files: list[OutputFile] = [
        TableFile(name, schema, tables.next(), _STREAM_ROWS) for name in names
    ]
    fingerprint = hashlib.sha256(json.dumps(_facts(chosen), sort_keys=True).encode())
    info = {
        "citation": "",
        "description": "",
        "features": _features(schema),
        "homepage": "",
        "license": "",
    }
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": fingerprint.hexdigest()[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    for name, value in (("dataset_info.json", info), ("state.json", state)):
        content = json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
        files.append(BytesFile(name, [(None, content)]))
    return files


class _Cut:
    """One stream of tables handed out as shards, each of which must be read to its end."""

    def __init__(self, tables: Iterator[pa.Table], rows: int) -> None:
        self._tables, self._rows = tables, rows
        self._rest: pa.Table | None = None

    def next(self) -> Iterator[pa.Table]:
        """The next shard."""
        left = self._rows
        while left:
            table = self._rest if self._rest is not None else next(self._tables, None)
            if table is None:
                return
            self._rest = table.slice(left) if len(table) > left else None
            yield table.slice(0, left)
            left -= min(left, len(table))


def _tables(chosen: ExportPlan, schema: pa.Schema) -> Iterator[pa.Table]:
    for start, table in chosen.tables(_READ):
        for first, piece, images in _pieces(chosen, start, table):
            made = _table(chosen, schema, first, piece, images)
            if chosen.repeats is None:
                yield made
            else:
                yield from repeat_rows(made, chosen.repeats[first : first + len(piece)])


def _pieces(
    chosen: ExportPlan, start: int, table: pa.Table
) -> Iterator[tuple[int, pa.Table, list[list[Any]]]]:
    """Yield (position of the first row, rows, images of each), in pieces of bounded memory."""
    first = n_bytes = 0
    images: list[list[Any]] = []
    for offset, references in enumerate(table.column("images").to_pylist()):
        images.append(_images(chosen, start + offset, references))
        n_bytes += sum(len(one["bytes"]) for one in images[-1] if isinstance(one, dict))
        if n_bytes >= _PIECE_BYTES:
            yield start + first, table.slice(first, len(images)), images
            first, n_bytes, images = offset + 1, 0, []
    if images:
        yield start + first, table.slice(first), images


def _table(
    chosen: ExportPlan, schema: pa.Schema, start: int, table: pa.Table, images: list[list[Any]]
) -> pa.Table:
    rows = [
        row | {"row_idx": int(chosen.rows[start + i])} for i, row in enumerate(table.to_pylist())
    ]
    samples = [sample_from_row(row) for row in rows]
    records = [
        chosen.finished(start + place, row["original"], sample).record
        for place, (row, sample) in enumerate(zip(rows, samples, strict=True))
    ]
    found = chosen.outcome.candidates
    places = np.searchsorted(found.row_idx, chosen.rows[start : start + len(rows)])
    scored = found.scored[places]
    columns: dict[str, Any] = {
        "row_idx": [row["row_idx"] for row in rows],
        "id": [row["id"] for row in rows],
        "source": [row["source"] for row in rows],
        "images": images,
        "conversations": [
            [conversation_turn(turn) for turn in chosen.turns(sample)] for sample in samples
        ],
        "status": [str(STATUSES[code]) for code in found.status[places].tolist()],
        "loss_text": _known(found.loss_text[places]),
        "loss_multimodal": _known(found.loss_multimodal[places]),
        "visnec": _known(found.visnec[places]),
        "n_answer_tokens": pa.array(found.n_answer_tokens[places], mask=~scored),
        "turn_mask": [chosen.mask(sample) for sample in samples],
        "record": records,
    }
    if chosen.weights is not None:
        columns[chosen.options.weight_key] = chosen.weights[start : start + len(rows)]
    arrays = {name: pa.array(columns[name], schema.field(name).type) for name in schema.names}
    return pa.Table.from_pydict(arrays, schema)


def _images(chosen: ExportPlan, place: int, references: list[str]) -> list[Any]:
    if chosen.options.images != "embed":
        return list(map(chosen.exported_path, references))
    return [_embedded(chosen, place, one) for one in references] if chosen.times(place) else []


def _embedded(chosen: ExportPlan, place: int, reference: str) -> dict[str, Any] | None:
    """None for an image that is missing or cannot be decoded; images.jsonl says which and why.

    Loading stops at bytes that cannot be decoded, and opens a path that has no bytes.
    """
    try:
        content = chosen.image_bytes(place, reference)
    except ImageProblem:
        return None
    return {"bytes": content, "path": image_path(reference)}


def _known(values: Any) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The columns as ``datasets`` writes them down."""
    return {field.name: _feature(field.type) for field in schema}


def _feature(kind: pa.DataType) -> Any:
    if kind == _IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and kind.value_type != _IMAGE:
        return [_feature(kind.value_type)]
    if pa.types.is_list(kind):
        return {"_type": "Sequence", "feature": _feature(kind.value_type)}
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _feature(kind.field(i).type) for i in range(kind.num_fields)}
    names = {"double": "float64"}
    return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}


def _facts(chosen: ExportPlan) -> dict[str, Any]:
    info = chosen.outcome.definition.to_dict()
    del info["created_at"]
    rows = hashlib.sha256(np.ascontiguousarray(chosen.rows, "<i8").tobytes()).hexdigest()
    return {"subset": info, "rows": rows, "options": chosen.options.to_dict()}
