"""An in-memory cache of query results with a size limit in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from cachetools import LRUCache

T = TypeVar("T")


class QueryCache:
    """A thread-safe LRU cache; threads that ask for the same missing key wait for one result.

    So five browsers that open the same new filter cost one scan, not five. An entry that is
    larger than ``max_bytes`` stays until the next one is added.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries = LRUCache[Hashable, tuple[Any, int]](max_bytes, lambda entry: entry[1])
        self._computing: dict[Hashable, threading.Lock] = {}

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._entries

    def get_or_compute(
        self, key: Hashable, compute: Callable[[], T], count_bytes: Callable[[T], int]
    ) -> T:
        """Return the value of ``key``, computed on first use; ``count_bytes`` gives its size."""
        with self._lock:
            if (entry := self._entries.get(key)) is not None:
                return cast(T, entry[0])
            computing = self._computing.setdefault(key, threading.Lock())
        with computing:
            with self._lock:
                if (entry := self._entries.get(key)) is not None:  # another thread computed it
                    return cast(T, entry[0])
            try:
                value = compute()
                n_bytes = min(count_bytes(value), self._max_bytes)
                with self._lock:
                    self._entries[key] = (value, n_bytes)
            finally:
                with self._lock:
                    self._computing.pop(key, None)
            return value
