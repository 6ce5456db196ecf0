"""What every rule is: a frozen value that takes samples, prints, saves and replays.

The one decision behind it: a rule is built from JSON values alone and checks them when it is
made, so that a saved rule either means what it meant or says what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

from scoring.errors import RuleError
from scoring.rules.candidates import Candidates, Floats, Mask

MAX_SEED = 2**63 - 1

NamedLimits = tuple[tuple[str, float | None, float | None], ...]
"""(name, lower, upper) for some groups of samples; None means no limit on that side."""


class Rule(Protocol):
    """A selection rule: a value that takes some of the scored samples."""

    name: ClassVar[str]

    def select_mask(self, candidates: Candidates) -> Mask:
        """Which candidates the rule takes, shape (n,); False wherever there is no score."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values, with its name under ``rule``."""
        ...


@runtime_checkable
class WeightingRule(Protocol):
    """A rule that says how often a sample counts, besides which ones it takes."""

    def compute_weights(self, candidates: Candidates) -> Floats:
        """Weights of shape (n,): 0 where the rule takes nothing, mean 1 over the scored."""
        ...


class SerializableRule:
    """What all rules share: how they print and save."""

    __slots__ = ()
    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values, with its name under ``rule``."""
        return {"rule": self.name} | {key: _json(value) for key, value in self._values()}

    def __str__(self) -> str:
        shown = [self.name]
        for key, value in self._values():
            if isinstance(value, SerializableRule):
                shown.append(f"{key}=({value})")
            elif isinstance(value, tuple):
                shown += [f"{name}={format_range(low, high)}" for name, low, high in value]
            elif value is not None:
                shown.append(f"{key}={value}")
        return " ".join(shown)

    def _values(self) -> Iterable[tuple[str, Any]]:
        for field in fields(cast(Any, self)):
            yield field.name, getattr(self, field.name)


def _json(value: object) -> object:
    if isinstance(value, SerializableRule):
        return value.to_dict()
    return [list(one) for one in value] if isinstance(value, tuple) else value


def format_range(low: float | None, high: float | None) -> str:
    """A range as the filter grammar writes it: ``0.1..0.8``, ``0.1..``, ``..0.8``."""
    return f"{'' if low is None else low}..{'' if high is None else high}"


def parse_ranges(texts: Iterable[str]) -> list[list[Any]]:
    """``NAME=LOW..HIGH`` as [name, low, high]; either end may be left out. Raises RuleError."""
    found = []
    for text in texts:
        name, equals, limits = text.rpartition("=")
        low, dots, high = limits.partition("..")
        try:
            ends = [_number(end) if end else None for end in (low, high)]
        except ValueError:
            dots = ""
        if not (name and equals and dots):
            raise RuleError(f"{text!r} is no NAME=LOW..HIGH; write for example yes/no=0.1..0.8")
        found.append([name, *ends])
    return found


def _number(text: str) -> float:
    return int(text) if text.isdecimal() else float(text)


def normalize_limits(value: object, check: Callable[[object], bool], what: str) -> NamedLimits:
    """Limits as they come from JSON or from Python, ascending by name. Raises RuleError."""
    found: dict[str, tuple[float | None, float | None]] = {}
    for one in cast(Iterable[Any], value):
        if isinstance(one, str) or len(one) != 3 or not isinstance(one[0], str):
            raise RuleError(f"{what} are a name, a lower and an upper end each, got {one!r}")
        name, low, high = one
        if (low is None and high is None) or not all(end is None or check(end) for end in one[1:]):
            raise RuleError(f"the {what} of {name!r} do not fit: {format_range(low, high)}")
        if name in found:
            raise RuleError(f"{what} of {name!r} are given twice")
        found[name] = (low, high)
    return tuple((name, *found[name]) for name in sorted(found))


def check_share(share: object) -> None:
    """Raises RuleError for what is no share."""
    if not is_finite(share) or not 0 < cast(float, share) <= 1:
        raise RuleError(f"a share lies above 0 and at most at 1 (0.15 is 15 %), got {share!r}")


def check_count(count: object, lowest: int = 1, what: str = "a count") -> None:
    """Raises RuleError for what is no whole number of at least ``lowest``."""
    if not is_int(count) or cast(int, count) < lowest:
        raise RuleError(f"{what} is a whole number of at least {lowest}, got {count!r}")


def check_seed(seed: object) -> None:
    """Raises RuleError for what is no seed."""
    if not is_int(seed) or not 0 <= cast(int, seed) <= MAX_SEED:
        raise RuleError(f"a seed is a whole number from 0 to 2^63 - 1, got {seed!r}")


def check_choice(value: object, choices: Iterable[str], what: str) -> None:
    """Raises RuleError naming the choices."""
    known = tuple(choices)
    if value not in known:
        raise RuleError(f"{what} is one of {', '.join(known)}, got {value!r}")


def is_int(value: object) -> bool:
    """Whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether it is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def describe(options: Mapping[str, Any]) -> str:
    """Options as they are named in an error."""
    return ", ".join(options) or "none"
