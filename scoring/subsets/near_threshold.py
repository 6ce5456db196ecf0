"""How many scores are within the noise of the threshold of a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scoring.precision import UNKNOWN, Noise
from scoring.rules import PaperCodeTopShare, PaperTopShare, Rule, Threshold, TopCount
from scoring.rules.candidates import ANSWER_KINDS, Candidates, Floats
from scoring.rules.shares import ClusterShare, SourceShare, TopShare, TopTokens
from scoring.rules.thresholds import AnswerThresholds


def count_near_threshold(rule: Rule, candidates: Candidates, noise: Noise) -> int | None:
    """How many scores are within the noise of the rule's threshold, or of any of its limits.

    The threshold of a rule by rank is the lowest score that it takes, in each cluster or source
    where it ranks within these. None for rules that have no threshold.
    """
    distance = threshold_distances(rule, candidates)
    if distance is None:
        return None
    return int((candidates.scored & (distance <= noise.band)).sum())


def format_near_threshold(rule: Rule, candidates: Candidates, noise: Noise | None) -> str | None:
    """Return the count in words; None for rules that have no threshold."""
    if noise is None:
        return f"Noise of the scores: {UNKNOWN}" if _has_threshold(rule) else None
    n = count_near_threshold(rule, candidates, noise)
    return None if n is None else f"{n:,} scores are within the noise of the threshold ({noise})"


_IN_ALL = (TopShare, TopCount, TopTokens)
_BY_CLUSTER = (ClusterShare, PaperTopShare, PaperCodeTopShare)


def _has_threshold(rule: Rule) -> bool:
    by_rank = (*_IN_ALL, *_BY_CLUSTER, SourceShare)
    return isinstance(rule, (Threshold, AnswerThresholds, *by_rank))


def threshold_distances(rule: Rule, candidates: Candidates) -> Floats | None:
    """Distance of each score from the nearest threshold of the rule, shape (n,); inf: it has none.

    None for rules that have no threshold.
    """
    if isinstance(rule, Threshold):
        return _from_limits(candidates, [(rule.min, rule.max)] * len(ANSWER_KINDS))
    if isinstance(rule, AnswerThresholds):
        own = {kind: (low, high) for kind, low, high in rule.limits}
        limits = [own.get(kind, (rule.min, rule.max)) for kind in ANSWER_KINDS]
        return _from_limits(candidates, limits)
    if isinstance(rule, _IN_ALL):
        group = np.zeros(len(candidates), np.int64)
    elif isinstance(rule, _BY_CLUSTER):
        group = candidates.cluster_id.astype(np.int64) + 1
    elif isinstance(rule, SourceShare):
        group = candidates.source.astype(np.int64)
    else:
        return None
    taken = rule.select_mask(candidates)
    lowest = np.full(int(group.max(initial=0)) + 1, math.inf)
    np.minimum.at(lowest, group[taken], candidates.visnec[taken])
    return np.asarray(np.abs(candidates.visnec - lowest[group]))


def _from_limits(
    candidates: Candidates, limits: Sequence[tuple[float | None, float | None]]
) -> Floats:
    """Distances from the lower and upper limit of each answer's kind; None is no limit."""
    ends = np.array(
        [[low if low is not None else -math.inf, high if high is not None else math.inf]
         for low, high in limits]
    )  # fmt: skip
    away = np.abs(candidates.visnec[:, None] - ends[candidates.answer_kind])  # (n, 2)
    return np.asarray(away.min(axis=1))
