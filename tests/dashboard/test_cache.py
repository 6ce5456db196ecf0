"""The app's cache computes a value once, also for concurrent callers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dashboard.data.cache import ResultCache


def test_concurrent_callers_share_one_computation() -> None:
    answers, asked, go_on = ResultCache(10), threading.Event(), threading.Event()
    reads: list[int] = []

    def read() -> str:
        reads.append(1)
        asked.set()
        assert go_on.wait(30)
        return "answer"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(answers.get, ("question",), read)
        assert asked.wait(30)
        second = pool.submit(answers.get, ("question",), read)
        go_on.set()
        assert (first.result(), second.result()) == ("answer", "answer")
    assert len(reads) == 1


def test_a_failed_computation_is_repeated() -> None:
    answers = ResultCache(10)
    with pytest.raises(ZeroDivisionError):
        answers.get(("question",), lambda: 1 // 0)
    assert answers.get(("question",), lambda: 2) == 2
