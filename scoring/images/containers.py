"""Reading images inside container files: Parquet, Arrow, tar, TSV, or the records themselves.

A reference gives the position of the image, so it can be read without an index and without
unpacking:

- ``train.parquet#row=7&at=/image/bytes`` (a JSON pointer whose first step is the column),
- ``shard.tar#offset=1536&bytes=4096&member=7.jpg``,
- ``bench.tsv#offset=88&at=/image`` (``&quoting=none`` before ``&at`` if the table is unquoted),
- ``images.json#offset=9&bytes=80&key=7`` in a file of images by key,
- ``original#row=7&at=/images/0`` inside a JSON record of the dataset.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import json
import mmap
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.errors import InputError, RecordError
from scoring.readers.tables import batch_rows, is_parquet, open_arrow, open_parquet
from scoring.readers.tsv import read_row_at
from scoring.readers.values import BYTES_KEYS, IMAGE_KEYS, InlineReference, parse_list

MAX_IMAGE_BYTES: Final = 256 << 20
_MAX_OPEN_FILES = 8
_MAX_BATCH_ROWS = 32
_KEY_COLUMNS = ("id", "key", "image_id", "index", "name", "__key__", "__index_level_0__")
_MEMBER = re.compile(rb'"((?:[^"\\]|\\.){1,1024})"\s*:\s*("(?:[^"\\]|\\/)*")')
_START = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:[^"\\]|\\.){1,1024}"\s*:\s*"')


class EmbeddedProblem(Exception):
    """Why there is no image at a position inside a file."""


def read_embedded(path: Path, member: str) -> bytes:
    """Return the bytes of the image at ``member`` inside ``path`` (a file or the dataset folder).

    Raises EmbeddedProblem or OSError.
    """
    fields = dict(parse_qsl(member, keep_blank_values=True))
    if "bytes" in fields:
        size = int(fields["bytes"])
        if size > MAX_IMAGE_BYTES:
            raise EmbeddedProblem(f"{size:,} bytes exceed the limit of {MAX_IMAGE_BYTES:,}")
        with path.open("rb") as file:
            file.seek(int(fields["offset"]))
            content = file.read(size)
        if len(content) < size:
            raise EmbeddedProblem("the file ends before the image does")
        if "key" not in fields:
            return content
        try:
            return image_bytes(json.loads(content))
        except (ValueError, RecursionError) as error:
            raise EmbeddedProblem(f"there is no JSON text at that position: {error}") from error
    if "offset" in fields:
        value: object = read_row_at(path, int(fields["offset"]), "quoting" not in fields)
    else:
        value = _rows_of(path).read_row(int(fields["row"]), _pointer_steps(member)[0])
    return image_bytes(follow_pointer(value, member))


def _pointer_steps(member: str) -> list[str]:
    pointer = member.partition("&at=")[2]
    return [unquote(step, errors="surrogatepass") for step in pointer.split("/")[1:]]


def follow_pointer(value: object, member: str) -> object:
    """Return the value inside a record at the pointer of ``member``. Raises EmbeddedProblem."""
    steps = _pointer_steps(member)
    for step in steps:
        if isinstance(value, str):  # a list that a table contains as text
            value = parse_list(value)
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]  # type: ignore[index]
        except (LookupError, TypeError, ValueError):
            raise EmbeddedProblem(f"the record has nothing at {'/'.join(steps)!r}") from None
    return value


def image_bytes(value: object) -> bytes:
    """Return the bytes of an image that is stored as such or as base64. Raises EmbeddedProblem."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise EmbeddedProblem(f"the value is {type(value).__name__}, not an image")
    text = value
    if text[:5].lower() == "data:":
        header, _, text = text.partition(",")
        if not header.endswith(";base64"):
            raise EmbeddedProblem("only base64 data: URLs are supported")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=False)
    except (binascii.Error, ValueError) as error:
        raise EmbeddedProblem(f"its base64 is damaged: {error}") from error


def _rows_of(path: Path) -> _ParquetRows | _ArrowRows | _RecordRows:
    stat = path.stat()
    return open_rows(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=_MAX_OPEN_FILES)
def open_rows(
    path: Path,
    version: tuple[int, int],  # noqa: ARG001 - part of the key
) -> _ParquetRows | _ArrowRows | _RecordRows:
    """Open a file for random access to its rows; recently used files stay open."""
    try:
        if path.is_dir():
            return _RecordRows(path)
        return _ParquetRows(path) if is_parquet(path) else _ArrowRows(path)
    except pa.ArrowInvalid as error:
        raise EmbeddedProblem(f"cannot read {path.name}: {error}") from error


class _ParquetRows:
    """Rows of a Parquet file, read forward in small batches; restarts to go back."""

    def __init__(self, path: Path) -> None:
        self._file = open_parquet(path)
        metadata = self._file.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._lock = threading.Lock()
        self._cursors: dict[str, _Cursor] = {}

    def read_row(self, row: int, column: str) -> Mapping[str, object]:
        if not 0 <= row < self._starts[-1]:
            raise EmbeddedProblem(f"the file has no row {row}")
        group = bisect.bisect_right(self._starts, row) - 1
        with self._lock:
            cursor = self._cursors.get(column)
            if cursor is None or not cursor.can_reach(group, row):
                rows = batch_rows(self._file.metadata.row_group(group), column)
                batches = self._file.iter_batches(min(rows, _MAX_BATCH_ROWS), [group], [column])
                cursor = self._cursors[column] = _Cursor(group, self._starts[group], batches)
            try:
                return cursor.read_row(row)
            except (pa.ArrowException, OSError, StopIteration) as error:
                del self._cursors[column]
                raise EmbeddedProblem(f"row {row} cannot be read: {error}") from error


