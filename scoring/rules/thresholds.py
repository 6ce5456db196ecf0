"""Rules that judge each sample alone, by limits of the score: for all, or by type of answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import NamedLimits, SerializableRule, is_finite, normalize_limits
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Mask


@dataclass(frozen=True, slots=True)
class Threshold(SerializableRule):
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
class AnswerThresholds(SerializableRule):
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
