"""The files of an export: how each is written, and how one is compared with what is rebuilt.

The one decision behind it: a file is either a stream of bytes, compared byte by byte, or a table,
compared value by value, because what a Parquet writer makes of the same values changes with its
version. Both stream, so memory stays bounded, and a difference is found at its row.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.readers.tables import batch_size, open_parquet

_TEXTS = (
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_large_string,
    pa.types.is_large_binary,
)
Chunk = tuple[int | None, bytes]
"""The row whose record it is (None for what stands around records), and its bytes."""

_GROUP_BYTES = 32 << 20  # of a table that are held, written and compared at a time
_HASH_BYTES = 1 << 20
_SHOWN = 24  # bytes shown of either side of a difference


@dataclass(frozen=True, slots=True)
class FileDigest:
    """A file by its name (with ``/``, inside the workspace or the export), size and digest.

    ``content_sha256``, of a table, is the digest of its values (see ``ContentDigest``).
    """

    name: str
    bytes: int
    sha256: str
    content_sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The fact as JSON values."""
        plain: dict[str, Any] = {"name": self.name, "bytes": self.bytes, "sha256": self.sha256}
        return plain | ({"content_sha256": self.content_sha256} if self.content_sha256 else {})

    def same_content(self, other: FileDigest) -> bool:
        """Whether both hold the same: byte by byte, or value by value where they are tables."""
        if self.content_sha256 and other.content_sha256:
            return (self.name, self.content_sha256) == (other.name, other.content_sha256)
        return (self.name, self.bytes, self.sha256) == (other.name, other.bytes, other.sha256)


OnSamples = Callable[[str, int], None]
"""Called with a file's name and how many more samples of it are done."""


class OutputFile(Protocol):
    """One file of an export."""

    @property
    def name(self) -> str:
        """Its name inside the export, with ``/``."""

    def write(self, path: Path, told: OnSamples) -> FileDigest:
        """Writes it, flushed to the disk."""

    def compare(self, path: Path, told: OnSamples) -> tuple[str | None, FileDigest]:
        """The first difference from what lies there, in words, and what it should be."""


