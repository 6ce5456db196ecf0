"""Estimates, from people's decisions, how good a threshold is: precision and recall of "keep".

Labelled samples represent the dataset with weights from :func:`estimate_label_weights`, based on
the random draws so far. Intervals are Wilson's with the effective number of labels (Kish: square
of the summed weights over the sum of their squares), so no figure looks more certain than its
labels allow. A share without labels is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError

CURVE_POINTS = 60
_FOLDS = 10


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """A share with its interval, from ``n`` labels worth ``effective`` equal ones."""

    value: float
    low: float
    high: float
    n: int
    effective: float


@dataclass(frozen=True, slots=True)
class ThresholdQuality:
    """How well keeping ``visnec >= threshold`` agrees with the labels.

    ``precision``: share of the kept that people keep. ``recall``: share of what people keep that
    is kept. ``wrongly_dropped``: share of the dropped that people keep. ``wrongly_kept``: share
    of the kept that people drop. Each is None without a label on its side.
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
    """A threshold that labels suggest, and the cross-fitted F1 of this way to choose it."""

    threshold: float
    f1: float


@dataclass(frozen=True, slots=True)
class WeightedLabels:
    """People's decisions on scored samples, as columns of one length.

    ``keep`` is True for keep and False for drop; ``weight`` is the number of samples that a label
    represents, up to a common factor. ``n_undrawn`` counts the decisions on samples that were not
    drawn at random, whether they are among the columns or were left out. Raises InputError for
    columns of different lengths and for invalid numbers.
    """

    visnec: NDArray[np.float64]
    keep: NDArray[np.bool_]
    weight: NDArray[np.float64]
    n_undrawn: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.visnec), len(self.keep), len(self.weight)}
        if len(lengths) > 1:
            raise InputError(f"Labels need columns of one length, got {sorted(lengths)}")
        if not (np.isfinite(self.visnec).all() and np.isfinite(self.weight).all()):
            raise InputError("Labels need finite scores and weights. Leave unscored samples out")
        if (self.weight <= 0).any():
            raise InputError("The weights of labels must be above 0. Leave the others out")

    def __len__(self) -> int:
        return len(self.visnec)


def estimate_label_weights(
    drawn: NDArray[np.bool_],
    stratum: NDArray[np.int64],
    sizes: Mapping[int, int],
    families: Mapping[int, int] | None = None,
) -> NDArray[np.float64]:
    """Return how many samples each label represents.

    When a draw selects a label, it represents all samples of its stratum without a label, and the
    labels before it represent themselves. These estimates, one for each drawn label, are averaged
    (Des Raj's ordered estimator); within consecutive draws, whose order carries no information, the
    weights are averaged. The result is unbiased for any part of a queue, for several draws, and
    for any choices before, between and after them. Plain draws give size / number of labels.

    A stratum without any draw is represented by those of its family and, if none of these has a
    draw, by all. Source: D. Raj, "Some estimators in sampling with varying probabilities without
    replacement", JASA 51 (1956).

    ``drawn`` marks labels that a random draw selected (someone chose the others), in the order in
    which the labels were given, ``stratum`` is the stratum of each. ``sizes`` are the numbers of
    samples by stratum, ``families`` the strata that represent each other first.

    Returns:
        Shape (labels,); adds up to all samples, or is all zero if nothing was drawn.
    """
    weights = np.zeros(len(drawn))
    for number in np.unique(stratum[drawn]).tolist():
        inside = np.flatnonzero(stratum == number)
        is_drawn = drawn[inside]
        later = is_drawn.sum() - np.cumsum(is_drawn)  # each later draw knows the label
        in_stratum = later.astype(np.float64)
        edges = np.flatnonzero(np.diff(is_drawn, prepend=False, append=False))
        for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            in_stratum[begin:end] = sizes[number] - begin + in_stratum[end - 1]
        weights[inside] = in_stratum / is_drawn.sum()
    if families is not None:
        family_of = np.array([families[number] for number in stratum.tolist()], np.int64)
        for family in set(families.values()):
            size = sum(size for number, size in sizes.items() if families[number] == family)
            _rescale(weights, family_of == family, size)
    _rescale(weights, np.ones(len(drawn), np.bool_), sum(sizes.values()))
    return weights


def _rescale(weights: NDArray[np.float64], inside: NDArray[np.bool_], size: int) -> None:
    """Scale some of the weights to add up to ``size``, unless all of them are zero."""
    total = float(weights[inside].sum())
    if total:
        weights[inside] *= size / total


def estimate_quality(labels: WeightedLabels, threshold: float) -> ThresholdQuality:
    """Estimate precision, recall and wrong outcomes at one threshold, with 95 % intervals."""
    kept, wanted = labels.visnec >= threshold, labels.keep

    def estimate(hits: NDArray[np.bool_], among: NDArray[np.bool_]) -> ShareEstimate | None:
        if not among.any():
            return None
        weight = labels.weight[among]
        total = float(weight.sum())
        value = min(1.0, float(weight[hits[among]].sum()) / total)
        effective = total * total / float((weight * weight).sum())
        low, high = wilson_interval(value, effective)
        return ShareEstimate(value, min(low, value), max(high, value), len(weight), effective)

    return ThresholdQuality(
        threshold=float(threshold),
        precision=estimate(wanted, kept),
        recall=estimate(kept, wanted),
        wrongly_dropped=estimate(wanted, ~kept),
        wrongly_kept=estimate(~wanted, kept),
    )


def estimate_quality_curve(labels: WeightedLabels) -> list[ThresholdQuality]:
    """Estimate the quality at the scores of the labels, ascending, at most ``CURVE_POINTS``.

    The quality only changes at scores of labels, so these are all the thresholds to try. Empty
    without labels.
    """
    scores = np.unique(labels.visnec)
    if len(scores) > CURVE_POINTS:
        scores = scores[np.unique(np.linspace(0, len(scores) - 1, CURVE_POINTS).astype(int))]
    return [estimate_quality(labels, threshold) for threshold in scores.tolist()]


def suggest_threshold(labels: WeightedLabels) -> ThresholdSuggestion | None:
    """Suggest the threshold with the highest F1 on the labels, with a cross-fitted F1.

    The F1 on the labels that chose a threshold is too high. So each tenth of the labels, dealt out
    in the order of their scores, is evaluated at the threshold that the other nine tenths choose.

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
        chosen = _best_threshold(labels, ~held_out)
        kept |= held_out & (labels.visnec >= (math.inf if chosen is None else chosen))
    hits = float(labels.weight[kept & labels.keep].sum())
    both = float(labels.weight[kept].sum() + labels.weight[labels.keep].sum())
    return ThresholdSuggestion(threshold, 2 * hits / both)


def _best_threshold(labels: WeightedLabels, mask: NDArray[np.bool_]) -> float | None:
    """Return the highest of the thresholds with the best F1 on the labels of ``mask``."""
    order = np.flatnonzero(mask)[np.argsort(-labels.visnec[mask], kind="stable")]  # best first
    visnec, weight = labels.visnec[order], labels.weight[order]
    hits = np.cumsum(weight * labels.keep[order])  # kept and wanted, down to each label
    if not len(order) or not hits[-1]:
        return None
    f1 = 2 * hits / (np.cumsum(weight) + hits[-1])
    last_of_equals = np.append(visnec[1:] < visnec[:-1], True)
    return float(visnec[np.argmax(np.where(last_of_equals, f1, -1.0))])


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share among ``n`` (effective) observations."""
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.975)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)
