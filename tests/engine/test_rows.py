"""Rows of a batch: what a tree holds, who sees whom in it, and which samples meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scoring.models.base import EncodedSample
from scoring.models.collate import branch_numbers, pad_rows, plain_positions, tree_mask
from scoring.models.rows import TreeLimits, build_row, plan_rows, split_row

PICTURE, OTHER = object(), object()
IMAGE = 9  # the image token
LIMITS = TreeLimits(width=64, image_token=IMAGE)


def sample(ids: list[int], answers: list[int], key: object | None = None) -> EncodedSample:
    turns = tuple(0 if place in answers else -1 for place in range(len(ids)))
    return EncodedSample(tuple(ids), turns, {}, image_key=key)


RED = sample([1, 9, 9, 4, 5, 6], [4, 5], PICTURE)
BLUE = sample([1, 9, 9, 4, 7, 8, 2], [5, 6], PICTURE)


def test_a_tree_holds_what_its_samples_share_once() -> None:
    row = build_row([RED, BLUE], [0, 1], 4)
    assert row.ids.tolist() == [1, 9, 9, 4, 5, 6, 7, 8, 2]
    assert row.positions.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6]
    assert row.branches.tolist() == [-1, -1, -1, -1, 0, 0, 1, 1, 1]
    assert row.targets.tolist() == [5, 6, 8, 2]
    assert row.predicting.tolist() == [3, 4, 6, 7]  # the first answer by the last shared token
    assert row.counts == (2, 2)


def test_an_answer_that_is_shared_counts_for_each() -> None:
    twins = [sample([1, 2, 3], [1, 2]), sample([1, 2, 3, 4], [1, 2, 3])]
    row = build_row(twins, [0, 1], 3)
    assert row.ids.tolist() == [1, 2, 3, 4]
    assert row.targets.tolist() == [2, 3, 2, 3, 4]
    assert row.predicting.tolist() == [0, 1, 0, 1, 2]


def test_nothing_predicts_the_first_token() -> None:
    assert build_row([sample([5, 6], [0, 1])], [0], 2).targets.tolist() == [6]


def test_a_branch_sees_the_beginning_and_itself() -> None:
    row = build_row([RED, BLUE], [0, 1], 4)
    short = build_row([RED], [0], 6)
    mask = tree_mask(branch_numbers([row, short]))[:, 0]
    assert mask.shape == (2, 9, 9)
    assert mask[0, 5].tolist() == [True] * 6 + [False] * 3
    assert mask[0, 7].tolist() == [True] * 4 + [False] * 2 + [True] * 2 + [False]
    assert mask[1, 5].tolist() == [True] * 6 + [False] * 3  # a token sees no padding
    assert mask[1, 8].any()  # and padding sees something, or it would not be a number
    assert plain_positions([row, short])[1].tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 0]


def test_padding_goes_behind_or_before() -> None:
    rows = [np.array([1, 2, 3]), np.array([4])]
    assert pad_rows(rows, 0).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert pad_rows(rows, 0, left=True).tolist() == [[1, 2, 3], [0, 0, 4]]


def test_samples_of_one_image_meet_and_others_do_not() -> None:
    stranger = replace(RED, image_key=OTHER)
    rows = plan_rows([RED, stranger, BLUE], LIMITS)
    assert sorted(row.members for row in rows) == [(0, 2), (1,)]


def test_without_trees_each_sample_has_its_row() -> None:
    assert [row.members for row in plan_rows([RED, BLUE], None)] == [(0,), (1,)]


def test_an_image_behind_the_shared_tokens_makes_no_tree() -> None:
    asked_first = sample([1, 2, 9, 9, 4], [4], PICTURE)
    asked_else = sample([1, 3, 9, 9, 4], [4], PICTURE)
    assert [row.members for row in plan_rows([asked_first, asked_else], LIMITS)] == [(0,), (1,)]


def test_samples_without_image_meet_where_they_begin_alike() -> None:
    talks = [sample([1, 2, 3, 4], [3]), sample([8, 8, 8, 8], [3]), sample([1, 2, 3, 5], [3])]
    rows = plan_rows(talks, LIMITS)
    assert sorted((row.members, row.shared) for row in rows) == [((0, 2), 3), ((1,), 4)]


def test_too_little_in_common_is_left_alone() -> None:
    talks = [sample([1, *range(100, 120)], [20]), sample([1, *range(200, 220)], [20])]
    assert len(plan_rows(talks, LIMITS)) == 2
    assert len(plan_rows(talks, replace(LIMITS, worth=0.0, width=999))) == 1


def test_a_sample_that_hides_tokens_of_its_own_stays_alone() -> None:
    masked = replace(RED, image_key=None, inputs={"attention_mask": np.ones((1, 6))})
    assert len(plan_rows([masked, masked], LIMITS)) == 2


def test_a_sample_longer_than_the_models_window_joins_no_tree() -> None:
    assert len(plan_rows([RED, BLUE], replace(LIMITS, window=7))) == 1
    assert len(plan_rows([RED, BLUE], replace(LIMITS, window=6))) == 2


def test_branches_are_bounded_by_what_a_dense_mask_costs() -> None:
    # sqrt(100 * 100 + 6 * 64 * 100) = 220 tokens: seven branches of 30, not eight
    assert LIMITS.branch_tokens(100) == 220
    beginning = list(range(100, 200))
    talks = [sample([*beginning, number, *range(29)], [129]) for number in range(300, 308)]
    assert sorted(len(row.members) for row in plan_rows(talks, LIMITS)) == [1, 7]


def test_a_tree_divides_and_a_single_sample_does_not() -> None:
    third = sample([1, 9, 9, 4, 5, 7], [5], PICTURE)
    samples = [RED, BLUE, third]
    row = build_row(samples, [0, 2, 1], 4)
    parts = split_row(samples, row)
    assert [(part.members, part.shared) for part in parts] == [((0, 2), 5), ((1,), 7)]
    assert split_row(samples, parts[1]) == []
