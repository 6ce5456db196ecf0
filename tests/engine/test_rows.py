"""Rows of a batch: the tokens of a tree, their attention, and which samples share one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scoring.models.base import EncodedSample
from scoring.models.rows import (
    PADDING,
    TreeLimits,
    build_row,
    pad_rows,
    plan_rows,
    split_row,
    tree_mask,
)

PICTURE, OTHER = object(), object()
IMAGE = 9  # the image token
LIMITS = TreeLimits(width=64, image_token=IMAGE)


def sample(ids: list[int], answers: list[int], key: object | None = None) -> EncodedSample:
    turns = tuple(0 if place in answers else -1 for place in range(len(ids)))
    return EncodedSample(tuple(ids), turns, {}, image_key=key)


RED = sample([1, 9, 9, 4, 5, 6], [4, 5], PICTURE)
BLUE = sample([1, 9, 9, 4, 7, 8, 2], [5, 6], PICTURE)


def test_a_tree_contains_shared_tokens_once() -> None:
    row = build_row([RED, BLUE], [0, 1], 4)
    assert row.ids.tolist() == [1, 9, 9, 4, 5, 6, 7, 8, 2]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6]
    assert row.branches.tolist() == [-1, -1, -1, -1, 0, 0, 1, 1, 1]
    assert row.targets.tolist() == [5, 6, 8, 2]
    assert row.predicting.tolist() == [
        3,
        4,
        6,
        7,
    ]  # the last shared token predicts the first answer
    assert row.counts == (2, 2)


def test_a_shared_answer_counts_for_each_sample() -> None:
    twins = [sample([1, 2, 3], [1, 2]), sample([1, 2, 3, 4], [1, 2, 3])]
    row = build_row(twins, [0, 1], 3)
    assert row.ids.tolist() == [1, 2, 3, 4]
    assert row.targets.tolist() == [2, 3, 2, 3, 4]
    assert row.predicting.tolist() == [0, 1, 0, 1, 2]


def test_nothing_predicts_the_first_token() -> None:
    assert build_row([sample([5, 6], [0, 1])], [0], 2).targets.tolist() == [6]


def test_a_branch_attends_to_the_beginning_and_itself() -> None:
    row = build_row([RED, BLUE], [0, 1], 4)
    short = build_row([RED], [0], 6)
    mask = tree_mask(pad_rows([row.branches, short.branches], PADDING))[:, 0]
    assert mask.shape == (2, 9, 9)
    assert mask[0, 5].tolist() == [True] * 6 + [False] * 3
    assert mask[0, 7].tolist() == [True] * 4 + [False] * 2 + [True] * 2 + [False]
    assert mask[1, 5].tolist() == [True] * 6 + [False] * 3  # a token does not attend to padding
    assert mask[1, 8].any()  # and padding attends to something, or its output would be NaN
    assert pad_rows([row.positions, short.positions], 0)[1].tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]


def test_padding_on_the_right_or_left() -> None:
    rows = [np.array([1, 2, 3]), np.array([4])]
    assert pad_rows(rows, 0).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert pad_rows(rows, 0, left=True).tolist() == [[1, 2, 3], [0, 0, 4]]


def test_only_samples_with_the_same_image_share_a_tree() -> None:
    stranger = replace(RED, image_key=OTHER)
    rows = plan_rows([RED, stranger, BLUE], LIMITS)
    assert sorted(row.members for row in rows) == [(0, 2), (1,)]


def test_without_trees_each_sample_is_a_row() -> None:
    assert [row.members for row in plan_rows([RED, BLUE], None)] == [(0,), (1,)]


def test_an_image_after_the_shared_tokens_makes_no_tree() -> None:
    asked_first = sample([1, 2, 9, 9, 4], [4], PICTURE)
    asked_else = sample([1, 3, 9, 9, 4], [4], PICTURE)
    assert [row.members for row in plan_rows([asked_first, asked_else], LIMITS)] == [(0,), (1,)]


def test_samples_without_image_share_a_tree_if_they_start_alike() -> None:
    talks = [sample([1, 2, 3, 4], [3]), sample([8, 8, 8, 8], [3]), sample([1, 2, 3, 5], [3])]
    rows = plan_rows(talks, LIMITS)
    assert sorted((row.members, row.shared) for row in rows) == [((0, 2), 3), ((1,), 4)]


def test_too_few_shared_tokens_make_no_tree() -> None:
    talks = [sample([1, *range(100, 120)], [20]), sample([1, *range(200, 220)], [20])]
    assert len(plan_rows(talks, LIMITS)) == 2
    assert len(plan_rows(talks, replace(LIMITS, min_shared=0.0, width=999))) == 1


def test_a_sample_with_its_own_mask_stays_alone() -> None:
    masked = replace(RED, image_key=None, inputs={"attention_mask": np.ones((1, 6))})
    assert len(plan_rows([masked, masked], LIMITS)) == 2


def test_a_sample_longer_than_the_models_window_joins_no_tree() -> None:
    assert len(plan_rows([RED, BLUE], replace(LIMITS, window=7))) == 1
    assert len(plan_rows([RED, BLUE], replace(LIMITS, window=6))) == 2


def test_branches_are_limited_by_the_cost_of_a_dense_mask() -> None:
    # sqrt(100 * 100 + 6 * 64 * 100) = 220 tokens: seven branches of 30, not eight
    assert LIMITS.branch_tokens(100) == 220
    beginning = list(range(100, 200))
    talks = [sample([*beginning, number, *range(29)], [129]) for number in range(300, 308)]
    assert sorted(len(row.members) for row in plan_rows(talks, LIMITS)) == [1, 7]


def test_a_tree_is_split_and_a_single_sample_is_not() -> None:
    third = sample([1, 9, 9, 4, 5, 7], [5], PICTURE)
    samples = [RED, BLUE, third]
    row = build_row(samples, [0, 2, 1], 4)
    parts = split_row(samples, row)
    assert [(part.members, part.shared) for part in parts] == [((0, 2), 5), ((1,), 7)]
    assert split_row(samples, parts[1]) == []
