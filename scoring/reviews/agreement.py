"""How far reviewers agree: raw agreement and Cohen's kappa of every pair, and where they differ.

The one decision behind it: figures are over the samples that both of a pair decided, with keep,
drop and unsure as three answers; whoever gave only a note decided nothing.
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

    ``table`` counts (decision of one, decision of other). ``kappa`` is None where both gave the
    same single answer throughout: chance alone would agree as often.
    """

    one: str
    other: str
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
        """Cohen's kappa: agreement beyond chance, 1 at most, 0 as by chance."""
        chance = self._chance()
        return None if math.isclose(chance, 1.0) else (self.raw - chance) / (1 - chance)

    def _chance(self) -> float:
        mine, yours = Counter[Decision](), Counter[Decision]()
        for (left, right), n in self.table.items():
            mine[left] += n
            yours[right] += n
        return sum(mine[one] * yours[one] for one in Decision) / self.n_both**2


@dataclass(frozen=True, slots=True)
class Agreement:
    """All reviewers of a workspace: the pairs, and the samples that several decided.

    ``n_shared`` samples have two or more verdicts, ``n_unanimous`` of them only equal ones.
    """

    pairs: tuple[PairAgreement, ...]
    n_shared: int
    n_unanimous: int

    @property
    def raw(self) -> float | None:
        """Share of shared samples on which all agree; None where none is shared."""
        return self.n_unanimous / self.n_shared if self.n_shared else None


def reviewer_agreement(latest: Iterable[LatestDecision]) -> Agreement:
    """Agreement of every pair with common samples, ascending by their names."""
    given: dict[int, dict[str, Decision]] = defaultdict(dict)
    for verdict in latest:
        if verdict.decision is not None:
            given[verdict.row_idx][verdict.reviewer] = verdict.decision
    tables: dict[tuple[str, str], Counter[tuple[Decision, Decision]]] = defaultdict(Counter)
    shared = [verdicts for verdicts in given.values() if len(verdicts) > 1]
    for verdicts in shared:
        for one, other in combinations(sorted(verdicts), 2):
            tables[one, other][verdicts[one], verdicts[other]] += 1
    pairs = tuple(PairAgreement(one, other, tables[one, other]) for one, other in sorted(tables))
    unanimous = sum(len(set(verdicts.values())) == 1 for verdicts in shared)
    return Agreement(pairs, len(shared), unanimous)
