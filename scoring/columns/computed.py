"""Columns of values that a command computed from the workspace."""

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
    keep_part,
    list_columns,
    publish_columns,
    remove_unused_parts,
    write_part,
)
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.runs.record import utc_now
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True, eq=False)
class ComputedColumn:
    """Values of samples: ``values[i]`` is that of ``row_idx[i]``, ascending."""

    name: str
    row_idx: NDArray[np.int64]
    values: NDArray[np.number[Any]] | Sequence[str]
    settings: dict[str, Any]
    type: str = INTEGER


def check_names(workspace: Workspace, command: str, names: Sequence[str]) -> None:
    """Raise InputError if a column of one of the names was made by something else."""
    lowered = [name.lower() for name in names]
    for column in list_columns(workspace):
        if column.name.lower() in lowered and column.file != command:
            raise InputError(
                f"There is a column {column.name!r} already, imported from {column.file}. Remove "
                f"it first: visnec import-columns --remove {column.name}"
            )


def write_computed(
    workspace: Workspace,
    command: str,
    columns: Sequence[ComputedColumn],
    *,
    keep_earlier: bool = False,
) -> list[ColumnRecord]:
    """Store columns that a command computed, in place of its earlier ones.

    ``keep_earlier`` keeps the values of before for the exports that name them. The next build adds
    the columns to the database.
    """
    names = [column.name for column in columns]
    check_names(workspace, command, names)
    earlier = {column.name: column for column in list_columns(workspace) if column.name in names}
    try:
        records = [_write_column(workspace, command, column) for column in columns]
        for record in records if keep_earlier else ():
            before = earlier.get(record.name, record)
            if before.part != record.part:
                keep_part(workspace, before)
        publish_columns(workspace, records)
    finally:
        remove_unused_parts(workspace, names)
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
