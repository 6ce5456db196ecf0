"""What was worked out once and may be asked for again: kept in memory up to a number of bytes.

The one decision behind it: two threads that ask for the same thing at the same time wait for one
answer, so that five browsers on a new filter cost one scan and not five.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Any = None
    ready: bool = False
    size: int = 0


class QueryCache:
    """A cache by key for any number of threads; the least recently used goes first.

    ``budget`` is in bytes; the newest entry stays even where it alone is larger.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The value under the key, made on first use; ``size`` gives its bytes."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
        with entry.lock:
            if not entry.ready:
                self._fill(key, entry, make, size)
            value: T = entry.value
        return value

    def has(self, key: Hashable) -> bool:
        """Whether the value is there already."""
        with self._lock:
            entry = self._entries.get(key)
            return entry is not None and entry.ready

    def _fill(
        self, key: Hashable, entry: _Entry, make: Callable[[], T], size: Callable[[T], int]
    ) -> None:
        try:
            entry.value = make()
        except BaseException:
            with self._lock:
                self._entries.pop(key, None)
            raise
        with self._lock:
            entry.size, entry.ready = size(entry.value), True
            self._trim(key)

    def _trim(self, newest: Hashable) -> None:
        total = sum(entry.size for entry in self._entries.values())
        for key in list(self._entries):
            if total <= self._budget:
                break
            if key != newest and self._entries[key].ready:
                total -= self._entries.pop(key).size
