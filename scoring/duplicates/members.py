"""The groups of near-duplicates that samples are in, with their members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scoring.database.connection import Store
from scoring.database.queries.column_rows import sortable_columns
from scoring.duplicates.stored import GROUP_COLUMNS, IMAGES, QUESTIONS, SAMPLES

MOST_MEMBERS = 1000
"""The largest group that one decision is about, and the rows of a group that are listed."""

_STRICTEST_FIRST = (SAMPLES, IMAGES, QUESTIONS)
_GROUPS = """
    WITH mine AS (
        SELECT row_idx AS of_row, name, number FROM column_values
        WHERE name = ANY($columns::VARCHAR[]) AND row_idx = ANY($rows::BIGINT[])
            AND turn IS NULL AND number IS NOT NULL
    ),
    members AS (
        SELECT name, number, count(*) AS n_samples, min(row_idx, $most) AS rows
        FROM column_values
        SEMI JOIN mine USING (name, number)
        WHERE name = ANY($columns::VARCHAR[]) AND turn IS NULL
        GROUP BY name, number HAVING count(*) > 1
    )
    SELECT of_row, name, number::BIGINT, n_samples, rows FROM mine JOIN members USING (name, number)
"""


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """A group of near-duplicates: ``rows`` are its first samples, ascending, of ``n_samples``.

    ``kind`` is what was compared, ``number`` the value of the group in ``column``.
    """

    kind: str
    column: str
    number: int
    n_samples: int
    rows: tuple[int, ...]

    def others_of(self, row_idx: int) -> list[int]:
        """Return the listed rows without one."""
        return [row for row in self.rows if row != row_idx]


def read_groups(store: Store, rows: Sequence[int]) -> dict[int, list[DuplicateGroup]]:
    """Return the groups of two or more by row, those with the most in common first."""
    snapshot = store.snapshot()
    known = sortable_columns(snapshot)
    kinds = {GROUP_COLUMNS[kind]: kind for kind in _STRICTEST_FIRST if GROUP_COLUMNS[kind] in known}
    if not kinds:
        return {}
    values = {"columns": list(kinds), "rows": list(map(int, rows)), "most": MOST_MEMBERS}
    groups_of: dict[int, list[DuplicateGroup]] = {}
    for of_row, column, number, n_samples, members in snapshot.fetch_rows(_GROUPS, values):
        group = DuplicateGroup(kinds[column], column, number, n_samples, tuple(members))
        groups_of.setdefault(of_row, []).append(group)
    order = list(kinds.values())
    return {
        row: sorted(groups, key=lambda group: order.index(group.kind))
        for row, groups in groups_of.items()
    }
