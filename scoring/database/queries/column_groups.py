"""The groups of samples that a column of texts or booleans makes, as one code per sample."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.database.connection import Snapshot, Store
from scoring.errors import InputError

MAX_OFFERED = 300
MAX_GROUPS = 1000

_GROUPABLE = "per = 'sample' AND type IN ('text', 'boolean')"
_OFFERED = f"""
    SELECT name FROM column_values JOIN columns USING (name)
    WHERE {_GROUPABLE} GROUP BY name
    HAVING approx_count_distinct(coalesce(text, flag::VARCHAR)) <= $most ORDER BY name
"""
_LABELS = """
    SELECT coalesce(text, flag::VARCHAR) AS label FROM column_values
    WHERE name = $column GROUP BY label ORDER BY count(*) DESC, label LIMIT $limit
"""
_CODES = """
    SELECT v.row_idx, l.code::USMALLINT AS code
    FROM column_values v
    JOIN unnest($labels::VARCHAR[]) WITH ORDINALITY l(label, code)
        ON l.label = coalesce(v.text, v.flag::VARCHAR)
    WHERE v.name = $column
"""


@dataclass(frozen=True, slots=True, eq=False)
class ColumnGroups:
    """The values of a column, the most frequent first, and the code of each sample by row_idx.

    A code is 0 without a value, otherwise 1 plus the position in ``labels``.
    """

    labels: list[str]
    codes: NDArray[np.uint16]


def group_columns(snapshot: Snapshot) -> list[str]:
    """Return the columns with one text or boolean per sample and about 300 values at most."""
    return [name for (name,) in snapshot.fetch_rows(_OFFERED, {"most": MAX_OFFERED})]


def read_column_groups(store: Store, column: str) -> ColumnGroups:
    """Return the groups of a column, read on first use and kept while they fit.

    Raises InputError for a column without one text or boolean per sample, or with more than 1000
    values.
    """
    snapshot = store.snapshot()

    def read() -> ColumnGroups:
        statement = f"SELECT count(*) FROM columns WHERE name = $column AND {_GROUPABLE}"
        if not snapshot.fetch_value(statement, {"column": column}):
            known = ", ".join(group_columns(snapshot))
            raise InputError(
                f"No column {column!r} with one text or boolean per sample. Columns to group by: "
                f"{known or 'none'}."
            )
        limit = {"column": column, "limit": MAX_GROUPS + 1}
        labels = [label for (label,) in snapshot.fetch_rows(_LABELS, limit)]
        if len(labels) > MAX_GROUPS:
            raise InputError(f"The column {column!r} has more than {MAX_GROUPS} values.")
        codes = np.zeros(snapshot.fetch_value("SELECT n_samples FROM build_info"), np.uint16)
        for batch in snapshot.fetch_batches(_CODES, {"column": column, "labels": labels}):
            codes[batch["row_idx"]] = batch["code"]
        return ColumnGroups(labels, codes)

    return snapshot.cache.get_or_compute(
        ("column groups", column), read, lambda groups: groups.codes.nbytes + 65536
    )
