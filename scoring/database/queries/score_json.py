"""Reads the cells of a score file in JSON: lines, or an array of objects; in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from scoring.database.build.build import literal_paths
from scoring.errors import InputError

_COMPRESSION = {None: "none", "gzip": "gzip", "zstd": "zstd"}
_KEY_ROWS = 10_000  # records whose keys are read
_ABSENT = "/visnec: absent"

_KEYS = """
    WITH records AS (
        SELECT json FROM read_json_objects(
            $path, format = $format, compression = $compression, ignore_errors = $ignore_errors
        ) LIMIT $n_rows
    )
    SELECT DISTINCT key FROM (
        SELECT unnest(json_keys(json)) AS key FROM records
        UNION ALL
        SELECT $nested || '.' || unnest(json_keys(json, '/' || $nested)) FROM records
    ) ORDER BY key
"""

# The parameters named like columns are JSON pointers.
_CELLS = """
    SELECT
        json IS NULL AS is_damaged,
        encode(json_extract_string(json, $row_idx)) AS row_idx,
        encode(json_extract_string(json, $id)) AS id,
        encode(json_extract_string(json, $image_path)) AS image_path,
        encode(json_extract_string(json, $loss_multimodal)) AS loss_multimodal,
        encode(json_extract_string(json, $loss_text)) AS loss_text,
        encode(json_extract_string(json, $visnec)) AS visnec,
        encode(json_extract_string(json, $status)) AS status,
        encode(json_extract_string(json, $reason)) AS reason
    FROM read_json_objects(
        $path, format = $format, compression = $compression, ignore_errors = $ignore_errors
    )
"""


def read_json_keys(path: Path, codec: str | None, is_array: bool, nested: str) -> list[str]:
    """Return the keys of the first records; those of the object ``nested`` as nested.key."""
    with _open_json(path, codec, is_array) as (con, values):
        values |= {"n_rows": _KEY_ROWS, "nested": nested}
        return [str(key) for (key,) in con.execute(_KEYS, values).fetchall()]


def read_json_cells(
    path: Path, codec: str | None, is_array: bool, names: Mapping[str, str], n_rows: int
) -> Iterator[pa.RecordBatch]:
    """Yield blocks of the cells of a score file, and ``is_damaged`` for lines that are not JSON.

    ``names`` are the file's names of our columns; a dot leads into a nested object.
    """
    columns = (
        *("row_idx", "id", "image_path", "loss_multimodal", "loss_text", "visnec"),
        *("status", "reason"),
    )
    pointers = {
        column: "/" + names[column].replace(".", "/") if column in names else _ABSENT
        for column in columns
    }
    with _open_json(path, codec, is_array) as (con, values):
        yield from con.sql(_CELLS, params=values | pointers).to_arrow_reader(n_rows)


@contextmanager
def _open_json(
    path: Path, codec: str | None, is_array: bool
) -> Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, Any]]]:
    if codec not in _COMPRESSION:
        raise InputError(f"{path} is JSON compressed as {codec}. Decompress it first.")
    values: dict[str, Any] = {
        "path": literal_paths([path])[0],
        "compression": _COMPRESSION[codec],
        "format": "array" if is_array else "newline_delimited",
        "ignore_errors": not is_array,  # a damaged line becomes NULL
    }
    with duckdb.connect(config={"memory_limit": "400MB", "threads": 4}) as con:
        con.execute("SET enable_progress_bar = false")  # it draws on stdout
        try:
            yield con, values
        except duckdb.Error as error:
            raise InputError(f"{path} cannot be read as JSON: {error}") from error
