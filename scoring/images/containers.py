"""Images that lie inside a file of many: Parquet, Arrow, tar, TSV, or the records themselves.

A reference names the place so that it can be read without an index and without unpacking:
``train.parquet#row=7&at=/image/bytes`` (a JSON pointer whose first step is the column),
``shard.tar#offset=1536&bytes=4096&member=7.jpg``, ``bench.tsv#offset=88&at=/image`` (with
``&quoting=none`` before ``&at`` where the table was written without quoting),
``images.json#offset=9&bytes=80&key=7`` for a file of images by key, and
``original#row=7&at=/images/0`` for what a JSON record of the dataset holds itself.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import json
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.readers.tables import _BATCH_ROWS, batch_rows, open_arrow, open_parquet
from scoring.readers.tsv import read_row_at
from scoring.readers.values import parse_list

MAX_IMAGE_BYTES: Final = 256 << 20
_OPEN_FILES = 8
_open_files: OrderedDict[tuple[Path, int, int], _Rows] = OrderedDict()
_open_lock = threading.Lock()


class EmbeddedProblem(Exception):
    """Why a place inside a file holds no image, in words."""


def read_embedded(path: Path, member: str) -> bytes:
    """The bytes of the image at ``member`` inside ``path`` (a file, or the dataset's folder).

    Raises EmbeddedProblem, OSError.
    """
    fields = dict(parse_qsl(member, keep_blank_values=True))
    if "key" in fields:
        return _decoded(_json_text(_slice(path, int(fields["offset"]), int(fields["bytes"]))))
    if "bytes" in fields:
        return _slice(path, int(fields["offset"]), int(fields["bytes"]))
    steps = [unquote(step, errors="surrogatepass") for step in _pointer(member).split("/")[1:]]
    if "offset" in fields:
        value: object = read_row_at(path, int(fields["offset"]), "quoting" not in fields)
    else:
        value = _rows_of(path).row(int(fields["row"]), steps[0])
    return _decoded(_follow(value, steps))


def _json_text(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EmbeddedProblem(f"no JSON text stands there: {error}") from error


def _pointer(member: str) -> str:
    return member.partition("&at=")[2]


def _slice(path: Path, offset: int, size: int) -> bytes:
    if size > MAX_IMAGE_BYTES:
        raise EmbeddedProblem(f"{size:,} bytes are over the limit of {MAX_IMAGE_BYTES:,}")
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise EmbeddedProblem("the file ends before the image does")
    return content


def _follow(value: object, steps: list[str]) -> object:
    for step in steps:
        if isinstance(value, str):  # a list that a table holds as text
            value = parse_list(value)
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]  # type: ignore[index]
        except (LookupError, TypeError, ValueError):
            raise EmbeddedProblem(f"the record has nothing at {'/'.join(steps)!r}") from None
    return value


def _decoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise EmbeddedProblem(f"no image but {type(value).__name__} stands there")
    text = value
    if text[:5].lower() == "data:":
        header, _, text = text.partition(",")
        if not header.endswith(";base64"):
            raise EmbeddedProblem("a data: URL is read in base64 only")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=False)
    except (binascii.Error, ValueError) as error:
        raise EmbeddedProblem(f"its base64 is damaged: {error}") from error


class _Rows(Protocol):
    """Values of single rows of one file."""

    def row(self, row: int, column: str) -> Mapping[str, object]:
        """The row, at least with that column."""


def _rows_of(path: Path) -> _Rows:
    """The file's rows, kept open for the next look-up."""
    stat = path.stat()
    key = (path, stat.st_mtime_ns, stat.st_size)
    with _open_lock:
        if key in _open_files:
            _open_files.move_to_end(key)
            return _open_files[key]
    try:
        opened = _open(path)
    except pa.ArrowInvalid as error:
        raise EmbeddedProblem(f"{path.name} cannot be read: {error}") from error
    with _open_lock:
        _open_files[key] = opened
        while len(_open_files) > _OPEN_FILES:
            _open_files.popitem(last=False)
    return opened


def _open(path: Path) -> _Rows:
    if path.is_dir():
        return _RecordRows(path)
    with path.open("rb") as file:
        magic = file.read(4)
    return _ParquetRows(path) if magic == b"PAR1" else _ArrowRows(path)


class _ParquetRows:
    """Rows of a Parquet file: read forward in small batches, begun anew when one lies behind."""

    def __init__(self, path: Path) -> None:
        self._file = open_parquet(path)
        metadata = self._file.metadata
        self._starts = [0]
        for group in range(metadata.num_row_groups):
            self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._lock = threading.Lock()
        self._cursors: dict[str, _Cursor] = {}

    def row(self, row: int, column: str) -> Mapping[str, object]:
        if not 0 <= row < self._starts[-1]:
            raise EmbeddedProblem(f"the file has no row {row}")
        group = bisect.bisect_right(self._starts, row) - 1
        with self._lock:
            cursor = self._cursors.get(column)
            if cursor is None or not cursor.reaches(group, row):
                rows = batch_rows(self._file.metadata.row_group(group), column)
                batches = self._file.iter_batches(min(rows, _BATCH_ROWS), [group], [column])
                cursor = self._cursors[column] = _Cursor(group, self._starts[group], batches)
            try:
                return cursor.row(row)
            except (pa.ArrowException, OSError, StopIteration) as error:
                del self._cursors[column]
                raise EmbeddedProblem(f"row {row} cannot be read: {error}") from error


class _Cursor:
    """A place in one row group, with the last batches that were read."""

    def __init__(self, group: int, start: int, batches: Iterator[pa.RecordBatch]) -> None:
        self._group, self._next, self._batches = group, start, batches
        self._recent: deque[tuple[int, pa.RecordBatch]] = deque(maxlen=2)

    def reaches(self, group: int, row: int) -> bool:
        oldest = self._recent[0][0] if self._recent else self._next
        return group == self._group and row >= oldest

    def row(self, row: int) -> Mapping[str, object]:
        while row >= self._next:
            batch = next(self._batches)
            self._recent.append((self._next, batch))
            self._next += len(batch)
        start, batch = next(one for one in reversed(self._recent) if one[0] <= row)
        found: Mapping[str, object] = batch.slice(row - start, 1).to_pylist()[0]
        return found


class _ArrowRows:
    """Rows of an Arrow file: mapped into memory, so that a look-up reads only what it needs."""

    def __init__(self, path: Path) -> None:
        self._table = open_arrow(path).read_all()

    def row(self, row: int, column: str) -> Mapping[str, object]:
        if not 0 <= row < len(self._table) or column not in self._table.column_names:
            raise EmbeddedProblem(f"the file has no row {row} with a column {column!r}")
        found = self._table.column(column).slice(row, 1)
        try:
            found.validate(full=True)  # a damaged file would lead out of its memory
        except pa.ArrowInvalid as error:
            raise EmbeddedProblem(f"row {row} cannot be read: {error}") from error
        return {column: found[0].as_py()}


class _RecordRows:
    """The JSON records of the dataset, from its parts."""

    def __init__(self, folder: Path) -> None:
        self._parts = sorted(folder.glob("part-*.parquet"))
        self._starts = [_first_row(path) for path in self._parts]

    def row(self, row: int, column: str) -> Mapping[str, object]:  # noqa: ARG002 - all are there
        part = bisect.bisect_right(self._starts, row) - 1
        if part < 0:
            raise EmbeddedProblem(f"the dataset has no row {row}")
        rows = _rows_of(self._parts[part])
        original = rows.row(row - self._starts[part], "original")["original"]
        try:
            value = json.loads(bytes(original).decode("utf-8", "surrogateescape"))  # type: ignore[call-overload]
        except (ValueError, TypeError, RecursionError):
            raise EmbeddedProblem(f"row {row} holds no JSON record") from None
        # A record that is a bare list has no first step to be looked up by.
        return value if isinstance(value, dict) else dict(zip(map(str, range(len(value))), value))  # noqa: B905


def _first_row(path: Path) -> int:
    statistics = pq.read_metadata(path).row_group(0).column(0).statistics
    return int(statistics.min)
