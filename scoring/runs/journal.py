"""Append-only parts: results appear under their names whole, by atomic rename, and never change.

So a kill at any moment loses at most the part in flight, and what is done can be read off the
folder. A row counts as done once a part holds it; where several do, the first by name counts. So
what is done anew goes into parts whose names come before all others.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.runs.leases import read_file_clock
from scoring.workspace import open_atomic

_LAST_RETRY = 99_999
_ABANDONED_SECONDS = 600.0  # no part takes so long to write


class Journal:
    """A folder of Parquet parts with one schema, which has a ``row_idx`` column.

    ``retry``: the number of an attempt to do rows anew (from 1); such a journal knows and writes
    the parts of that attempt only, and the latest attempt is the one that counts.
    """

    def __init__(self, folder: Path, schema: pa.Schema, retry: int = 0) -> None:
        self.folder, self.schema = folder, schema
        self._prefix = f"part-0-{_LAST_RETRY - retry:05d}-" if retry else "part-"
        self._seen: set[str] = set()

    def list_parts(self) -> list[Path]:
        """The finished parts, by name."""
        return sorted(self.folder.glob(f"{self._prefix}*.parquet"))

    def last_retry(self) -> int:
        """The number of the latest attempt to do rows anew, or 0."""
        first = min((path.name for path in self.folder.glob("part-0-*.parquet")), default=None)
        return _LAST_RETRY - int(first.split("-")[2]) if first else 0

    def write_part(self, chunk: int, rows: Sequence[dict[str, Any]]) -> Path:
        """Writes ``rows`` as a new part; ``chunk`` of the plan is the first they come from.

        The random end of the name keeps processes out of each other's way, and parts of a chunk
        that was stopped apart from its rest. Raises OSError, with nothing left behind.
        """
        path = self.folder / f"{self._prefix}{chunk:06d}-{uuid.uuid4().hex[:8]}.parquet"
        table = pa.Table.from_pylist(list(rows), self.schema)
        with open_atomic(path) as file:
            pq.write_table(table, file, compression="zstd")
        return path

    def read_new(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The named columns of each part that has not been read by this journal yet."""
        for path in self.list_parts():
            if path.name not in self._seen:
                yield self._read(path, columns)
                self._seen.add(path.name)

    def _read(self, path: Path, columns: Sequence[str]) -> pa.Table:
        """The named columns of one part; null where an earlier version did not write them."""
        with pq.ParquetFile(path) as file:
            present = [name for name in columns if name in file.schema_arrow.names]
            table = file.read(present)
        schema = pa.schema([self.schema.field(name) for name in columns])
        missing = [name for name in columns if name not in present]
        for name in missing:
            table = table.append_column(
                schema.field(name), pa.nulls(len(table), schema.field(name).type)
            )
        return table.select(list(columns))

    def remove_abandoned(self) -> None:
        """Removes unfinished files that killed processes left behind some time ago."""
        leftovers = list(self.folder.glob(".part-*.tmp"))
        if leftovers:
            now = read_file_clock(self.folder)
            for path in leftovers:
                if path.exists() and now - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink(missing_ok=True)
