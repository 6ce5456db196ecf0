"""Rules with limits: of the score, for all or by type of answer, and of the samples per source.

``Band`` draws at random between limits; the other rules with limits of the score keep all samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.necessity import LOW_TOLERANCE
from scoring.rules.base import (
    NamedLimits,
    Rule,
    check_choice,
    check_count,
    check_seed,
    check_size,
    is_finite,
    is_int,
    normalize_limits,
)
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Ints, Mask
from scoring.rules.combination import RankingRule, check_ranking
from scoring.rules.ranking import (
    Per,
    group_scored,
    random_numbers,
    rank_within_groups,
    scored_positions,
    sort_best_first,
    to_mask,
)
from scoring.rules.shares import fit_tokens


@dataclass(frozen=True, slots=True)
class Threshold(Rule):
    """Scores with ``min <= visnec < max``, in nats per answer token; one side may be open."""

    min: float | None = None
    max: float | None = None
    name: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        check_limits(self, self.min, self.max)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the scores between the limits."""
        return candidates.eligible & is_between(candidates, self.min, self.max)


@dataclass(frozen=True, slots=True)
class DropMisaligned(Rule):
    """All scored samples but those clearly below 0: keeps ``visnec >= below``.

    Scores just below 0 are often those of samples whose answer is right and does not need the
    image; ``below`` is the tolerance for them, in nats per answer token.
    """

    below: float = -LOW_TOLERANCE
    name: ClassVar[str] = "drop-misaligned"

    def __post_init__(self) -> None:
        if not is_finite(self.below):
            raise RuleError(f"The limit --below must be a finite number, got {self.below!r}")

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the scores that are not below the limit."""
        return candidates.eligible & is_between(candidates, self.below, None)


@dataclass(frozen=True, slots=True)
class Band(Rule):
    """A random draw among the scores with ``min <= visnec < max``; one side may be open.

    Its size is a ``share`` (``int(share * scored samples)``), a ``count`` or a number of answer
    ``tokens``; the draw ends before the first sample that would exceed it. With ``per``, each
    cluster or source contributes in proportion to its scored samples (Webster's method: the sample
    drawn as number r + 1 of a group with n scored samples has its turn at ``(r + 0.5) / n``). A
    group that runs out of samples in the band leaves the rest of its quota to the others, so the
    draw is smaller than asked for only if the band is. The order depends on ``seed`` and
    ``row_idx`` alone: a larger draw contains a smaller one.
    """

    min: float | None = None
    max: float | None = None
    share: float | None = None
    count: int | None = None
    tokens: int | None = None
    per: Per = "dataset"
    seed: int = 0
    name: ClassVar[str] = "band"

    def __post_init__(self) -> None:
        check_limits(self, self.min, self.max)
        check_size(self.name, self.share, self.count, self.tokens)
        check_choice(self.per, get_args(Per), "--per")
        check_seed(self.seed)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select scores between the limits at random, up to the size."""
        drawn = self._draw_order(candidates)
        if self.tokens is not None:
            drawn = fit_tokens(candidates, drawn, self.tokens)
        elif self.share is not None:
            drawn = drawn[: int(self.share * len(scored_positions(candidates)))]
        else:
            drawn = drawn[: self.count]
        return to_mask(candidates, drawn)

    def _draw_order(self, candidates: Candidates) -> Ints:
        """Return the positions of the samples in the band in the order of the draw."""
        scored = scored_positions(candidates)
        _, group, sizes = np.unique(
            group_scored(candidates, self.per), return_inverse=True, return_counts=True
        )
        numbers = random_numbers(candidates.row_idx[scored], self.seed)
        order = np.argsort(numbers, kind="stable")
        order = order[is_between(candidates, self.min, self.max)[scored[order]]]
        rank, _ = rank_within_groups(group[order])
        turn = (rank + 0.5) / sizes[group[order]]
        return scored[order[np.argsort(turn, kind="stable")]]


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
        mask = is_between(candidates, self.min, self.max)
        for kind, low, high in self.limits:
            has_kind = candidates.answer_kind == ANSWER_KINDS.index(kind)
            mask = np.where(has_kind, is_between(candidates, low, high), mask)
        return candidates.eligible & mask


def check_limits(rule: Rule, low: float | None, high: float | None) -> None:
    """Raise RuleError unless the limits are finite, not both open and in ascending order."""
    for value in (low, high):
        if value is not None and not is_finite(value):
            raise RuleError(f"A threshold must be a finite number, got {value!r}")
    if low is None and high is None:
        raise RuleError(f"Rule {rule.name} needs --min, --max or both")
    if low is not None and high is not None and low >= high:
        raise RuleError(f"Rule {rule.name} keeps min <= visnec < max: {rule} keeps nothing")


def is_between(candidates: Candidates, low: float | None, high: float | None) -> Mask:
    """Return which candidates have ``low <= visnec < high``; None leaves a side open."""
    mask = np.ones(len(candidates), np.bool_)
    if low is not None:
        mask &= candidates.visnec >= low
    if high is not None:
        mask &= candidates.visnec < high
    return mask


@dataclass(frozen=True, slots=True)
class Budget(RankingRule):
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
        check_ranking(self)
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
        candidates = self.rank(candidates)
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
