"""Length-sorted batches under a token budget, which shrinks when a batch does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from scoring.models.base import OutOfMemoryError

Item = TypeVar("Item")
Result = TypeVar("Result")


class TokenBudget:
    """The number of padded tokens that a batch may have; remembers what was too much."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def split_batches(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return indices in batches of at most ``tokens`` after padding, longest samples first.

        Longest first because a batch that does not fit then fails at once. A sample longer than
        the budget gets a batch of its own.
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

    def limit_tokens(self, tokens: int) -> None:
        """Lower the budget to ``tokens`` if it is larger."""
        self.tokens = max(1, min(self.tokens, tokens))


def run_batched(
    items: Sequence[Item],
    lengths: Sequence[int],
    budget: TokenBudget,
    run: Callable[[Sequence[Item]], Sequence[Result]],
) -> list[Result | None]:
    """Call ``run`` on batches and return the results in the order of ``items``.

    A batch that does not fit is halved, and so is the budget of all later batches. An item that
    does not fit even alone gives None.
    """
    results: list[Result | None] = [None] * len(items)
    pending = budget.split_batches(lengths)[::-1]
    while pending:
        batch = pending.pop()
        try:
            batch_results = run([items[index] for index in batch])
        except OutOfMemoryError:
            if len(batch) > 1:
                half = (len(batch) + 1) // 2
                budget.limit_tokens(max(lengths[index] for index in batch) * half)
                pending += [batch[half:], batch[:half]]
            continue
        for index, result in zip(batch, batch_results, strict=True):
            results[index] = result
    return results


def run_divisible(
    items: Sequence[Item],
    length: Callable[[Item], int],
    budget: TokenBudget,
    run: Callable[[Sequence[Item]], Sequence[Result]],
    divide: Callable[[Item], Sequence[Item]],
) -> Iterator[tuple[Item, Result | None]]:
    """Do the same as ``run_batched`` for items that can be divided if one alone is too large.

    Yields, in no particular order, each item that ran and each that neither fits nor can be
    divided (``divide`` returns nothing).
    """
    pending: list[Sequence[Item]] = [items]
    while pending:
        group = pending.pop()
        results = run_batched(group, [length(item) for item in group], budget, run)
        for item, result in zip(group, results, strict=True):
            smaller = divide(item) if result is None else ()
            if smaller:
                budget.limit_tokens(length(item) // 2)
                pending.append(smaller)
            else:
                yield item, result
