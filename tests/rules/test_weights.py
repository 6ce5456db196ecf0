"""Weights of samples by their scores, how decisions override them, and how often samples repeat."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scoring.errors import RuleError
from scoring.reviews.decision_log import Decision
from scoring.rules import Weights
from scoring.samples import Status
from scoring.subsets.selection import effective_share, repeat_counts, select
from tests.rules.columns import NAN, candidates


def weights(rule: Weights, scores: list[float | Status]) -> list[float]:
    return rule.compute_weights(candidates(scores)).tolist()


def test_softmax_weights_have_mean_one() -> None:
    scores = [0.0, math.log(2), math.log(3), math.log(6)]  # 1 : 2 : 3 : 6, together 12
    expected = [0.333333, 0.666667, 1.0, 2.0]
    assert weights(Weights("softmax", 1.0, max_weight=None), scores) == expected
    # temperature 1/2 squares the ratios: 1 : 4 : 9 : 36, together 50
    assert weights(Weights("softmax", 0.5, max_weight=None), scores) == [0.08, 0.32, 0.72, 2.88]


def test_rank_weights_ignore_the_distances_between_scores() -> None:
    # shares below, ties counted half: 1/8, 1/2, 1/2, 7/8; together 2
    assert weights(Weights("rank"), [-9.0, 0.1, 0.1, 100.0]) == [0.25, 1.0, 1.0, 1.75]
    # temperature 1/2 squares them: 1, 16, 16, 49 in 64ths, together 82
    squared = weights(Weights("rank", 0.5), [-9.0, 0.1, 0.1, 100.0])
    assert squared == [round(4 * part / 82, 6) for part in (1, 16, 16, 49)]


def test_ratio_weights_are_the_quotient_of_the_losses() -> None:
    # multimodal / text-only: 1/1, 2/1, 1/2, 2/4; together 4
    columns = candidates([0.0, -1.0, 1.0, 2.0], losses=[1.0, 2.0, 1.0, 2.0])
    assert Weights("ratio").compute_weights(columns).tolist() == [1.0, 2.0, 0.5, 0.5]
    # temperature 1/2 squares them: 4, 16, 1, 1 in quarters, together 22
    squared = Weights("ratio", 0.5).compute_weights(columns).tolist()
    assert squared == [round(4 * part / 22, 6) for part in (4, 16, 1, 1)]


def test_ratio_weights_treat_losses_near_zero_as_the_lowest_loss() -> None:
    # 0/0 counts as 1, 1/0 as 10,000 and 0/1 as 1/10,000
    columns = candidates([0.0, -1.0, 1.0], losses=[0.0, 1.0, 0.0])
    found = Weights("ratio", max_weight=None).compute_weights(columns)
    assert found.tolist() == [0.0003, 2.9997, 0.0]
    assert Weights("ratio", 1.0, 0.5, 2.0).compute_weights(columns).tolist() == [0.5, 2.0, 0.5]


def test_ratio_weights_need_both_losses() -> None:
    columns = candidates([0.5, 0.5, Status.TEXT_ONLY], losses=[1.0, NAN, 1.0])
    with pytest.raises(RuleError, match=r"needs the losses, and 1 imported .*first: row 1"):
        Weights("ratio").compute_weights(columns)


def test_clipped_weights_keep_their_mean() -> None:
    scores = [0.0, math.log(2), math.log(3), math.log(6)]
    # The largest is clipped to 1.5; 1 : 2 : 3 share the other 2.5.
    assert weights(Weights("softmax", max_weight=1.5), scores) == [0.416667, 0.833333, 1.25, 1.5]
    # And the smallest at 0.5: 2 : 3 share 2.
    assert weights(Weights("softmax", 1.0, 0.5, 1.5), scores) == [0.5, 0.8, 1.2, 1.5]
    assert weights(Weights("softmax", 1.0, 1.0, None), scores) == [1.0] * 4


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 50.0])
@pytest.mark.parametrize("by", ["softmax", "rank", "ratio"])
def test_weights_keep_their_limits_at_any_temperature(by: str, temperature: float) -> None:
    scores = np.random.default_rng(4).normal(0.3, 2.0, 1000).tolist()
    losses = [max(0.0, -score) + 0.5 for score in scores]  # the text-only loss is at least 0.5
    for rule in (
        Weights(by, temperature),  # type: ignore[arg-type]
        Weights(by, temperature, 0.05, 3.0),  # type: ignore[arg-type]
    ):
        found = rule.compute_weights(candidates(scores, losses=losses))
        assert abs(found.mean() - 1) < 1e-6
        assert found.min() >= rule.min_weight
        assert found.max() <= (rule.max_weight or np.inf)
        ordered = found[np.argsort(scores)]
        assert (np.diff(ordered if by != "ratio" else ordered[::-1]) >= 0).all()


def test_samples_whose_weight_rounds_to_zero_are_dropped() -> None:
    subset = select(Weights("softmax", 0.01, max_weight=4.0), candidates([0.0, 0.1, 0.2, 5.0]))
    assert subset.selected.tolist() == [3]
    assert subset.weights is not None
    assert subset.weights.tolist() == [0.0, 0.0, 0.0, 4.0]


def test_samples_without_a_score_have_weight_one_or_zero() -> None:
    scores: list[float | Status] = [0.0, Status.TEXT_ONLY, math.log(3), Status.BAD_IMAGE]
    columns = candidates(scores)
    dropped = select(Weights(), columns)
    assert dropped.weights is not None
    assert dropped.weights.tolist() == [0.5, 0.0, 1.5, 0.0]
    kept = select(Weights(), columns, text_only="keep", unscored="keep")
    assert kept.weights is not None
    assert kept.weights.tolist() == [0.5, 1.0, 1.5, 1.0]


def test_decisions_override_weights_and_change_no_others() -> None:
    decisions = {0: Decision.DROP, 1: Decision.KEEP, 2: Decision.KEEP}
    subset = select(Weights(), candidates([0.0, Status.TEXT_ONLY, math.log(3)]), decisions)
    assert subset.weights is not None
    assert subset.weights.tolist() == [0.0, 1.0, 1.5]
    assert (subset.n_hand_kept, subset.n_hand_dropped) == (1, 1)


def test_repeats_are_the_expected_number_rounded_and_add_up() -> None:
    rows = np.arange(1000)
    given = np.round(np.random.default_rng(5).gamma(1.0, 1.0, 1000), 6)
    for size in (None, 1, 777, 5000):
        counts = repeat_counts(rows, given, size, seed=3)
        total = round(given.sum()) if size is None else size
        expected = given * total / given.sum()
        assert counts.sum() == total
        assert (np.abs(counts - expected) < 1 + 1e-6).all()
    assert repeat_counts(rows, given).tolist() == repeat_counts(rows, given).tolist()
    assert repeat_counts(rows, given, seed=1).tolist() != repeat_counts(rows, given).tolist()


def test_whole_weights_are_exact_repeats() -> None:
    assert repeat_counts(np.arange(4), np.array([2.0, 0.0, 1.0, 3.0])).tolist() == [2, 0, 1, 3]


def test_repeats_match_the_weights_on_average() -> None:
    given = np.array([0.25, 0.5, 1.75, 1.5])
    counts = [repeat_counts(np.arange(4), given, seed=seed) for seed in range(400)]
    np.testing.assert_allclose(np.mean(counts, axis=0), given, atol=0.08)


def test_invalid_repeats_are_refused() -> None:
    with pytest.raises(RuleError, match="All weights are 0"):
        repeat_counts(np.arange(2), np.zeros(2))
    with pytest.raises(
        RuleError, match="size of an epoch must be a whole number of at least 1, got 0"
    ):
        repeat_counts(np.arange(2), np.ones(2), size=0)


def test_the_effective_share_of_weights() -> None:
    assert effective_share(np.array([1.0, 1.0, 1.0])) == 1.0
    assert effective_share(np.array([3.0, 1.0, 0.0])) == 16 / (2 * 10)
    assert effective_share(np.zeros(3)) == 0.0
