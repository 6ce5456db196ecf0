"""Imported columns that an export adds to its records, as ``col:NAME``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from scoring.database.connection import Store
from scoring.database.queries.export import column_fields, read_column_values
from scoring.rules.candidates import Ints

if TYPE_CHECKING:
    from scoring.exports.export_plan import ExportPlan


@dataclass(frozen=True, slots=True, eq=False)
class AddedColumn:
    """The values of a column for ``rows`` (ascending); null without one."""

    name: str
    rows: Ints
    values: pa.ChunkedArray

    def value_of(self, row_idx: int) -> Any:
        """Return the value of a sample; a list for a column with one value per answer."""
        return self.values[int(np.searchsorted(self.rows, row_idx))].as_py()


def read_added_columns(store: Store, names: Sequence[str], rows: Ints) -> tuple[AddedColumn, ...]:
    """Return the named columns of the samples. Raises InputError for an unknown name."""
    fields = column_fields(store, list(dict.fromkeys(names)), "sample")
    return tuple(
        AddedColumn(field.name, rows, read_column_values(store, field, rows)) for field in fields
    )


def added_fields(plan: ExportPlan) -> list[pa.Field]:
    """Return the columns that are added to a table."""
    return [pa.field(column.name, column.values.type) for column in plan.added]


def read_added_values(plan: ExportPlan, position: int) -> dict[str, Any]:
    """Return the values of a sample as it is exported: without those of dropped answers, and with
    null for answers that an edit wrote.

    Call it once the turns of the record were edited, because that decides which are dropped.
    """
    row_idx = int(plan.rows[position])
    is_cut = plan.options.turns == "drop" and row_idx not in plan.stats.unedited
    dropped = plan.hits.get(row_idx, ()) if is_cut else ()
    values = {column.name: column.value_of(row_idx) for column in plan.added}
    if (edit := plan.edits.get(row_idx)) is not None:
        values = {
            name: edit.edit_values(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
    return {
        name: [item for turn, item in enumerate(value) if turn not in dropped]
        if isinstance(value, list)
        else value
        for name, value in values.items()
    }
