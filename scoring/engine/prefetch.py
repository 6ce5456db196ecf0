"""Preparation ahead of the model: the next windows are read, decoded and tokenised in threads.

Order and results are those of doing it all in one thread. The queue is bounded by windows, and a
window is spread over the threads, so that more threads do not keep more images in memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from scoring.engine.plan import Plan, image_groups
from scoring.samples import Sample

AHEAD = 2  # windows in preparation while the model computes
_MOST_THREADS = 8

Prepare = Callable[[Sequence[Sample]], list[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Chunks of the plan that are worked on together, and their open positions in order."""

    chunks: tuple[int, ...]
    positions: NDArray[np.int64]


class Prefetcher:
    """Windows go in, and come out prepared in the same order. Errors come out in their place."""

    def __init__(self, plan: Plan, prepare: Prepare, threads: int | None = None) -> None:
        self._plan, self._prepare = plan, prepare
        self._threads = default_threads() if threads is None else threads
        self._pool = ThreadPoolExecutor(self._threads, "prepare")
        self._waiting: deque[tuple[Window, list[Future[list[Any]]]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether enough windows are in preparation."""
        return len(self._waiting) >= AHEAD

    def put(self, window: Window) -> None:
        """Reads the samples of ``window`` and begins to prepare them."""
        groups = image_groups(self._plan.read(window.positions), self._threads)
        self._waiting.append((window, [self._pool.submit(self._prepare, one) for one in groups]))

    def get(self) -> tuple[Window, list[Any]]:
        """The window that was put first, prepared; raises what its preparation raised."""
        window, parts = self._waiting.popleft()
        return window, [item for part in parts for item in part.result()]


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
