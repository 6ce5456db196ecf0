"""Copies of the first records of large files on the hub, made without downloading the files.

An import with a limit needs few records of a file. Of a Parquet file only the row groups of these
are requested, of a JSON file a part at the start. Files of other kinds are downloaded whole, and so
are small ones.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.hub.repository import HubFile, open_file, path_of_first_records
from scoring.readers.inputs import kind_of
from scoring.readers.tables import batch_size, open_parquet

_WHOLE_BYTES = 8 << 20
"""Files up to this size are downloaded whole; of other JSON files this is read first."""


def copy_first_records(
    file: HubFile, n_records: int, has_records: Callable[[Path], bool]
) -> Path | None:
    """Return a copy of the first records of a file; None if it should be downloaded whole.

    Args:
        file: The file.
        n_records: How many records are needed.
        has_records: Whether the start of a JSON file contains them, each complete.
    """
    kind, target = kind_of(file.path), path_of_first_records(file, n_records)
    if target.is_file():
        return target
    if kind not in ("parquet", "json"):
        return None
    with open_file(file) as (source, size):
        if size <= _WHOLE_BYTES:
            return None
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            copy = Path(folder) / target.name
            if kind == "parquet":
                is_complete = _copy_rows(source, n_records, copy)
            else:
                is_complete = _copy_start(source, size, copy, has_records)
            if is_complete:
                copy.replace(target)
    return target if is_complete else None


def _copy_rows(source: IO[bytes], n_rows: int, copy: Path) -> bool:
    """Write the first rows of a Parquet file; False if it has no more than these, or is damaged."""
    try:
        with open_parquet(source) as file:
            if file.metadata.num_rows <= n_rows:
                return False
            with pq.ParquetWriter(copy, file.schema_arrow) as writer:
                for group in range(file.metadata.num_row_groups):
                    rows = batch_size(file.metadata.row_group(group))
                    for batch in file.iter_batches(rows, [group]):
                        writer.write_batch(batch.slice(0, n_rows))
                        n_rows -= len(batch)
                        if n_rows <= 0:
                            return True
    except pa.ArrowException:
        return False
    return False


def _copy_start(
    source: IO[bytes], size: int, copy: Path, has_records: Callable[[Path], bool]
) -> bool:
    """Write the start of a file, twice as much each time; False if half of it is not enough."""
    with copy.open("wb") as file:
        while 2 * file.tell() < size:
            file.write(source.read(max(file.tell(), _WHOLE_BYTES)))
            file.flush()
            if has_records(copy):
                return True
    return False
