"""Length-sorted batches under a token budget, which shrinks when a batch does not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from scoring.models.base import OutOfMemoryError

Item = TypeVar("Item")
Result = TypeVar("Result")


class TokenBudget:
    """How many padded tokens a batch may hold; remembers what proved too much."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Indices in batches of at most ``tokens`` after padding, longest samples first.

        Longest first, so that a batch that does not fit shows at once. A sample longer than the
        budget gets a batch of its own.
        """
        order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
        batches: list[list[int]] = []
        for index in order:
            widest = lengths[batches[-1][0]] if batches else 0
            if batches and widest * (len(batches[-1]) + 1) <= self.tokens:
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches


def run_batched(
    items: Sequence[Item],
    lengths: Sequence[int],
    budget: TokenBudget,
    run: Callable[[Sequence[Item]], Sequence[Result]],
) -> list[Result | None]:
    """Runs ``run`` over batches; results in the order of ``items``.

    A batch that does not fit is halved, and the budget with it for all that follow. None stands
    for an item that does not fit even alone.
    """
    results: list[Result | None] = [None] * len(items)
    waiting = budget.batches(lengths)[::-1]
    while waiting:
        batch = waiting.pop()
        try:
            found = run([items[index] for index in batch])
        except OutOfMemoryError:
            if len(batch) > 1:
                half = (len(batch) + 1) // 2
                budget.tokens = min(budget.tokens, max(lengths[index] for index in batch) * half)
                waiting += [batch[half:], batch[:half]]
            continue
        for index, result in zip(batch, found, strict=True):
            results[index] = result
    return results
