"""A rule that weights samples instead of filtering: how often each should count in training.

Weights have mean 1 over the scored samples, so 2.3 means 2.3 times as often as before. They are
rounded to six decimals, which hides differences in the last bit of ``exp`` between machines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np

from scoring.errors import RuleError
from scoring.rules.base import Rule, check_choice, is_finite
from scoring.rules.candidates import Candidates, Floats, Ints, Mask
from scoring.rules.ranking import rank_fractions, scored_positions
from scoring.rules.shares import check_losses_known

WeightBy = Literal["softmax", "rank", "ratio"]
WEIGHT_DECIMALS = 6
LOWEST_LOSS = 1e-4
"""Smaller losses count as this (nats per answer token) in a ratio, as in the code of 3D-RFT."""
_MAX_STEPS = 200
_TOLERANCE = 1e-13


@dataclass(frozen=True, slots=True)
class Weights(Rule):
    """All scored samples, weighted by their scores.

    ``softmax``: proportional to ``exp(visnec / temperature)``, with the temperature in nats per
    answer token. ``rank``: proportional to ``q ** (1 / temperature)``, where q is the share of
    lower scores, with ties counted half; it ignores the distances between scores. ``ratio``:
    proportional to ``(loss_multimodal / loss_text) ** (1 / temperature)``, the quotient that 3D-RFT
    trains on. It is above 1 where the image misleads and low where it explains the answer, so,
    unlike the others, it favors low scores. High temperatures approach equal weights. Weights are
    limited to ``min_weight`` to ``max_weight`` and have mean 1 over the scored samples. Samples
    whose weight rounds to 0 are dropped.
    """

    by: WeightBy = "softmax"
    temperature: float = 1.0
    min_weight: float = 0.0
    max_weight: float | None = 10.0
    name: ClassVar[str] = "weights"

    def __post_init__(self) -> None:
        check_choice(self.by, get_args(WeightBy), "--by")
        if not is_finite(self.temperature) or self.temperature <= 0:
            raise RuleError(f"The temperature must be above 0, got {self.temperature!r}")
        if not is_finite(self.min_weight) or not 0 <= self.min_weight <= 1:
            raise RuleError(f"The minimum weight must be from 0 to 1, got {self.min_weight!r}")
        highest = self.max_weight
        if highest is not None and not (is_finite(highest) and 1 <= highest <= 10**6):
            raise RuleError(f"The maximum weight must be from 1 to 10^6, got {highest!r}")

    def select_mask(self, candidates: Candidates) -> Mask:
        """Select the scored samples whose weight is above 0."""
        return self.compute_weights(candidates) > 0

    def compute_weights(self, candidates: Candidates) -> Floats:
        """Return weights of shape (n,): 0 without a score, mean 1 over the scored samples."""
        weights = np.zeros(len(candidates))
        scored = scored_positions(candidates)
        if len(scored):
            logits = self._compute_logits(candidates, scored)
            highest = np.inf if self.max_weight is None else self.max_weight
            weights[scored] = _normalize_mean(logits / self.temperature, self.min_weight, highest)
        return np.round(weights, WEIGHT_DECIMALS)

    def _compute_logits(self, candidates: Candidates, scored: Ints) -> Floats:
        """Return the logarithms of the weights at temperature 1, up to a constant."""
        visnec = candidates.visnec[scored]
        if self.by == "softmax":
            return visnec
        if self.by == "rank":
            return np.asarray(np.log(rank_fractions(visnec)))
        check_losses_known(candidates)
        multimodal, text = candidates.loss_multimodal[scored], candidates.loss_text[scored]
        ratios = np.maximum(multimodal, LOWEST_LOSS) / np.maximum(text, LOWEST_LOSS)
        return np.asarray(np.log(ratios))


def _normalize_mean(logits: Floats, lowest: float, highest: float) -> Floats:
    """Return ``clip(exp(logits + c), lowest, highest)`` with the c that makes the mean 1.

    The mean grows with c from below 1 (where even the largest weight is 1) to above 1, so Newton
    steps inside a shrinking bracket converge; logarithms keep small weights from underflowing.
    """
    low, high = -float(logits.max()), -float(logits.min())
    shift = low
    weights = np.ones(len(logits))
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_MAX_STEPS):
            weights = np.exp(logits + shift)
            free = (weights > lowest) & (weights < highest)
            slope = float(weights[free].sum())
            weights = np.clip(weights, lowest, highest)
            excess = float(weights.sum()) - len(logits)
            if abs(excess) <= _TOLERANCE * len(logits) or high - low <= _TOLERANCE:
                break
            low, high = (shift, high) if excess < 0 else (low, shift)
            step = shift - excess / slope if slope > 0 else np.nan
            shift = step if low < step < high else (low + high) / 2
    return weights
