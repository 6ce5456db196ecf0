"""Agreement of reviewers: raw agreement and Cohen's kappa of every pair.

Figures are over the samples that both of a pair decided, with keep, drop and unsure as three
answers. A note without a decision does not count.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

from scoring.reviews.decision_log import Decision
from scoring.reviews.resolution import LatestDecision


@dataclass(frozen=True, slots=True)
class PairAgreement:
    """Two reviewers on the samples that both decided.

    ``table`` counts (decision of first, decision of second). ``kappa`` is None if both gave one
    and the same answer throughout: agreement by chance would be complete too.
    """

    first: str
    second: str
    table: Mapping[tuple[Decision, Decision], int]

    @property
    def n_both(self) -> int:
        """Samples that both decided."""
        return sum(self.table.values())

    @property
    def n_same(self) -> int:
        """Samples with the same decision."""
        return sum(n for (mine, yours), n in self.table.items() if mine is yours)

    @property
    def raw(self) -> float:
        """Share of samples with the same decision."""
        return self.n_same / self.n_both

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa: agreement beyond chance; at most 1, and 0 for agreement by chance."""
        mine, yours = Counter[Decision](), Counter[Decision]()
        for (left, right), n in self.table.items():
            mine[left] += n
            yours[right] += n
        chance = sum(n * yours[decision] for decision, n in mine.items()) / self.n_both**2
        return None if math.isclose(chance, 1.0) else (self.raw - chance) / (1 - chance)


@dataclass(frozen=True, slots=True)
class Agreement:
    """All reviewers of a workspace: the pairs, and the samples that several decided.

    ``n_shared`` samples have two or more decisions; all are equal for ``n_unanimous`` of them.
    """

    pairs: tuple[PairAgreement, ...]
    n_shared: int
    n_unanimous: int

    @property
    def raw(self) -> float | None:
        """Share of shared samples on which all agree; None if there are none."""
        return self.n_unanimous / self.n_shared if self.n_shared else None


def reviewer_agreement(latest: Iterable[LatestDecision]) -> Agreement:
    """Return the agreement of every pair with common samples, in ascending order of names."""
    by_sample: dict[int, dict[str, Decision]] = defaultdict(dict)
    for held in latest:
        if held.decision is not None:
            by_sample[held.row_idx][held.reviewer] = held.decision
    tables: dict[tuple[str, str], Counter[tuple[Decision, Decision]]] = defaultdict(Counter)
    shared = [decisions for decisions in by_sample.values() if len(decisions) > 1]
    for decisions in shared:
        for first, second in combinations(sorted(decisions), 2):
            tables[first, second][decisions[first], decisions[second]] += 1
    pairs = tuple(PairAgreement(*names, tables[names]) for names in sorted(tables))
    n_unanimous = sum(len(set(decisions.values())) == 1 for decisions in shared)
    return Agreement(pairs, len(shared), n_unanimous)
