"""Accuracy, contingency table, multimodal gain and leakage from the correctness of predictions.

Every figure reports the samples it is computed over, and a difference is computed only over
samples that both sides have.

Gain and leakage are MMStar's (Chen et al. 2024, arXiv 2403.20330): ``S_v - S_wv`` and
``max(0, S_wv - S_t)``, of the accuracies with the image, without it, and of the text-only model
that the vision-language model is built on. Accuracies are shares from 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from scoring.reviews.threshold_estimation import wilson_interval

RIGHT, WRONG, UNJUDGED = 1, 0, -1
"""Values of a prediction; ``UNJUDGED``: no prediction, or the measure does not apply."""

Correctness = NDArray[np.int8]

DEFAULT_MEASURE = "auto"

MEASURES: Final[Mapping[str, str]] = {
    "auto": "the same choice if the reference is one, else an exact match",
    "exact": "an exact match after normalisation as in the VQA evaluation",
    "letter": "the same choice; samples whose reference is not a choice are left out",
    "f1": "at least half of the words in common (token F1 of 0.5 or more)",
    "contains": "the prediction contains the reference, ignoring case",
    "strict": "exactly the same text, ignoring white space around it",
    "rotated": "the same choice in every order of the options, if predict --rotate-choices "
    "asked in all of them; other samples are left out",
}
"""Measure -> what counts as right under it."""


Samples = NDArray[np.int64] | None
"""The sample of each prediction, where samples have several; else None."""

_RESAMPLINGS = 4000


@dataclass(frozen=True, slots=True)
class Accuracy:
    """``right`` of ``n`` predictions, with a 95 % interval; None over no sample.

    The interval is Wilson's, or a given one where samples have several predictions.
    """

    right: int
    n: int
    resampled: tuple[float, float] | None = None

    @property
    def value(self) -> float | None:
        """The share of right predictions."""
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval."""
        if self.resampled is not None:
            return self.resampled
        return wilson_interval(self.right / self.n, self.n) if self.n else None

    def to_dict(self) -> dict[str, Any]:
        """Return the accuracy as JSON values."""
        low, high = self.interval or (None, None)
        return {"right": self.right, "n": self.n, "value": self.value, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Gain:
    """Multimodal gain over the samples judged both with and without the image.

    ``low`` and ``high``: 95 % interval of a paired difference (Agresti and Min 2005: half a sample
    is added to each cell of the contingency table), or from resampled samples.
    """

    seen: Accuracy
    blind: Accuracy
    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Return the gain as JSON values."""
        shares = {"seen": self.seen.value, "blind": self.blind.value, "n": self.seen.n}
        return {"value": self.value, "low": self.low, "high": self.high, **shares}


@dataclass(frozen=True, slots=True)
class Leakage:
    """Leakage over the samples that both the blind model and its text-only model answered."""

    blind: Accuracy
    text_model: Accuracy

    @property
    def value(self) -> float:
        """Accuracy of the blind model above that of its text-only model; at least 0."""
        return max(0.0, (self.blind.value or 0.0) - (self.text_model.value or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Return the leakage as JSON values."""
        shares = {"blind": self.blind.value, "text_model": self.text_model.value}
        return {"value": self.value, **shares, "n": self.blind.n}


@dataclass(frozen=True, slots=True)
class ContingencyTable:
    """Blind right or wrong against seen right or wrong, over samples judged on both sides."""

    blind_right_seen_right: int
    blind_right_seen_wrong: int
    blind_wrong_seen_right: int
    blind_wrong_seen_wrong: int

    @property
    def n(self) -> int:
        """Samples in all four cells."""
        return sum(astuple(self))

    def count(self, blind: str, seen: str) -> int:
        """Return the samples of one cell; ``blind`` and ``seen`` are ``right`` or ``wrong``."""
        return self.to_dict()[f"blind_{blind}_seen_{seen}"]

    def to_dict(self) -> dict[str, int]:
        """Return the table as JSON values."""
        return asdict(self)


def measure_accuracy(correctness: Correctness, samples: Samples = None) -> Accuracy:
    """Count right predictions among the judged ones."""
    judged = correctness != UNJUDGED
    right = correctness[judged] == RIGHT
    interval = None
    if samples is not None and 0 < right.sum() < len(right):
        interval = resample_mean(right, samples[judged])
    elif samples is not None and len(right):  # resampling shows no spread where all are the same
        interval = wilson_interval(float(right[0]), len(np.unique(samples[judged])))
    return Accuracy(int(right.sum()), len(right), interval)


def resample_mean(
    values: NDArray[Any], samples: NDArray[np.int64], confidence: float = 0.95
) -> tuple[float, float] | None:
    """Return the interval of a mean whose values come in samples, from a bootstrap over samples.

    None if no sample has several values: then the usual intervals hold.
    """
    of_sample = np.unique(samples, return_inverse=True)[1]  # (n,)
    sizes = np.bincount(of_sample)  # (n_samples,)
    if not len(values) or sizes.max() == 1:
        return None
    sums = np.bincount(of_sample, weights=values)  # (n_samples,)
    # Samples with the same sum and size are interchangeable: only their number is drawn.
    kinds, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(sizes), counts / counts.sum(), _RESAMPLINGS) @ kinds  # (r, 2)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], tails)
    return float(low), float(high)


