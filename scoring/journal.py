"""Append-only parts: results appear under their names whole, by atomic rename, and never change.

So a kill at any moment loses at most the part in flight, and what is done can be read off the
folder. A row counts as done once a part holds it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.workspace import replacing


class Journal:
    """A folder of Parquet parts with one schema, which has a ``row_idx`` column."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self._schema = folder, schema

    def parts(self) -> list[Path]:
        """The finished parts, by name."""
        return sorted(self.folder.glob("part-*.parquet"))

    def write(self, chunk: int, rows: Sequence[dict[str, Any]]) -> Path:
        """Writes ``rows`` of one chunk of the plan as a new part.

        A chunk may end up in several parts: what was finished when the work was stopped, and the
        rest. The random end of the name keeps processes out of each other's way.
        """
        path = self.folder / f"part-{chunk:06d}-{uuid.uuid4().hex[:8]}.parquet"
        table = pa.Table.from_pylist(list(rows), self._schema)
        with replacing(path) as file:
            pq.write_table(table, file, compression="zstd")
        return path

    def read(self, columns: Sequence[str]) -> pa.Table:
        """The named columns of all parts, in the order of their names."""
        tables = [pq.read_table(path, columns=list(columns)) for path in self.parts()]
        fields = [self._schema.field(name) for name in columns]
        return pa.concat_tables(tables) if tables else pa.schema(fields).empty_table()

    def done(self, n_rows: int) -> NDArray[np.bool_]:
        """(n_rows,) flags: which rows of the dataset some part holds."""
        flags = np.zeros(n_rows, dtype=bool)
        for path in self.parts():
            flags[pq.read_table(path, columns=["row_idx"]).column(0).to_numpy()] = True
        return flags
