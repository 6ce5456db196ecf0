"""Rules that select the highest scores: of the dataset, of each cluster or source, or by length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import Rule, check_count, check_share
from scoring.rules.candidates import Candidates, Floats, Ints, Mask
from scoring.rules.combination import RankingRule, check_ranking
from scoring.rules.ranking import (
    Per,
    rank_within_groups,
    scored_positions,
    select_share,
    sort_best_first,
    to_mask,
)


@dataclass(frozen=True, slots=True)
class _ShareRule(Rule):
    share: float

    def __post_init__(self) -> None:
        check_share(self.share)


@dataclass(frozen=True, slots=True)
class _RankedShare(RankingRule):
    share: float

    def __post_init__(self) -> None:
        check_share(self.share)
        check_ranking(self)


@dataclass(frozen=True, slots=True)
class _GroupShare(_RankedShare):
    at_least: int = 0
    per: ClassVar[Per]

    def __post_init__(self) -> None:
        _RankedShare.__post_init__(self)  # super() does not work with slots
        check_count(self.at_least, lowest=0, what=f"The minimum per {self.per}")

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the highest scores of each group."""
        candidates = self.rank(candidates)
        return select_share(candidates, candidates.visnec, self.per, self.share, self.at_least)


@dataclass(frozen=True, slots=True)
class TopShare(_RankedShare):
    """The ``int(share * scored samples)`` highest scores."""

    name: ClassVar[str] = "top-share"

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the highest scores of the dataset."""
        candidates = self.rank(candidates)
        return select_share(candidates, candidates.visnec, "dataset", self.share)


@dataclass(frozen=True, slots=True)
class RelativeShare(_ShareRule):
    """The ``int(share * scored samples)`` highest ``visnec / loss_text``.

    This is the part of the text-only loss that the image removes, at most 1. It does not grow with
    the number of possible answers as the score does. Where the text-only loss is 0, the image can
    remove nothing: 0 if the multimodal loss is 0 too, else the lowest of all.
    """

    name: ClassVar[str] = "relative"

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the samples whose text-only loss the image lowers by the largest part."""
        values = compute_relative_scores(candidates)
        return select_share(candidates, values, "dataset", self.share)


@dataclass(frozen=True, slots=True)
class TopCount(RankingRule):
    """The ``count`` highest scores, or all scored samples if there are fewer."""

    count: int
    name: ClassVar[str] = "top-count"

    def __post_init__(self) -> None:
        check_count(self.count)
        check_ranking(self)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the highest scores of the dataset."""
        candidates = self.rank(candidates)
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        return to_mask(candidates, ranked[: self.count])


@dataclass(frozen=True, slots=True)
class TopTokens(RankingRule):
    """The highest scores whose answer tokens add up to at most ``tokens``.

    It ends before the first sample that would exceed the budget, so a larger budget contains a
    smaller one.
    """

    tokens: int
    name: ClassVar[str] = "top-tokens"

    def __post_init__(self) -> None:
        check_count(self.tokens, what="The number of answer tokens")
        check_ranking(self)

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the highest scores of the dataset, up to a number of answer tokens."""
        candidates = self.rank(candidates)
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        return to_mask(candidates, fit_tokens(candidates, ranked, self.tokens))


@dataclass(frozen=True, slots=True)
class ClusterShare(_GroupShare):
    """In each cluster the ``int(share * scored samples)`` highest, at least ``at_least``."""

    name: ClassVar[str] = "per-cluster"
    per: ClassVar[Per] = "cluster"


@dataclass(frozen=True, slots=True)
class SourceShare(_GroupShare):
    """In each source the ``int(share * scored samples)`` highest, at least ``at_least``."""

    name: ClassVar[str] = "per-source"
    per: ClassVar[Per] = "source"


