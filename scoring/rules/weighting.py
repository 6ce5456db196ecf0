"""A rule that weighs instead of filtering: how often a sample should count in training.

The one decision behind it: weights have mean 1 over the scored samples and are rounded to six
decimals, so that they read as "so many times as often as before" and that the last bit of a
machine's exponential function does not show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import SerializableRule, check_choice, is_finite
from scoring.rules.candidates import Candidates, Floats, Mask
from scoring.rules.ranking import scored_positions

WeightBy = Literal["softmax", "rank"]
WEIGHT_DECIMALS = 6
_MAX_STEPS = 200
_CLOSE = 1e-13


@dataclass(frozen=True, slots=True)
class Weights(SerializableRule):
    """All scored samples, weighted by their scores.

    ``softmax``: proportional to ``exp(visnec / temperature)``, the temperature in nats per answer
    token. ``rank``: proportional to ``q ** (1 / temperature)``, where q is the share of scores
    below, ties counted half; it ignores how far scores lie apart. High temperatures approach
    equal weights. Weights are held between ``min_weight`` and ``max_weight`` and then have mean
    1 over the scored samples. A sample whose weight rounds to 0 is left out.
    """

    by: WeightBy = "softmax"
    temperature: float = 1.0
    min_weight: float = 0.0
    max_weight: float | None = 10.0
    name: ClassVar[str] = "weights"

    def __post_init__(self) -> None:
        check_choice(self.by, get_args(WeightBy), "what weights go by")
        if not is_finite(self.temperature) or self.temperature <= 0:
            raise RuleError(f"a temperature is a number above 0, got {self.temperature!r}")
        if not is_finite(self.min_weight) or not 0 <= self.min_weight <= 1:
            raise RuleError(f"the lowest weight lies from 0 to 1, got {self.min_weight!r}")
        highest = self.max_weight
        if highest is not None and not (is_finite(highest) and 1 <= highest <= 10**6):
            raise RuleError(f"the highest weight lies from 1 to 10^6, got {highest!r}")

    def select_mask(self, candidates: Candidates) -> Mask:
        """The scored samples whose weight is above 0."""
        return self.compute_weights(candidates) > 0

    def compute_weights(self, candidates: Candidates) -> Floats:
        """Weights of shape (n,): 0 without a score, mean 1 over the scored samples."""
        weights = np.zeros(len(candidates))
        scored = scored_positions(candidates)
        if len(scored):
            logs = self._logs(candidates.visnec[scored])
            highest = np.inf if self.max_weight is None else self.max_weight
            weights[scored] = _with_mean_one(logs, self.min_weight, highest)
        return np.round(weights, WEIGHT_DECIMALS)

    def _logs(self, visnec: Floats) -> Floats:
        """Logarithms of the weights, up to a common constant."""
        if self.by == "softmax":
            return visnec / self.temperature
        return np.log(_share_below(visnec)) / self.temperature


def _share_below(values: Floats) -> Floats:
    """The share of values below each one, equal ones (itself among them) counted half."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(values)))
    shares = np.empty(len(values))
    shares[order] = np.repeat((2 * starts + sizes) / (2 * len(values)), sizes)
    return shares


def _with_mean_one(logs: Floats, lowest: float, highest: float) -> Floats:
    """``clip(exp(logs + c), lowest, highest)`` with the c that makes their mean 1.

    The mean grows with c from below 1 (where even the largest is 1) to above 1, so Newton's
    steps, held inside a shrinking bracket, find it; logarithms keep small weights from vanishing.
    """
    low, high = -float(logs.max()), -float(logs.min())
    at = low
    weights = np.ones(len(logs))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_MAX_STEPS):
            weights = np.exp(logs + at)
            free = (weights > lowest) & (weights < highest)
            slope = float(weights[free].sum())
            weights = np.clip(weights, lowest, highest)
            excess = float(weights.sum()) - len(logs)
            if abs(excess) <= _CLOSE * len(logs) or high - low <= _CLOSE:
                break
            low, high = (at, high) if excess < 0 else (low, at)
            step = at - excess / slope if slope > 0 else np.nan
            at = step if low < step < high else (low + high) / 2
    return weights
