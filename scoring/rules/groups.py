"""A rule that keeps the best sample of each group of near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import Rule, check_choice
from scoring.rules.candidates import Candidates, Ints, Mask
from scoring.rules.ranking import to_mask
from scoring.rules.shares import check_tokens_known

Best = Literal["score", "longest-answer", "manual"]
BEST: tuple[Best, ...] = get_args(Best)


@dataclass(frozen=True, slots=True)
class BestOfGroup(Rule):
    """One scored sample of each group, and all scored samples that are in no group.

    ``group`` is a column of numbers, equal within a group, such as ``image_group``. The best has
    the highest score, or the longest answer in tokens; ties go to the higher score, then to the
    lower row_idx. With ``manual``, groups of two or more are left to reviewers: the rule keeps none
    of their samples, and the decision to keep one adds it.
    """

    group: str
    best: Best = "score"
    name: ClassVar[str] = "best-of-group"

    def __post_init__(self) -> None:
        if not isinstance(self.group, str) or not self.group.strip():
            raise RuleError(
                "Rule best-of-group needs --group COLUMN, such as image_group. Make one with: "
                "visnec find-duplicates"
            )
        check_choice(self.best, BEST, "--best")

    def list_columns(self) -> tuple[str, ...]:
        """Return the column of the groups."""
        return (self.group,)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the best of each group. Raises RuleError if the column was not read."""
        mask = candidates.eligible
        members, number, size = self.find_groups(candidates)
        mask[members] = False
        if self.best == "manual":
            mask[members[size[number] == 1]] = True
            return mask
        if self.best == "longest-answer":
            check_tokens_known(candidates)
        visnec = candidates.visnec[members]
        values = candidates.n_answer_tokens[members] if self.best == "longest-answer" else visnec
        order = np.lexsort((members, -visnec, -values, number))  # the last key counts first
        first = np.unique(number[order], return_index=True)[1]
        return mask | to_mask(candidates, members[order[first]])

    def find_groups(self, candidates: Candidates) -> tuple[Ints, Ints, Ints]:
        """Return the positions of the samples in groups, the group of each, and the groups' sizes.

        Only samples that a rule selects from count. Raises RuleError if the column was not read.
        """
        if self.group not in candidates.columns:
            raise RuleError(f"The column {self.group!r} was not read for these candidates")
        values = candidates.columns[self.group]
        members = np.flatnonzero(candidates.eligible & np.isfinite(values))
        _, number, size = np.unique(values[members], return_inverse=True, return_counts=True)
        return members, number, size
