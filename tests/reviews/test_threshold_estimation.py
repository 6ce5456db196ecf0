"""Quality of a threshold by labels, and agreement between reviewers, on written-out values."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from numpy.typing import ArrayLike

from scoring.errors import InputError
from scoring.reviews.decision_log import Decision
from scoring.reviews.resolution import LatestDecision, reviewer_agreement
from scoring.reviews.threshold_estimation import (
    CURVE_POINTS,
    WeightedLabels,
    estimate_label_weights,
    estimate_quality,
    estimate_quality_curve,
    suggest_threshold,
    wilson_interval,
)

K, D, U = Decision.KEEP, Decision.DROP, Decision.UNSURE


def make_labels(visnec: ArrayLike, keep: ArrayLike, weight: ArrayLike = 1.0) -> WeightedLabels:
    scores = np.asarray(visnec, np.float64)
    weights = np.broadcast_to(np.asarray(weight, np.float64), scores.shape)
    return WeightedLabels(scores, np.asarray(keep, np.bool_), weights)


# From the lowest score up: drop drop keep drop keep keep.
LABELS = make_labels([0, 1, 2, 3, 4, 5], [0, 0, 1, 0, 1, 1])


def test_precision_recall_and_wrong_outcomes() -> None:
    quality = estimate_quality(LABELS, 2.5)
    assert quality.precision is not None
    assert quality.recall is not None
    assert quality.wrongly_dropped is not None
    assert quality.wrongly_kept is not None
    assert (quality.precision.value, quality.precision.n) == (2 / 3, 3)
    assert (quality.recall.value, quality.recall.n) == (2 / 3, 3)
    assert quality.wrongly_dropped.value == 1 / 3
    assert quality.wrongly_kept.value == pytest.approx(1 / 3)
    assert quality.f1 == pytest.approx(2 / 3)


def test_a_side_without_labels_is_none_and_not_zero() -> None:
    high = estimate_quality(LABELS, 9)
    assert (high.precision, high.wrongly_kept, high.f1) == (None, None, None)
    assert high.recall is not None
    assert high.recall.value == 0
    low = estimate_quality(LABELS, -9)
    assert low.wrongly_dropped is None
    empty = estimate_quality(make_labels([], []), 0)
    assert (empty.precision, empty.recall, empty.wrongly_dropped) == (None, None, None)
    assert estimate_quality_curve(make_labels([], [])) == []
    assert suggest_threshold(make_labels([], [])) is None


def test_labels_count_by_their_weights() -> None:
    # One label represents ten samples, the other two: 10 of 12 kept ones are wanted.
    labels = make_labels([1, 1], [True, False], [10, 2])
    quality = estimate_quality(labels, 0)
    assert quality.precision is not None
    assert quality.precision.value == pytest.approx(10 / 12)
    assert quality.precision.effective == pytest.approx(144 / 104)
    same = estimate_quality(make_labels([1] * 4, [1, 1, 0, 0], [100] * 4), 0)
    assert same.precision is not None
    assert same.precision.effective == pytest.approx(4)


def test_intervals_are_wilsons() -> None:
    assert wilson_interval(1.0, 10) == (pytest.approx(10 / (10 + 1.959964**2), abs=1e-6), 1.0)
    low, high = wilson_interval(0.5, 100)
    assert (low, high) == (pytest.approx(0.40383, abs=1e-5), pytest.approx(0.59617, abs=1e-5))
    assert wilson_interval(0.3, 0) == (0.0, 1.0)


def test_the_quality_curve() -> None:
    curve = estimate_quality_curve(LABELS)
    assert [quality.threshold for quality in curve] == [0, 1, 2, 3, 4, 5]
    assert [quality.recall.value for quality in curve if quality.recall] == pytest.approx(
        [1, 1, 1, 2 / 3, 2 / 3, 1 / 3]
    )
    many = make_labels(np.linspace(0, 1, 500), np.arange(500) % 2)
    assert len(estimate_quality_curve(many)) == CURVE_POINTS


def test_the_suggested_threshold_and_its_cross_fitted_f1() -> None:
    best = suggest_threshold(LABELS)
    assert best is not None
    assert best.threshold == 2  # F1: precision 3/4, recall 1
    # Six labels are held out one by one. Without row 2 the others choose 4, which drops it; without
    # any other they choose 2: kept are 3, 4 and 5, two of the three wanted ones.
    assert best.f1 == pytest.approx(2 * 2 / (3 + 3))
    assert suggest_threshold(make_labels([1, 2], [0, 0])) is None
    # Equal scores are kept or dropped together; of equally good thresholds, the highest.
    tied = suggest_threshold(make_labels([1, 1, 0], [1, 0, 0]))
    assert tied is not None
    assert tied.threshold == 1


@pytest.mark.parametrize(("low", "high"), [(0.4, 0.7), (0.2, 0.9)])
def test_the_f1_of_a_suggestion_is_not_better_than_the_truth(low: float, high: float) -> None:
    """60 labels of 20,000 samples, 300 times; their own F1 is 0.04 too high."""
    draw = np.random.default_rng(5)
    visnec = draw.normal(0.3, 0.5, 20_000)
    keep = draw.random(20_000) < low + (high - low) / (1 + np.exp(-6 * (visnec - 0.25)))
    gaps, naive = [], []
    for _ in range(300):
        rows = draw.choice(20_000, 60, replace=False)
        labels = make_labels(visnec[rows], keep[rows])
        best = suggest_threshold(labels)
        assert best is not None
        truth = estimate_quality(make_labels(visnec, keep), best.threshold).f1
        on_labels = estimate_quality(labels, best.threshold).f1
        assert truth is not None
        assert on_labels is not None
        gaps.append(best.f1 - truth)
        naive.append(on_labels - truth)
    error = np.std(gaps) / math.sqrt(300)
    assert np.mean(gaps) < 2 * error
    assert np.mean(gaps) > -0.02
    assert np.mean(naive) > 0.03


def test_intervals_contain_the_truth_about_as_often_as_promised() -> None:
    """20,000 samples, half of the low and a tenth of the high ones wanted less; 300 drawn."""
    draw = np.random.default_rng(11)
    visnec = draw.normal(0.3, 0.5, 20_000)
    keep = draw.random(20_000) < np.where(visnec >= 0.25, 0.9, 0.2)
    truth = keep[visnec >= 0.25].mean()
    inside = 0
    for _ in range(200):
        high = draw.choice(np.flatnonzero(visnec >= 0), 100, replace=False)
        low = draw.choice(np.flatnonzero(visnec < 0), 100, replace=False)
        rows = np.concatenate([high, low])
        chance = np.where(visnec[rows] >= 0, 100 / (visnec >= 0).sum(), 100 / (visnec < 0).sum())
        quality = estimate_quality(make_labels(visnec[rows], keep[rows], 1 / chance), 0.25)
        assert quality.precision is not None
        inside += quality.precision.low <= truth <= quality.precision.high
    assert inside >= 180


def test_invalid_labels_are_refused() -> None:
    with pytest.raises(InputError, match="above 0"):
        make_labels([1], [1], [0.0])
    with pytest.raises(InputError, match="finite"):
        make_labels([np.nan], [1])
    with pytest.raises(InputError, match="one length"):
        WeightedLabels(np.zeros(2), np.zeros(1, bool), np.ones(2))


def held(row: int, reviewer: str, decision: Decision | None) -> LatestDecision:
    return LatestDecision(row, reviewer, decision, None, "2026-01-02T12:00:00Z", f"{row}{reviewer}")


def weights(drawn: str, size: int) -> list[float]:
    """Weights of labels of one stratum: D was drawn, c was chosen."""
    return estimate_label_weights(
        np.array([one == "D" for one in drawn], bool), np.zeros(len(drawn), np.int64), {0: size}
    ).tolist()


def test_the_weight_of_a_label_depends_on_the_labels_before() -> None:
    assert weights("DD", 10) == [5, 5]
    assert weights("DDDDD", 5) == [1] * 5
    # The two draws were from the other nine: the chosen one counts for itself alone.
    assert weights("cDD", 10) == [1, 4.5, 4.5]
    # Chosen after the last draw: nothing is known of how many more are like it.
    assert weights("DDc", 10) == [5, 5, 0]
    # First draw: 10 times itself. Second: the first two, and 8 times itself. Half of each.
    assert weights("DcD", 10) == [5.5, 0.5, 4]
    assert weights("ccc", 10) == [0, 0, 0]
    assert weights("", 10) == []


def test_the_estimate_is_unbiased_for_any_choices_between_draws() -> None:
    """All ways to draw one, choose the best of the rest, and draw another, all equally likely."""
    wanted = [1.0, 4.0, 2.0, 8.0, 16.0]
    estimates = []
    for first in range(5):
        rest = [place for place in range(5) if place != first]
        chosen = max(rest, key=wanted.__getitem__)
        for second in (place for place in rest if place != chosen):
            values = np.array([wanted[first], wanted[chosen], wanted[second]])
            estimates.append(float(values @ np.array(weights("DcD", 5))))
    assert np.mean(estimates) == pytest.approx(sum(wanted))


def test_strata_without_a_draw_are_covered_by_their_family() -> None:
    drawn = np.array([True, True, False])
    stratum = np.array([0, 1, 2])
    sizes = {0: 10, 1: 20, 2: 30, 3: 40, 4: 100}
    even = estimate_label_weights(drawn, stratum, sizes)
    assert even.tolist() == pytest.approx([10 * 200 / 30, 20 * 200 / 30, 0])
    by_family = estimate_label_weights(drawn, stratum, sizes, {0: 0, 2: 0, 1: 1, 3: 1, 4: 2})
    # 0 covers 2, 1 covers 3; none of 4's family was drawn, so both cover it.
    assert by_family.tolist() == pytest.approx([40 * 2, 60 * 2, 0])


def test_raw_agreement_and_kappa() -> None:
    """The usual example: 20 both keep, 15 both drop, 5 and 10 different; chance agrees in half."""
    answers = [(K, K)] * 20 + [(K, D)] * 5 + [(D, K)] * 10 + [(D, D)] * 15
    latest = [
        held(row, reviewer, decision)
        for row, pair in enumerate(answers)
        for reviewer, decision in zip(("ada", "ben"), pair, strict=True)
    ]
    random.Random(1).shuffle(latest)  # noqa: S311 - repeatable on purpose
    found = reviewer_agreement(latest)
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.n_both, pair.n_same) == ("ada", "ben", 50, 35)
    assert pair.raw == 0.7
    assert pair.kappa == pytest.approx(0.4)
    assert (found.n_shared, found.n_unanimous, found.raw) == (50, 35, 0.7)


def test_only_samples_that_several_decided_count() -> None:
    latest = [held(0, "ada", K), held(0, "ben", K), held(0, "cem", U)]
    latest += [held(1, "ada", K), held(2, "ben", None), held(2, "ada", D), held(3, "ben", D)]
    found = reviewer_agreement(latest)
    assert [(pair.first, pair.second, pair.raw) for pair in found.pairs] == [
        ("ada", "ben", 1.0),
        ("ada", "cem", 0.0),
        ("ben", "cem", 0.0),
    ]
    assert found.pairs[0].kappa is None  # one answer throughout
    assert found.pairs[1].kappa == 0
    assert (found.n_shared, found.n_unanimous) == (1, 0)
    assert reviewer_agreement([]).raw is None
