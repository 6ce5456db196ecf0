"""Rules with limits: of the score, for all or by type of answer, and of the samples per source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import NamedLimits, Rule, check_count, is_finite, is_int, normalize_limits
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Mask
from scoring.rules.ranking import rank_within_groups, scored_positions, sort_best_first, to_mask


@dataclass(frozen=True, slots=True)
class Threshold(Rule):
    """Scores with ``min <= visnec < max``, in nats per answer token; one side may be open."""

    min: float | None = None
    max: float | None = None
    name: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        for value in (self.min, self.max):
            if value is not None and not is_finite(value):
                raise RuleError(f"A threshold must be a finite number, got {value!r}")
        if self.min is None and self.max is None:
            raise RuleError(f"Rule {self.name} needs --min, --max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise RuleError(f"Rule {self.name} keeps min <= visnec < max: {self} keeps nothing")

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the scores between the limits."""
        return candidates.scored & _is_between(candidates, self.min, self.max)


@dataclass(frozen=True, slots=True)
class AnswerThresholds(Rule):
    """Limits by type of answer: yes/no and A/B/C/D answers have lower maximum scores than others.

    ``limits`` holds (type of answer, min, max) for some of ``ANSWER_KINDS``; the other types use
    ``min`` and ``max``, which may both be open only if every type has its own limits.
    """

    min: float | None = None
    max: float | None = None
    limits: NamedLimits = ()
    name: ClassVar[str] = "answer-threshold"

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", normalize_limits(self.limits, is_finite))
        limited = [kind for kind, _, _ in self.limits]
        unknown = [kind for kind in limited if kind not in ANSWER_KINDS]
        if unknown:
            known = ", ".join(ANSWER_KINDS)
            raise RuleError(f"Unknown type of answer {unknown[0]!r}. Choose one of: {known}")
        others = [kind for kind in ANSWER_KINDS if kind not in limited]
        if others and self.min is None and self.max is None:
            raise RuleError(
                f"Answers of type {', '.join(others)} have no limits. Set --min or --max for them"
            )
        if self.min is not None or self.max is not None:
            Threshold(self.min, self.max)  # checks the limits
        for _, low, high in self.limits:
            Threshold(low, high)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the scores between the limits of their type of answer."""
        mask = _is_between(candidates, self.min, self.max)
        for kind, low, high in self.limits:
            has_kind = candidates.answer_kind == ANSWER_KINDS.index(kind)
            mask = np.where(has_kind, _is_between(candidates, low, high), mask)
        return candidates.scored & mask


def _is_between(candidates: Candidates, low: float | None, high: float | None) -> Mask:
    mask = np.ones(len(candidates), np.bool_)
    if low is not None:
        mask &= candidates.visnec >= low
    if high is not None:
        mask &= candidates.visnec < high
    return mask


@dataclass(frozen=True, slots=True)
class Budget(Rule):
    """The ``count`` highest scores, with at least ``floor`` and at most ``ceiling`` per source.

    ``limits`` holds (source, floor, ceiling) for sources with limits of their own; None keeps the
    common value. Each source first gets its floor (or all its samples, if it has fewer), then the
    highest scores of all sources follow until ``count`` is reached, skipping sources at their
    ceiling. With low ceilings the subset has fewer than ``count`` samples.
    """

    count: int
    floor: int = 0
    ceiling: int | None = None
    limits: NamedLimits = ()
    name: ClassVar[str] = "budget"

    def __post_init__(self) -> None:
        check_count(self.count)
        check_count(self.floor, lowest=0, what="The floor")
        if self.ceiling is not None:
            check_count(self.ceiling, what="The ceiling")
        limits = normalize_limits(self.limits, lambda end: is_int(end) and end >= 0)  # type: ignore[operator]
        object.__setattr__(self, "limits", limits)
        ends = {"every source": (self.floor, self.ceiling)}
        ends |= {repr(name): self._floor_and_ceiling(name) for name, _, _ in self.limits}
        for whose, (floor, ceiling) in ends.items():
            if ceiling is not None and floor > ceiling:
                raise RuleError(f"The floor of {whose} ({floor}) is above its ceiling ({ceiling})")

    def _floor_and_ceiling(self, source: str) -> tuple[int, int | None]:
        floor, ceiling = self.floor, self.ceiling
        for name, low, high in self.limits:
            if name == source:
                floor = floor if low is None else int(low)
                ceiling = ceiling if high is None else int(high)
        return floor, ceiling

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the floors first, then the highest scores below the ceilings.

        Raises RuleError for limits of an unknown source, and if the floors together exceed
        ``count``.
        """
        unknown = [name for name, _, _ in self.limits if name not in candidates.sources]
        if unknown:
            known = ", ".join(candidates.sources)
            raise RuleError(f"Unknown source {unknown[0]!r} in --limits. Sources: {known}")
        ends = [self._floor_and_ceiling(source) for source in candidates.sources]
        floors = np.array([floor for floor, _ in ends], np.int64)
        ceilings = np.array(
            [len(candidates) if ceiling is None else ceiling for _, ceiling in ends], np.int64
        )
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        source = candidates.source[ranked]
        rank, _ = rank_within_groups(source)
        guaranteed = rank < floors[source]
        remaining = self.count - int(guaranteed.sum())
        if remaining < 0:
            raise RuleError(
                f"The floors add up to {self.count - remaining:,} samples, above the budget of "
                f"{self.count:,}. Lower the floors or raise --count"
            )
        others = np.flatnonzero(~guaranteed & (rank < ceilings[source]))[:remaining]
        return to_mask(candidates, ranked[np.concatenate([np.flatnonzero(guaranteed), others])])
