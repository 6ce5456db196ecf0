"""URL parameters: for each type of value how it is written into a URL and read from it.

Values come from outside: reading raises ValueError for anything unexpected, and is always fast.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from scoring.database.filters import Filter, parse_filter
from scoring.database.values import Cursor, parse_order
from scoring.rules.base import NamedLimits, is_finite, is_int, normalize_limits
from scoring.rules.combination import format_combination, parse_combination
from scoring.rules.mixture import column_of
from scoring.rules.targets import read_targets
from scoring.subsets.rule_inputs import parse_pinned_filter
from scoring.workspace import is_valid_name

MAX_ROW: Final = 2**62
MAX_COUNT: Final = 10**9
_MAX_TEXT: Final = 4000
_MAX_TARGETS_TEXT: Final = 20_000  # some hundred groups
_MAX_NUMBER: Final = 1e6
_MAX_VALUE: Final = 1e15  # of an imported column
_MAX_CLUSTER: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """How one field of a view is read from a URL and written into it."""

    convert: Callable[[str], Any]
    is_valid: Callable[[Any], bool]
    expects: str
    write: Callable[[Any], str] = str

    def read(self, text: str) -> Any:
        """Return the value. Raises ValueError, or VisnecError with a message for the reader."""
        value = self.convert(text)
        if not self.is_valid(value):
            raise ValueError(text)
        return value


def choice_parameter(values: Iterable[object]) -> Parameter:
    """Return a parameter for one of some values."""
    by_text = {str(value): value for value in values}
    return Parameter(by_text.get, lambda value: value is not None, f"one of {', '.join(by_text)}")


def group_parameter(groups: tuple[str, ...]) -> Parameter:
    """Return a parameter for one of some groups, or ``col:NAME`` for those by a column."""

    def is_group(text: str) -> bool:
        column = column_of(text)
        return text in groups if column is None else is_valid_name(column)

    return Parameter(str, is_group, f"one of {', '.join(groups)} or col:NAME")


def integer_parameter(lowest: int, highest: int, expects: str | None = None) -> Parameter:
    """Return a parameter for an integer from ``lowest`` to ``highest``, both included."""
    expects = expects or f"an integer from {lowest} to {highest}"
    return Parameter(int, lambda value: lowest <= value <= highest, expects)


def _read_name(text: str) -> str:
    return "".join(character for character in text if character.isprintable()).strip()


# Comparisons with NaN are false.
NUMBER: Final = Parameter(float, lambda x: abs(x) <= _MAX_NUMBER, "a finite number", repr)
VALUE: Final = Parameter(float, lambda x: abs(x) <= _MAX_VALUE, "a finite number", repr)
SHARE: Final = Parameter(float, lambda x: 0 < x <= 1, "a share between 0 and 1", repr)
FLAG: Final = Parameter(
    {"0": False, "1": True}.get,
    lambda flag: flag is not None,
    "0 or 1",
    lambda flag: str(int(flag)),
)


def _read_names(text: str) -> tuple[str, ...]:
    names = (_read_name(name) for name in text[:_MAX_TEXT].split(","))
    return tuple(dict.fromkeys(name for name in names if name))


NAMES: Final = Parameter(_read_names, bool, "names with commas between them", ",".join)
NAME: Final = Parameter(_read_name, lambda name: 0 < len(name) <= 200, "a name")
ROW: Final = integer_parameter(0, MAX_ROW - 1, "an integer of 0 or more")


_VALUE: Final = Parameter(float, math.isfinite, "a finite number", repr)  # of a column: any size
ORDER: Final = Parameter(parse_order, lambda _: True, "an order")


def _read_filter(text: str) -> Filter:
    if len(text) > _MAX_TEXT:
        raise ValueError(text)
    return parse_filter(text)


def _read_cursor(text: str) -> Cursor:
    """Read ``>0.25,17``: after sample 17 with that value; ``<`` is before it, ``-`` no value."""
    direction, (value, row) = text[:1], text[1:].split(",")
    if direction not in ("<", ">"):
        raise ValueError(text)
    row_idx = -1 if row == "-1" else ROW.read(row)  # -1: before the first row
    return Cursor(None if value == "-" else _VALUE.read(value), row_idx, direction == "<")


def format_cursor(cursor: Cursor) -> str:
    """Return a page's position as it is written in a URL."""
    value = "-" if cursor.value is None else repr(float(cursor.value))
    return f"{'<' if cursor.backward else '>'}{value},{cursor.row_idx}"


def read_conditions(text: str) -> tuple[str, ...]:
    """Return the filters of a text, one a line, in their written form. Raises FilterError."""
    if len(text) > _MAX_TEXT:
        raise ValueError(text)
    return tuple(str(parse_pinned_filter(line)) for line in text.splitlines() if line.strip())


CONDITIONS: Final = Parameter(read_conditions, bool, "filters, one a line", "\n".join)
RANKING: Final = Parameter(
    lambda text: format_combination(parse_combination(text[:_MAX_TEXT])), bool, "a weighted sum"
)
FILTER: Final = Parameter(
    _read_filter,
    lambda where: all(0 <= cluster <= _MAX_CLUSTER for cluster in where.cluster),
    "a filter",
)
CURSOR: Final = Parameter(_read_cursor, lambda _: True, "the position of a page", format_cursor)


def _list_parameter(
    convert: Callable[[list[list[Any]]], Any], expects: str, max_text: int = _MAX_TEXT
) -> Parameter:
    """Return a parameter for a list of lists, written as JSON."""

    def read(text: str) -> Any:
        if len(text) > max_text:
            raise ValueError(text)
        try:
            given = json.loads(text)
        except RecursionError:
            raise ValueError(text) from None
        if not isinstance(given, list) or not all(isinstance(item, list) for item in given):
            raise ValueError(text)
        return convert(given)

    def write(items: object) -> str:
        return json.dumps(items, ensure_ascii=False, separators=(",", ":"))

    return Parameter(read, lambda _: True, expects, write)


def _limits_parameter(is_valid: Callable[[Any], bool]) -> Parameter:
    def read_limits(given: list[list[Any]]) -> NamedLimits:
        return normalize_limits(given, is_valid)

    return _list_parameter(read_limits, 'a list of limits such as [["name",0.1,null]]')


SCORE_LIMITS: Final = _limits_parameter(lambda end: is_finite(end) and abs(end) <= _MAX_NUMBER)
SIZE_LIMITS: Final = _limits_parameter(lambda end: is_int(end) and 0 <= end <= MAX_COUNT)
TARGETS: Final = _list_parameter(
    read_targets, 'a list of targets such as [["name",0.3]]', _MAX_TARGETS_TEXT
)
