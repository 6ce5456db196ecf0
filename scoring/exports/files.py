"""Write the files of an export, and compare them with what the workspace rebuilds.

A file is either a stream of bytes, compared byte by byte, or a table, compared value by value,
because what a Parquet writer makes of the same values changes with its version. Both stream, which
bounds memory, and a difference is reported with its row.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.readers.tables import batch_size, open_parquet

Chunk = tuple[int | None, bytes]
"""The row whose record it is (None for bytes around records), and the bytes."""

OnSamples = Callable[[str, int], None]
"""Called with a file's name and the number of its samples done since the last call."""

_GROUP_BYTES = 32 << 20  # of a table that are held, written and compared at a time
_SHOWN = 24  # bytes shown of either side of a difference


class FileMismatch(Exception):
    """The first difference between a file and what the workspace rebuilds, in words."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Name (with ``/``, inside the workspace or the export), size and digest of a file.

    ``content_sha256`` is the digest of a table's values (see ``ContentDigest``).
    """

    name: str
    bytes: int
    sha256: str
    content_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the digest as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def has_same_content(self, other: FileDigest) -> bool:
        """Return whether both files have the same bytes or, as tables, the same values."""
        if self.content_sha256 and other.content_sha256:
            return (self.name, self.content_sha256) == (other.name, other.content_sha256)
        return (self.name, self.bytes, self.sha256) == (other.name, other.bytes, other.sha256)


