"""Writes samples as the Parquet parts of a dataset.

Columns are filled value by value and turned into arrays per row group: building them from one
dictionary per row took twice the time of everything else an import does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.samples import Sample
from scoring.schemas import DATASET, TURN

PART_ROWS = 100_000
GROUP_ROWS = 1_000  # a row group is what a look-up of one sample decodes
_GROUP_BYTES = 16 << 20


class PartWriter:
    """Buffers samples into row groups and row groups into part files.

    ``n_parts``: how many parts are there already; what lies beyond them is replaced.
    """

    def __init__(self, folder: Path, n_parts: int = 0) -> None:
        self._folder = folder
        self.n_parts = n_parts
        self._samples: list[Sample] = []
        self._bytes = self._in_part = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, sample: Sample) -> None:
        """Takes the next sample."""
        self._samples.append(sample)
        self._bytes += len(sample.original) or sum(len(turn.text) for turn in sample.turns)
        if len(self._samples) >= GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Ends the part; the next sample begins a new one."""
        if self._samples:
            self._flush()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _flush(self) -> None:
        if self._writer is None:
            path = self._folder / f"part-{self.n_parts:05d}.parquet"
            self._writer = pq.ParquetWriter(path, DATASET, compression="zstd")
            self.n_parts, self._in_part = self.n_parts + 1, 0
        self._writer.write_table(dataset_table(self._samples))
        self._in_part += len(self._samples)
        self._samples, self._bytes = [], 0
        if self._in_part >= PART_ROWS:
            self._writer.close()
            self._writer = None


def dataset_table(samples: list[Sample]) -> pa.Table:
    """Rows of ``schemas.DATASET``."""
    texts = pa.string()
    columns = [
        pa.array([one.row_idx for one in samples], pa.int64()),
        pa.array([one.id for one in samples], texts),
        pa.array([one.source for one in samples], texts),
        _lists(
            [len(one.images) for one in samples],
            pa.array([image for one in samples for image in one.images], texts),
        ),
        pa.array([len(one.images) for one in samples], pa.int32()),
        pa.array([one.n_turns for one in samples], pa.int32()),
        pa.array([one.question for one in samples], texts),
        pa.array([one.answer for one in samples], texts),
        _turns(samples),
        pa.array([one.status.value for one in samples], texts),
        pa.array([one.reason for one in samples], texts),
        pa.array([one.original or None for one in samples], pa.binary()),
        pa.array([one.origin for one in samples], texts),
    ]
    return pa.Table.from_arrays(columns, schema=DATASET)


def _turns(samples: list[Sample]) -> pa.Array:
    turns = [turn for one in samples for turn in one.turns]
    offsets = _lists(
        [len(turn.image_offsets) for turn in turns],
        pa.array([offset for turn in turns for offset in turn.image_offsets], pa.int32()),
    )
    roles = pa.array([turn.role.value for turn in turns], pa.string())
    texts = pa.array([turn.text for turn in turns], pa.string())
    inner = pa.StructArray.from_arrays([roles, texts, offsets], fields=list(TURN))
    return _lists([len(one.turns) for one in samples], inner)


def _lists(lengths: list[int], values: pa.Array) -> pa.Array:
    ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values)
