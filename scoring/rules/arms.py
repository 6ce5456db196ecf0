"""Comparison arms for a subset: drawn at random, ranked by one loss alone, or without clusters.

A fair comparison needs arms of one size; ``Control`` gives any other rule an arm of its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import Rule, check_choice, check_count, check_seed, check_share
from scoring.rules.candidates import Candidates, Floats, Mask
from scoring.rules.mixture import Mixture
from scoring.rules.ranking import (
    Per,
    group_scored,
    random_numbers,
    scored_positions,
    select_best,
    select_share,
    to_mask,
)
from scoring.rules.weighting import Weights

RANKINGS: dict[str, Callable[[Candidates], Floats]] = {
    "visnec": lambda candidates: candidates.visnec,
    "text-loss": lambda candidates: candidates.loss_text,
    "multimodal-loss": lambda candidates: -candidates.loss_multimodal,
    "high-multimodal-loss": lambda candidates: candidates.loss_multimodal,
}
"""What an arm can rank by, highest first.

``text-loss`` prefers the highest text-only losses, ``multimodal-loss`` the lowest multimodal ones:
each loss has the sign that it has in the score. The direction in which the paper ranked its
multimodal-loss arm is not known; ``high-multimodal-loss`` is the other one.
"""
LOSSES = tuple(name for name in RANKINGS if name != "visnec")


@dataclass(frozen=True, slots=True)
class RandomShare(Rule):
    """A random share (``int(share * scored samples)``) or count of the scored samples.

    Each sample gets a number from ``seed`` and its ``row_idx`` (SplitMix64), and the lowest are
    selected. This is the control arm of a comparison; a larger share contains a smaller one.
    """

    share: float | None = None
    count: int | None = None
    seed: int = 0
    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        if (self.share is None) == (self.count is None):
            raise RuleError("Rule random needs either --share or --count")
        if self.share is not None:
            check_share(self.share)
        if self.count is not None:
            check_count(self.count)
        check_seed(self.seed)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select scored samples at random, independent of their scores."""
        scored = scored_positions(candidates)
        n = int(self.share * len(scored)) if self.share is not None else cast(int, self.count)
        numbers = random_numbers(candidates.row_idx[scored], self.seed)
        return to_mask(candidates, scored[np.argsort(numbers, kind="stable")][:n])


@dataclass(frozen=True, slots=True)
class Ablation(Rule):
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
        check_choice(self.by, LOSSES, "--by")
        check_share(self.share)
        check_choice(self.per, get_args(Per), "--per")
        check_count(self.at_least, lowest=0, what="The minimum per group")

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the best by one loss."""
        values = RANKINGS[self.by](candidates)
        return select_share(candidates, values, self.per, self.share, self.at_least)


@dataclass(frozen=True, slots=True)
class Control(Rule):
    """The same number of samples as another rule, in another order: a fair arm of a comparison.

    ``by`` is ``random`` (using ``seed``) or one of ``RANKINGS``; ``per`` matches the numbers in
    each cluster or source too, not only in total. Raises RuleError for ``Weights``, which select
    everything, and for a ``Mixture`` with repeats.
    """

    of: Rule
    by: str = "random"
    per: Per = "dataset"
    seed: int = 0
    name: ClassVar[str] = "control"

    def __post_init__(self) -> None:
        if isinstance(self.of, Mapping):
            from scoring.rules import rule_from_dict  # the registry imports this class

            object.__setattr__(self, "of", rule_from_dict(cast(Mapping[str, Any], self.of)))
        has_repeats = isinstance(self.of, Mixture) and self.of.max_repeat > 1
        if not isinstance(self.of, Rule) or isinstance(self.of, Weights) or has_repeats:
            raise RuleError(f"A control needs a rule that selects part of the samples: {self.of}")
        check_choice(self.by, ("random", *RANKINGS), "--by")
        check_choice(self.per, get_args(Per), "--per")
        check_seed(self.seed)

    def list_columns(self) -> tuple[str, ...]:
        """Return the columns of the other rule."""
        return self.of.list_columns()

    def list_filters(self) -> tuple[str, ...]:
        """Return the filters of the other rule."""
        return self.of.list_filters()

    def map_filters(self, convert: Callable[[str], str]) -> Rule:
        """Return the control of the converted rule."""
        return replace(self, of=self.of.map_filters(convert))

    def list_group_columns(self) -> tuple[str, ...]:
        """Return the columns that the other rule groups by."""
        return self.of.list_group_columns()

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the same number of samples as the other rule."""
        selected = self.of.select_mask(candidates)[scored_positions(candidates)]
        groups = group_scored(candidates, self.per)
        _, code = np.unique(groups, return_inverse=True)
        quotas = np.bincount(code, weights=selected).astype(np.int64)
        if self.by == "random":
            numbers = random_numbers(candidates.row_idx, self.seed)
            values = np.empty(len(candidates))  # descending where the numbers ascend
            values[np.argsort(numbers, kind="stable")] = -np.arange(len(candidates), dtype=float)
        else:
            values = RANKINGS[self.by](candidates)
        return select_best(candidates, values, groups, quotas)


def ablation_arms(rule: Rule, seed: int = 0) -> dict[str, Control]:
    """Return the comparison arms, by name, of a rule that selects inside clusters.

    Each arm has the size of the rule's subset.
    """
    return {
        "text-loss": Control(rule, "text-loss", "cluster"),
        "multimodal-loss": Control(rule, "multimodal-loss", "cluster"),
        "no-clusters": Control(rule, "visnec", "dataset"),
        "random": Control(rule, "random", "dataset", seed),
        "random-per-cluster": Control(rule, "random", "cluster", seed),
    }
