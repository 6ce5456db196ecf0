"""Where to put the threshold, settled by hand labels: precision and recall of "keep" at every cut.

Labelled samples represent the dataset with weights from :func:`estimate_label_weights`, based on
what random draws brought so far. The one decision behind it: intervals are Wilson's with the
effective number of labels (Kish: square of the summed weights over the sum of their squares), so
that no figure looks surer than the labels under it; a share without labels is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scoring.errors import InputError

_FOLDS = 10


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """A share with its interval; ``n`` labels lie under it, worth ``effective`` equal ones."""

    value: float
    low: float
    high: float
    n: int
    effective: float


@dataclass(frozen=True, slots=True)
class ThresholdQuality:
    """What hand labels say about keeping ``visnec >= threshold``.

    ``precision``: share of the kept that people keep. ``recall``: share of what people keep that
    is kept. ``wrongly_dropped``: share of the dropped that people keep. ``wrongly_kept``: share
    of the kept that people drop. Each None where no label lies on its side.
    """

    threshold: float
    precision: ShareEstimate | None
    recall: ShareEstimate | None
    wrongly_dropped: ShareEstimate | None
    wrongly_kept: ShareEstimate | None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall."""
        if self.precision is None or self.recall is None:
            return None
        both = self.precision.value + self.recall.value
        return 2 * self.precision.value * self.recall.value / both if both else 0.0


@dataclass(frozen=True, slots=True)
class ThresholdSuggestion:
    """A threshold that labels suggest, and the cross-fitted F1 of suggesting one this way."""

    threshold: float
    f1: float


@dataclass(frozen=True, slots=True)
class WeightedLabels:
    """Verdicts of people on scored samples, as columns of one length.

    ``keep`` is True for keep and False for drop; ``weight`` is the number of samples that a label
    stands for, up to a factor common to all. ``n_undrawn`` counts the verdicts that came from no
    random draw of these samples, whether they are among the columns or were left out. Raises
    InputError for columns of different lengths and for numbers that cannot be.
    """

    visnec: NDArray[np.float64]
    keep: NDArray[np.bool_]
    weight: NDArray[np.float64]
    n_undrawn: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.visnec), len(self.keep), len(self.weight)}
        if len(lengths) > 1:
            raise InputError(f"labels need columns of one length, got {sorted(lengths)}")
        if not (np.isfinite(self.visnec).all() and np.isfinite(self.weight).all()):
            raise InputError("labels need finite scores and weights; leave unscored samples out")
        if (self.weight <= 0).any():
            raise InputError("weights of labels are above 0; leave the others out")

    def __len__(self) -> int:
        return len(self.visnec)


def hand_labels(
    visnec: ArrayLike, keep: ArrayLike, probability: ArrayLike | None = None
) -> WeightedLabels:
    """Labels with the probabilities with which they were drawn; None: all the same.

    NaN among the probabilities means an unknown one: those labels are left out and counted.
    """
    scores, kept = np.asarray(visnec, np.float64), np.asarray(keep, np.bool_)
    chance = np.ones(len(scores)) if probability is None else np.asarray(probability, np.float64)
    known = np.isfinite(chance)
    if ((chance[known] <= 0) | (chance[known] > 1)).any():
        raise InputError("sampling probabilities lie in (0, 1]")
    return WeightedLabels(scores[known], kept[known], 1 / chance[known], int((~known).sum()))


def estimate_label_weights(
    drawn: NDArray[np.bool_],
    stratum: NDArray[np.int64],
    sizes: Mapping[int, int],
    akin: Mapping[int, int] | None = None,
) -> NDArray[np.float64]:
    """How many samples each label stands for, labels being in the order in which they were given.

    ``drawn`` tells which labels a random draw brought, the others somebody chose; ``stratum`` is
    where each lies and ``sizes`` how many samples each stratum has. Whenever a draw brings a
    label, it stands for all samples of its stratum that had none, and the labels before it for
    themselves; these estimates, one for each drawn label, are averaged (Des Raj's ordered
    estimator), and inside a stretch of draws, whose order tells nothing, the weights are evened
    out. So it is free of bias for any part of a queue, for several draws, and for whatever was
    chosen before, between and behind them. Plain draws come out as size / number of labels.

    A stratum that no draw has reached yet is covered by those of its kin (equal values in ``akin``)
    and, where none of these was reached, by all. Shape (labels,); adds up to all samples, or is
    all zero where nothing was drawn. Source: D. Raj, "Some estimators in sampling with varying
    probabilities without replacement", JASA 51 (1956).
    """
    weights = np.zeros(len(drawn))
    for number in np.unique(stratum[drawn]).tolist():
        inside = np.flatnonzero(stratum == number)
        weights[inside] = _weights_in_stratum(drawn[inside], sizes[number])
    if akin is not None:
        families = np.array([akin[number] for number in stratum.tolist()], np.int64)
        for family in set(akin.values()):
            size = sum(size for number, size in sizes.items() if akin[number] == family)
            _stretch(weights, families == family, size)
    _stretch(weights, np.ones(len(drawn), np.bool_), sum(sizes.values()))
    return weights