@dataclass(frozen=True, slots=True)
class BytesFile:
    """A file of bytes that are the same on every machine."""

    name: str
    pieces: Iterable[Chunk]

    def write(self, path: Path, told: OnSamples) -> FileDigest:
        """Writes the pieces one after the other."""
        digest, size = hashlib.sha256(), 0
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for row_idx, piece in self.pieces:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
                if row_idx is not None:
                    told(self.name, 1)
            flush_file(file)
        return FileDigest(self.name, size, digest.hexdigest())

    def compare(self, path: Path, told: OnSamples) -> tuple[str | None, FileDigest]:
        """Byte by byte."""
        digest, at = hashlib.sha256(), 0
        nothing = FileDigest(self.name, 0, "")
        try:
            with path.open("rb") as file:
                for row_idx, piece in self.pieces:
                    there = file.read(len(piece))
                    if there != piece:
                        return _difference(self.name, at, row_idx, there, piece), nothing
                    digest.update(piece)
                    at += len(piece)
                    if row_idx is not None:
                        told(self.name, 1)
                if rest := file.read(_SHOWN):
                    return f"{self.name} goes on after its end, from byte {at}: {rest!r}", nothing
        except FileNotFoundError:
            return f"{self.name} is missing beside the manifest", nothing
        return None, FileDigest(self.name, at, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table as a Parquet file, or as an Arrow stream (``.arrow``)."""

    name: str
    schema: pa.Schema
    tables: Iterable[pa.Table]
    group_rows: int = 10_000

    def write(self, path: Path, told: OnSamples) -> FileDigest:
        """Writes row group after row group, each as large as memory may hold at a time."""
        digest = ContentDigest()
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            with self._writer(file) as writer:
                for table in regroup_tables(self.tables, self.schema, self.group_rows):
                    digest.update(table)
                    writer.write_table(table)
                    told(self.name, len(table))
            flush_file(file)
        fact = digest_file(path.parent, path.name)
        return FileDigest(self.name, fact.bytes, fact.sha256, digest.hexdigest())

    def compare(self, path: Path, told: OnSamples) -> tuple[str | None, FileDigest]:
        """Value by value, whatever wrote the file."""
        nothing = FileDigest(self.name, 0, "")
        digest = ContentDigest()
        try:
            with path.open("rb") as file:
                there = _read_tables(file, self.name)
                for found, table in _same_rows(there, self.tables, self.schema):
                    if table is None:
                        return f"{self.name} holds more rows than the workspace rebuilds", nothing
                    if found is None or not _equal(found, table):
                        return _table_difference(self.name, found, table), nothing
                    digest.update(table)
                    told(self.name, len(table))
        except FileNotFoundError:
            return f"{self.name} is missing beside the manifest", nothing
        except (pa.ArrowException, ValueError, OSError) as error:
            return f"{self.name} is not the table that is rebuilt: {error}", nothing
        fact = digest_file(path.parent, path.name)
        return None, FileDigest(self.name, fact.bytes, fact.sha256, digest.hexdigest())

    def _writer(self, file: Any) -> Any:
        if self.name.endswith(".parquet"):
            return pq.ParquetWriter(file, self.schema, compression="zstd")
        return pa.ipc.new_stream(file, self.schema)


def digest_file(folder: Path, name: str) -> FileDigest:
    """Size and digest of ``folder / name``."""
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("rb") as file:
        while chunk := file.read(_HASH_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileDigest(name, size, digest.hexdigest())


def flush_file(file: Any) -> None:
    """Everything written so far is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def regroup_tables(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The same rows, ``rows`` at a time, or fewer where they reach ``_GROUP_BYTES``; each piece in
    one stretch of memory.
    """
    waiting: list[pa.Table] = []
    n_rows = n_bytes = 0
    for table in tables:
        left = table.cast(schema)  # Parquet names the values of a list otherwise
        while len(left):
            fitting = -(-(_GROUP_BYTES - n_bytes) * len(left) // max(left.nbytes, 1))
            n = min(rows - n_rows, max(fitting, 1))
            piece, left = left.slice(0, n), left.slice(n)
            waiting.append(piece)
            n_rows, n_bytes = n_rows + len(piece), n_bytes + piece.nbytes
            if n_rows == rows or n_bytes >= _GROUP_BYTES:
                yield pa.concat_tables(waiting).combine_chunks()
                waiting, n_rows, n_bytes = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def repeat_rows(table: pa.Table, times: NDArray[np.int64]) -> Iterator[pa.Table]:
    """Each row as many times as ``times`` says, in tables of about ``_GROUP_BYTES``."""
    places = np.repeat(np.arange(len(table)), times)
    step = max(1, _GROUP_BYTES * len(table) // max(table.nbytes, 1))
    for start in range(0, len(places), step):
        yield table.take(pa.array(places[start : start + step]))


def _same_rows(
    found: Iterable[pa.Table], wanted: Iterable[pa.Table], schema: pa.Schema
) -> Iterator[tuple[pa.Table | None, pa.Table | None]]:
    """Both streams side by side, the same number of rows of each; None where one has ended."""
    streams = [(one.cast(schema) for one in stream if len(one)) for stream in (found, wanted)]
    left: list[pa.Table | None] = [None, None]
    while True:
        left = [
            next(stream, None) if one is None else one
            for one, stream in zip(left, streams, strict=True)
        ]
        n = min((len(one) for one in left if one is not None), default=0)
        if not n:
            return
        yield tuple(one if one is None else one.slice(0, n) for one in left)  # type: ignore[misc]
        left = [one.slice(n) if one is not None and len(one) > n else None for one in left]


class ContentDigest:
    """A sha256 of a table's values, however many rows are taken in at a time.

    Neither compression nor row groups nor the padding of a writer's version enter it: each column
    has digests of its own of which values are there, of their lengths and of the values themselves.
    """

    def __init__(self) -> None:
        self._n_rows = 0
        self._columns: dict[str, _ColumnDigest] = {}

    def update(self, table: pa.Table) -> None:
        """Takes the next rows in."""
        self._n_rows += len(table)
        for name, column in zip(table.column_names, table.columns, strict=True):
            digest = self._columns.setdefault(f"{name}\0{column.type}", _ColumnDigest())
            for chunk in column.chunks:
                digest.update(chunk)

    def hexdigest(self) -> str:
        """Of all rows so far."""
        columns = [name.encode() + one.digest() for name, one in self._columns.items()]
        return hashlib.sha256(b"".join([b"%d" % self._n_rows, *columns])).hexdigest()


class _ColumnDigest:
    """The digest of a column, with one of the same kind for each column inside it."""

    def __init__(self) -> None:
        self._present, self._lengths, self._values = (hashlib.sha256() for _ in range(3))
        self._inner: dict[int, _ColumnDigest] = {}

    def digest(self) -> bytes:
        own = b"".join(one.digest() for one in (self._present, self._lengths, self._values))
        inner = b"".join(one.digest() for one in self._inner.values())
        return hashlib.sha256(own + inner).digest()

    def update(self, array: pa.Array) -> None:
        self._present.update(array.is_valid().to_numpy(zero_copy_only=False).tobytes())
        values, kind = array.drop_null(), array.type
        if pa.types.is_dictionary(kind):
            self._into(0, values.dictionary_decode())
        elif pa.types.is_struct(kind):
            for place in range(kind.num_fields):
                self._into(place, pc.struct_field(values, [place]))
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
            self._lengths.update(_little_endian(pc.list_value_length(values)))
            self._into(0, values.flatten())
        elif any(test(kind) for test in _TEXTS):
            self._lengths.update(_little_endian(pc.binary_length(values)))
            self._values.update(_text_bytes(values))
        else:
            plain = values.to_numpy(zero_copy_only=False)
            if plain.dtype == object:  # what numpy has no type for: decimals, maps, nothing at all
                for value in values.to_pylist():
                    self._values.update(repr(value).encode("utf-8", "surrogatepass") + b"\0")
            else:
                self._values.update(plain.astype(plain.dtype.newbyteorder("<")).tobytes())

    def _into(self, place: int, array: pa.Array) -> None:
        self._inner.setdefault(place, _ColumnDigest()).update(array)


def _little_endian(lengths: pa.Array) -> bytes:
    return bytes(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())


def _text_bytes(values: pa.Array) -> bytes | memoryview:
    """The bytes of strings without nulls, one after the other."""
    if not len(values):
        return b""
    _, offsets, content = values.buffers()
    if content is None:
        return b""
    large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    ends = np.frombuffer(offsets, np.int64 if large else np.int32)
    first, last = int(ends[values.offset]), int(ends[values.offset + len(values)])
    return memoryview(content)[first:last]


def _read_tables(file: Any, name: str) -> Iterator[pa.Table]:
    if name.endswith(".parquet"):
        with open_parquet(file) as opened:
            for group in range(opened.num_row_groups):
                rows = batch_size(opened.metadata.row_group(group))
                for batch in opened.iter_batches(rows, [group]):
                    yield pa.Table.from_batches([batch])
    else:
        with pa.ipc.open_stream(file) as stream:
            for batch in stream:
                yield pa.Table.from_batches([batch])


def _equal(found: pa.Table, wanted: pa.Table) -> bool:
    """By digest: unlike ``==`` it tells NaN from NaN and 0 from -0 by their bits alone."""
    digests = []
    for one in (found, wanted):
        digest = ContentDigest()
        digest.update(one)
        digests.append(digest.hexdigest())
    return digests[0] == digests[1]


def _table_difference(name: str, found: pa.Table | None, wanted: pa.Table) -> str:
    if found is None:
        return f"{name} ends too early: row {_row(wanted, 0)} should stand there"
    for place in range(min(len(found), len(wanted))):
        one, other = found.slice(place, 1), wanted.slice(place, 1)
        if not _equal(one.combine_chunks(), other.combine_chunks()):
            there, rebuilt = one.to_pylist()[0], other.to_pylist()[0]
            odd = next((key for key in rebuilt if there[key] != rebuilt[key]), "")
            return (
                f"{name} differs from what the workspace rebuilds, first at row "
                f"{_row(wanted, place)} in {odd!r}: there stands {_short(there.get(odd))}, "
                f"rebuilt is {_short(rebuilt.get(odd))}"
            )
    return f"{name} holds {len(found)} rows where the workspace rebuilds {len(wanted)}"


def _row(table: pa.Table, place: int) -> Any:
    """Its row_idx, or its first value in a table that has none."""
    name = "row_idx" if "row_idx" in table.column_names else table.column_names[0]
    return _short(table.column(name)[place].as_py())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _difference(name: str, at: int, row_idx: int | None, there: bytes, rebuilt: bytes) -> str:
    same = next(
        (i for i, (one, other) in enumerate(zip(there, rebuilt, strict=False)) if one != other),
        min(len(there), len(rebuilt)),
    )
    where = f"row {row_idx}" if row_idx is not None else "between two records"
    stands = repr(there[same : same + _SHOWN]) if there[same:] else "the end of the file"
    return (
        f"{name} differs from what the workspace rebuilds, first at byte {at + same} ({where}): "
        f"there stands {stands}, rebuilt is {rebuilt[same : same + _SHOWN]!r}"
    )
