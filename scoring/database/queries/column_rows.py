"""The samples that meet a condition on an imported column, its numbers, and its order.

A column with one value per answer is compared by its lowest, highest or mean value if it has
numbers; texts and booleans match if any answer has the value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.connection import Snapshot
from scoring.database.filters import ColumnCondition
from scoring.errors import FilterError
from scoring.rules.candidates import ColumnGroups

# A mean over a list adds in the order of the answers, with any number of threads.
_SUMMARIES = {
    "min": "min(number)",
    "max": "max(number)",
    "mean": "list_avg(list(number ORDER BY turn))",
}
_VALUES = {"integer": "number", "number": "number", "text": "text", "boolean": "flag"}
_NUMERIC = """
    SELECT name, per FROM columns
    WHERE type IN ('integer', 'number') AND n_values > 0
    ORDER BY file = $map, ends_with(name, '_group'), name
"""
_ROWS_PER_ANSWER = """
    SELECT row_idx FROM column_values WHERE name = $column
    GROUP BY row_idx HAVING {condition}
"""
_ROWS = "SELECT row_idx FROM column_values WHERE name = $column AND {condition}"
_NUMBERS = "SELECT row_idx, number FROM column_values WHERE name = $column AND number IS NOT NULL"
_NUMBERS_PER_ANSWER = """
    SELECT row_idx, {summary} AS number
    FROM column_values WHERE name = $column AND number IS NOT NULL GROUP BY row_idx
"""
_GROUPS = """
    SELECT DISTINCT coalesce(text, flag::VARCHAR) AS value FROM column_values
    WHERE name = $column AND value IS NOT NULL ORDER BY value
"""
_PRESENT = """
    SELECT row_idx, coalesce(text, flag::VARCHAR) AS value FROM column_values
    WHERE name = $column AND value IS NOT NULL
"""
_PRESENT_PER_ANSWER = """
    SELECT row_idx, list(coalesce(text, flag::VARCHAR) ORDER BY turn) AS value FROM column_values
    WHERE name = $column AND coalesce(text, flag::VARCHAR) IS NOT NULL GROUP BY row_idx
"""
_GROUP_ROWS = """
    WITH present AS ({present}), numbered AS (
        SELECT value, (row_number() OVER (ORDER BY value) - 1)::INTEGER AS code
        FROM (SELECT DISTINCT value FROM present)
    )
    SELECT row_idx, code FROM present JOIN numbered USING (value)
