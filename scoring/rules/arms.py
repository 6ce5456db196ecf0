"""Arms to compare a subset with: drawn at random, ranked by one loss alone, without clusters.

A comparison is fair when its arms have one size; ``Control`` gives that to any other rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import (
    Rule,
    SerializableRule,
    WeightingRule,
    check_choice,
    check_count,
    check_seed,
    check_share,
)
from scoring.rules.candidates import Candidates, Floats, Mask
from scoring.rules.ranking import (
    Per,
    group_quotas,
    group_scored,
    random_numbers,
    random_order,
    scored_positions,
    select_best,
    to_mask,
)

RANKINGS: dict[str, Callable[[Candidates], Floats]] = {
    "visnec": lambda found: found.visnec,
    "text-loss": lambda found: found.loss_text,
    "multimodal-loss": lambda found: -found.loss_multimodal,
    "high-multimodal-loss": lambda found: found.loss_multimodal,
}
"""What an arm may rank by, the highest first.

``text-loss`` takes the highest text-only losses, ``multimodal-loss`` the lowest multimodal ones:
each loss with the sign that it has in the score. Which way the paper ranked its arm of the
multimodal loss is not known; ``high-multimodal-loss`` is the other way.
"""
LOSSES = tuple(name for name in RANKINGS if name != "visnec")


@dataclass(frozen=True, slots=True)
class RandomShare(SerializableRule):
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
            raise RuleError("the rule random needs either --share or --count")
        if self.share is not None:
            check_share(self.share)
        if self.count is not None:
            check_count(self.count)
        check_seed(self.seed)

    def select_mask(self, candidates: Candidates) -> Mask:
        """A random part of the scored samples, whatever their scores."""
        scored = scored_positions(candidates)
        n = int(self.share * len(scored)) if self.share is not None else cast(int, self.count)
        numbers = random_numbers(candidates.row_idx[scored], self.seed)
        return to_mask(candidates, scored[np.argsort(numbers, kind="stable")][:n])


@dataclass(frozen=True, slots=True)
class Ablation(SerializableRule):
    """The best by one loss alone: ``int(share * n)`` of each cluster, source or of the dataset.

    ``by`` is one of ``LOSSES``. The arms of the paper's ablation are ``text-loss`` and
    ``multimodal-loss`` per cluster; its arm without clusters is ``top-share``.
    """

    by: str
    share: float = 0.15
    per: Per = "cluster"
    at_least: int = 0
    name: ClassVar[str] = "ablation"

    def __post_init__(self) -> None:
        check_choice(self.by, LOSSES, "what an ablation ranks by")
        check_share(self.share)
        check_choice(self.per, get_args(Per), "what an ablation chooses inside of")
        check_count(self.at_least, lowest=0, what="the least number of each group")

    def select_mask(self, candidates: Candidates) -> Mask:
        """The best by one loss."""
        groups = group_scored(candidates, self.per)
        quotas = group_quotas(groups, self.share, self.at_least)
        return select_best(candidates, RANKINGS[self.by](candidates), groups, quotas)


@dataclass(frozen=True, slots=True)
class Control(SerializableRule):
    """As many samples as another rule takes, by another order: the fair arm of a comparison.

    ``by`` is ``random`` (by ``seed``) or one of ``RANKINGS``; ``per`` makes the numbers equal in
    each cluster or source too, not just in the whole. Raises RuleError for a rule of weights,
    which takes everything.
    """

    of: Rule
    by: str = "random"
    per: Per = "dataset"
    seed: int = 0
    name: ClassVar[str] = "control"

    def __post_init__(self) -> None:
        if isinstance(self.of, Mapping):
            from scoring.rules import rule_from_dict  # the registry knows this class

            object.__setattr__(self, "of", rule_from_dict(cast(Mapping[str, Any], self.of)))
        if not isinstance(self.of, SerializableRule) or isinstance(self.of, WeightingRule):
            raise RuleError(f"a control needs a rule that takes a part of the samples: {self.of}")
        check_choice(self.by, ("random", *RANKINGS), "what a control ranks by")
        check_choice(self.per, get_args(Per), "what a control chooses inside of")
        check_seed(self.seed)

    def select_mask(self, candidates: Candidates) -> Mask:
        """As many as the other rule."""
        taken = self.of.select_mask(candidates)[scored_positions(candidates)]
        groups = group_scored(candidates, self.per)
        _, code = np.unique(groups, return_inverse=True)
        quotas = np.bincount(code, weights=taken).astype(np.int64)
        return select_best(candidates, self._ranked(candidates), groups, quotas)

    def _ranked(self, candidates: Candidates) -> Floats:
        if self.by == "random":
            return random_order(candidates.row_idx, self.seed)
        return RANKINGS[self.by](candidates)


def ablation_arms(rule: Rule, seed: int = 0) -> dict[str, Control]:
    """The arms beside a rule that chooses inside clusters, each of its size, by name."""
    return {
        "text-loss": Control(rule, "text-loss", "cluster"),
        "multimodal-loss": Control(rule, "multimodal-loss", "cluster"),
        "no-clusters": Control(rule, "visnec", "dataset"),
        "random": Control(rule, "random", "dataset", seed),
        "random-per-cluster": Control(rule, "random", "cluster", seed),
    }
