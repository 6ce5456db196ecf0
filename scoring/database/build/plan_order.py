"""The order in which runs process a dataset, and the columns they need in that order.

Rows with the same first image, by path or by known content, are next to each other, so that a model
encodes an image once even if its rows are far apart in the file. DuckDB sorts on disk: memory is
bounded at any size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.database.build.build import literal_paths
from scoring.database.build.derive import IMAGE_COPIES
from scoring.schemas import PLAN

GROUP_ROWS = 512  # what a reader decodes at a time
PART_ROWS = 100 * GROUP_ROWS
_MEMORY = "512MB"
_THREADS = 4  # each needs its own memory for sorting

_CREATE_COPIES = "CREATE TABLE copies (reference VARCHAR, copy_of VARCHAR)"
# Groups are ordered by their first rows; rows without an image keep their place.
_IN_PLAN_ORDER = """
    WITH leaders AS (
        SELECT coalesce(c.copy_of, s.images[1]) AS image, min(s.row_idx) AS leader
        FROM read_parquet($files, hive_partitioning = false) s
        LEFT JOIN copies c ON c.reference = s.images[1]
        WHERE len(s.images) > 0 GROUP BY ALL HAVING count(*) > 1
    )
    SELECT s.row_idx, s.id, s.source, s.images, s.turns, s.status, s.reason,
        coalesce(l.leader, s.row_idx) AS leader
    FROM read_parquet($files, hive_partitioning = false) s
    LEFT JOIN copies c ON c.reference = s.images[1]
    LEFT JOIN leaders l ON coalesce(c.copy_of, s.images[1]) = l.image
    ORDER BY leader, s.row_idx
"""


def write_in_plan_order(files: Sequence[Path], digests: Sequence[Path], folder: Path) -> int:
    """Write the dataset's parts into ``folder`` as ``schemas.PLAN`` and return the number of rows.

    ``digests`` are the parts from which equal images are known. Every part but the last has
    PART_ROWS rows, every row group but the last GROUP_ROWS. Raises OSError, also for errors of
    DuckDB such as a full disk.
    """
    spill = folder / "sort"
    config: dict[str, Any] = {
        "memory_limit": _MEMORY,
        "temp_directory": str(spill),
        "threads": min(os.cpu_count() or 1, _THREADS),
    }
    try:
        with closing(duckdb.connect(":memory:", config=config)) as con:
            con.execute("SET enable_progress_bar = false")  # it prints to stdout, which is for data
            con.execute(_CREATE_COPIES)
            if digests:
                statement = f"INSERT INTO copies BY NAME {IMAGE_COPIES}"
                con.execute(statement, {"files": literal_paths(digests)})
            ordered = con.sql(_IN_PLAN_ORDER, params={"files": literal_paths(files)})
            return _write_parts(ordered.to_arrow_reader(8 * GROUP_ROWS), folder)
    except duckdb.Error as error:
        raise OSError(f"Cannot write the order of the run: {error}") from error
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _write_parts(batches: Iterable[pa.RecordBatch], folder: Path) -> int:
    waiting, n_parts, n_rows = PLAN.empty_table(), 0, 0
    writer: pq.ParquetWriter | None = None
    in_part = 0
    for batch in batches:
        waiting = pa.concat_tables([waiting, pa.Table.from_batches([batch]).cast(PLAN)])
        n_rows += len(batch)
        while len(waiting) >= GROUP_ROWS:
            if writer is None:
                writer = pq.ParquetWriter(_part_path(folder, n_parts), PLAN, compression="zstd")
                n_parts, in_part = n_parts + 1, 0
            writer.write_table(waiting.slice(0, GROUP_ROWS))
            waiting, in_part = waiting.slice(GROUP_ROWS), in_part + GROUP_ROWS
            if in_part >= PART_ROWS:
                writer.close()
                writer = None
    if len(waiting):
        writer = writer or pq.ParquetWriter(_part_path(folder, n_parts), PLAN, compression="zstd")
        writer.write_table(waiting)
    if writer is not None:
        writer.close()
    return n_rows


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"
