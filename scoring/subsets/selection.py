"""From scores, choices and verdicts to a subset: pure functions on values.

Three layers decide about a sample, each over the one before: the rule about those with a score,
the choices about those without, a person's verdict about any. The one decision behind it: a
verdict neither makes room for another sample nor takes it, so that what a rule takes never
depends on who has reviewed how much. Every sample ends either in the subset or out of it, with a
reason.
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
from scoring.rules import PaperTopShare, Rule, WeightingRule
from scoring.rules.candidates import STATUSES, Candidates, Floats, Ints, Mask
from scoring.samples import Status

Treatment = Literal["drop", "keep"]
"""What to do with samples that a rule cannot judge."""


class Reason(StrEnum):
    """Why a sample is in the subset or out of it. ``Subset.why`` holds positions in this list."""

    RULE = "rule"  # the rule took it, or ranked or measured it out
    NOT_POSITIVE = "not_positive"  # `paper` leaves out visnec <= 0
    REVIEWER = "reviewer"  # a person's verdict turned the outcome round
    TEXT_ONLY = "text_only"  # no image: the choice for such samples applied
    STATUS = "status"  # no score for another reason: the choice for such samples applied
    BAD_RECORD = "bad_record"  # could not be parsed: out unless a person keeps it
    NO_TURN = "no_turn"  # an export by turns left none of its answers


REASONS: tuple[Reason, ...] = tuple(Reason)


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many samples are in (``kept``) or out of a subset for one reason."""

    kept: bool
    reason: Reason
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """What a rule, the choices and the verdicts came to.

    ``selected`` and ``dropped`` are row_idx, ascending, together all candidates. ``row_idx``,
    ``kept`` and ``why`` are columns over all candidates; ``why`` holds positions in ``REASONS``.
    ``n_hand_kept`` and ``n_hand_dropped`` count the verdicts that turned the outcome round,
    ``n_hand_unknown`` those on rows that are no candidates.

    ``weights`` is None unless the rule weighs; then it is a column over all candidates: 0 for
    dropped samples, the rule's weight for those it took, and 1 (as often as before) for those
    that a choice or a verdict brought in.
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
        """Samples per outcome and reason, kept ones first; adds up to all candidates."""
        return [
            ReasonCount(kept, reason, n)
            for kept in (True, False)
            for code, reason in enumerate(REASONS)
            if (n := int(np.count_nonzero((self.kept == kept) & (self.why == code))))
        ]

    def find_reason(self, row_idx: int) -> Reason:
        """Why this sample is in or out. Raises RuleError for a row that was no candidate."""
        place = int(np.searchsorted(self.row_idx, row_idx))
        if place == len(self.row_idx) or self.row_idx[place] != row_idx:
            raise RuleError(f"row {row_idx} is not in the dataset this subset was chosen from")
        return REASONS[int(self.why[place])]


def select(
    rule: Rule,
    candidates: Candidates,
    hand: Mapping[int, Decision] | None = None,
    text_only: Treatment = "drop",
    unscored: Treatment = "drop",
    hand_wins: bool = True,
) -> Subset:
    """Applies a rule to the scored samples, then the choices for the others, then the verdicts.

    ``text_only`` decides about samples without an image, ``unscored`` about those without a score
    for any other reason; a ``bad_record`` is taken only by a verdict. A verdict neither makes
    room for another sample nor takes it: the rule's own count stays what it is, and so do the
    weights of the other samples. Raises RuleError.
    """
    for option in (text_only, unscored):
        if option not in get_args(Treatment):
            raise RuleError(
                f"{option!r} is no choice for samples without a score; use drop or keep"
            )
    given = rule.compute_weights(candidates) if isinstance(rule, WeightingRule) else None
    kept = rule.select_mask(candidates) if given is None else given > 0
    why = _why_by_rule(rule, candidates, kept)
    for status in STATUSES:
        if status is not Status.SCORED:
            rows = candidates.has_status(status)
            reason, keep = _treatment(status, text_only, unscored)
            kept = np.where(rows, keep, kept)
            why[rows] = REASONS.index(reason)
    hand_kept, hand_dropped, unknown = _hand_rows(candidates, hand or {}, hand_wins)
    hand_kept, hand_dropped = hand_kept & ~kept, hand_dropped & kept
    kept = (kept | hand_kept) & ~hand_dropped
    why[hand_kept | hand_dropped] = REASONS.index(Reason.REVIEWER)
    return Subset(
        selected=candidates.row_idx[kept],
        dropped=candidates.row_idx[~kept],
        row_idx=candidates.row_idx,
        kept=kept,
        why=why,
        n_hand_kept=int(hand_kept.sum()),
        n_hand_dropped=int(hand_dropped.sum()),
        n_hand_unknown=unknown,
        weights=None if given is None else np.where(kept & (given == 0), 1.0, given * kept),
    )


def _why_by_rule(rule: Rule, candidates: Candidates, kept: Mask) -> NDArray[np.int8]:
    why = np.full(len(candidates), REASONS.index(Reason.RULE), np.int8)
    if isinstance(rule, PaperTopShare):
        why[~kept & (candidates.visnec <= 0)] = REASONS.index(Reason.NOT_POSITIVE)
    return why


def _treatment(status: Status, text_only: Treatment, unscored: Treatment) -> tuple[Reason, bool]:
    if status is Status.BAD_RECORD:
        return Reason.BAD_RECORD, False
    if status is Status.TEXT_ONLY:
        return Reason.TEXT_ONLY, text_only == "keep"
    return Reason.STATUS, unscored == "keep"


def _hand_rows(
    candidates: Candidates, hand: Mapping[int, Decision], hand_wins: bool
) -> tuple[Mask, Mask, int]:
    """Which candidates a verdict keeps, which one drops, and verdicts on rows that are none."""
    masks: list[Mask] = []
    unknown = 0
    for decision in (Decision.KEEP, Decision.DROP):
        given = [row for row, verdict in hand.items() if hand_wins and verdict is decision]
        rows = np.array(given, np.int64)
        places = np.searchsorted(candidates.row_idx, rows)
        there = places < len(candidates)
        there[there] = candidates.row_idx[places[there]] == rows[there]
        mask = np.zeros(len(candidates), np.bool_)
        mask[places[there]] = True
        unknown += len(rows) - int(there.sum())
        masks.append(mask)
    return masks[0], masks[1], unknown
