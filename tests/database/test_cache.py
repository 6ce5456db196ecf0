"""The cache of query results: order of eviction, errors, concurrent requests."""

from __future__ import annotations

import threading

import pytest

from scoring.database.cache import QueryCache


def test_least_recently_used_entry_is_dropped_first() -> None:
    cache = QueryCache(max_bytes=10)
    made: list[str] = []

    def get(key: str) -> str:
        def make() -> str:
            made.append(key)
            return key

        return cache.get_or_compute(key, make, lambda _: 4)

    for key in ("a", "b", "a", "c", "a"):
        assert get(key) == key
    assert made == ["a", "b", "c"]
    assert (("a" in cache), ("b" in cache), ("c" in cache)) == (True, False, True)
    get("b")
    assert made == ["a", "b", "c", "b"]


def test_failed_computation_is_tried_again() -> None:
    cache = QueryCache(max_bytes=10)
    with pytest.raises(ZeroDivisionError):
        cache.get_or_compute("a", lambda: 1 // 0, lambda _: 1)
    assert "a" not in cache
    assert cache.get_or_compute("a", lambda: 7, lambda _: 1) == 7


def test_concurrent_requests_compute_a_value_once() -> None:
    cache, begun = QueryCache(max_bytes=10), threading.Event()
    made: list[int] = []

    def make() -> int:
        made.append(1)
        begun.wait(10)
        return 5

    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(cache.get_or_compute("a", make, lambda _: 1)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    begun.set()
    for thread in threads:
        thread.join()
    assert (found, made) == ([5] * 4, [1])
