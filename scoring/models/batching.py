"""Length-sorted batches under a token budget, which shrinks when a batch does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

    def halve(self, tokens: int) -> None:
        """Takes note that ``tokens`` did not fit."""
        self.tokens = max(1, min(self.tokens, tokens // 2))


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


def run_divisible(
    items: Sequence[Item],
    length: Callable[[Item], int],
    budget: TokenBudget,
    run: Callable[[Sequence[Item]], Sequence[Result]],
    divide: Callable[[Item], Sequence[Item]],
) -> Iterator[tuple[Item, Result | None]]:
    """As ``run_batched``, for items of ``length`` tokens that can be divided where one is too much.

    Yields each item that ran, or that neither fits nor divides (``divide`` gives nothing), in no
    particular order.
    """
    waiting: list[Sequence[Item]] = [items]
    while waiting:
        part = waiting.pop()
        results = run_batched(part, [length(item) for item in part], budget, run)
        for item, result in zip(part, results, strict=True):
            smaller = divide(item) if result is None else ()
            if smaller:
                budget.halve(length(item))
                waiting.append(smaller)
            else:
                yield item, result
