"""Selects a subset from scores, treatments and decisions: pure functions on values.

Three layers decide on a sample, each overriding the one before: the rule about samples with a
score, the treatments about those without, a person's decision about any. A decision never adds or
removes another sample, so what a rule selects does not depend on how much has been reviewed. Where
a subset has a filter, rule and treatments apply to the samples that it leaves, and all others are
out. Every sample is either in the subset or out of it, with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scoring.errors import RuleError
from scoring.reviews.decision_log import Decision
from scoring.rules import PaperTopShare, Rule
from scoring.rules.base import check_count, check_seed
from scoring.rules.candidates import STATUSES, Candidates, Floats, Ints, Mask
from scoring.rules.ranking import random_numbers
from scoring.samples import Status

Treatment = Literal["drop", "keep"]
"""What to do with samples that have no score for a rule to judge."""


class Reason(StrEnum):
    """Why a sample is in the subset or out of it. ``Subset.why`` holds positions in this list."""

    RULE = "rule"  # the rule selected or rejected it
    NOT_POSITIVE = "not_positive"  # `paper` rejects visnec <= 0
    REVIEWER = "reviewer"  # a person's decision reversed the outcome
    TEXT_ONLY = "text_only"  # no image: the treatment of such samples applied
    STATUS = "status"  # no score for another reason: the treatment of such samples applied
    BAD_RECORD = "bad_record"  # could not be parsed: out unless a person keeps it
    NO_TURN = "no_turn"  # an export by turns kept none of its answers
    FILTER = "filter"  # the filter of the subset leaves it out, with or without a score
    NOT_RANKED = "not_ranked"  # it has no value for a term that the rule ranks by
    NOT_EDITED = "not_edited"  # an export of the edited samples left it out


REASONS: tuple[Reason, ...] = tuple(Reason)
_MICRO = 10**6  # weights have six decimals
_MAX_SIZE = 10**9


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many samples are in (``kept``) or out of a subset for one reason."""

    kept: bool
    reason: Reason
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """The result of a rule, the treatments and the decisions.

    ``selected`` and ``dropped`` are row_idx, ascending, together all candidates. ``row_idx``,
    ``kept`` and ``why`` are columns over all candidates; ``why`` holds positions in ``REASONS``.
    ``n_hand_kept`` and ``n_hand_dropped`` count the decisions that reversed the outcome,
    ``n_hand_unknown`` those on rows that are not candidates.

    ``weights`` is None unless the rule assigns weights; then it is a column over all candidates: 0
    for dropped samples, the rule's weight for those it selected, and 1 (as often as before) for
    those kept by a treatment or a decision.
    """

    selected: Ints
    dropped: Ints
    row_idx: Ints
    kept: Mask
    why: NDArray[np.int8]
    n_hand_kept: int
    n_hand_dropped: int
    n_hand_unknown: int
    weights: Floats | None = None

    def count_reasons(self) -> list[ReasonCount]:
        """Count samples per outcome and reason, kept ones first; adds up to all candidates."""
        return [
            ReasonCount(kept, reason, n)
            for kept in (True, False)
            for code, reason in enumerate(REASONS)
            if (n := int(np.count_nonzero((self.kept == kept) & (self.why == code))))
        ]

    def find_reason(self, row_idx: int) -> Reason:
        """Return why a sample is in or out. Raises RuleError for a row that is not a candidate."""
        position = int(np.searchsorted(self.row_idx, row_idx))
        if position == len(self.row_idx) or self.row_idx[position] != row_idx:
            raise RuleError(f"Row {row_idx} is not in the dataset of this subset")
        return REASONS[int(self.why[position])]


