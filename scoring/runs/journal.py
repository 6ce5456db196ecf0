"""Append-only parts: a part appears complete, by atomic rename, and never changes.

A kill at any moment loses at most the part in flight, and what is done can be read from the
folder. A row is done once a part contains it. If several parts do, the first by name counts, so
retried rows go into parts whose names sort before all others.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.runs.leases import read_file_clock
from scoring.workspace import open_atomic

_LAST_RETRY = 99_999
_ABANDONED_SECONDS = 600.0  # writing a part never takes that long


class Journal:
    """A folder of Parquet parts with one schema, which has a ``row_idx`` column.

    ``retry``: the number of an attempt to redo rows (from 1). Such a journal reads and writes the
    parts of that attempt only; the latest attempt counts.
    """

    def __init__(self, folder: Path, schema: pa.Schema, retry: int = 0) -> None:
        self.folder, self.schema = folder, schema
        self._prefix = f"part-0-{_LAST_RETRY - retry:05d}-" if retry else "part-"
        self._seen: set[str] = set()

    def last_retry(self) -> int:
        """Return the number of the latest attempt to redo rows, or 0."""
        first = min((path.name for path in self.folder.glob("part-0-*.parquet")), default=None)
        return _LAST_RETRY - int(first.split("-")[2]) if first else 0

    def write_part(self, chunk: int, rows: Sequence[dict[str, Any]]) -> Path:
        """Write ``rows`` as a new part; ``chunk`` is the first chunk of the plan they belong to.

        The random suffix separates the parts of different processes, and of a chunk that was
        interrupted. Raises OSError and leaves nothing behind.
        """
        path = self.folder / f"{self._prefix}{chunk:06d}-{uuid.uuid4().hex[:8]}.parquet"
        table = pa.Table.from_pylist(list(rows), self.schema)
        with open_atomic(path) as file:
            pq.write_table(table, file, compression="zstd")
        return path

    def read_new(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield columns of each new part, by its name; null if an earlier version wrote none."""
        for path in sorted(self.folder.glob(f"{self._prefix}*.parquet")):
            if path.name in self._seen:
                continue
            with pq.ParquetFile(path) as file:
                table = file.read([name for name in columns if name in file.schema_arrow.names])
            for name in set(columns).difference(table.column_names):
                field = self.schema.field(name)
                table = table.append_column(field, pa.nulls(len(table), field.type))
            yield table.select(list(columns))
            self._seen.add(path.name)

    def remove_abandoned(self) -> None:
        """Remove unfinished files that killed processes left behind some time ago."""
        for path in self.folder.glob(".part-*.tmp"):
            with suppress(FileNotFoundError):  # its process has just renamed it
                if read_file_clock(self.folder) - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
