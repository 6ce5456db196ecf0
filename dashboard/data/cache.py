"""Everything that the running dashboard keeps in memory, owned by one object.

A key consists of database generations, names and small values, never of a large frame. Cached
values are shared between sessions and must not be changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar, cast

from cachetools import LRUCache, cached

T = TypeVar("T")


class ResultCache:
    """A thread-safe LRU cache; concurrent calls for one key wait for a single computation."""

    def __init__(self, size: int) -> None:
        self._values: LRUCache[Hashable, Any] = LRUCache(size)
        self._changed = threading.Condition()
        self._get = cached(self._values, key=lambda key, _: key, condition=self._changed)(
            lambda _, compute: compute()
        )

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the value cached under ``key``, or compute and cache it."""
        return cast(T, self._get(key, compute))

    def peek(self, key: Hashable) -> object | None:
        """Return the value cached under ``key``, or None; computes nothing."""
        with self._changed:
            value: object | None = self._values.get(key)
            return value

    def clear(self) -> None:
        """Forget all values."""
        with self._changed:
            self._values.clear()


class AppCache:
    """The caches and registries of one server process, each with its number of entries."""

    def __init__(self) -> None:
        self.answers = ResultCache(512)  # results of queries
        self.image_paths = ResultCache(20_000)  # row -> image paths
        self.images = ResultCache(64)  # encoded images
        self.candidates = ResultCache(2)  # each holds columns of the whole dataset
        self.map_points = ResultCache(3)  # each holds columns of the whole dataset
        self.subset_outcomes = ResultCache(2)
        self.subset_diffs = ResultCache(2)
        self.clustering_overlaps = ResultCache(16)
        self.stabilities = ResultCache(16)
        self.stores = ResultCache(1)  # the open database; an earlier one is closed when unused
        self.background_builds = ResultCache(8)  # one per workspace
        self.export_jobs = ResultCache(8)  # a list per workspace
        self.trial_processes = ResultCache(8)  # a dictionary per workspace
        self.prefetches = ResultCache(64)  # views whose queries were run in the background

    def clear(self) -> None:
        """Forget everything; a test starts with an empty cache."""
        for cache in vars(self).values():
            cache.clear()


APP_CACHE: Final = AppCache()
