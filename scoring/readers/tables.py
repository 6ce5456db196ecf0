"""Column files: Parquet, and the Arrow files of Hugging Face datasets.

Rows are read in batches of a few megabytes. The bytes of an image stay in the file: the record
holds a reference to their row and column in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.errors import RecordError
from scoring.readers.json_stream import RawRecord

_MAX_BATCH_ROWS = 1_000


def read_parquet(
    path: Path, name: str, *, keep_going: bool = False
) -> Iterator[tuple[int, int, RawRecord]]:
    """(row, rows in all, record) of every row. Raises RecordError for a damaged file.

    With ``keep_going`` the rest of a damaged row group becomes one record with its problem.
    """
    try:
        file = open_parquet(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"{path} is no readable Parquet file: {error}") from error
    with file:
        metadata = file.metadata
        row = 0
        for group in range(metadata.num_row_groups):
            facts = metadata.row_group(group)
            end = row + facts.num_rows
            try:
                for batch in file.iter_batches(batch_size(facts), [group]):
                    batch.validate()
                    for record in batch_records(batch, name, row):
                        yield row, metadata.num_rows, record
                        row += 1
            except (pa.ArrowException, OSError, ValueError) as error:
                what = f"rows {row} to {end - 1} of {metadata.num_rows} cannot be read: {error}"
                if not keep_going:
                    raise RecordError(f"{name}: {what}") from error
                yield (
                    row,
                    metadata.num_rows,
                    RawRecord(b"", problem=what, origin=f"{name}#row={row}"),
                )
            row = end


def read_arrow(
    path: Path, name: str, *, keep_going: bool = False
) -> Iterator[tuple[int, RawRecord]]:
    """(row, record) of every row of an Arrow file. Damage is treated as in ``read_parquet``."""
    row = 0
    try:
        for batch in _arrow_batches(path):
            batch.validate(full=True)  # a damaged file would lead its readers out of their memory
            for piece in _pieces(batch, 64):
                for record in batch_records(piece, name, row):
                    yield row, record
                    row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        what = f"from row {row} on nothing can be read: {error}"
        if not keep_going:
            raise RecordError(f"{name}: {what}") from error
        yield row, RawRecord(b"", problem=what, origin=f"{name}#row={row}")


def read_table_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet or Arrow file. Raises RecordError for a damaged one."""
    try:
        return pq.read_schema(path) if _is_parquet(path) else open_arrow(path).schema
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"{path} is no readable table: {error}") from error


def read_rows(path: Path, name: str, rows: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """Those rows of a Parquet or Arrow file, whole and in ascending order, in bounded memory.

    Raises RecordError where they are damaged.
    """
    try:
        for first, batch in _batches_with(path, rows):
            batch.validate(full=True)
            low, high = np.searchsorted(rows, [first, first + len(batch)])
            if low < high:
                yield batch.take(pa.array(rows[low:high] - first))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"the rows of {name} cannot be read: {error}") from error


def _batches_with(path: Path, rows: NDArray[np.int64]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(first row, batch) of a file; row groups without any of ``rows`` are passed over."""
    first = 0
    if not _is_parquet(path):
        for batch in _arrow_batches(path):
            for piece in _pieces(batch, _MAX_BATCH_ROWS):
                yield first, piece
                first += len(piece)
        return
    with open_parquet(path) as file:
        for group in range(file.metadata.num_row_groups):
            facts = file.metadata.row_group(group)
            end = first + facts.num_rows
            low, high = np.searchsorted(rows, [first, end])
            if low < high:
                for batch in file.iter_batches(batch_size(facts), [group]):
                    yield first, batch
                    first += len(batch)
            first = end


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def batch_size(group: Any) -> int:
    """Rows of a row group that are read at a time."""
    return min(batch_rows(group), _MAX_BATCH_ROWS)


def _pieces(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """The batch, at most ``rows`` rows at a time, fewer where they hold many bytes."""
    rows = min(rows, max(BATCH_BYTES * len(batch) // max(batch.nbytes, 1), 1))
    for start in range(0, len(batch), rows):
        yield batch.slice(start, rows)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file of either kind."""
    reader = open_arrow(path)
    if hasattr(reader, "get_batch"):
        return (reader.get_batch(i) for i in range(reader.num_record_batches))
    return iter(reader)


def batch_records(batch: pa.RecordBatch, name: str, first_row: int) -> Iterator[RawRecord]:
    """The rows of a batch as records; a row whose text is no UTF-8 has that as its problem."""
    try:
        values: list[object] = batch.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError):
        values = [_row_or_problem(batch, index) for index in range(len(batch))]
    for index, value in enumerate(values):
        origin = f"{name}#row={first_row + index}"
        if isinstance(value, Exception):
            yield RawRecord(b"", problem=f"row {first_row + index}: {value}", origin=origin)
        else:
            yield RawRecord(b"", value, origin=origin)


def _row_or_problem(batch: pa.RecordBatch, index: int) -> object:
    try:
        return batch.slice(index, 1).to_pylist()[0]
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        return error


def open_arrow(path: Path) -> Any:
    """A reader of an Arrow file, of either kind, on mapped memory."""
    source = pa.memory_map(str(path))
    magic = source.read(6)
    source.seek(0)
    return pa.ipc.open_file(source) if magic == b"ARROW1" else pa.ipc.open_stream(source)


BATCH_BYTES = 16 << 20  # of a table that are read at a time


_BATCH_ROWS = 32


_PAGE_BYTES = 1 << 20


def open_parquet(source: Any) -> pq.ParquetFile:
    """A Parquet file that is read page by page: a row group may be larger than the memory."""
    return pq.ParquetFile(source, buffer_size=_PAGE_BYTES, pre_buffer=False)


def batch_rows(group: Any, column: str | None = None) -> int:
    """Rows of a row group that hold BATCH_BYTES by their average, in one column or in all."""
    size = group.total_byte_size
    if column is not None:
        found = (group.column(place) for place in range(group.num_columns))
        size = sum(
            one.total_uncompressed_size
            for one in found
            if one.path_in_schema.split(".")[0] == column
        )
    return int(max(BATCH_BYTES * group.num_rows // max(size, 1), 1))
