"""Preparation ahead: order, both limits, and where errors are raised."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from scoring.dataset.importing import import_dataset
from scoring.engine.plan import Plan, open_plan
from scoring.engine.prefetch import Prefetcher, Window, count_tensor_bytes
from scoring.models.base import EncodedSample
from scoring.samples import Sample
from scoring.workspace import create_workspace, open_workspace

ROWS = 96


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Samples 0 to 95, each with an image of its own."""
    folder = tmp_path_factory.mktemp("prefetch")
    turns = [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": "a"}]
    records = [{"image": f"{row:03d}.png", "conversations": turns} for row in range(ROWS)]
    (folder / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(folder / "ws"), [folder / "data.json"])
    return open_plan(open_workspace(folder / "ws"))


def window(start: int, end: int) -> Window:
    return Window((start,), np.arange(start, end))


def rows(samples: Sequence[Sample]) -> list[int]:
    return [sample.row_idx for sample in samples]


class Task:
    """A task with the given preparation, whose items have no tensors."""

    def __init__(self, prepare: Callable[[Sequence[Sample]], list[Any]]) -> None:
        self._prepare = prepare

    def prepare(self, samples: Sequence[Sample]) -> list[Any]:
        return self._prepare(samples)

    def compute_rows(self, items: list[Any]) -> list[Any]:
        return items

    def encoded_samples(self, _: Any) -> Iterable[EncodedSample]:
        return ()


def test_windows_and_rows_keep_their_order(plan: Plan) -> None:
    def later_ones_sooner(samples: Sequence[Sample]) -> list[int]:
        time.sleep(0.0002 * (ROWS - samples[0].row_idx))
        return rows(samples)

    with Prefetcher(plan, Task(later_ones_sooner), threads=4) as ahead:
        ahead.put_window(window(0, 40))
        ahead.put_window(window(40, 96))
        for start, end in ((0, 40), (40, 96)):
            found, pieces = ahead.get_window()
            assert found.chunks == (start,)
            assert list(pieces) == [list(range(start, end))]  # no tensors: one piece


def test_two_windows_are_enough(plan: Plan) -> None:
    with Prefetcher(plan, Task(rows), threads=1) as ahead:
        filled = []
        for start in (0, 10, 20):
            filled.append(ahead.is_full)
            ahead.put_window(window(start, start + 10))
        assert filled == [False, False, True]
        ahead.get_window()
        ahead.get_window()
        assert (len(ahead), ahead.is_full) == (1, False)


def test_an_error_is_raised_for_its_window(plan: Plan) -> None:
    def refusing(samples: Sequence[Sample]) -> list[int]:
        if 12 in rows(samples):
            raise ValueError("row 12")
        return rows(samples)

    with Prefetcher(plan, Task(refusing), threads=2) as ahead:
        for start in (0, 10, 20):
            ahead.put_window(window(start, start + 10))
        assert list(ahead.get_window()[1]) == [list(range(10))]
        with pytest.raises(ValueError, match="row 12"):
            list(ahead.get_window()[1])
        assert list(ahead.get_window()[1]) == [list(range(20, 30))]


class Heavy:
    """Each sample becomes 100 bytes; counts how many samples are held at a time."""

    def __init__(self) -> None:
        self.prepared = self.left = self.most_held = 0
        self._lock = threading.Lock()

    def prepare(self, samples: Sequence[Sample]) -> list[EncodedSample]:
        with self._lock:
            self.prepared += len(samples)
            self.most_held = max(self.most_held, self.prepared - self.left)
        pixels = (np.zeros(100, np.uint8) for _ in samples)
        pairs = zip(samples, pixels, strict=True)
        return [EncodedSample((one.row_idx,), (-1,), {"pixels": held}) for one, held in pairs]

    def compute_rows(self, items: list[EncodedSample]) -> list[Any]:
        return items

    def encoded_samples(self, item: EncodedSample) -> Iterable[EncodedSample]:
        return [item]


def taken(ahead: Prefetcher, heavy: Heavy) -> list[list[int]]:
    """The pieces of the next window; each is released before the next one is requested."""
    pieces = []
    for piece in ahead.get_window()[1]:
        heavy.left += len(pieces[-1]) if pieces else 0
        pieces.append([item.input_ids[0] for item in piece])
    heavy.left += len(pieces[-1])
    return pieces


def test_no_more_bytes_are_held_than_allowed(plan: Plan) -> None:
    heavy = Heavy()
    with Prefetcher(plan, heavy, threads=2, held_bytes=1600) as ahead:
        ahead.put_window(window(0, 48))
        ahead.put_window(window(48, 96))
        while heavy.prepared < 16:  # groups of 8 samples: two of them fill the budget
            time.sleep(0.001)
        first, second = taken(ahead, heavy), taken(ahead, heavy)
    assert first == [list(range(start, start + 8)) for start in range(0, 48, 8)]
    assert second == [list(range(start, start + 8)) for start in range(48, 96, 8)]
    # The groups that fill the budget, an unexpected one, and one that is just being released.
    assert heavy.most_held <= 32


def test_a_group_larger_than_the_budget_is_still_prepared(plan: Plan) -> None:
    heavy = Heavy()
    with Prefetcher(plan, heavy, threads=4, held_bytes=1) as ahead:
        ahead.put_window(window(0, 40))
        assert [row for piece in taken(ahead, heavy) for row in piece] == list(range(40))


def test_waiting_groups_do_not_block_closing(plan: Plan) -> None:
    heavy = Heavy()
    with Prefetcher(plan, heavy, threads=2, held_bytes=800) as ahead:
        ahead.put_window(window(0, 96))
        while heavy.prepared < 8:
            time.sleep(0.001)
    assert heavy.prepared < 96


def test_a_tensor_that_samples_share_counts_once() -> None:
    pixels, own = np.zeros((2, 3), np.float32), np.zeros(5, np.uint8)
    one = EncodedSample((1,), (-1,), {"pixels": pixels})
    other = EncodedSample((2,), (-1,), {"pixels": pixels, "own": own, "n": 3})
    assert count_tensor_bytes([one, other, one]) == 24 + 5
