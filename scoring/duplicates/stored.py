"""Store computed values of samples as columns."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scoring.columns.parts import (
    ARROW_TYPES,
    INTEGER,
    SAMPLE,
    ColumnRecord,
    list_columns,
    publish_columns,
    remove_unused_parts,
    write_part,
)
from scoring.database.build.build import build_database
from scoring.dataset.records import read_dataset_info
from scoring.duplicates.texts import Ints
from scoring.errors import InputError
from scoring.runs.record import utc_now
from scoring.workspace import Workspace

QUESTIONS, SAMPLES, IMAGES = "questions", "samples", "images"
GROUP_COLUMNS = {QUESTIONS: "question_group", SAMPLES: "sample_group", IMAGES: "image_group"}
"""The columns of the groups of near-duplicates, by what is compared."""


@dataclass(frozen=True, slots=True, eq=False)
class ComputedColumn:
    """Values of samples: ``values[i]`` is that of ``row_idx[i]``, ascending."""

    name: str
    row_idx: Ints
    values: NDArray[np.int64] | Sequence[str]
    settings: dict[str, Any]
    type: str = INTEGER


def check_names(workspace: Workspace, command: str, names: Sequence[str]) -> None:
    """Raise InputError if a column of one of the names was made by something else."""
    for column in list_columns(workspace):
        if column.name.lower() in names and column.file != command:
            raise InputError(
                f"There is a column {column.name!r} already, imported from {column.file}. Remove "
                f"it first: visnec import-columns --remove {column.name}"
            )


def store_computed(
    workspace: Workspace, command: str, columns: Sequence[ComputedColumn]
) -> list[ColumnRecord]:
    """Store columns that a command computed, in place of its earlier ones; build the database."""
    check_names(workspace, command, [column.name for column in columns])
    try:
        records = [_write_column(workspace, command, column) for column in columns]
        publish_columns(workspace, records)
        build_database(workspace)
    finally:
        remove_unused_parts(workspace, [column.name for column in columns])
    return records


def _write_column(workspace: Workspace, command: str, column: ComputedColumn) -> ColumnRecord:
    dataset = read_dataset_info(workspace)
    values = pa.array(column.values, ARROW_TYPES[column.type])
    table = pa.table({"row_idx": pa.array(column.row_idx, pa.int64()), "value": values})
    digest = hashlib.sha256()
    for name in table.column_names:
        for buffer in table.column(name).combine_chunks().buffers():
            digest.update(buffer or b"")
    record = ColumnRecord(
        name=column.name,
        type=column.type,
        per=SAMPLE,
        part="",
        file=command,
        sha256=digest.hexdigest(),
        key=column.name,
        on="row_idx",
        imported_at=utc_now(),
        dataset_fingerprint=dataset.fingerprint,
        n_samples=dataset.n_samples,
        n_values=0,
    )
    return write_part(workspace, replace(record, settings=column.settings), table.to_batches())
