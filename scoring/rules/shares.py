"""Rules that take the highest scores: of the dataset, of each cluster or source, or by length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import SerializableRule, check_count, check_share
from scoring.rules.candidates import Candidates, Floats, Ints, Mask
from scoring.rules.ranking import (
    group_quotas,
    group_scored,
    scored_positions,
    select_best,
    sort_best_first,
    to_mask,
)


@dataclass(frozen=True, slots=True)
class TopShare(SerializableRule):
    """The ``int(share * scored samples)`` highest scores."""

    share: float
    name: ClassVar[str] = "top-share"

    def __post_init__(self) -> None:
        check_share(self.share)

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest scores of the whole dataset."""
        scored = scored_positions(candidates)
        n = int(self.share * len(scored))
        return to_mask(candidates, sort_best_first(candidates.visnec, scored)[:n])


@dataclass(frozen=True, slots=True)
class TopCount(SerializableRule):
    """The ``count`` highest scores, or all scored samples where there are fewer."""

    count: int
    name: ClassVar[str] = "top-count"

    def __post_init__(self) -> None:
        check_count(self.count)

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest scores of the whole dataset."""
        scored = scored_positions(candidates)
        return to_mask(candidates, sort_best_first(candidates.visnec, scored)[: self.count])


@dataclass(frozen=True, slots=True)
class TopTokens(SerializableRule):
    """The highest scores, as long as their answer tokens together are at most ``tokens``.

    It ends before the first sample that does not fit, so a larger budget contains a smaller one.
    """

    tokens: int
    name: ClassVar[str] = "top-tokens"

    def __post_init__(self) -> None:
        check_count(self.tokens, what="a number of answer tokens")

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest scores of the whole dataset, up to a number of answer tokens."""
        check_tokens_known(candidates)
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        used = np.cumsum(candidates.n_answer_tokens[ranked])
        return to_mask(candidates, ranked[: np.searchsorted(used, self.tokens, side="right")])


@dataclass(frozen=True, slots=True)
class ClusterShare(SerializableRule):
    """Of each cluster the ``int(share * its scored samples)`` highest, at least ``at_least``."""

    share: float
    at_least: int = 0
    name: ClassVar[str] = "per-cluster"

    def __post_init__(self) -> None:
        check_share(self.share)
        check_count(self.at_least, lowest=0, what="the least number of each cluster")

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest scores of each cluster."""
        groups = group_scored(candidates, "cluster")
        quotas = group_quotas(groups, self.share, self.at_least)
        return select_best(candidates, candidates.visnec, groups, quotas)


@dataclass(frozen=True, slots=True)
class SourceShare(SerializableRule):
    """Of each source the ``int(share * its scored samples)`` highest, at least ``at_least``."""

    share: float
    at_least: int = 0
    name: ClassVar[str] = "per-source"

    def __post_init__(self) -> None:
        check_share(self.share)
        check_count(self.at_least, lowest=0, what="the least number of each source")

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest scores of each source."""
        groups = group_scored(candidates, "source")
        quotas = group_quotas(groups, self.share, self.at_least)
        return select_best(candidates, candidates.visnec, groups, quotas)


@dataclass(frozen=True, slots=True)
class PaperTopShare(SerializableRule):
    """The paper's text: per cluster, drop ``visnec <= 0``, then keep the highest scores.

    Reading: a cluster may keep ``int(share * its scored samples)``, counted before the drop, and
    fills this from the samples with ``visnec > 0``; so it keeps fewer where fewer are positive,
    and none where the number rounds down to 0.
    """

    share: float = 0.15
    name: ClassVar[str] = "paper"

    def __post_init__(self) -> None:
        check_share(self.share)

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest positive scores of each cluster."""
        return ClusterShare(self.share).select_mask(candidates) & (candidates.visnec > 0)


@dataclass(frozen=True, slots=True)
class PaperCodeTopShare(SerializableRule):
    """The paper's code: per cluster the ``int(share * its scored samples)`` highest, at least 1.

    Negative scores are not left out. A cluster without any scored sample gives none.
    """

    share: float = 0.15
    name: ClassVar[str] = "paper-code"

    def __post_init__(self) -> None:
        check_share(self.share)

    def select_mask(self, candidates: Candidates) -> Mask:
        """The highest scores of each cluster."""
        return ClusterShare(self.share, at_least=1).select_mask(candidates)


@dataclass(frozen=True, slots=True)
class LengthCorrected(SerializableRule):
    """The ``int(share * scored samples)`` best by their rank among answers of like length.

    Means over few tokens scatter more, so short answers crowd both ends of the scores. Here a
    score counts by its place within its stratum of answer lengths (see ``length_stratum``): the
    best of n has rank 0.5 / n, the next 1.5 / n, and the lowest ranks of all strata are taken.
    Equal ranks go to the higher score.
    """

    share: float
    name: ClassVar[str] = "length-corrected"

    def __post_init__(self) -> None:
        check_share(self.share)

    def select_mask(self, candidates: Candidates) -> Mask:
        """The best of each stratum of answer lengths."""
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        ranked = ranked[np.argsort(length_rank(candidates)[ranked], kind="stable")]
        return to_mask(candidates, ranked[: int(self.share * len(ranked))])


def check_tokens_known(candidates: Candidates) -> None:
    """Raises RuleError where a score does not tell its number of answer tokens."""
    unknown = candidates.scored & (candidates.n_answer_tokens <= 0)
    if unknown.any():
        raise RuleError(
            f"this rule goes by the number of answer tokens, but {int(unknown.sum()):,} scores "
            f"do not tell theirs (the first is row {candidates.row_idx[unknown.argmax()]}): they "
            "come from elsewhere; take a rule that goes by scores alone"
        )


def length_stratum(n_answer_tokens: Ints) -> Ints:
    """Strata of answer lengths, by doubling: 1, 2, 3 to 4, 5 to 8, 9 to 16, ... are 0, 1, 2, ..."""
    edges = 2 ** np.arange(63, dtype=np.int64)
    return np.searchsorted(edges, n_answer_tokens).astype(np.int64)


def length_rank(candidates: Candidates) -> Floats:
    """Place of each score within its stratum of answer lengths, as ``(place + 0.5) / n``.

    Between 0 (best) and 1; NaN without a score. The lone sample of a stratum stands at 0.5.
    """
    check_tokens_known(candidates)
    scored = scored_positions(candidates)
    strata = length_stratum(candidates.n_answer_tokens[scored])
    order = np.argsort(-candidates.visnec[scored], kind="stable")
    order = order[np.argsort(strata[order], kind="stable")]
    _, starts, sizes = np.unique(strata[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, sizes)
    ranks = np.full(len(candidates), np.nan)
    ranks[scored[order]] = (place + 0.5) / np.repeat(sizes, sizes)
    return ranks
