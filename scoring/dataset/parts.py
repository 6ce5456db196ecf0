"""Writer of a dataset's Parquet parts.

Arrays are built column by column for each row group: building them from one dictionary per row
took twice as long as the rest of an import.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.samples import Sample
from scoring.schemas import DATASET, TURN

PART_ROWS = 100_000
GROUP_ROWS = 1_000  # rows that looking up one sample decodes
_GROUP_BYTES = 16 << 20


class PartWriter:
    """Collects samples into row groups and row groups into part files.

    ``n_parts`` is the number of existing parts; any files after them are replaced.
    """

    def __init__(self, folder: Path, n_parts: int = 0) -> None:
        self._folder = folder
        self.n_parts = n_parts
        self._samples: list[Sample] = []
        self._bytes = self._in_part = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, sample: Sample) -> None:
        """Add the next sample."""
        self._samples.append(sample)
        self._bytes += len(sample.original) or sum(len(turn.text) for turn in sample.turns)
        if len(self._samples) >= GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Finish the part; the next sample starts a new one."""
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
    """Return samples as rows of ``schemas.DATASET``."""
    texts = pa.string()
    columns = [
        pa.array([sample.row_idx for sample in samples], pa.int64()),
        pa.array([sample.id for sample in samples], texts),
        pa.array([sample.source for sample in samples], texts),
        _list_column(
            [len(sample.images) for sample in samples],
            pa.array([image for sample in samples for image in sample.images], texts),
        ),
        pa.array([len(sample.images) for sample in samples], pa.int32()),
        pa.array([sample.n_turns for sample in samples], pa.int32()),
        pa.array([sample.question for sample in samples], texts),
        pa.array([sample.answer for sample in samples], texts),
        _turns_column(samples),
        pa.array([sample.status.value for sample in samples], texts),
        pa.array([sample.reason for sample in samples], texts),
        pa.array([sample.original or None for sample in samples], pa.binary()),
        pa.array([sample.origin for sample in samples], texts),
    ]
    return pa.Table.from_arrays(columns, schema=DATASET)


def _turns_column(samples: list[Sample]) -> pa.Array:
    turns = [turn for sample in samples for turn in sample.turns]
    offsets = _list_column(
        [len(turn.image_offsets) for turn in turns],
        pa.array([offset for turn in turns for offset in turn.image_offsets], pa.int32()),
    )
    roles = pa.array([turn.role.value for turn in turns], pa.string())
    texts = pa.array([turn.text for turn in turns], pa.string())
    inner = pa.StructArray.from_arrays([roles, texts, offsets], fields=list(TURN))
    return _list_column([len(sample.turns) for sample in samples], inner)


def _list_column(lengths: list[int], values: pa.Array) -> pa.Array:
    ends = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), values)
