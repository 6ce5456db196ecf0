"""The rules beyond the paper's, on scores small enough to check each result manually."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.errors import RuleError
from scoring.rules import (
    LOSSES,
    Ablation,
    AnswerThresholds,
    Band,
    Budget,
    ClusterShare,
    Control,
    DropMisaligned,
    LengthCorrected,
    Mixture,
    PaperCodeTopShare,
    PaperTopShare,
    Per,
    RandomShare,
    RelativeShare,
    Rule,
    SourceShare,
    Threshold,
    TopCount,
    TopShare,
    TopTokens,
    Weights,
    ablation_arms,
    parse_ranges,
)
from scoring.rules.shares import compute_relative_scores, length_rank
from scoring.samples import Status
from scoring.subsets.selection import select
from tests.rules.columns import candidates

# row:      0    1     2    3     4    5    6              7     8    9
SCORES = [0.3, 0.9, -0.2, 0.1, -0.4, 0.6, Status.PENDING, 0.0, 0.7, 0.7]
SOURCES = ["a", "a", "a", "a", "b", "b", "b", "b", "c", "c"]
CLUSTERS = [0, 0, 1, 1, 0, 0, 1, 1, 0, 0]
TOKENS = [2, 10, 4, 1, 3, 5, 0, 2, 8, 1]
KINDS = ["yes/no", "choice", "yes/no", "yes/no", "word", "choice", "word", "yes/no"] + ["text"] * 2
LOSSES_MULTIMODAL = [2.0, 0.1, 1.0, 3.0, 0.5, 0.2, 1.0, 4.0, 0.3, 0.6]
# text-only:         2.3  1.0  0.8  3.1  0.1  0.8  -    4.0  1.0  1.3
TEN = candidates(SCORES, CLUSTERS, None, SOURCES, TOKENS, KINDS, LOSSES_MULTIMODAL)


def rows(rule: Rule) -> list[int]:
    return select(rule, TEN).selected.tolist()


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        # yes/no from 0.1 (0, 3; not 2, 7), choice below 0.8 (5; not 1), all others from 0.7
        (
            AnswerThresholds(0.7, limits=(("choice", None, 0.8), ("yes/no", 0.1, None))),
            [0, 3, 5, 8, 9],
        ),
        (AnswerThresholds(0.7), [1, 8, 9]),
        # 1 (10 tokens), 8 (8), 9 (1), 5 (5), 0 (2), 3 (1), ...
        (TopTokens(9), []),
        (TopTokens(10), [1]),
        (TopTokens(18), [1, 8]),
        (TopTokens(23), [1, 8, 9]),  # 19 so far; 5 would make it 24, and nothing after it is added
        (TopTokens(24), [1, 5, 8, 9]),
        (TopTokens(1000), [0, 1, 2, 3, 4, 5, 7, 8, 9]),
        # a: 0.9 0.3 0.1 -0.2; b: 0.6 0.0 -0.4 (three scored); c: 0.7 0.7
        (SourceShare(0.5), [0, 1, 5, 8]),
        (SourceShare(0.34), [1, 5]),
        (SourceShare(0.34, at_least=1), [1, 5, 8]),
        (SourceShare(0.1, at_least=9), [0, 1, 2, 3, 4, 5, 7, 8, 9]),
        # cluster 0: 1, 8, 9, 5, 0, 4; cluster 1: 3, 7, 2
        (ClusterShare(0.5), [1, 3, 8, 9]),
        (ClusterShare(0.2, at_least=2), [1, 3, 7, 8]),
    ],
)
def test_rules_select_these_rows(rule: Rule, taken: list[int]) -> None:
    assert rows(rule) == taken


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        (DropMisaligned(), [0, 1, 3, 5, 7, 8, 9]),
        (DropMisaligned(-0.2), [0, 1, 2, 3, 5, 7, 8, 9]),  # the limit itself is kept
        (DropMisaligned(0.65), [1, 8, 9]),
        # score / text-only loss: 1: 0.9, 5: 0.75, 8: 0.7, 9: 0.538, 0: 0.13, 3: 0.03, 7: 0
        (RelativeShare(0.12), [1]),
        (RelativeShare(0.45), [1, 5, 8, 9]),
        (RelativeShare(0.78), [0, 1, 3, 5, 7, 8, 9]),
        (RelativeShare(0.9), [0, 1, 2, 3, 5, 7, 8, 9]),  # 2: -0.25, 4: -4
        # seed 1 draws rows 8 7 9 0 5 1 3 2 4; below 0.0: 2 and 4
        (Band(0.0, share=0.34, seed=1), [7, 8, 9]),  # int(0.34 * 9) of the scored
        (Band(0.0, share=1.0, seed=1), [0, 1, 3, 5, 7, 8, 9]),
        (Band(0.0, count=1, seed=1), [8]),
        (Band(0.0, count=4, seed=1), [0, 7, 8, 9]),
        (Band(0.1, 0.7, count=2, seed=1), [0, 5]),  # max is excluded: not 8, 9
        (Band(max=0.0, count=9, seed=1), [2, 4]),
        (Band(5.0, count=9), []),
        # tokens: 8 has 8, 7 has 2, 9 has 1, 0 has 2
        (Band(0.0, tokens=7, seed=1), []),
        (Band(0.0, tokens=10, seed=1), [7, 8]),
        (Band(0.0, tokens=12, seed=1), [7, 8, 9]),
        # a: 0 1 3 of 4 scored, at 1/8 3/8 5/8; b: 7 5 of 3, at 1/6 3/6; c: 8 9 of 2, at 1/4 3/4
        (Band(0.0, count=1, per="source", seed=1), [0]),
        (Band(0.0, count=3, per="source", seed=1), [0, 7, 8]),
        (Band(0.0, count=5, per="source", seed=1), [0, 1, 5, 7, 8]),
        # cluster 0: 8 9 0 5 1 of 6 scored, at 1/12 3/12 5/12 7/12 9/12; cluster 1: 7 3, at 1/6 3/6
        (Band(0.0, count=3, per="cluster", seed=1), [7, 8, 9]),
        (Band(0.0, count=5, per="cluster", seed=1), [0, 3, 7, 8, 9]),
        # cluster 1 has only 3 from 0.1: its second place goes to cluster 0
        (Band(0.1, count=6, per="cluster", seed=1), [0, 1, 3, 5, 8, 9]),
    ],
)
def test_rules_by_evidence_select_these_rows(rule: Rule, taken: list[int]) -> None:
    assert rows(rule) == taken


def test_a_text_only_loss_of_0_leaves_the_image_nothing_to_remove() -> None:
    #                 row 0: 0 / 0  1: -1 / 0  2: 0.5 / 1  3: -2 / 1
    zero = candidates([0.0, -1.0, 0.5, -2.0], losses=[0.0, 1.0, 0.5, 3.0])
    assert compute_relative_scores(zero).tolist() == [0.0, -np.inf, 0.5, -2.0]
    assert select(RelativeShare(0.75), zero).selected.tolist() == [0, 2, 3]
    unknown = replace(zero, loss_text=np.array([0.0, np.nan, 1.0, 1.0]))
    with pytest.raises(RuleError, match=r"1 imported scores have none \(first: row 1\)"):
        select(RelativeShare(0.75), unknown)


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1), st.sampled_from(["dataset", "cluster", "source"]))
def test_a_larger_draw_contains_a_smaller_one(seed: int, per: Per) -> None:
    draws = [rows(Band(0.0, count=count, per=per, seed=seed)) for count in range(1, 9)]
    assert [len(draw) for draw in draws] == [1, 2, 3, 4, 5, 6, 7, 7]
    for smaller, larger in pairwise(draws):
        assert set(smaller) <= set(larger)


def test_a_band_of_all_scores_is_a_random_subset() -> None:
    for seed in range(9):
        assert rows(Band(-9.0, share=0.5, seed=seed)) == rows(RandomShare(0.5, seed=seed))


def test_a_band_keeps_the_proportions_of_the_scored_samples() -> None:
    # source a: 60 scored, b: 30, c: 10; half of each is in the band
    many = candidates([row % 2 for row in range(100)], sources=["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    taken = select(Band(1.0, share=0.2, per="source", seed=3), many).selected
    assert np.bincount(np.searchsorted([60, 90], taken, side="right")).tolist() == [12, 6, 2]


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        (Budget(3), [1, 8, 9]),
        (Budget(3, floor=1), [1, 5, 8]),
        (Budget(4, floor=1), [1, 5, 8, 9]),
        (Budget(6, floor=2), [0, 1, 5, 7, 8, 9]),
        (Budget(4, ceiling=1), [1, 5, 8]),  # three sources, one each: fewer than asked for
        (Budget(5, ceiling=2), [0, 1, 5, 8, 9]),
        (Budget(5, ceiling=2, limits=(("c", None, 1),)), [0, 1, 5, 7, 8]),
        (Budget(4, limits=(("b", 3, None),)), [1, 4, 5, 7]),
        (Budget(2, limits=(("c", 0, 0),)), [1, 5]),
        (Budget(9, floor=100), [0, 1, 2, 3, 4, 5, 7, 8, 9]),
    ],
)
def test_a_budget_fills_floors_first_and_passes_over_ceilings(
    rule: Budget, taken: list[int]
) -> None:
    assert rows(rule) == taken


def test_impossible_budgets_are_refused() -> None:
    with pytest.raises(RuleError, match="add up to 6 samples, above the budget of 5"):
        rows(Budget(5, floor=2))
    with pytest.raises(RuleError, match=r"Unknown source 'd' in --limits\. Sources: a, b, c"):
        rows(Budget(5, limits=(("d", 1, 2),)))


def test_length_corrected_ranks_among_answers_of_similar_length() -> None:
    # lengths  1: rows 9 (0.7), 3 (0.1) | 2: 0 (0.3), 7 (0.0) | 3-4: 2 (-0.2), 4 (-0.4)
    #        5-8: rows 8 (0.7), 5 (0.6) | 9-16: 1 alone, in the middle
    expected = [0.25, 0.5, 0.25, 0.75, 0.75, 0.75, np.nan, 0.75, 0.25, 0.25]
    np.testing.assert_array_equal(length_rank(TEN), expected)
    assert rows(LengthCorrected(0.34)) == [0, 8, 9]  # rank 0.25, the higher scores first
    assert rows(LengthCorrected(0.5)) == [0, 2, 8, 9]
    assert rows(LengthCorrected(0.56)) == [0, 1, 2, 8, 9]


def test_rules_by_length_refuse_scores_without_token_counts() -> None:
    unknown = replace(TEN, n_answer_tokens=np.zeros(10, np.int64))
    for rule in (TopTokens(5), LengthCorrected(0.5), Band(0.0, tokens=5)):
        with pytest.raises(RuleError, match=r"9 imported scores have none \(first: row 0\)"):
            select(rule, unknown)


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        # highest text-only loss: 7 (4.0) 3 (3.1) 0 (2.3) 9 (1.3) 1, 8 (1.0) 2, 5 (0.8) 4 (0.1)
        (Ablation("text-loss", 0.4, "dataset"), [0, 3, 7]),
        (Ablation("text-loss", 0.34, "cluster"), [0, 7, 9]),
        (Ablation("text-loss", 0.34, "source"), [3, 7]),
        # lowest multimodal loss: 1 (0.1) 5 (0.2) 8 (0.3) 4 (0.5) 9 (0.6) 2 (1.0) 0 3 7
        (Ablation("multimodal-loss", 0.4, "dataset"), [1, 5, 8]),
        (Ablation("multimodal-loss", 0.34, "cluster"), [1, 2, 5]),
        (Ablation("high-multimodal-loss", 0.4, "dataset"), [0, 3, 7]),
        (Ablation("multimodal-loss", 0.1, "source", at_least=1), [1, 5, 8]),
    ],
)
def test_ablations_rank_by_one_loss(rule: Ablation, taken: list[int]) -> None:
    assert rows(rule) == taken


def test_controls_have_the_size_of_the_rule_they_accompany() -> None:
    paper = PaperTopShare(0.5)  # 1, 8, 9 of cluster 0 and 3 of cluster 1
    assert rows(paper) == [1, 3, 8, 9]
    arms = {name: rows(arm) for name, arm in ablation_arms(paper, seed=5).items()}
    assert arms["no-clusters"] == [1, 5, 8, 9]
    assert arms["text-loss"] == [0, 1, 7, 9]
    assert arms["multimodal-loss"] == [1, 2, 5, 8]
    assert len(arms["random"]) == 4
    assert arms["random"] == rows(RandomShare(count=4, seed=5))
    assert sum(CLUSTERS[row] for row in arms["random-per-cluster"]) == 1
    by_source = rows(Control(TopCount(4), per="source", seed=9))  # 1; 5; 8, 9
    assert [SOURCES[row] for row in by_source] == ["a", "b", "c", "c"]
    assert rows(Control(Threshold(min=9.0))) == []


def test_a_control_differs_by_its_seed_only() -> None:
    many = candidates([row / 100 for row in range(100)])
    taken = [select(Control(TopShare(0.3), seed=s), many).selected.tolist() for s in (1, 1, 2)]
    assert taken[0] == taken[1] != taken[2]
    assert [len(one) for one in taken] == [30, 30, 30]


EVERY: list[Rule] = [
    Threshold(-1.0),
    AnswerThresholds(-1.0),
    DropMisaligned(-1.0),
    RelativeShare(1.0),
    Band(-1.0, share=1.0),
    TopShare(1.0),
    TopCount(99),
    TopTokens(999),
    ClusterShare(1.0),
    SourceShare(1.0),
    PaperTopShare(1.0),
    PaperCodeTopShare(1.0),
    LengthCorrected(1.0),
    Budget(99),
    Mixture((("scenes", 1.0),), share=1.0, max_repeat=2),
    Mixture((("text", 1.0),), per="answer-type", tokens=8),
    RandomShare(1.0),
    *(Ablation(loss, 1.0) for loss in LOSSES),
    Control(TopShare(1.0)),
    Weights(),
]
MIXED: list[float | Status] = [0.5, Status.TEXT_ONLY, 0.25, Status.BAD_IMAGE, Status.BAD_RECORD]


@pytest.mark.parametrize("rule", EVERY, ids=str)
def test_samples_without_a_score_are_kept_by_their_treatment_only(rule: Rule) -> None:
    mixed = candidates(MIXED)
    assert rule.select_mask(mixed).tolist() == [True, False, True, False, False]
    assert select(rule, mixed).selected.tolist() == [0, 2]
    assert select(rule, mixed, text_only="keep").selected.tolist() == [0, 1, 2]
    both = select(rule, mixed, text_only="keep", unscored="keep")
    assert both.selected.tolist() == [0, 1, 2, 3]
    assert sum(one.n for one in both.count_reasons()) == 5


@pytest.mark.parametrize("rule", EVERY, ids=str)
def test_rules_work_on_datasets_without_any_score(rule: Rule) -> None:
    for scores in ([], [Status.PENDING, Status.TEXT_ONLY]):
        assert select(rule, candidates(scores)).selected.tolist() == []


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]), min_size=1, max_size=30),
    st.integers(1, 20),
    st.integers(0, 3),
    st.integers(1, 6),
)
def test_a_budget_respects_count_floors_and_ceilings(
    scores: list[float], count: int, floor: int, ceiling: int
) -> None:
    sources = [f"s{place % 3}" for place in range(len(scores))]
    columns = candidates(scores, sources=sources)
    floor = min(floor, ceiling)
    sizes = np.bincount(columns.source)
    if np.minimum(sizes, floor).sum() > count:
        return
    taken = Budget(count, floor, ceiling).select_mask(columns)
    kept = np.bincount(columns.source[taken], minlength=len(sizes))
    assert (kept >= np.minimum(sizes, floor)).all()
    assert (kept <= ceiling).all()
    assert taken.sum() == min(count, np.minimum(sizes, ceiling).sum())


def test_ranges_are_parsed() -> None:
    assert parse_ranges(["yes/no=0.1..0.8", "a=b=..5", "c=2.."]) == [
        ["yes/no", 0.1, 0.8],
        ["a=b", None, 5],
        ["c", 2, None],
    ]
    for text in ("yes/no", "=1..2", "a=1", "a=x..2"):
        with pytest.raises(RuleError, match=r"Write NAME=LOW\.\.HIGH, like yes/no=0\.1\.\.0\.8"):
            parse_ranges([text])