class OutputFile(Protocol):
    """One file of an export."""

    @property
    def name(self) -> str:
        """Its name inside the export, with ``/``."""

    def write(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Write the file and flush it to the disk."""

    def compare(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Return the digest of the file at ``path``. Raise FileMismatch where it differs."""


@dataclass(frozen=True, slots=True)
class BytesFile:
    """A file of bytes that are the same on every machine."""

    name: str
    chunks: Iterable[Chunk]

    def write(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Write the chunks in order."""
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            digest = digest_chunks(
                self.name,
                self.chunks,
                on_samples,
                lambda _offset, _row_idx, chunk: file.write(chunk),
            )
            flush_file(file)
        return digest

    def compare(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Compare byte by byte."""

        def check_chunk(offset: int, row_idx: int | None, expected: bytes) -> None:
            actual = file.read(len(expected))
            if actual == expected:
                return
            pairs = zip(actual, expected, strict=False)
            shorter = min(len(actual), len(expected))
            same = next((i for i, (a, b) in enumerate(pairs) if a != b), shorter)
            where = f"row {row_idx}" if row_idx is not None else "between two records"
            shown = repr(actual[same : same + _SHOWN]) if actual[same:] else "the end of the file"
            raise FileMismatch(
                f"{self.name} differs from what the workspace rebuilds, first at byte "
                f"{offset + same} ({where}): found {shown}, expected "
                f"{expected[same : same + _SHOWN]!r}"
            )

        with open_output(path, self.name) as file:
            digest = digest_chunks(self.name, self.chunks, on_samples, check_chunk)
            if extra := file.read(_SHOWN):
                raise FileMismatch(
                    f"{self.name} has extra bytes from byte {digest.bytes} on: {extra!r}"
                )
        return digest


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table as a Parquet file, or as an Arrow stream (``.arrow``)."""

    name: str
    schema: pa.Schema
    tables: Iterable[pa.Table]
    group_rows: int = 10_000

    def write(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Write one row group after the other, each of bounded size."""
        digest = ContentDigest()
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            writer = (
                pq.ParquetWriter(file, self.schema, compression="zstd")
                if self.name.endswith(".parquet")
                else pa.ipc.new_stream(file, self.schema)
            )
            with writer:
                for table in regroup_tables(self.tables, self.schema, self.group_rows):
                    digest.update(table)
                    writer.write_table(table)
                    on_samples(self.name, len(table))
            flush_file(file)
        return self._digest_file(path, digest)

    def compare(self, path: Path, on_samples: OnSamples) -> FileDigest:
        """Compare value by value, whichever version of a library wrote the file."""
        digest = ContentDigest()
        try:
            with open_output(path, self.name) as file:
                stored = RowReader(_read_tables(file, self.name))
                for expected in (table.cast(self.schema) for table in self.tables if len(table)):
                    actual = [rows.cast(self.schema) for rows in stored.read(len(expected))]
                    if not _are_equal(actual, [expected]):
                        raise _describe_table_difference(self.name, actual, expected)
                    digest.update(expected)
                    on_samples(self.name, len(expected))
                if any(stored.read(1)):
                    raise FileMismatch(f"{self.name} has more rows than are rebuilt")
        except (pa.ArrowException, ValueError, OSError) as error:
            raise FileMismatch(
                f"{self.name} cannot be read as the rebuilt table: {error}"
            ) from error
        return self._digest_file(path, digest)

    def _digest_file(self, path: Path, values: ContentDigest) -> FileDigest:
        digest = digest_file(path.parent, path.name)
        return replace(digest, name=self.name, content_sha256=values.hexdigest())


def digest_chunks(
    name: str,
    chunks: Iterable[Chunk],
    on_samples: OnSamples,
    handle_chunk: Callable[[int, int | None, bytes], object],
) -> FileDigest:
    """Call ``handle_chunk`` with (offset, row or None, bytes) of each chunk; return the digest."""
    digest, size = hashlib.sha256(), 0
    for row_idx, chunk in chunks:
        handle_chunk(size, row_idx, chunk)
        digest.update(chunk)
        size += len(chunk)
        if row_idx is not None:
            on_samples(name, 1)
    return FileDigest(name, size, digest.hexdigest())


def open_output(path: Path, name: str) -> Any:
    """Open a file of an export for reading. Raise FileMismatch where it is missing."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise FileMismatch(f"{name} is missing next to the manifest") from None


def digest_file(folder: Path, name: str) -> FileDigest:
    """Return size and digest of ``folder / name``."""
    with (folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileDigest(name, file.tell(), digest)


def flush_file(file: Any) -> None:
    """Flush everything written so far to the disk."""
    file.flush()
    os.fsync(file.fileno())


def regroup_tables(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in groups of ``rows``, or fewer where they reach ``_GROUP_BYTES``.

    Each group is contiguous in memory.
    """
    waiting: list[pa.Table] = []
    n_rows = n_bytes = 0
    for table in tables:
        rest = table.cast(schema)  # Parquet names the values of a list differently
        while len(rest):
            fitting = -(-(_GROUP_BYTES - n_bytes) * len(rest) // max(rest.nbytes, 1))
            n = min(rows - n_rows, max(fitting, 1))
            head, rest = rest.slice(0, n), rest.slice(n)
            waiting.append(head)
            n_rows, n_bytes = n_rows + len(head), n_bytes + head.nbytes
            if n_rows == rows or n_bytes >= _GROUP_BYTES:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, n_rows, n_bytes = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


class RowReader:
    """Reads a stream of tables by numbers of rows."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables = iter(tables)
        self._rest: pa.Table | None = None

    def read(self, n: int) -> Iterator[pa.Table]:
        """Yield the next ``n`` rows, or fewer at the end. Read each call to its end."""
        while n:
            table = next(self._tables, None) if self._rest is None else self._rest
            if table is None:
                return
            self._rest = table.slice(n) if len(table) > n else None
            yield table.slice(0, n)
            n -= min(n, len(table))


def repeat_rows(table: pa.Table, times: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Yield each row ``times`` times, in tables of about ``_GROUP_BYTES``."""
    positions = np.repeat(np.arange(len(table)), times)
    step = max(1, _GROUP_BYTES * len(table) // max(table.nbytes, 1))
    for start in range(0, len(positions), step):
        yield table.take(pa.array(positions[start : start + step]))


class ContentDigest:
    """A sha256 of a table's values, independent of how its rows are batched.

    Compression, row groups and the padding of a writer's version do not affect it: each column has
    its own digests of which values are present, of their lengths and of the values themselves.
    """

    def __init__(self, *tables: pa.Table) -> None:
        self._n_rows = 0
        self._columns: dict[str, _ColumnDigest] = {}
        for table in tables:
            self.update(table)

    def update(self, table: pa.Table) -> None:
        """Add the next rows."""
        self._n_rows += len(table)
        for name, column in zip(table.column_names, table.columns, strict=True):
            digest = self._columns.setdefault(f"{name}\0{column.type}", _ColumnDigest())
            for chunk in column.chunks:
                digest.update(chunk)

    def hexdigest(self) -> str:
        """Return the digest of all rows so far."""
        columns = [name.encode() + column.digest() for name, column in self._columns.items()]
        return hashlib.sha256(b"".join([b"%d" % self._n_rows, *columns])).hexdigest()


class _ColumnDigest:
    """The digest of a column, with one of the same kind for each column inside it."""

    def __init__(self) -> None:
        self._present, self._lengths, self._values = (hashlib.sha256() for _ in range(3))
        self._inner: dict[int, _ColumnDigest] = {}

    def digest(self) -> bytes:
        own = [part.digest() for part in (self._present, self._lengths, self._values)]
        inner = [column.digest() for column in self._inner.values()]
        return hashlib.sha256(b"".join(own + inner)).digest()

    def update(self, array: pa.Array) -> None:
        self._present.update(array.is_valid().to_numpy(zero_copy_only=False).tobytes())
        values, kind = array.drop_null(), array.type
        if pa.types.is_dictionary(kind):
            self._update_inner(0, values.dictionary_decode())
        elif pa.types.is_struct(kind):
            for number in range(kind.num_fields):
                self._update_inner(number, pc.struct_field(values, [number]))
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._lengths.update(_to_little_endian(pc.list_value_length(values)))
            self._update_inner(0, values.flatten())
        elif kind in (pa.string(), pa.binary(), pa.large_string(), pa.large_binary()):
            self._lengths.update(_to_little_endian(pc.binary_length(values)))
            self._values.update(_text_bytes(values))
        else:
            plain = values.to_numpy(zero_copy_only=False)
            if plain.dtype == object:  # types that numpy lacks: decimals, maps, nulls
                for value in values.to_pylist():
                    self._values.update(repr(value).encode("utf-8", "surrogatepass") + b"\0")
            else:
                self._values.update(plain.astype(plain.dtype.newbyteorder("<")).tobytes())

    def _update_inner(self, number: int, array: pa.Array) -> None:
        self._inner.setdefault(number, _ColumnDigest()).update(array)


def _to_little_endian(lengths: pa.Array) -> bytes:
    return bytes(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())


def _text_bytes(values: pa.Array) -> bytes | memoryview:
    """Return the bytes of strings without nulls, one after the other."""
    _, offsets, content = values.buffers()
    if not len(values) or content is None:
        return b""
    is_large = values.type in (pa.large_string(), pa.large_binary())
    ends = np.frombuffer(offsets, np.int64 if is_large else np.int32)
    first, last = int(ends[values.offset]), int(ends[values.offset + len(values)])
    return memoryview(content)[first:last]


def _read_tables(file: Any, name: str) -> Iterator[pa.Table]:
    if name.endswith(".parquet"):
        with open_parquet(file) as parquet:
            for group in range(parquet.num_row_groups):
                rows = batch_size(parquet.metadata.row_group(group))
                for batch in parquet.iter_batches(rows, [group]):
                    yield pa.Table.from_batches([batch])
    else:
        with pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])


def _are_equal(a: list[pa.Table], b: list[pa.Table]) -> bool:
    """Compare by digest: unlike ``==``, NaN equals NaN and 0 differs from -0."""
    return ContentDigest(*a).hexdigest() == ContentDigest(*b).hexdigest()


def _describe_table_difference(
    name: str, actual: list[pa.Table], expected: pa.Table
) -> FileMismatch:
    id_column = "row_idx" if "row_idx" in expected.column_names else expected.column_names[0]
    stored = pa.concat_tables([expected.slice(0, 0), *actual])
    for position, row in enumerate(map(_shorten, expected.column(id_column).to_pylist())):
        if position == len(stored):
            return FileMismatch(f"{name} ends too early: row {row} is missing")
        pair = [table.slice(position, 1).combine_chunks() for table in (stored, expected)]
        if not _are_equal(pair[:1], pair[1:]):
            there, rebuilt = (table.to_pylist()[0] for table in pair)
            column = next((key for key in rebuilt if there[key] != rebuilt[key]), "")
            return FileMismatch(
                f"{name} differs from what the workspace rebuilds, first at row {row} in "
                f"{column!r}: found {_shorten(there.get(column))}, "
                f"expected {_shorten(rebuilt.get(column))}"
            )
    return FileMismatch(f"{name} differs from what the workspace rebuilds")


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
