"""What all selection rules share: the interface, saving and printing, and checks of options.

A rule is built from JSON values alone and checks them at construction, so a saved rule either
keeps its meaning or reports what is wrong with it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import Field, fields
from typing import Any, ClassVar, cast

from scoring.errors import RuleError
from scoring.rules.candidates import Candidates, Floats, Mask

MAX_SEED = 2**63 - 1

NamedLimits = tuple[tuple[str, float | None, float | None], ...]
"""(name, lower, upper) for groups of samples; None means no limit on that side."""


class Rule(ABC):
    """A selection rule: an immutable dataclass that selects some of the scored samples."""

    __slots__ = ()
    name: ClassVar[str]

    @abstractmethod
    def select_mask(self, candidates: Candidates) -> Mask:
        """Return which candidates the rule selects, shape (n,); False without a score."""

    def compute_weights(self, candidates: Candidates) -> Floats | None:
        """Return how often each candidate counts in training, 0 without a score; None if once."""
        del candidates
        return None

    def list_columns(self) -> tuple[str, ...]:
        """Return the names of the imported columns whose numbers the rule uses."""
        return ()

    def list_group_columns(self) -> tuple[str, ...]:
        """Return the names of the imported columns by whose texts the rule groups samples."""
        return ()

    def list_filters(self) -> tuple[str, ...]:
        """Return the filters that the rule uses, in their written form."""
        return ()

    def map_filters(self, convert: Callable[[str], str]) -> Rule:
        """Return the rule with each of its filters converted."""
        del convert
        return self

    def find_unranked(self, candidates: Candidates) -> Mask | None:
        """Return the scored samples that the rule cannot rank; None if it ranks all."""
        del candidates
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as JSON values, with its name under ``rule``.

        Options by keyword only came later: without a value they are left out, so that rules that do
        not use them are saved as before.
        """
        saved: dict[str, Any] = {"rule": self.name}
        for field in option_fields(type(self)):
            value = getattr(self, field.name)
            if field.kw_only and value is None:
                continue
            if isinstance(value, Rule):
                value = value.to_dict()
            elif isinstance(value, tuple):
                value = [item if isinstance(item, str) else list(item) for item in value]
            saved[field.name] = value
        return saved

    def __str__(self) -> str:
        words = [self.name]
        for field in option_fields(type(self)):
            value = getattr(self, field.name)
            if isinstance(value, Rule):
                words.append(f"{field.name}=({value})")
            elif isinstance(value, tuple) and isinstance(next(iter(value), ()), str):
                words += [f"{field.name}=({text})" for text in value]
            elif isinstance(value, tuple):
                words += [
                    f"{group}={format_range(*ends) if len(ends) == 2 else ends[0]}"
                    for group, *ends in value
                ]
            elif value is not None:
                words.append(f"{field.name}={value}")
        return " ".join(words)


def option_fields(rule: type[Rule]) -> list[Field[Any]]:
    """Return the fields of a rule's options; those by keyword only are last."""
    return sorted(fields(cast(Any, rule)), key=lambda field: field.kw_only is True)


def format_range(low: float | None, high: float | None) -> str:
    """Format a range as in the filter grammar: ``0.1..0.8``, ``0.1..``, ``..0.8``."""
    return f"{'' if low is None else low}..{'' if high is None else high}"


def parse_ranges(texts: Iterable[str]) -> list[list[Any]]:
    """Parse ``NAME=LOW..HIGH`` into [name, low, high]; either end may be missing.

    Raises RuleError.
    """
    ranges = []
    for text in texts:
        name, equals, limits = text.rpartition("=")
        low, dots, high = limits.partition("..")
        try:
            ends = [
                None if not end else int(end) if end.isdecimal() else float(end)
                for end in (low, high)
            ]
        except ValueError:
            dots = ""
        if not (name and equals and dots):
            raise RuleError(f"Invalid range {text!r}. Write NAME=LOW..HIGH, like yes/no=0.1..0.8")
        ranges.append([name, *ends])
    return ranges


def normalize_limits(value: object, is_valid: Callable[[object], bool]) -> NamedLimits:
    """Return limits from JSON or Python, in ascending order of names. Raises RuleError."""
    limits: dict[str, tuple[float | None, float | None]] = {}
    for item in cast(Iterable[Any], value):
        if isinstance(item, str) or len(item) != 3 or not isinstance(item[0], str):
            raise RuleError(f"Each limit needs a name, a lower and an upper end, got {item!r}")
        name, low, high = item
        if (low is None and high is None) or not all(
            end is None or is_valid(end) for end in (low, high)
        ):
            raise RuleError(f"Invalid limits for {name!r}: {format_range(low, high)}")
        if name in limits:
            raise RuleError(f"Duplicate limits for {name!r}")
        limits[name] = (low, high)
    return tuple((name, *limits[name]) for name in sorted(limits))


def check_share(share: object) -> None:
    """Raise RuleError unless ``share`` is above 0 and at most 1."""
    if not is_finite(share) or not 0 < cast(float, share) <= 1:
        raise RuleError(f"A share must be above 0 and at most 1 (0.15 is 15 %), got {share!r}")


def check_count(count: object, lowest: int = 1, what: str = "The count") -> None:
    """Raise RuleError unless ``count`` is a whole number of at least ``lowest``."""
    if not is_int(count) or cast(int, count) < lowest:
        raise RuleError(f"{what} must be a whole number of at least {lowest}, got {count!r}")


def check_size(rule: str, share: float | None, count: int | None, tokens: int | None) -> None:
    """Raise RuleError unless exactly one size is given, and it is valid."""
    if sum(size is not None for size in (share, count, tokens)) != 1:
        raise RuleError(f"Rule {rule} needs one of --share, --count and --tokens")
    if share is not None:
        check_share(share)
    elif count is not None:
        check_count(count)
    else:
        check_count(tokens, what="The number of answer tokens")


def check_seed(seed: object) -> None:
    """Raise RuleError unless ``seed`` is a whole number from 0 to ``MAX_SEED``."""
    if not is_int(seed) or not 0 <= cast(int, seed) <= MAX_SEED:
        raise RuleError(f"The seed must be a whole number from 0 to 2^63 - 1, got {seed!r}")


def check_choice(value: object, choices: Iterable[str], option: str) -> None:
    """Raise RuleError, listing the choices, unless ``value`` is one of them."""
    known = tuple(choices)
    if value not in known:
        raise RuleError(f"Invalid {option} {value!r}. Choose one of: {', '.join(known)}")


def is_int(value: object) -> bool:
    """Return whether ``value`` is a whole number; booleans are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Return whether ``value`` is a finite number; booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