def select(
    rule: Rule,
    candidates: Candidates,
    decisions: Mapping[int, Decision] | None = None,
    text_only: Treatment = "drop",
    unscored: Treatment = "drop",
    hand_wins: bool = True,
) -> Subset:
    """Apply a rule to the scored samples, then the treatments to the others, then the decisions.

    The rule and the treatments keep only samples of ``candidates.inside``; a decision keeps any. It
    neither adds nor removes another sample: the rule's own count and the weights of other samples
    do not change. ``text_only`` and ``unscored`` are the treatments of samples without an image and
    of those without a score for any other reason, except ``bad_record``, which only a decision can
    keep. ``hand_wins``: whether decisions count. Raises RuleError.
    """
    for treatment in (text_only, unscored):
        if treatment not in get_args(Treatment):
            raise RuleError(f"Invalid treatment {treatment!r} of samples. Choose drop or keep")
    weights = rule.compute_weights(candidates)
    kept = rule.select_mask(candidates) if weights is None else weights > 0
    why = np.full(len(candidates), REASONS.index(Reason.RULE), np.int8)
    if isinstance(rule, PaperTopShare):
        why[~kept & (candidates.visnec <= 0)] = REASONS.index(Reason.NOT_POSITIVE)
    if (unranked := rule.find_unranked(candidates)) is not None:
        why[unranked] = REASONS.index(Reason.NOT_RANKED)
    treatments = {
        Status.BAD_RECORD: (Reason.BAD_RECORD, False),
        Status.TEXT_ONLY: (Reason.TEXT_ONLY, text_only == "keep"),
    }
    for status in STATUSES:
        if status is not Status.SCORED:
            rows = candidates.has_status(status)
            reason, keep = treatments.get(status, (Reason.STATUS, unscored == "keep"))
            kept = np.where(rows, keep, kept)
            why[rows] = REASONS.index(reason)
    if candidates.inside is not None:
        kept = kept & candidates.inside
        why[~candidates.inside] = REASONS.index(Reason.FILTER)
    decisions = decisions if decisions and hand_wins else {}
    to_keep, n_unknown_keep = _find_decided(candidates, decisions, Decision.KEEP)
    to_drop, n_unknown_drop = _find_decided(candidates, decisions, Decision.DROP)
    added, removed = to_keep & ~kept, to_drop & kept
    kept = (kept | added) & ~removed
    why[added | removed] = REASONS.index(Reason.REVIEWER)
    if weights is not None:
        weights = np.where(kept & (weights == 0), 1.0, weights * kept)
    return Subset(
        selected=candidates.row_idx[kept],
        dropped=candidates.row_idx[~kept],
        row_idx=candidates.row_idx,
        kept=kept,
        why=why,
        n_hand_kept=int(added.sum()),
        n_hand_dropped=int(removed.sum()),
        n_hand_unknown=n_unknown_keep + n_unknown_drop,
        weights=weights,
    )


def _find_decided(
    candidates: Candidates, decisions: Mapping[int, Decision], wanted: Decision
) -> tuple[Mask, int]:
    """Return a mask of the samples with this decision, and the number of those on unknown rows."""
    rows = np.array([row for row, given in decisions.items() if given is wanted], np.int64)
    known = np.isin(rows, candidates.row_idx)
    return np.isin(candidates.row_idx, rows), int((~known).sum())


def repeat_counts(row_idx: Ints, weights: Floats, size: int | None = None, seed: int = 0) -> Ints:
    """Return how often each sample is repeated in an epoch of ``size`` samples, shape (n,).

    Repeats are drawn systematically in an order that depends on the row and the seed, the same on
    every machine: a sample of weight 2.3 is repeated two or three times. The counts add up to
    ``size``, by default the rounded sum of the weights. Raises RuleError if all weights are 0.
    """
    check_seed(seed)
    micro_weights = np.rint(weights * _MICRO).astype(np.int64)
    total = int(micro_weights.sum())
    if total <= 0:
        raise RuleError("All weights are 0, so there is nothing to repeat")
    size = max(1, round(total / _MICRO)) if size is None else size
    check_count(size, what="The size of an epoch")
    if size > _MAX_SIZE:
        raise RuleError(f"An epoch can have at most {_MAX_SIZE:,} samples, got {size:,}")
    order = np.argsort(random_numbers(row_idx, seed), kind="stable")
    start = (int(random_numbers(np.array([2**62]), seed)[0]) % 999_983 + 1) / _MICRO
    marks = np.floor(np.cumsum(micro_weights[order]) * (size / total) + start).astype(np.int64)
    counts = np.empty(len(micro_weights), np.int64)
    counts[order] = np.diff(marks, prepend=0)
    return counts


def effective_share(weights: Floats) -> float:
    """Return Kish's effective sample size as a share: ``(sum w)^2 / (n sum w^2)``.

    Over the n samples with a weight above 0; 1 if all of these weights are equal.
    """
    positive = weights[weights > 0]
    if not len(positive):
        return 0.0
    return float(positive.sum() ** 2 / (len(positive) * np.square(positive).sum()))
