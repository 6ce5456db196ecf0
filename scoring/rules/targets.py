"""Target shares of a mixture: parsed, checked, spread over groups, and scaled to 100 %."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import is_finite

Targets = tuple[tuple[str, float], ...]
"""(group, share of the budget) in ascending order of the names."""

TOLERANCE: Final = 1e-9
_STEPS: Final = 1_000_000  # spread and scaled targets are whole steps of 0.0001 %


def parse_targets(texts: Iterable[str]) -> list[list[Any]]:
    """Parse ``NAME=SHARE`` into [name, share]. Raises RuleError."""
    targets = []
    for text in texts:
        name, _, share = text.rpartition("=")
        try:
            targets.append([name, float(share)])
        except ValueError:
            name = ""
        if not name:
            raise RuleError(f"Invalid target {text!r}. Write NAME=SHARE, like charts=0.3")
    return targets


def read_targets(value: object) -> Targets:
    """Return targets from JSON or Python, in ascending order of names. Raises RuleError.

    Their sum is not checked: while targets are edited, it may be above 1.
    """
    targets: dict[str, float] = {}
    for pair in cast(Iterable[Any], value):
        if isinstance(pair, str) or len(pair) != 2 or not isinstance(pair[0], str):
            raise RuleError(f"Each target needs a group and a share, got {pair!r}")
        name, share = pair
        if not is_finite(share) or not 0 <= share <= 1:
            raise RuleError(
                f"The share of {name!r} must be from 0 to 1 (0.3 is 30 %), got {share!r}"
            )
        if name in targets:
            raise RuleError(f"Duplicate target for {name!r}")
        targets[name] = share
    return tuple((name, targets[name]) for name in sorted(targets))


def spread_targets(sizes: Mapping[str, int], power: float) -> Targets:
    """Return targets in proportion to ``size ** power``; they add up to 1.

    A power of 1 keeps the proportions of the groups, 0.5 takes the square roots of their sizes, 0
    gives each the same share. Groups of size 0 get no target.
    """
    present = {name: size**power for name, size in sizes.items() if size > 0}
    return scale_targets(tuple(present.items()))


def scale_targets(targets: Sequence[tuple[str, float]]) -> Targets:
    """Return the targets scaled to add up to 1; unchanged if all are 0."""
    total = sum(share for _, share in targets)
    if not total:
        return tuple(sorted(targets))
    steps = split_budget(_STEPS, [share / total for _, share in targets])
    return tuple(sorted((name, n / _STEPS) for (name, _), n in zip(targets, steps, strict=True)))


def split_budget(budget: int, shares: Sequence[float]) -> list[int]:
    """Split a budget by shares; what rounding down leaves goes to the largest remainders."""
    exact = np.round(np.array(shares) * budget, 6)
    quotas = np.floor(exact).astype(np.int64)
    left = round(float(exact.sum())) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:left]] += 1
    return [int(quota) for quota in quotas]