def cross_tabulate(blind: Correctness, seen: Correctness) -> ContingencyTable:
    """Count the samples judged on both sides in a contingency table."""
    both = (blind != UNJUDGED) & (seen != UNJUDGED)
    counts = np.bincount(2 * (blind[both] == RIGHT) + (seen[both] == RIGHT), minlength=4)
    return ContingencyTable(*counts[::-1].tolist())


def list_cell_rows(
    row_idx: NDArray[np.int64], blind: Correctness, seen: Correctness
) -> dict[str, list[int]]:
    """Return the rows of each cell once, under the names of ``ContingencyTable.to_dict``."""
    values = {"right": RIGHT, "wrong": WRONG}
    return {
        f"blind_{blind_name}_seen_{seen_name}": np.unique(
            row_idx[(blind == blind_value) & (seen == seen_value)]
        ).tolist()
        for blind_name, blind_value in values.items()
        for seen_name, seen_value in values.items()
    }


def measure_gain(
    table: ContingencyTable,
    confidence: float = 0.95,
    resampled: tuple[float, float] | None = None,
) -> Gain | None:
    """Return the accuracy with the image minus that without it; None over no sample.

    ``resampled`` is its interval where samples have several predictions.
    """
    n = table.n
    if not n:
        return None
    both_right, only_blind, only_seen, _ = astuple(table)
    difference, n_discordant = only_seen - only_blind, only_seen + only_blind
    value, padded = difference / n, n + 2
    spread = math.sqrt(n_discordant + 1 - difference * difference / padded) / padded
    half = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    low = max(-1.0, min(value, difference / padded - half))
    high = min(1.0, max(value, difference / padded + half))
    if resampled is not None:
        low, high = resampled
    seen, blind = Accuracy(both_right + only_seen, n), Accuracy(both_right + only_blind, n)
    return Gain(seen=seen, blind=blind, value=value, low=low, high=high)


def measure_paired_gain(
    blind: Correctness, seen: Correctness, samples: Samples = None
) -> Gain | None:
    """Return the gain over the predictions judged on both sides; None over none."""
    interval = None
    if samples is not None:
        both = (blind != UNJUDGED) & (seen != UNJUDGED)
        differences = (seen[both] == RIGHT).astype(np.int8) - (blind[both] == RIGHT)
        if len(np.unique(differences)) > 1:  # else resampling would show no spread
            interval = resample_mean(differences, samples[both])
    return measure_gain(cross_tabulate(blind, seen), resampled=interval)


def measure_leakage(blind: Correctness, text_model: Correctness) -> Leakage | None:
    """Return the accuracy without the image above the text-only model; None over no sample."""
    both = (blind != UNJUDGED) & (text_model != UNJUDGED)
    if not both.any():
        return None
    return Leakage(measure_accuracy(blind[both]), measure_accuracy(text_model[both]))
