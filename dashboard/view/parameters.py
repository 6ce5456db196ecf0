"""URL parameters: for each type of value how it is written into a URL and read from it.

Values come from outside: a reader raises ValueError for anything unexpected, and is always fast.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from scoring.rules.base import NamedLimits, is_finite, is_int, normalize_limits

MAX_TEXT: Final = 4000
MAX_ROW: Final = 2**62
MAX_COUNT: Final = 10**9
_MAX_NUMBER: Final = 1e6


@dataclass(frozen=True, slots=True)
class Parameter:
    """How one field of a view is read from a URL and written into it."""

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    expects: str


def read_number(text: str) -> float:
    """Return a finite number. Raises ValueError."""
    value = float(text)
    if not math.isfinite(value) or abs(value) > _MAX_NUMBER:
        raise ValueError(text)
    return value


def read_share(text: str) -> float:
    """Return a number above 0 and at most 1. Raises ValueError."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError(text)
    return value


def read_row(text: str) -> int:
    """Return a row number. Raises ValueError."""
    value = int(text)
    if not 0 <= value < MAX_ROW:
        raise ValueError(text)
    return value


def _read_flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(text)
    return text == "1"


def _read_name(text: str) -> str:
    cleaned = "".join(character for character in text if character.isprintable()).strip()
    if not cleaned or len(cleaned) > 200:
        raise ValueError(text)
    return cleaned


NUMBER: Final = Parameter(read_number, repr, "a finite number")
SHARE: Final = Parameter(read_share, repr, "a share between 0 and 1")
FLAG: Final = Parameter(_read_flag, lambda value: "1" if value else "0", "0 or 1")
NAME: Final = Parameter(_read_name, str, "a name")
ROW: Final = Parameter(read_row, str, "an integer of 0 or more")


def enum_parameter(kind: type[StrEnum], among: Sequence[StrEnum] | None = None) -> Parameter:
    """Return a parameter for a value of an enumeration, or of ``among`` its values."""
    values = tuple(kind) if among is None else tuple(among)

    def read(text: str) -> StrEnum:
        if text not in values:
            raise ValueError(text)
        return kind(text)

    return Parameter(read, str, f"one of {', '.join(values)}")


def name_parameter(names: Sequence[str]) -> Parameter:
    """Return a parameter for one of some names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Parameter(read, str, f"one of {', '.join(names)}")


def integer_parameter(lowest: int, highest: int) -> Parameter:
    """Return a parameter for an integer from ``lowest`` to ``highest``, both included."""

    def read(text: str) -> int:
        value = int(text)
        if not lowest <= value <= highest:
            raise ValueError(text)
        return value

    return Parameter(read, str, f"an integer from {lowest} to {highest}")


def _is_score(value: object) -> bool:
    return isinstance(value, int | float) and is_finite(value) and abs(value) <= _MAX_NUMBER


def _is_size(value: object) -> bool:
    return isinstance(value, int) and is_int(value) and 0 <= value <= MAX_COUNT


def _limits_parameter(is_valid: Callable[[object], bool]) -> Parameter:
    def read(text: str) -> NamedLimits:
        if len(text) > MAX_TEXT:
            raise ValueError(text)
        try:
            given = json.loads(text)
        except RecursionError:
            raise ValueError(text) from None
        if not isinstance(given, list) or not all(isinstance(limit, list) for limit in given):
            raise ValueError(text)
        return normalize_limits(given, is_valid)

    def write(limits: NamedLimits) -> str:
        return json.dumps(
            [list(limit) for limit in limits], ensure_ascii=False, separators=(",", ":")
        )

    return Parameter(read, write, 'a list of limits such as [["name",0.1,null]]')


SCORE_LIMITS: Final = _limits_parameter(_is_score)
SIZE_LIMITS: Final = _limits_parameter(_is_size)
