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

_TEXTS = (
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_large_string,
    pa.types.is_large_binary,
)
Piece = tuple[int | None, bytes]
"""The row whose record it is (None for what stands around records), and its bytes."""

CHUNK = 1000
_HASH_BYTES = 1 << 20
_SHOWN = 24  # bytes shown of either side of a difference


@dataclass(frozen=True, slots=True)
class FileFact:
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

    def same_content(self, other: FileFact) -> bool:
        """Whether both hold the same: byte by byte, or value by value where they are tables."""
        if self.content_sha256 or other.content_sha256:
            return (self.name, self.content_sha256) == (other.name, other.content_sha256)
        return self == other


Told = Callable[[str, int], None]
"""Called with a file's name and how many more samples of it are done."""


class Output(Protocol):
    """One file of an export."""

    @property
    def name(self) -> str:
        """Its name inside the export, with ``/``."""

    def write(self, path: Path, told: Told) -> FileFact:
        """Writes it, flushed to the disk."""

    def compare(self, path: Path, told: Told) -> tuple[str | None, FileFact]:
        """The first difference from what lies there, in words, and what it should be."""


@dataclass(frozen=True, slots=True)
class BytesFile:
    """A file of bytes that are the same on every machine."""

    name: str
    pieces: Iterable[Piece]

    def write(self, path: Path, told: Told) -> FileFact:
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
            flush(file)
        return FileFact(self.name, size, digest.hexdigest())

    def compare(self, path: Path, told: Told) -> tuple[str | None, FileFact]:
        """Byte by byte."""
        digest, at = hashlib.sha256(), 0
        nothing = FileFact(self.name, 0, "")
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
        return None, FileFact(self.name, at, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table as a Parquet file, or as an Arrow stream (``.arrow``)."""

    name: str
    schema: pa.Schema
    tables: Iterable[pa.Table]
    group_rows: int = 10_000

    @property
    def chunk(self) -> int:
        """Rows compared, and digested, at a time."""
        return min(CHUNK, self.group_rows)

    def write(self, path: Path, told: Told) -> FileFact:
        """Writes row group after row group."""
        digest = ContentDigest()
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            with self._writer(file) as writer:
                for table in rechunked(self.tables, self.schema, self.group_rows):
                    for start in range(0, len(table), self.chunk):
                        digest.update(table.slice(start, self.chunk))
                    writer.write_table(table)
                    told(self.name, len(table))
            flush(file)
        fact = read_file_fact(path.parent, path.name)
        return FileFact(self.name, fact.bytes, fact.sha256, digest.hexdigest())

    def compare(self, path: Path, told: Told) -> tuple[str | None, FileFact]:
        """Value by value, whatever wrote the file."""
        nothing = FileFact(self.name, 0, "")
        digest = ContentDigest()
        try:
            with path.open("rb") as file:
                there = rechunked(_read_tables(file, self.name), self.schema, self.chunk)
                for table in rechunked(self.tables, self.schema, self.chunk):
                    found = next(there, None)
                    if found is None or not _equal(found, table):
                        return _table_difference(self.name, found, table), nothing
                    digest.update(table)
                    told(self.name, len(table))
                if next(there, None) is not None:
                    return f"{self.name} holds more rows than the workspace rebuilds", nothing
        except FileNotFoundError:
            return f"{self.name} is missing beside the manifest", nothing
        except (pa.ArrowException, ValueError, OSError) as error:
            return f"{self.name} is not the table that is rebuilt: {error}", nothing
        fact = read_file_fact(path.parent, path.name)
        return None, FileFact(self.name, fact.bytes, fact.sha256, digest.hexdigest())

    def _writer(self, file: Any) -> Any:
        if self.name.endswith(".parquet"):
            return pq.ParquetWriter(file, self.schema, compression="zstd")
        return pa.ipc.new_stream(file, self.schema)


def read_file_fact(folder: Path, name: str) -> FileFact:
    """Size and digest of ``folder / name``."""
    digest, size = hashlib.sha256(), 0
    with (folder / name).open("rb") as file:
        while chunk := file.read(_HASH_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileFact(name, size, digest.hexdigest())


def flush(file: Any) -> None:
    """Everything written so far is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def rechunked(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """The same rows, so many at a time, each piece in one stretch of memory."""
    waiting: list[pa.Table] = []
    n = 0
    for table in tables:
        waiting.append(table.cast(schema))  # Parquet names the values of a list otherwise
        n += len(table)
        while n >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows).combine_chunks()
            waiting, n = [joined.slice(rows)], n - rows
    if n:
        yield pa.concat_tables(waiting).combine_chunks()


class ContentDigest:
    """A sha256 of a table's values, taken in pieces of the same size each time.

    Neither compression nor row groups nor the padding of a writer's version enter it: of each
    column which values are there, then lengths, then the values themselves, inner ones after.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, table: pa.Table) -> None:
        """Takes the next rows in."""
        for name in table.column_names:
            self._digest.update(name.encode() + b"\0" + str(table.schema.field(name).type).encode())
            column = table.column(name).combine_chunks()
            array = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
            _feed(self._digest, array)

    def hexdigest(self) -> str:
        """Of all rows so far."""
        return self._digest.hexdigest()


def _feed(digest: Any, array: pa.Array) -> None:
    digest.update(len(array).to_bytes(8, "little"))
    digest.update(array.is_valid().to_numpy(zero_copy_only=False).tobytes())
    values = array.drop_null()
    kind = array.type
    if pa.types.is_dictionary(kind):
        _feed(digest, values.dictionary_decode())
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            _feed(digest, pc.struct_field(values, [place]))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.list_value_length(values)
        digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _feed(digest, values.flatten())
    elif any(test(kind) for test in _TEXTS):
        lengths = pc.binary_length(values)
        digest.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        digest.update(_text_bytes(values))
    else:
        plain = values.to_numpy(zero_copy_only=False)
        if plain.dtype == object:  # what numpy has no type for: decimals, maps, nothing at all
            digest.update(repr(values.to_pylist()).encode("utf-8", "surrogatepass"))
        else:
            digest.update(plain.astype(plain.dtype.newbyteorder("<")).tobytes())


def _text_bytes(values: pa.Array) -> bytes:
    """The bytes of strings without nulls, one after the other."""
    if not len(values):
        return b""
    _, offsets, content = values.buffers()
    if content is None:
        return b""
    large = pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type)
    ends = np.frombuffer(offsets, np.int64 if large else np.int32)
    first, last = int(ends[values.offset]), int(ends[values.offset + len(values)])
    return bytes(content.slice(first, last - first))


def _read_tables(file: Any, name: str) -> Iterator[pa.Table]:
    if name.endswith(".parquet"):
        with pq.ParquetFile(file) as opened:
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group)
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