def _stretch(weights: NDArray[np.float64], inside: NDArray[np.bool_], size: int) -> None:
    """Has some of the weights add up to ``size``, where they are not all zero."""
    total = float(weights[inside].sum())
    if total:
        weights[inside] *= size / total


def _weights_in_stratum(drawn: NDArray[np.bool_], size: int) -> NDArray[np.float64]:
    n_drawn = int(drawn.sum())
    weights = (n_drawn - np.cumsum(drawn)).astype(np.float64)  # each draw behind knows the label
    edges = np.flatnonzero(np.diff(drawn, prepend=False, append=False))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        weights[begin:end] = size - begin + weights[end - 1]
    return weights / n_drawn


def estimate_quality(
    labels: WeightedLabels, threshold: float, confidence: float = 0.95
) -> ThresholdQuality:
    """Precision, recall and the wrongly dropped at one threshold.

    Raises InputError for a confidence outside (0, 1).
    """
    kept = labels.visnec >= threshold
    wanted = labels.keep
    return ThresholdQuality(
        threshold=float(threshold),
        precision=_share(wanted[kept], labels.weight[kept], confidence),
        recall=_share(kept[wanted], labels.weight[wanted], confidence),
        wrongly_dropped=_share(wanted[~kept], labels.weight[~kept], confidence),
        wrongly_kept=_share(~wanted[kept], labels.weight[kept], confidence),
    )


def estimate_quality_curve(
    labels: WeightedLabels,
    thresholds: Sequence[float] | None = None,
    confidence: float = 0.95,
    points: int = 60,
) -> list[ThresholdQuality]:
    """The quality at every threshold, ascending; by default at ``points`` scores of the labels.

    Nothing changes between two neighbouring labels, so their scores are all the cuts there are.
    Empty without labels.
    """
    if thresholds is None:
        thresholds = _label_scores(labels, points)
    return [
        estimate_quality(labels, threshold, confidence) for threshold in sorted(set(thresholds))
    ]


def suggest_threshold(labels: WeightedLabels) -> ThresholdSuggestion | None:
    """Suggest the threshold with the highest F1 on the labels, with a cross-fitted F1.

    The F1 on the labels that chose a threshold is too high. So every tenth of the labels, dealt
    out in the order of their scores, is judged at the threshold that the other nine tenths choose.

    Returns:
        None without a label to keep.
    """
    threshold = _best_threshold(labels, np.ones(len(labels), np.bool_))
    if threshold is None:
        return None
    rank = np.empty(len(labels), np.int64)
    rank[np.argsort(labels.visnec, kind="stable")] = np.arange(len(labels))
    fold = rank % _FOLDS
    kept = np.zeros(len(labels), np.bool_)
    for number in range(_FOLDS):
        held_out = fold == number
        found = _best_threshold(labels, ~held_out)
        kept |= held_out & (labels.visnec >= (math.inf if found is None else found))
    hits = float(labels.weight[kept & labels.keep].sum())
    both = float(labels.weight[kept].sum() + labels.weight[labels.keep].sum())
    return ThresholdSuggestion(threshold, 2 * hits / both)


def _best_threshold(labels: WeightedLabels, some: NDArray[np.bool_]) -> float | None:
    """The highest of the thresholds with the best F1 on some of the labels."""
    order = np.flatnonzero(some)[np.argsort(-labels.visnec[some], kind="stable")]  # best first
    visnec, weight = labels.visnec[order], labels.weight[order]
    hits = np.cumsum(weight * labels.keep[order])  # kept and wanted, down to each label
    if not len(order) or not hits[-1]:
        return None
    f1 = 2 * hits / (np.cumsum(weight) + hits[-1])
    last_of_equals = np.append(visnec[1:] < visnec[:-1], True)
    return float(visnec[np.argmax(np.where(last_of_equals, f1, -1.0))])


def wilson_interval(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share among ``n`` (effective) observations."""
    if not 0 < confidence < 1:
        raise InputError(f"a confidence lies between 0 and 1 (0.95 is 95 %), got {confidence!r}")
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def _label_scores(labels: WeightedLabels, points: int) -> list[float]:
    scores = np.unique(labels.visnec)
    if len(scores) > points:
        scores = scores[np.unique(np.linspace(0, len(scores) - 1, points).astype(int))]
    return [float(score) for score in scores]


def _share(
    hits: NDArray[np.bool_], weight: NDArray[np.float64], confidence: float
) -> ShareEstimate | None:
    if not len(hits):
        return None
    total = float(weight.sum())
    value = min(1.0, float(weight[hits].sum()) / total)
    effective = total * total / float((weight * weight).sum())
    low, high = wilson_interval(value, effective, confidence)
    return ShareEstimate(value, min(low, value), max(high, value), len(hits), effective)