@dataclass(frozen=True, slots=True)
class PaperTopShare(_ShareRule):
    """The paper's text: per cluster, drop ``visnec <= 0``, then keep the highest scores.

    Interpretation: a cluster may keep ``int(share * scored samples)``, counted before the drop,
    and fills this quota from samples with ``visnec > 0``. So it keeps fewer where fewer are
    positive, and none where the quota rounds down to 0.
    """

    share: float = 0.15
    name: ClassVar[str] = "paper"

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the highest positive scores of each cluster."""
        return ClusterShare(self.share).select_mask(candidates) & (candidates.visnec > 0)


@dataclass(frozen=True, slots=True)
class PaperCodeTopShare(_ShareRule):
    """The paper's code: per cluster the ``int(share * scored samples)`` highest, at least 1.

    Negative scores are not excluded. A cluster without any scored sample contributes none.
    """

    share: float = 0.15
    name: ClassVar[str] = "paper-code"

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the highest scores of each cluster."""
        return ClusterShare(self.share, at_least=1).select_mask(candidates)


@dataclass(frozen=True, slots=True)
class LengthCorrected(_RankedShare):
    """The ``int(share * scored samples)`` best by rank among answers of similar length.

    Means over few tokens vary more, so short answers crowd both ends of the scores. Here a score
    counts by its rank within its stratum of answer lengths (see ``length_stratum``): the best of n
    has rank 0.5 / n, the next 1.5 / n, and the lowest ranks of all strata are selected. Equal
    ranks go to the higher score.
    """

    name: ClassVar[str] = "length-corrected"

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the best of each stratum of answer lengths."""
        candidates = self.rank(candidates)
        ranked = sort_best_first(candidates.visnec, scored_positions(candidates))
        ranked = ranked[np.argsort(length_rank(candidates)[ranked], kind="stable")]
        return to_mask(candidates, ranked[: int(self.share * len(ranked))])


def compute_relative_scores(candidates: Candidates) -> Floats:
    """Return ``visnec / loss_text`` of each sample, NaN without a score.

    Raises RuleError if a scored sample has no losses.
    """
    check_losses_known(candidates)
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Floats = candidates.visnec / candidates.loss_text
    values[candidates.eligible & (candidates.visnec == 0)] = 0.0
    return values


def check_losses_known(candidates: Candidates) -> None:
    """Raise RuleError if a scored sample lacks a loss."""
    unknown = candidates.eligible & np.isnan(candidates.loss_text + candidates.loss_multimodal)
    if unknown.any():
        raise RuleError(
            f"This rule needs the losses, and {int(unknown.sum()):,} imported scores have none "
            f"(first: row {candidates.row_idx[unknown.argmax()]}). "
            "Choose a rule that uses scores alone"
        )


def fit_tokens(candidates: Candidates, positions: Ints, tokens: int) -> Ints:
    """Return the first ``positions`` whose answer tokens add up to at most ``tokens``."""
    check_tokens_known(candidates)
    used = np.cumsum(candidates.n_answer_tokens[positions])
    return positions[: np.searchsorted(used, tokens, side="right")]


def check_tokens_known(candidates: Candidates) -> None:
    """Raise RuleError if a scored sample has no number of answer tokens."""
    unknown = candidates.eligible & (candidates.n_answer_tokens <= 0)
    if unknown.any():
        raise RuleError(
            f"This rule needs answer lengths, and {int(unknown.sum()):,} imported scores have "
            f"none (first: row {candidates.row_idx[unknown.argmax()]}). "
            "Choose a rule that uses scores alone"
        )


def length_stratum(n_answer_tokens: Ints) -> Ints:
    """Return the stratum of each answer length: 1, 2, 3 to 4, 5 to 8, 9 to 16, ... are 0, 1, ..."""
    edges = 2 ** np.arange(63, dtype=np.int64)
    return np.searchsorted(edges, n_answer_tokens).astype(np.int64)


def length_rank(candidates: Candidates) -> Floats:
    """Return the rank of each score within its stratum of answer lengths: ``(rank + 0.5) / n``.

    Between 0 (best) and 1; NaN without a score. A stratum's only sample has 0.5.
    """
    check_tokens_known(candidates)
    best = sort_best_first(candidates.visnec, scored_positions(candidates))
    rank, stratum = rank_within_groups(length_stratum(candidates.n_answer_tokens[best]))
    ranks = np.full(len(candidates), np.nan)
    ranks[best] = (rank + 0.5) / np.bincount(stratum)[stratum]
    return ranks