class _Cursor:
    """A position in one row group, with the two most recent batches."""

    def __init__(self, group: int, start: int, batches: Iterator[pa.RecordBatch]) -> None:
        self._group, self._next, self._batches = group, start, batches
        self._recent: deque[tuple[int, pa.RecordBatch]] = deque(maxlen=2)

    def can_reach(self, group: int, row: int) -> bool:
        oldest = self._recent[0][0] if self._recent else self._next
        return group == self._group and row >= oldest

    def read_row(self, row: int) -> Mapping[str, object]:
        while row >= self._next:
            batch = next(self._batches)
            self._recent.append((self._next, batch))
            self._next += len(batch)
        start, batch = next(recent for recent in reversed(self._recent) if recent[0] <= row)
        value: Mapping[str, object] = batch.slice(row - start, 1).to_pylist()[0]
        return value


class _ArrowRows:
    """Rows of a memory-mapped Arrow file; a look-up reads only what it needs."""

    def __init__(self, path: Path) -> None:
        self._table = open_arrow(path).read_all()

    def read_row(self, row: int, column: str) -> Mapping[str, object]:
        if not 0 <= row < len(self._table) or column not in self._table.column_names:
            raise EmbeddedProblem(f"the file has no row {row} with a column {column!r}")
        cell = self._table.column(column).slice(row, 1)
        try:
            cell.validate(full=True)  # reading a damaged file could access memory out of bounds
        except pa.ArrowInvalid as error:
            raise EmbeddedProblem(f"row {row} cannot be read: {error}") from error
        return {column: cell[0].as_py()}


class _RecordRows:
    """JSON records of the dataset, from its parts."""

    def __init__(self, folder: Path) -> None:
        self._parts = sorted(folder.glob("part-*.parquet"))
        columns = [pq.read_metadata(path).row_group(0).column(0) for path in self._parts]
        self._starts = [int(column.statistics.min) for column in columns]

    def read_row(self, row: int, column: str) -> Mapping[str, object]:  # noqa: ARG002 - has all
        part = bisect.bisect_right(self._starts, row) - 1
        if part < 0:
            raise EmbeddedProblem(f"the dataset has no row {row}")
        rows = _rows_of(self._parts[part])
        original = rows.read_row(row - self._starts[part], "original")["original"]
        try:
            value = json.loads(bytes(original).decode("utf-8", "surrogateescape"))  # type: ignore[call-overload]
        except (ValueError, TypeError, RecursionError):
            raise EmbeddedProblem(f"row {row} is not a JSON record") from None
        # A record that is a list has no keys; the first step is then an index.
        return value if isinstance(value, dict) else dict(zip(map(str, range(len(value))), value))  # noqa: B905


def index_keyed_images(files: Sequence[Path]) -> Mapping[str, InlineReference]:
    """Return the references by key to the images of JSON objects or tables.

    Each file is scanned once for their positions; only the keys are held in memory. Raises
    InputError if a file contains no images by key, or RecordError if it is damaged.
    """
    names = [path.name for path in files]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"Two image files are named {min(duplicates)!r}, but images are looked up by file "
            "name. Rename one of them."
        )
    references: dict[str, InlineReference] = {}
    for path in files:
        n_before = len(references)
        references.update(_index_table(path) if is_parquet(path) else _index_object(path))
        if len(references) == n_before:
            raise InputError(
                f"{path} contains no images indexed by a key. --images accepts folders, JSON files "
                "with one object (key: base64), and Parquet files with a key column and an image "
                "column."
            )
    return references


def _index_object(path: Path) -> Iterator[tuple[str, InlineReference]]:
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if not _START.match(content):
            return
        for member in _MEMBER.finditer(content):
            key = member[1].decode("utf-8", "surrogateescape")
            if "\\" in key:
                with suppress(ValueError):
                    key = str(json.loads(f'"{key}"'))
            position = f"offset={member.start(2)}&bytes={member.end(2) - member.start(2)}"
            quoted = quote(key, errors="replace")
            yield key, InlineReference(f"{path.name}#{position}&key={quoted}")


def _index_table(path: Path) -> Iterator[tuple[str, InlineReference]]:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            keys = [name for name in _KEY_COLUMNS if name in schema.names]
            images = [name for name in (*BYTES_KEYS, *IMAGE_KEYS) if name in schema.names]
            if not keys or not images:
                raise InputError(
                    f"{path} has the columns {', '.join(schema.names)}. A table of images needs "
                    f"a key column ({', '.join(_KEY_COLUMNS)}) and an image column "
                    f"({', '.join((*BYTES_KEYS, 'image'))})."
                )
            is_nested = pa.types.is_struct(schema.field(images[0]).type)
            at = quote(images[0], safe="") + ("/bytes" if is_nested else "")
            row = 0
            for batch in file.iter_batches(10_000, columns=keys[:1]):
                for value in batch.column(0).to_pylist():
                    yield str(value), InlineReference(f"{path.name}#row={row}&at=/{at}")
                    row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"{path} is not a readable Parquet file: {error}") from error
