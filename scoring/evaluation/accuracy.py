"""What verdicts on predictions come to: accuracy, the 2x2 of blind against seen, gain, leakage.

The one decision behind it: every figure carries the samples it is over, and a difference is taken
only over the samples that both sides have.

Gain and leakage are MMStar's (Chen et al. 2024, arXiv 2403.20330): ``S_v - S_wv`` and
``max(0, S_wv - S_t)``, of the accuracies with the image, without it, and of the text-only model
that the vision-language model is built on. Accuracies are shares from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.reviews.threshold_estimation import wilson_interval

RIGHT, WRONG, UNGRADED = 1, 0, -1
"""A verdict on one prediction; ``NONE``: there is none."""

Grades = NDArray[np.int8]

DEFAULT_MEASURE = "auto"

MEASURES: Final[Mapping[str, str]] = {
    "auto": "the same choice where the reference is one, else an exact match",
    "exact": "an exact match once both are normalised as in the VQA evaluation",
    "letter": "the same choice; samples whose reference is no choice are left out",
    "f1": "at least half of the words in common (token F1 of 0.5 or more)",
    "contains": "the reference stands somewhere in the prediction, in any case of the letters",
    "strict": "the very same text, but for white space around it",
    "rotated": "the same choice in every order of the options, where predict --rotate-choices "
    "asked in all of them; other samples are left out",
}
"""Measure -> what counts as right under it."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """``right`` of ``n`` predictions, with Wilson's 95 % interval; None over no sample."""

    right: int
    n: int

    @property
    def value(self) -> float | None:
        """The share of right ones."""
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval."""
        return wilson_interval(self.right / self.n, self.n) if self.n else None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        low, high = self.interval or (None, None)
        return {"right": self.right, "n": self.n, "value": self.value, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Gain:
    """Multimodal gain over the samples with a verdict both with and without the image.

    ``low`` and ``high``: 95 % interval of a paired difference (Agresti and Min 2005: half a sample
    is added to each cell of the 2x2).
    """

    seen: Accuracy
    blind: Accuracy
    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "seen": self.seen.value,
            "blind": self.blind.value,
            "n": self.seen.n,
        }


@dataclass(frozen=True, slots=True)
class Leakage:
    """Leakage over the samples that both the blind model and its text-only model answered."""

    blind: Accuracy
    text_model: Accuracy

    @property
    def value(self) -> float:
        """What the blind model knows beyond its text-only model; never below 0."""
        return max(0.0, (self.blind.value or 0.0) - (self.text_model.value or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "value": self.value,
            "blind": self.blind.value,
            "text_model": self.text_model.value,
            "n": self.blind.n,
        }


@dataclass(frozen=True, slots=True)
class ContingencyTable:
    """The 2x2 of blind right or wrong against seen right or wrong; samples with both verdicts."""

    both_right: int
    only_blind: int
    only_seen: int
    both_wrong: int

    @property
    def n(self) -> int:
        """Samples in all four cells."""
        return self.both_right + self.only_blind + self.only_seen + self.both_wrong

    def count(self, blind: str, seen: str) -> int:
        """The samples of one cell; ``blind`` and ``seen`` are ``right`` or ``wrong``."""
        if blind == "right":
            return self.both_right if seen == "right" else self.only_blind
        return self.only_seen if seen == "right" else self.both_wrong

    def to_dict(self) -> dict[str, int]:
        """As JSON values."""
        return {
            "blind_right_seen_right": self.both_right,
            "blind_right_seen_wrong": self.only_blind,
            "blind_wrong_seen_right": self.only_seen,
            "blind_wrong_seen_wrong": self.both_wrong,
        }


def measure_accuracy(verdicts: Grades) -> Accuracy:
    """Right ones among those with a verdict."""
    return Accuracy(int((verdicts == RIGHT).sum()), int((verdicts != UNGRADED).sum()))


def cross_tabulate(blind: Grades, seen: Grades) -> ContingencyTable:
    """The 2x2 over the samples with both verdicts."""
    both = (blind != UNGRADED) & (seen != UNGRADED)
    counts = np.bincount(2 * (blind[both] == RIGHT) + (seen[both] == RIGHT), minlength=4)
    both_wrong, only_seen, only_blind, both_right = (int(one) for one in counts)
    return ContingencyTable(both_right, only_blind, only_seen, both_wrong)


def list_cell_rows(row_idx: NDArray[np.int64], blind: Grades, seen: Grades) -> dict[str, list[int]]:
    """The rows behind each cell of the 2x2, under the names of ``Cells.to_dict``."""
    return {
        f"blind_{blind_word}_seen_{seen_word}": row_idx[
            (blind == blind_verdict) & (seen == seen_verdict)
        ].tolist()
        for blind_word, blind_verdict in (("right", RIGHT), ("wrong", WRONG))
        for seen_word, seen_verdict in (("right", RIGHT), ("wrong", WRONG))
    }


def measure_gain(cells: ContingencyTable, confidence: float = 0.95) -> Gain | None:
    """Accuracy with the image less that without it; None over no sample."""
    n = cells.n
    if not n:
        return None
    apart, moved = cells.only_seen - cells.only_blind, cells.only_seen + cells.only_blind
    value, padded = apart / n, n + 2
    spread = math.sqrt(moved + 1 - apart * apart / padded) / padded
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    return Gain(
        seen=Accuracy(cells.both_right + cells.only_seen, n),
        blind=Accuracy(cells.both_right + cells.only_blind, n),
        value=value,
        low=max(-1.0, min(value, apart / padded - half)),
        high=min(1.0, max(value, apart / padded + half)),
    )


def measure_leakage(blind: Grades, text_model: Grades) -> Leakage | None:
    """What is right without the image beyond the text-only model; None over no sample."""
    both = (blind != UNGRADED) & (text_model != UNGRADED)
    n = int(both.sum())
    if not n:
        return None
    right = (int((one[both] == RIGHT).sum()) for one in (blind, text_model))
    return Leakage(*(Accuracy(count, n) for count in right))
