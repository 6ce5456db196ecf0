"""What each answer token says, where a run keeps it: text-only minus multimodal loss, in nats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.rules.candidates import Ints
from scoring.workspace import Workspace

_COLUMNS = ("token_loss_text", "token_loss_multimodal")


@dataclass(frozen=True, slots=True, eq=False)
class TokenDeltas:
    """Loss differences of the answer tokens of some samples, one after the other.

    The tokens of ``row_idx[i]`` (ascending) are ``values[offsets[i] : offsets[i + 1]]``, in nats;
    four bytes each are held in memory.
    """

    row_idx: Ints
    offsets: Ints
    values: NDArray[np.float32]


def read_token_deltas(workspace: Workspace, run_id: str, baseline: str) -> TokenDeltas:
    """The token values that the parts of a run hold for a baseline; empty where it kept none.

    Where parts repeat a sample, the first by name counts, as in the database.
    """
    rows: list[Ints] = []
    counts: list[Ints] = []
    values: list[NDArray[np.float32]] = []
    for path in sorted((workspace.run_dir(run_id) / "scores").glob("part-*.parquet")):
        with pq.ParquetFile(path) as file:
            if not set(_COLUMNS) <= set(file.schema_arrow.names):
                continue
            table = file.read(["row_idx", "baseline", *_COLUMNS])
        table = table.filter(
            pc.and_(pc.equal(table["baseline"], baseline), pc.is_valid(table[_COLUMNS[0]]))
        )
        text, multimodal = (table[name].combine_chunks() for name in _COLUMNS)
        rows.append(table["row_idx"].to_numpy())
        counts.append(pc.list_value_length(text).to_numpy().astype(np.int64))
        values.append(_flat(text) - _flat(multimodal))
    if not rows:
        return TokenDeltas(np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.float32))
    return _first_of_each(np.concatenate(rows), np.concatenate(counts), np.concatenate(values))


def _flat(lists: pa.Array | pa.ChunkedArray) -> NDArray[np.float32]:
    return np.asarray(pc.list_flatten(lists).to_numpy(zero_copy_only=False), np.float32)


def _first_of_each(rows: Ints, counts: Ints, values: NDArray[np.float32]) -> TokenDeltas:
    """Ascending by row; of a repeated row the first."""
    starts = np.cumsum(counts) - counts
    unique, first = np.unique(rows, return_index=True)
    sizes = counts[first]
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    places = np.repeat(starts[first] - offsets[:-1], sizes) + np.arange(offsets[-1])
    return TokenDeltas(unique.astype(np.int64), offsets, values[places])
