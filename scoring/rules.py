"""Selection rules: values that take some of the scored samples, print, save and replay.

The one decision behind it: a share is a share of the *scored* samples, and the number of samples
it gives is ``int(share * n)`` in double precision, as the paper's code computes it. Ties go to
the higher score, then to the lower ``row_idx``. Nothing here depends on the random stream of a
library, so a rule replays on another machine and with another version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from scoring.candidates import Candidates, Ints, Mask
from scoring.errors import RuleError


class Rule(Protocol):
    """A selection rule: a value that takes some of the scored samples."""

    name: ClassVar[str]

    def take(self, candidates: Candidates) -> Mask:
        """Which candidates the rule takes, shape (n,); False wherever there is no score."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values, with its name under ``rule``."""
        ...


class _Printed:
    """What all rules share: how they print and save."""

    __slots__ = ()
    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values, with its name under ``rule``."""
        return {"rule": self.name, **asdict(cast(Any, self))}

    def __str__(self) -> str:
        values = asdict(cast(Any, self)).items()
        return " ".join(
            [self.name, *(f"{key}={value}" for key, value in values if value is not None)]
        )


@dataclass(frozen=True, slots=True)
class Threshold(_Printed):
    """Scores with ``min <= visnec < max``, in nats per answer token; one limit may be open."""

    min: float | None = None
    max: float | None = None
    name: ClassVar[str] = "threshold"

    def __post_init__(self) -> None:
        for value in (self.min, self.max):
            if value is not None and not _is_finite(value):
                raise RuleError(f"a threshold must be a finite number, got {value!r}")
        if self.min is None and self.max is None:
            raise RuleError("the rule threshold needs min, max or both")
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise RuleError(f"threshold takes min <= visnec < max: {self} takes nothing")

    def take(self, candidates: Candidates) -> Mask:
        """Which candidates lie between the limits."""
        taken = candidates.scored
        if self.min is not None:
            taken = taken & (candidates.visnec >= self.min)
        if self.max is not None:
            taken = taken & (candidates.visnec < self.max)
        return taken


@dataclass(frozen=True, slots=True)
class TopShare(_Printed):
    """The ``int(share * scored samples)`` highest scores."""

    share: float
    name: ClassVar[str] = "top-share"

    def __post_init__(self) -> None:
        _check_share(self.share)

    def take(self, candidates: Candidates) -> Mask:
        """The highest scores of the whole dataset."""
        scored = np.flatnonzero(candidates.scored)
        return _mask(candidates, _by_score(candidates, scored)[: int(self.share * len(scored))])


@dataclass(frozen=True, slots=True)
class TopCount(_Printed):
    """The ``count`` highest scores, or all scored samples where there are fewer."""

    count: int
    name: ClassVar[str] = "top-count"

    def __post_init__(self) -> None:
        _check_count(self.count)

    def take(self, candidates: Candidates) -> Mask:
        """The highest scores of the whole dataset."""
        scored = np.flatnonzero(candidates.scored)
        return _mask(candidates, _by_score(candidates, scored)[: self.count])


@dataclass(frozen=True, slots=True)
class PaperTopShare(_Printed):
    """The paper's text: per cluster, drop ``visnec <= 0``, then keep the highest scores.

    Reading: a cluster may keep ``int(share * its scored samples)``, counted before the drop, and
    fills this from the samples with ``visnec > 0``; so it keeps fewer where fewer are positive,
    and none where the number rounds down to 0.
    """

    share: float = 0.15
    name: ClassVar[str] = "paper"

    def __post_init__(self) -> None:
        _check_share(self.share)

    def take(self, candidates: Candidates) -> Mask:
        """The highest positive scores of each cluster."""
        return _take_per_cluster(candidates, self.share, at_least=0) & (candidates.visnec > 0)


@dataclass(frozen=True, slots=True)
class PaperCodeTopShare(_Printed):
    """The paper's code: per cluster the ``int(share * its scored samples)`` highest, at least 1.

    Negative scores are not left out. A cluster without any scored sample gives none.
    """

    share: float = 0.15
    name: ClassVar[str] = "paper-code"

    def __post_init__(self) -> None:
        _check_share(self.share)

    def take(self, candidates: Candidates) -> Mask:
        """The highest scores of each cluster."""
        return _take_per_cluster(candidates, self.share, at_least=1)


@dataclass(frozen=True, slots=True)
class RandomShare(_Printed):
    """A random share (``int(share * scored samples)``) or count of the scored samples.

    Each sample gets a number from ``seed`` and its ``row_idx`` (SplitMix64), the lowest are
    taken: the control arm of a comparison, and a larger share contains a smaller one.
    """

    share: float | None = None
    count: int | None = None
    seed: int = 0
    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        if (self.share is None) == (self.count is None):
            raise RuleError("the rule random needs either share or count")
        if self.share is not None:
            _check_share(self.share)
        if self.count is not None:
            _check_count(self.count)
        if not _is_int(self.seed) or not 0 <= self.seed < 2**63:
            raise RuleError(f"a seed is a whole number from 0 to 2^63 - 1, got {self.seed!r}")

    def take(self, candidates: Candidates) -> Mask:
        """A random part of the scored samples, whatever their scores."""
        scored = np.flatnonzero(candidates.scored)
        n = int(self.share * len(scored)) if self.share is not None else cast(int, self.count)
        numbers = _split_mix(candidates.row_idx[scored], self.seed)
        return _mask(candidates, scored[np.argsort(numbers, kind="stable")][:n])


_RULES: dict[str, Callable[..., Rule]] = {
    "threshold": Threshold,
    "top-share": TopShare,
    "top-count": TopCount,
    "paper": PaperTopShare,
    "paper-code": PaperCodeTopShare,
    "random": RandomShare,
}
RULE_NAMES: tuple[str, ...] = tuple(_RULES)


def rule_from_dict(value: Mapping[str, Any]) -> Rule:
    """The rule that ``to_dict`` gave; also builds one from a name and some of its options.

    Raises RuleError naming an unknown rule, an option that it does not have, or one it needs.
    """
    name = value.get("rule")
    if name not in _RULES:
        raise RuleError(f"no rule {name!r}; there are: {', '.join(RULE_NAMES)}")
    make = cast(Any, _RULES[name])
    known = {field.name: field for field in fields(make)}
    options = {key: option for key, option in value.items() if key != "rule"}
    unknown = [key for key in options if key not in known]
    if unknown:
        raise RuleError(
            f"the rule {name} has no option {', '.join(unknown)}; it has: {', '.join(known)}"
        )
    try:
        return cast(Rule, make(**options))
    except TypeError:
        missing = [key for key in known if key not in options]
        raise RuleError(f"the rule {name} needs: {', '.join(missing)}") from None


def _by_score(candidates: Candidates, places: Ints) -> Ints:
    """``places`` by descending score; equal scores stay in ascending order of row_idx."""
    return places[np.argsort(-candidates.visnec[places], kind="stable")]


def _take_per_cluster(candidates: Candidates, share: float, at_least: int) -> Mask:
    """The best ``max(int(share * n), at_least)`` of each cluster's n scored samples."""
    scored = np.flatnonzero(candidates.scored)
    astray = scored[candidates.cluster_id[scored] < 0]
    if len(astray):
        raise RuleError(
            f"this rule chooses inside clusters, but {len(astray):,} scored samples have none "
            f"(the first is row {candidates.row_idx[astray[0]]}); "
            "name a clustering, or make one with: visnec cluster"
        )
    ranked = _by_score(candidates, scored)
    ranked = ranked[np.argsort(candidates.cluster_id[ranked], kind="stable")]
    _, starts, sizes = np.unique(
        candidates.cluster_id[ranked], return_index=True, return_counts=True
    )
    quotas = np.maximum((share * sizes).astype(np.int64), at_least)
    rank = np.arange(len(ranked)) - np.repeat(starts, sizes)
    return _mask(candidates, ranked[rank < np.repeat(quotas, sizes)])


def _mask(candidates: Candidates, places: Ints) -> Mask:
    mask = np.zeros(len(candidates), np.bool_)
    mask[places] = True
    return mask


def _split_mix(values: Ints, seed: int) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood 2014): one well mixed number per value, all different."""
    mixed = values.astype(np.uint64) + _mix(np.array([seed], np.uint64))
    return _mix(mixed)


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _check_share(share: object) -> None:
    if not _is_finite(share) or not 0 < cast(float, share) <= 1:
        raise RuleError(f"a share lies above 0 and at most at 1 (0.15 is 15 %), got {share!r}")


def _check_count(count: object) -> None:
    if not _is_int(count) or cast(int, count) < 1:
        raise RuleError(f"a count is a whole number of at least 1, got {count!r}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