"""
MAP_COMMAND = "visnec map"
"""The command whose columns are coordinates of a map, which are recorded as its ``file``."""

GROUPING_TYPES = ("text", "boolean")
MAX_GROUPS = 10_000


def numeric_columns(snapshot: Snapshot) -> list[str]:
    """Return the columns with one number per sample, as a filter names them: clip, rating.min.

    Numbers of groups, such as image_group, and places on a map are last: they measure nothing.
    """
    names = []
    for name, per in snapshot.fetch_rows(_NUMERIC, {"map": MAP_COMMAND}):
        names += [f"{name}.{summary}" for summary in _SUMMARIES] if per == "turn" else [name]
    return names


def column_query(snapshot: Snapshot, condition: ColumnCondition) -> tuple[str, dict[str, Any]]:
    """Return a query for the row_idx of samples that meet a condition, and its values.

    Raises FilterError for an unknown column, or a comparison that its type does not have.
    """
    name, summary, column_type, is_per_turn = _resolve_column(snapshot, condition.name)
    is_number = _VALUES[column_type] == "number"
    if is_per_turn and is_number and summary is None:
        raise FilterError(
            f"The column {name!r} has one value per answer. Compare {name}.min, {name}.max or "
            f"{name}.mean."
        )
    values = {
        f"value_{n}": _read_value(condition, text, column_type)
        for n, text in enumerate(condition.values)
    }
    column = _SUMMARIES[summary] if summary else _VALUES[column_type]
    listed = ", ".join(f"${key}" for key in values)
    if condition.operator in ("=", "!="):
        comparison = f"{column} IN ({listed})"
    else:
        comparison = f"{column} {condition.operator} {listed}"
    if is_per_turn and summary is None:
        comparison = f"bool_or({comparison})"
    if condition.operator == "!=":
        comparison = f"NOT ({comparison})"
    query = _ROWS_PER_ANSWER if is_per_turn else _ROWS
    return query.format(condition=comparison), {"column": name, **values}


def column_numbers(snapshot: Snapshot, text: str) -> NDArray[np.float64]:
    """Return the numbers of a column by row_idx, NaN without a finite one.

    ``text`` is the name, with ``.min``, ``.max`` or ``.mean`` for one value per answer. Raises
    FilterError for an unknown column and for one without numbers.
    """
    name, summary, column_type, is_per_turn = _resolve_column(snapshot, text)
    _check_is_number(name, summary, column_type, is_per_turn)
    query = _NUMBERS
    if summary is not None:
        query = _NUMBERS_PER_ANSWER.format(summary=_SUMMARIES[summary])
    numbers = np.full(snapshot.fetch_value("SELECT n_samples FROM build_info"), np.nan)
    for batch in snapshot.fetch_batches(query, {"column": name}):
        numbers[batch["row_idx"]] = batch["number"]
    return np.where(np.isfinite(numbers), numbers, np.nan)


def column_groups(snapshot: Snapshot, name: str) -> ColumnGroups:
    """Return the values of a column as groups by row_idx, ascending by value.

    Raises FilterError for an unknown column, for one of numbers or with a value per answer, and for
    one with more than ``MAX_GROUPS`` values.
    """
    _, _, column_type, is_per_turn = _resolve_column(snapshot, name)
    if is_per_turn or column_type not in GROUPING_TYPES:
        what = "one value per answer" if is_per_turn else f"{column_type} values"
        raise FilterError(f"The column {name!r} has {what}; groups need one text per sample.")
    names = tuple(value for (value,) in snapshot.fetch_rows(_GROUPS, {"column": name}))
    if len(names) > MAX_GROUPS:
        raise FilterError(
            f"The column {name!r} has {len(names):,} different values; groups can have at most "
            f"{MAX_GROUPS:,}."
        )
    codes = np.full(snapshot.fetch_value("SELECT n_samples FROM build_info"), -1, np.int32)
    groups = _GROUP_ROWS.format(present=_PRESENT)
    for batch in snapshot.fetch_batches(groups, {"column": name}):
        codes[batch["row_idx"]] = batch["code"]
    return ColumnGroups(codes, names)


def list_group_columns(snapshot: Snapshot) -> list[str]:
    """Return the names of the columns that samples can be grouped by, ascending."""
    rows = snapshot.fetch_rows("SELECT name, type, per FROM columns ORDER BY name")
    return [name for name, kind, per in rows if kind in GROUPING_TYPES and per != "turn"]


def _check_is_number(name: str, summary: str | None, column_type: str, is_per_turn: bool) -> None:
    if _VALUES[column_type] != "number":
        raise FilterError(f"The column {name!r} has {column_type} values, not numbers.")
    if is_per_turn and summary is None:
        raise FilterError(
            f"The column {name!r} has one value per answer. Use {name}.min, {name}.max or "
            f"{name}.mean."
        )


def _resolve_column(snapshot: Snapshot, text: str) -> tuple[str, str | None, str, bool]:
    """Return name, summary, type and whether the column has one value per answer."""
    rows = snapshot.cache.get_or_compute(  # every query under a filter on columns resolves them
        "columns",
        lambda: snapshot.fetch_rows("SELECT name, type, per FROM columns ORDER BY name"),
        lambda rows: 200 * len(rows),
    )
    known = {name: (column_type, per == "turn") for name, column_type, per in rows}
    if text in known:
        return text, None, *known[text]
    name, _, summary = text.rpartition(".")
    if summary in _SUMMARIES and name in known and known[name][1]:
        if _VALUES[known[name][0]] != "number":
            raise FilterError(f"The column {name!r} has no numbers. Write col:{name}=VALUE.")
        return name, summary, *known[name]
    raise FilterError(
        f"No column {text!r}. Columns: {', '.join(known) or 'none yet, run visnec import-columns'}."
    )


def _read_value(condition: ColumnCondition, text: str, column_type: str) -> float | str | bool:
    """Return a value as the type of its column. Raises FilterError."""
    name = condition.name
    if _VALUES[column_type] == "number":
        try:
            return float(text)
        except ValueError:
            raise FilterError(f"{name!r} has numbers, and {text!r} is not a number.") from None
    if condition.operator not in ("=", "!="):
        raise FilterError(
            f"The column {name!r} has {column_type} values. Compare them with = or !=."
        )
    if column_type == "text":
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    if text not in ("true", "false"):
        raise FilterError(f"The column {name!r} is true or false, not {text!r}.")
    return text == "true"


def sort_values(snapshot: Snapshot, text: str) -> NDArray[np.float64]:
    """Return what samples are sorted by in the order of a column, by row_idx, NaN without; cached.

    Of one number per answer this is the mean unless another summary is named. Texts and booleans
    are numbered in ascending order; those of several answers are compared answer by answer.
    """
    name, summary, column_type, is_per_turn = _resolve_column(snapshot, text)
    is_number = _VALUES[column_type] == "number"
    column = f"{name}.mean" if is_number and is_per_turn and summary is None else text

    def read() -> NDArray[np.float64]:
        if is_number:
            return column_numbers(snapshot, column)
        positions = np.full(snapshot.fetch_value("SELECT n_samples FROM build_info"), np.nan)
        groups = _GROUP_ROWS.format(present=_PRESENT_PER_ANSWER if is_per_turn else _PRESENT)
        for batch in snapshot.fetch_batches(groups, {"column": name}):
            positions[batch["row_idx"]] = batch["code"]
        return positions

    return snapshot.cache.get_or_compute(
        ("numbers", column), read, lambda positions: positions.nbytes
    )


def sortable_columns(snapshot: Snapshot) -> dict[str, str]:
    """Return the type of each column that has values, by name."""
    rows = snapshot.fetch_rows("SELECT name, type FROM columns WHERE n_values > 0 ORDER BY name")
    return dict(rows)
