"""Rules that look at each sample alone: limits of the score, for all or by type of answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import NamedLimits, SerializableRule, is_finite, normalize_limits
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Mask


@dataclass(frozen=True, slots=True)
class Threshold(SerializableRule):
    """Scores with ``min <= visnec < max``, in nats per answer token; one limit may be open."""

    min: float | None = None
    max: float | None = None
    name: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        for value in (self.min, self.max):
            if value is not None and not is_finite(value):
                raise RuleError(f"a threshold must be a finite number, got {value!r}")
        if self.min is None and self.max is None:
            raise RuleError(f"the rule {self.name} needs --min, --max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise RuleError(f"{self.name} takes min <= visnec < max: {self} takes nothing")

    def select_mask(self, candidates: Candidates) -> Mask:
        """Which candidates lie between the limits."""
        return candidates.scored & _between(candidates, self.min, self.max)


@dataclass(frozen=True, slots=True)
class AnswerThresholds(SerializableRule):
    """Limits by type of answer: yes/no and A/B/C/D answers cap lower than free ones.

    ``limits`` holds (type of answer, min, max) for some of ``ANSWER_KINDS``; all the others
    follow ``min`` and ``max``, which may be left open only where every type has its own.
    """

    min: float | None = None
    max: float | None = None
    limits: NamedLimits = ()
    name: ClassVar[str] = "answer-threshold"

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", normalize_limits(self.limits, is_finite, "limits"))
        given = [kind for kind, _, _ in self.limits]
        unknown = [kind for kind in given if kind not in ANSWER_KINDS]
        if unknown:
            raise RuleError(
                f"no type of answer {unknown[0]!r}; there are: {', '.join(ANSWER_KINDS)}"
            )
        others = [kind for kind in ANSWER_KINDS if kind not in given]
        if others and self.min is None and self.max is None:
            raise RuleError(
                f"no limits for answers of type {', '.join(others)}: give min or max for them"
            )
        if self.min is not None or self.max is not None:
            Threshold(self.min, self.max)
        for _, low, high in self.limits:
            Threshold(low, high)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Which candidates lie between the limits of their type of answer."""
        taken = _between(candidates, self.min, self.max)
        for kind, low, high in self.limits:
            of_kind = candidates.answer_kind == ANSWER_KINDS.index(kind)
            taken = np.where(of_kind, _between(candidates, low, high), taken)
        return candidates.scored & taken


def _between(candidates: Candidates, low: float | None, high: float | None) -> Mask:
    taken = np.ones(len(candidates), np.bool_)
    if low is not None:
        taken &= candidates.visnec >= low
    if high is not None:
        taken &= candidates.visnec < high
    return taken
