"""A number of samples to reach, with a floor and a ceiling for each source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import NamedLimits, SerializableRule, check_count, is_int, normalize_limits
from scoring.rules.candidates import Candidates, Ints, Mask
from scoring.rules.ranking import scored_positions, sort_best_first, to_mask


@dataclass(frozen=True, slots=True)
class Budget(SerializableRule):
    """The ``count`` highest scores, with at least ``floor`` and at most ``ceiling`` per source.

    ``limits`` holds (source, floor, ceiling) for sources with limits of their own; None leaves
    the common one. First each source gets its floor (all it has, where that is less), then the
    highest scores of all sources follow until ``count`` is reached; a source that is at its
    ceiling is passed over. With low ceilings the subset stays smaller than ``count``.
    """

    count: int
    floor: int = 0
    ceiling: int | None = None
    limits: NamedLimits = ()
    name: ClassVar[str] = "budget"

    def __post_init__(self) -> None:
        check_count(self.count)
        check_count(self.floor, lowest=0, what="a floor")
        if self.ceiling is not None:
            check_count(self.ceiling, what="a ceiling")
        object.__setattr__(self, "limits", normalize_limits(self.limits, _is_size, "limits"))
        self._check_order("every source", self.floor, self.ceiling)
        for source, _, _ in self.limits:
            self._check_order(repr(source), *self._ends(source))

    def _check_order(self, whose: str, floor: int, ceiling: int | None) -> None:
        if ceiling is not None and floor > ceiling:
            raise RuleError(f"the floor of {whose} ({floor}) lies above its ceiling ({ceiling})")

    def _ends(self, source: str) -> tuple[int, int | None]:
        floor, ceiling = self.floor, self.ceiling
        for name, low, high in self.limits:
            if name == source:
                floor = floor if low is None else int(low)
                ceiling = ceiling if high is None else int(high)
        return floor, ceiling

    def select_mask(self, candidates: Candidates) -> Mask:
        """The floors first, then the highest scores below the ceilings.

        Raises RuleError for limits of a source that is not there, and for floors that together
        exceed ``count``.
        """
        floors, ceilings = self._limits_by_code(candidates)
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        source = candidates.source[ranked]
        place = _place_within(source, len(candidates.sources))
        certain = place < floors[source]
        left = self.count - int(certain.sum())
        if left < 0:
            raise RuleError(
                f"the floors of the sources come to {self.count - left:,} samples, more than the "
                f"budget of {self.count:,}; lower the floors or raise the count"
            )
        others = np.flatnonzero(~certain & (place < ceilings[source]))[:left]
        return to_mask(candidates, ranked[np.concatenate([np.flatnonzero(certain), others])])

    def _limits_by_code(self, candidates: Candidates) -> tuple[Ints, Ints]:
        unknown = [name for name, _, _ in self.limits if name not in candidates.sources]
        if unknown:
            known = ", ".join(candidates.sources)
            raise RuleError(f"no source {unknown[0]!r} to limit; there are: {known}")
        ends = [self._ends(source) for source in candidates.sources]
        floors = np.array([floor for floor, _ in ends], np.int64)
        everything = len(candidates)
        ceilings = [everything if ceiling is None else ceiling for _, ceiling in ends]
        return floors, np.array(ceilings, np.int64)


def _place_within(group: np.ndarray[tuple[int], np.dtype[np.int32]], n_groups: int) -> Ints:
    """How many of the same group stand before each one."""
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=n_groups)
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(group), np.int64)
    place[order] = np.arange(len(group)) - np.repeat(starts, sizes)
    return place


def _is_size(value: object) -> bool:
    return is_int(value) and value >= 0  # type: ignore[operator]
