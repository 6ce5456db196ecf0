"""Column files: Parquet, and the Arrow files of Hugging Face datasets.

Rows are read in batches of a few megabytes. Image bytes stay in the file: the record contains a
reference to their row and column instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.errors import RecordError
from scoring.readers.json_stream import RawRecord

BATCH_BYTES = 16 << 20  # of a table to read at a time
_MAX_BATCH_ROWS = 1_000
_PAGE_BYTES = 1 << 20
_DAMAGE = (pa.ArrowException, OSError, ValueError)


def read_parquet(
    path: Path, name: str, keep_going: bool, progress: Callable[[int, int], None]
) -> Iterator[RawRecord]:
    """Yield the rows, after calling ``progress`` with the row and the number of rows.

    Raises RecordError for a damaged file. With ``keep_going`` the rest of a damaged row group
    becomes one record with a problem.
    """
    try:
        file = open_parquet(path)
    except _DAMAGE as error:
        raise RecordError(f"{path} is not a readable Parquet file: {error}") from error
    with file:
        n_rows = file.metadata.num_rows
        row = 0
        for group in range(file.metadata.num_row_groups):
            metadata = file.metadata.row_group(group)
            end = row + metadata.num_rows
            try:
                for batch in file.iter_batches(batch_size(metadata), [group]):
                    batch.validate()
                    for record in batch_records(batch, name, row):
                        progress(row, n_rows)
                        yield record
                        row += 1
            except _DAMAGE as error:
                problem = f"rows {row} to {end - 1} of {n_rows} cannot be read: {error}"
                if not keep_going:
                    raise RecordError(f"{name}: {problem}") from error
                progress(row, n_rows)
                yield RawRecord(b"", problem=problem, origin=f"{name}#row={row}")
            row = end


def read_arrow(path: Path, name: str, keep_going: bool) -> Iterator[RawRecord]:
    """Yield the rows of an Arrow file. Damage is handled as in ``read_parquet``."""
    row = 0
    try:
        for batch in _arrow_batches(path):
            batch.validate(full=True)  # reading a damaged file could access memory out of bounds
            for piece in _split_batch(batch, 64):
                for record in batch_records(piece, name, row):
                    yield record
                    row += 1
    except _DAMAGE as error:
        problem = f"row {row} and all rows after it cannot be read: {error}"
        if not keep_going:
            raise RecordError(f"{name}: {problem}") from error
        yield RawRecord(b"", problem=problem, origin=f"{name}#row={row}")


def read_table_schema(path: Path) -> pa.Schema:
    """Return the columns of a Parquet or Arrow file. Raises RecordError for a damaged one."""
    try:
        return pq.read_schema(path) if is_parquet(path) else open_arrow(path).schema
    except _DAMAGE as error:
        raise RecordError(f"{path} is not a readable table: {error}") from error


def read_rows(path: Path, name: str, rows: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """Yield the given rows (ascending) of a Parquet or Arrow file, in bounded memory.

    Raises RecordError if they are damaged.
    """
    try:
        for first, batch in _batches_with(path, rows):
            batch.validate(full=True)
            low, high = np.searchsorted(rows, [first, first + len(batch)])
            if low < high:
                yield batch.take(pa.array(rows[low:high] - first))
    except _DAMAGE as error:
        raise RecordError(f"Cannot read rows of {name}: {error}") from error


def _batches_with(path: Path, rows: NDArray[np.int64]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (first row, batch), skipping row groups without any of ``rows``."""
    first = 0
    if not is_parquet(path):
        for batch in _arrow_batches(path):
            for piece in _split_batch(batch, _MAX_BATCH_ROWS):
                yield first, piece
                first += len(piece)
        return
    with open_parquet(path) as file:
        for group in range(file.metadata.num_row_groups):
            metadata = file.metadata.row_group(group)
            end = first + metadata.num_rows
            low, high = np.searchsorted(rows, [first, end])
            if low < high:
                for batch in file.iter_batches(batch_size(metadata), [group]):
                    yield first, batch
                    first += len(batch)
            first = end


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its signature."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _split_batch(batch: pa.RecordBatch, max_rows: int) -> Iterator[pa.RecordBatch]:
    """Yield the batch in slices of at most ``max_rows`` rows and about BATCH_BYTES bytes."""
    rows = min(max_rows, max(BATCH_BYTES * len(batch) // max(batch.nbytes, 1), 1))
    for start in range(0, len(batch), rows):
        yield batch.slice(start, rows)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    reader = open_arrow(path)
    if hasattr(reader, "get_batch"):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def batch_records(batch: pa.RecordBatch, name: str, first_row: int) -> Iterator[RawRecord]:
    """Yield the rows of a batch; a row whose text is not UTF-8 has a problem."""
    failures = (UnicodeDecodeError, ValueError, OverflowError)
    try:
        values: list[object] = batch.to_pylist()
    except failures:
        values = []
        for index in range(len(batch)):
            try:
                values += batch.slice(index, 1).to_pylist()
            except failures as error:
                values.append(error)
    for row, value in enumerate(values, start=first_row):
        origin = f"{name}#row={row}"
        if isinstance(value, Exception):
            yield RawRecord(b"", problem=f"row {row}: {value}", origin=origin)
        else:
            yield RawRecord(b"", value, origin=origin)


def open_arrow(path: Path) -> Any:
    """Open an Arrow file of either kind, memory-mapped."""
    source = pa.memory_map(str(path))
    magic = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


def open_parquet(source: Any) -> pq.ParquetFile:
    """Open a Parquet file to read it page by page: a row group may be larger than memory."""
    return pq.ParquetFile(source, buffer_size=_PAGE_BYTES, pre_buffer=False)


def batch_size(group: Any) -> int:
    """Return the number of rows of a row group to read at a time."""
    return min(batch_rows(group), _MAX_BATCH_ROWS)


def batch_rows(group: Any, column: str | None = None) -> int:
    """Return the average number of rows per BATCH_BYTES, of one column or of all."""
    size = group.total_byte_size
    if column is not None:
        leaves = [group.column(index) for index in range(group.num_columns)]
        own = (leaf for leaf in leaves if leaf.path_in_schema.split(".")[0] == column)
        size = sum(leaf.total_uncompressed_size for leaf in own)
    return int(max(BATCH_BYTES * group.num_rows // max(size, 1), 1))
