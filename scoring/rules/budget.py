"""A rule that fills a budget of samples, with a floor and a ceiling for each source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import NamedLimits, SerializableRule, check_count, is_int, normalize_limits
from scoring.rules.candidates import Candidates, Mask
from scoring.rules.ranking import (
    rank_within_groups,
    scored_positions,
    sort_best_first,
    to_mask,
)


@dataclass(frozen=True, slots=True)
class Budget(SerializableRule):
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
        _check_order("every source", self.floor, self.ceiling)
        for source, _, _ in self.limits:
            _check_order(repr(source), *self._floor_and_ceiling(source))

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


def _check_order(whose: str, floor: int, ceiling: int | None) -> None:
    if ceiling is not None and floor > ceiling:
        raise RuleError(f"The floor of {whose} ({floor}) is above its ceiling ({ceiling})")
