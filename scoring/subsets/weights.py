"""What weights mean for training: how often each sample repeats, and what mixture comes out.

The one decision behind it: repeats are drawn systematically in an order that comes from the row
and the seed, so that a sample of weight 2.3 stands twice or three times, the total is exact, and
another machine gives the same.
"""

from __future__ import annotations

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import check_count, check_seed
from scoring.rules.candidates import Floats, Ints
from scoring.rules.ranking import random_numbers

_PARTS = 10**6  # of a weight: they have six decimals
_MAX_SIZE = 10**9


def repeat_counts(row_idx: Ints, weights: Floats, size: int | None = None, seed: int = 0) -> Ints:
    """How often each sample stands in an epoch of ``size`` samples, shape (n,).

    Each count is the sample's expected number rounded down or up, and they add up to ``size``;
    without one to the sum of the weights, rounded. Raises RuleError for weights that are all 0.
    """
    check_seed(seed)
    parts = np.rint(weights * _PARTS).astype(np.int64)
    total = int(parts.sum())
    if total <= 0:
        raise RuleError("all weights are 0, so there is nothing to repeat")
    size = max(1, round(total / _PARTS)) if size is None else size
    check_count(size, what="The size of an epoch")
    if size > _MAX_SIZE:
        raise RuleError(f"an epoch holds at most {_MAX_SIZE:,} samples, got {size:,}")
    order = np.argsort(random_numbers(row_idx, seed), kind="stable")
    start = (int(random_numbers(np.array([2**62]), seed)[0]) % 999_983 + 1) / _PARTS
    marks = np.floor(np.cumsum(parts[order]) * (size / total) + start).astype(np.int64)
    counts = np.empty(len(parts), np.int64)
    counts[order] = np.diff(marks, prepend=0)
    return counts


def effective_share(weights: Floats) -> float:
    """How many equally weighted samples say as much, as a share: ``(sum w)^2 / (n sum w^2)``.

    Kish's effective sample size over the samples with a weight above 0; 1 where all are equal.
    """
    some = weights[weights > 0]
    if not len(some):
        return 0.0
    return float(some.sum() ** 2 / (len(some) * np.square(some).sum()))
