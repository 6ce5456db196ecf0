"""Counts the scores that are within the noise of a rule's threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scoring.precision import UNKNOWN, Noise
from scoring.rules import (
    AnswerThresholds,
    ClusterShare,
    PaperCodeTopShare,
    PaperTopShare,
    Rule,
    SourceShare,
    Threshold,
    TopCount,
    TopShare,
    TopTokens,
)
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Floats

_RANKED_OVERALL = (TopShare, TopCount, TopTokens)
_RANKED_BY_CLUSTER = (ClusterShare, PaperTopShare, PaperCodeTopShare)
_WITH_THRESHOLD = (
    Threshold,
    AnswerThresholds,
    SourceShare,
    *_RANKED_OVERALL,
    *_RANKED_BY_CLUSTER,
)


def format_near_threshold(rule: Rule, candidates: Candidates, noise: Noise | None) -> str | None:
    """Return the count in words; None for rules without a threshold."""
    if noise is None:
        return f"Noise of the scores: {UNKNOWN}" if isinstance(rule, _WITH_THRESHOLD) else None
    n = count_near_threshold(rule, candidates, noise)
    if n is None:
        return None
    scores = "1 score is" if n == 1 else f"{n:,} scores are"
    return f"{scores} within the noise of the threshold ({noise})"


def count_near_threshold(rule: Rule, candidates: Candidates, noise: Noise) -> int | None:
    """Count the scores within the noise of the rule's threshold, or of any of its limits.

    The threshold of a rule by rank is the lowest score that it selects, in each cluster or source
    if it ranks inside these. None for rules without a threshold.
    """
    distance = threshold_distances(rule, candidates)
    if distance is None:
        return None
    return int((candidates.scored & (distance <= noise.band)).sum())


def threshold_distances(rule: Rule, candidates: Candidates) -> Floats | None:
    """Return each score's distance from the nearest threshold of the rule, shape (n,).

    Infinite for a score without one; None for rules without a threshold.
    """
    if isinstance(rule, Threshold):
        return _limit_distances(candidates, [(rule.min, rule.max)] * len(ANSWER_KINDS))
    if isinstance(rule, AnswerThresholds):
        own = {kind: (low, high) for kind, low, high in rule.limits}
        limits = [own.get(kind, (rule.min, rule.max)) for kind in ANSWER_KINDS]
        return _limit_distances(candidates, limits)
    if isinstance(rule, _RANKED_OVERALL):
        group = np.zeros(len(candidates), np.int64)
    elif isinstance(rule, _RANKED_BY_CLUSTER):
        group = candidates.cluster_id.astype(np.int64) + 1
    elif isinstance(rule, SourceShare):
        group = candidates.source.astype(np.int64)
    else:
        return None
    selected = rule.select_mask(candidates)
    lowest = np.full(int(group.max(initial=0)) + 1, math.inf)
    np.minimum.at(lowest, group[selected], candidates.visnec[selected])
    return np.asarray(np.abs(candidates.visnec - lowest[group]))


def _limit_distances(
    candidates: Candidates, limits: Sequence[tuple[float | None, float | None]]
) -> Floats:
    """Return distances from the nearer limit of each answer's kind; None means no limit."""
    ends = np.array(
        [
            [-math.inf if low is None else low, math.inf if high is None else high]
            for low, high in limits
        ]
    )
    distances = np.abs(candidates.visnec[:, None] - ends[candidates.answer_kind])  # (n, 2)
    return np.asarray(distances.min(axis=1))
