"""Prepares samples ahead of the model: the next windows are read, decoded and tokenised in threads.

Order and results are the same as in one thread. Memory is bounded twice: by windows, and by the
bytes of their pixels, of which some families produce hundreds of times more than others. A window
that exceeds its share of these bytes is returned in pieces.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from scoring.engine.plan import Plan, split_at_images
from scoring.models.base import EncodedSample
from scoring.samples import Sample

AHEAD = 2  # windows in preparation while the model computes
HELD_BYTES = 2 << 30  # of prepared samples, approximately: groups in preparation may exceed it
_GROUP_ROWS = 8  # samples that a thread prepares at a time
_MOST_THREADS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Chunks of the plan that are processed together, and their open positions in order."""

    chunks: tuple[int, ...]
    positions: NDArray[np.int64]


class SampleTask(Protocol):
    """Turns samples into rows of a run's journal, in two steps."""

    def prepare(self, samples: Sequence[Sample]) -> list[Any]:
        """Decode and tokenise samples; called in threads, ahead of ``compute_rows``."""
        ...

    def compute_rows(self, items: list[Any]) -> list[dict[str, Any]]:
        """Run the model on prepared items and return rows of the journal."""
        ...

    def encoded_samples(self, item: Any) -> Iterable[EncodedSample]:
        """Return the encoded samples in an item, whose tensors count towards the memory limit."""
        ...


class Prefetcher:
    """A queue that returns windows prepared, in the order they were put; it re-raises errors."""

    def __init__(
        self,
        plan: Plan,
        task: SampleTask,
        threads: int | None = None,
        held_bytes: int | None = None,
    ) -> None:
        self._plan, self._task = plan, task
        self._pool = ThreadPoolExecutor(default_threads() if threads is None else threads, "ahead")
        self._pending: deque[tuple[Window, list[Future[tuple[list[Any], int]]]]] = deque()
        self._budget = _ByteBudget(HELD_BYTES if held_bytes is None else held_bytes)
        self._n_groups = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        """Whether enough windows are in preparation."""
        return len(self._pending) >= AHEAD

    def put_window(self, window: Window) -> None:
        """Read the samples of ``window`` and start to prepare them."""
        samples = self._plan.read_samples(window.positions)
        leaders = self._plan.leaders[window.positions]
        groups = split_at_images(samples, leaders, -(-len(samples) // _GROUP_ROWS))
        futures = []
        for group in groups:
            futures.append(self._pool.submit(self._prepare_group, self._n_groups, group))
            self._n_groups += 1
        self._pending.append((window, futures))

    def get_window(self) -> tuple[Window, Iterator[list[Any]]]:
        """Return the oldest window and its prepared items, in one piece or several.

        The bytes of a piece are released when the next one is requested. The iterator re-raises
        exceptions of the preparation.
        """
        window, groups = self._pending.popleft()

        def iter_pieces() -> Iterator[list[Any]]:
            piece: list[Any] = []
            held = 0
            for group in groups:
                items, n_bytes = group.result()
                piece, held = piece + items, held + n_bytes
                if held >= self._budget.limit // 2:  # the whole window would block the next ones
                    yield piece
                    self._budget.release(held)
                    piece, held = [], 0
            if piece:
                yield piece
                self._budget.release(held)

        return window, iter_pieces()

    def _prepare_group(self, number: int, samples: Sequence[Sample]) -> tuple[list[Any], int]:
        """Return prepared items, and the bytes of their tensors."""
        expected, n_bytes = self._budget.reserve(number), 0
        try:
            items = self._task.prepare(samples)
            n_bytes = count_tensor_bytes(
                encoded for item in items for encoded in self._task.encoded_samples(item)
            )
            return items, n_bytes
        finally:
            self._budget.record_use(expected, n_bytes)


class _ByteBudget:
    """Limits the bytes held. Groups reserve in order, so the one that is awaited gets its turn."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = self._last_use = self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def reserve(self, number: int) -> int:
        """Wait until bytes are free; return those reserved until the group's use is known."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (number == self._next and self._held < self.limit)
            )
            if self._closed:
                raise CancelledError
            self._next += 1
            expected = self._last_use
            self._held += expected
            self._changed.notify_all()
            return expected

    def record_use(self, expected: int, actual: int) -> None:
        """Record the bytes that a group actually uses."""
        with self._changed:
            self._last_use = actual
            self.release(expected - actual)

    def release(self, n_bytes: int) -> None:
        """Record that bytes are no longer held."""
        with self._changed:
            self._held -= n_bytes
            self._changed.notify_all()

    def close(self) -> None:
        """Cancel all waiting groups."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def count_tensor_bytes(samples: Iterable[EncodedSample]) -> int:
    """Return the bytes of the samples' inputs; tensors that several share count once."""
    distinct = {id(value): value for sample in samples for value in sample.inputs.values()}
    return sum(int(getattr(value, "nbytes", 0)) for value in distinct.values())


def default_threads() -> int:
    """Return half of the cores that this process may use: the model needs the others."""
    return max(1, min(usable_cores() // 2, _MOST_THREADS))


def usable_cores() -> int:
    """Return the cores that this process may use; one of several workers is given its share."""
    share = os.environ.get("VISNEC_CORES", "")
    if share.isdecimal() and int(share):
        return int(share)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
