"""Batches under a token budget."""

from __future__ import annotations

from collections.abc import Sequence

from scoring.models.base import OutOfMemoryError
from scoring.models.batching import TokenBudget, run_batched, run_divisible


def test_longest_first_and_never_over_the_budget() -> None:
    assert TokenBudget(10).split_batches([3, 5, 2, 5, 3]) == [[1, 3], [0, 4, 2]]


def test_a_sample_over_the_budget_runs_alone() -> None:
    assert TokenBudget(4).split_batches([9, 2, 2]) == [[0], [1, 2]]


def test_no_samples_make_no_batches() -> None:
    assert TokenBudget(4).split_batches([]) == []


def test_a_batch_that_does_not_fit_is_halved_with_the_budget() -> None:
    sizes: list[int] = []

    def run(batch: Sequence[int]) -> list[int]:
        if len(batch) > 2:
            raise OutOfMemoryError
        sizes.append(len(batch))
        return [value * 10 for value in batch]

    budget = TokenBudget(8)
    assert run_batched([1, 2, 3, 4, 5], [1] * 5, budget, run) == [10, 20, 30, 40, 50]
    assert max(sizes) == 2
    assert budget.tokens == 2


def test_an_item_that_does_not_fit_alone_is_none() -> None:
    def run(batch: Sequence[int]) -> list[int]:
        if 7 in batch:
            raise OutOfMemoryError
        return list(batch)

    assert run_batched([5, 7, 6], [1, 1, 1], TokenBudget(9), run) == [5, None, 6]


def test_a_divisible_item_is_divided_before_it_is_none() -> None:
    def run(batch: Sequence[str]) -> list[str]:
        if sum(map(len, batch)) > 3 or "x" in batch:
            raise OutOfMemoryError
        return [text.upper() for text in batch]

    def divide(text: str) -> list[str]:
        half = len(text) // 2
        return [text[:half], text[half:]] if half else []

    budget = TokenBudget(100)
    found = dict(run_divisible(["abcdef", "x"], len, budget, run, divide))
    assert found == {"abc": "ABC", "def": "DEF", "x": None}
    assert budget.tokens == 3
