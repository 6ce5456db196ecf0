"""Counts the scores that are within the noise of a rule's threshold."""

from __future__ import annotations

import math

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
from scoring.rules.candidates import ANSWER_KINDS, Candidates

_BY_LIMITS = (Threshold, AnswerThresholds)
_BY_CLUSTER = (ClusterShare, PaperTopShare, PaperCodeTopShare)
_BY_RANK = (TopShare, TopCount, TopTokens, SourceShare, *_BY_CLUSTER)


def format_near_threshold(rule: Rule, candidates: Candidates, noise: Noise | None) -> str | None:
    """Return the count in words; None for rules without a threshold."""
    if noise is None:
        has_threshold = isinstance(rule, _BY_LIMITS + _BY_RANK)
        return f"Noise of the scores: {UNKNOWN}" if has_threshold else None
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
    if isinstance(rule, _BY_LIMITS):
        own = rule.limits if isinstance(rule, AnswerThresholds) else ()
        by_kind = {kind: (low, high) for kind, low, high in own}
        limits = [by_kind.get(kind, (rule.min, rule.max)) for kind in ANSWER_KINDS]
        ends = np.array(limits, np.float64)[candidates.answer_kind]  # (n, 2), NaN without a limit
        distance = np.fmin.reduce(np.abs(candidates.visnec[:, None] - ends), axis=1)
    elif isinstance(rule, _BY_RANK):
        group = np.zeros(len(candidates), np.int64)
        if isinstance(rule, _BY_CLUSTER):
            group = candidates.cluster_id.astype(np.int64) + 1
        elif isinstance(rule, SourceShare):
            group = candidates.source.astype(np.int64)
        selected = rule.select_mask(candidates)
        lowest = np.full(int(group.max(initial=0)) + 1, math.inf)
        np.minimum.at(lowest, group[selected], candidates.visnec[selected])
        distance = np.abs(candidates.visnec - lowest[group])
    else:
        return None
    return int((candidates.scored & (distance <= noise.band)).sum())
