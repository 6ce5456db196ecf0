"""Answers kept by what they depend on, so that a page asks each question once.

A key is made of generations, names and small values; never of a big frame. What is kept is shared
between sessions and must not be changed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar, cast

_MAX_ANSWERS: Final = 512

T = TypeVar("T")


class Answers:
    """A small thread-safe cache: the least recently used answer goes first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[object, ...], object] = OrderedDict()
        self._under_way: dict[tuple[object, ...], threading.RLock] = {}

    def get(self, key: tuple[object, ...], read: Callable[[], T]) -> T:
        """The answer kept under ``key``, or the one that ``read`` gives now.

        Whoever asks while the same question is being answered waits for that answer.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return cast(T, self._kept[key])
            turn = self._under_way.setdefault(key, threading.RLock())
        with turn:
            with self._lock:
                if key in self._kept:
                    return cast(T, self._kept[key])
            try:
                value = read()
                with self._lock:
                    self._keep(key, value)
            finally:
                with self._lock:
                    self._under_way.pop(key, None)
        return value

    def known(self, key: tuple[object, ...]) -> object | None:
        """The answer kept under ``key``, or None."""
        with self._lock:
            return self._kept.get(key)

    def _keep(self, key: tuple[object, ...], value: object) -> None:
        self._kept[key] = value
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


ANSWERS: Final = Answers(_MAX_ANSWERS)
REFERENCES: Final = Answers(20_000)  # row -> image paths
