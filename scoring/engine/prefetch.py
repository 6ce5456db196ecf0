"""Preparation ahead of the model: the next windows are read, decoded and tokenised in threads.

Order and results are those of doing it all in one thread. What is held is bounded twice: by
windows, and by the bytes of their pixels, which some families make hundreds of times as many of
as others. A window that holds more than its share of these comes out in pieces.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scoring.engine.plan import Plan, split_at_images
from scoring.models.base import EncodedSample
from scoring.samples import Sample

AHEAD = 2  # windows in preparation while the model computes
HELD_BYTES = 2 << 30  # of prepared samples, about: groups in preparation may exceed it
_GROUP_ROWS = 8  # samples that a thread prepares at a time
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class SampleTask:
    """What is done to samples: prepared in threads, then computed into rows of the journal.

    ``encoded`` gives what a prepared item holds in tensors, for the bound on their bytes.
    """

    prepare: Callable[[Sequence[Sample]], list[Any]]
    compute: Callable[[list[Any]], list[dict[str, Any]]]
    encoded: Callable[[Any], Iterable[EncodedSample]] = lambda _: ()


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Chunks of the plan that are worked on together, and their open positions in order."""

    chunks: tuple[int, ...]
    positions: NDArray[np.int64]


class Prefetcher:
    """Windows go in, and come out prepared in the same order. Errors come out in their place."""

    def __init__(
        self,
        plan: Plan,
        work: SampleTask,
        threads: int | None = None,
        held_bytes: int | None = None,
    ) -> None:
        self._plan, self._work = plan, work
        self._pool = ThreadPoolExecutor(default_threads() if threads is None else threads, "ahead")
        self._waiting: deque[tuple[Window, list[Future[_Group]]]] = deque()
        self._room = _ByteBudget(HELD_BYTES if held_bytes is None else held_bytes)
        self._n_groups = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._room.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether enough windows are in preparation."""
        return len(self._waiting) >= AHEAD

    def put(self, window: Window) -> None:
        """Reads the samples of ``window`` and begins to prepare them."""
        samples = self._plan.read(window.positions)
        groups = split_at_images(samples, -(-len(samples) // _GROUP_ROWS))
        futures = []
        for group in groups:
            futures.append(self._pool.submit(self._prepared, self._n_groups, group))
            self._n_groups += 1
        self._waiting.append((window, futures))

    def get(self) -> tuple[Window, Iterator[list[Any]]]:
        """The window that was put first, and what of it is prepared, in one piece or several.

        A piece makes room for what comes next when the following one is asked for. Raises there
        what its preparation raised.
        """
        window, groups = self._waiting.popleft()
        return window, self._pieces(groups)

    def _prepared(self, number: int, samples: Sequence[Sample]) -> _Group:
        expected, n_bytes = self._room.enter(number), 0
        try:
            items = self._work.prepare(samples)
            n_bytes = count_tensor_bytes(one for item in items for one in self._work.encoded(item))
            return items, n_bytes
        finally:
            self._room.settle(expected, n_bytes)

    def _pieces(self, groups: Sequence[Future[_Group]]) -> Iterator[list[Any]]:
        piece: list[Any] = []
        held = 0
        for group in groups:
            items, n_bytes = group.result()
            piece, held = piece + items, held + n_bytes
            if held >= self._room.most // 2:  # all of it would leave no room for what is to come
                yield piece
                self._room.leave(held)
                piece, held = [], 0
        if piece:
            yield piece
            self._room.leave(held)


_Group = tuple[list[Any], int]
"""Prepared items, and the bytes of their tensors."""


class _ByteBudget:
    """Bytes that are held. Groups enter in their order, so that what is waited for has room."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._held = self._usual = self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def enter(self, number: int) -> int:
        """Waits for room; gives the bytes that the group is taken to need until they are known."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._is_next(number))
            if self._closed:
                raise CancelledError
            self._next += 1
            expected = self._usual
            self._held += expected
            self._changed.notify_all()
            return expected

    def _is_next(self, number: int) -> bool:
        return number == self._next and self._held < self.most

    def settle(self, expected: int, found: int) -> None:
        """Takes note of what a group needs indeed."""
        with self._changed:
            self._held += found - expected
            self._usual = found
            self._changed.notify_all()

    def leave(self, n_bytes: int) -> None:
        """Takes note that so many are no longer held."""
        with self._changed:
            self._held -= n_bytes
            self._changed.notify_all()

    def close(self) -> None:
        """Sends away all who wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def count_tensor_bytes(samples: Iterable[EncodedSample]) -> int:
    """Bytes of what samples are fed; tensors that several share count once."""
    distinct = {id(value): value for sample in samples for value in sample.inputs.values()}
    return sum(int(getattr(value, "nbytes", 0)) for value in distinct.values())


def default_threads() -> int:
    """Half of the cores that this process may use: the model has work for the others."""
    return max(1, min(usable_cores() // 2, _MOST_THREADS))


def usable_cores() -> int:
    """Cores that this process may use; a worker among several is told its share."""
    told = os.environ.get("VISNEC_CORES", "")
    if told.isdecimal() and int(told):
        return int(told)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
