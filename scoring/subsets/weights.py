"""What weights mean for training: how often each sample repeats, and the effective sample size.

Repeats are drawn systematically in an order that depends on the row and the seed: a sample of
weight 2.3 is written two or three times, the total is exact, and every machine gives the same.
"""

from __future__ import annotations

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import check_count, check_seed
from scoring.rules.candidates import Floats, Ints
from scoring.rules.ranking import random_numbers

_MICRO = 10**6  # weights have six decimals
_MAX_SIZE = 10**9


def repeat_counts(row_idx: Ints, weights: Floats, size: int | None = None, seed: int = 0) -> Ints:
    """Return how often each sample is repeated in an epoch of ``size`` samples, shape (n,).

    Each count is the sample's expected number rounded down or up. The counts add up to ``size``,
    by default the rounded sum of the weights. Raises RuleError if all weights are 0.
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
