"""The order in which runs go through a dataset, and what they need of it in that order.

Rows that share their first image lie side by side, so that a model looks at an image once though
its rows lie apart in the file. DuckDB sorts on disk: memory stays bounded at any size.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.database.build.build import _literal
from scoring.schemas import PLAN

GROUP_ROWS = 512  # what a reader decodes at a time
PART_ROWS = 100 * GROUP_ROWS
_MEMORY = "512MB"
_THREADS = 4  # each sorts in memory of its own

# Groups stand in the order of their first rows; rows without an image stand where they are.
_IN_PLAN_ORDER = """
    WITH leaders AS (
        SELECT images[1] AS image, min(row_idx) AS leader
        FROM read_parquet($files, hive_partitioning = false)
        WHERE len(images) > 0 GROUP BY ALL HAVING count(*) > 1
    )
    SELECT s.row_idx, s.id, s.source, s.images, s.turns, s.status, s.reason,
        coalesce(l.leader, s.row_idx) AS leader
    FROM read_parquet($files, hive_partitioning = false) s
    LEFT JOIN leaders l ON s.images[1] = l.image
    ORDER BY leader, s.row_idx
"""


def write_in_plan_order(files: Sequence[Path], folder: Path) -> int:
    """Writes the dataset's parts into ``folder`` as ``schemas.PLAN``; returns how many rows.

    Every part but the last holds PART_ROWS rows, every row group but the last GROUP_ROWS. Raises
    OSError where the disk is full: duckdb.Error is turned into one.
    """
    spill = folder / "sort"
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": _MEMORY,
        "temp_directory": str(spill),
        "threads": min(os.cpu_count() or 1, _THREADS),
    }
    try:
        with closing(duckdb.connect(":memory:", config=config)) as con:
            con.execute("SET enable_progress_bar = false")  # it draws on stdout, which is for data
            answer = con.sql(_IN_PLAN_ORDER, params={"files": _literal(files)})
            return _write_parts(answer.to_arrow_reader(8 * GROUP_ROWS), folder)
    except duckdb.Error as error:
        raise OSError(f"the order of the run cannot be written: {error}") from error
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
                writer = pq.ParquetWriter(_part(folder, n_parts), PLAN, compression="zstd")
                n_parts, in_part = n_parts + 1, 0
            writer.write_table(waiting.slice(0, GROUP_ROWS))
            waiting, in_part = waiting.slice(GROUP_ROWS), in_part + GROUP_ROWS
            if in_part >= PART_ROWS:
                writer.close()
                writer = None
    if len(waiting):
        writer = writer or pq.ParquetWriter(_part(folder, n_parts), PLAN, compression="zstd")
        writer.write_table(waiting)
    if writer is not None:
        writer.close()
    return n_rows


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"
