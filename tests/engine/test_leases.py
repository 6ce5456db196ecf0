"""Leases: one holder at a time, takeover from dead and silent owners, which these notice."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scoring.runs import leases
from scoring.runs.leases import ChunkLeases, has_exited, identify_process, read_file_clock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "claims"


def leave_lease(folder: Path, chunk: int, seconds_ago: float = 0.0, **owner: object) -> Path:
    """A lease as another process left it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"chunk-{chunk:08d}.lock"
    path.write_text(json.dumps({**identify_process(), "token": "other"} | owner))
    moment = read_file_clock(folder) - seconds_ago
    os.utime(path, (moment, moment))
    return path


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_chunk_has_one_holder_until_it_is_released(folder: Path) -> None:
    with ChunkLeases(folder) as mine, ChunkLeases(folder) as yours:
        assert mine.acquire(3)
        assert not yours.acquire(3)
        assert yours.acquire(4)
        mine.release([3])
        assert yours.acquire(3)
        assert (mine.held, yours.held) == (set(), {3, 4})
    assert list(folder.iterdir()) == []


def test_one_of_many_takes_over_the_chunk_of_a_dead_process(folder: Path) -> None:
    for chunk in range(20):
        leave_lease(folder, chunk, pid=ended_process() if chunk == 0 else 1, started="never")
    several = [ChunkLeases(folder).__enter__() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for chunk in range(20):
            got = list(pool.map(lambda one, chunk=chunk: one.acquire(chunk), several))
            assert any(got)  # a second may believe so, and notices before it writes
            assert sum(one.is_held(chunk) for one in several) == 1
    for one in several:
        one.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("owner", "seconds_ago", "taken"),
    [
        ({}, 0.0, False),  # this very process, alive
        ({"started": "before"}, 0.0, True),  # its pid belongs to another process now
        ({"host": "elsewhere"}, 30.0, False),  # another machine: only silence counts
        ({"host": "elsewhere"}, 90.0, True),
        ({"host": "elsewhere"}, -30.0, False),
        ({"host": "elsewhere"}, -90.0, True),  # the clock went back, and no beat came since
        ({"machine": "another container"}, 30.0, False),
        ({}, 90.0, True),  # stopped, or without contact to the shared folder
    ],
)
def test_dead_and_silent_owners_lose_their_lease(
    folder: Path, owner: dict[str, object], seconds_ago: float, taken: bool
) -> None:
    leave_lease(folder, 0, seconds_ago, **owner)
    with ChunkLeases(folder) as mine:
        assert mine.acquire(0) is taken


def test_a_lease_without_a_readable_owner_expires_by_silence(folder: Path) -> None:
    leave_lease(folder, 0).write_text("")
    leave_lease(folder, 1).write_text("{not json")
    os.utime(folder / "chunk-00000001.lock", (0, 0))
    with ChunkLeases(folder) as mine:
        assert not mine.acquire(0)
        assert mine.acquire(1)


def test_an_expired_owner_notices_and_leaves_the_new_owner_alone(folder: Path) -> None:
    with ChunkLeases(folder) as expired, ChunkLeases(folder) as successor:
        assert expired.acquire(0)
        os.utime(folder / "chunk-00000000.lock", (0, 0))
        assert successor.acquire(0)
        assert not expired.is_held(0)
        assert successor.is_held(0)
        expired.release([0])
        assert successor.is_held(0)


def test_one_touch_renews_all_leases(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChunkLeases(folder) as mine:
        for chunk in range(3):
            mine.acquire(chunk)
        owner = next(folder.glob("owner-*"))
        os.utime(owner, (5.0, 5.0))
        assert [path.stat().st_mtime for path in sorted(folder.glob("*.lock"))] == [5.0] * 3


def test_leases_work_without_hard_links(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr("scoring.runs.leases.os.link", refuse)
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    with ChunkLeases(folder) as mine, ChunkLeases(folder) as yours:
        assert mine.acquire(0)
        assert not yours.acquire(0)
        path = folder / "chunk-00000000.lock"
        os.utime(path, (0, 0))
        while path.stat().st_mtime == 0:  # the heartbeat reaches copies as well
            pass
        assert not yours.acquire(0)
        assert mine.is_held(0)
    assert list(folder.iterdir()) == []


def test_a_process_has_exited_if_it_ended_here_and_is_unknown_elsewhere() -> None:
    assert not has_exited(identify_process())
    assert has_exited({**identify_process(), "pid": ended_process()})
    assert not has_exited({**identify_process(), "pid": ended_process(), "host": "elsewhere"})


def test_leftovers_of_the_dead_are_removed(folder: Path) -> None:
    folder.mkdir()
    (folder / "owner-dead").write_text(json.dumps({**identify_process(), "pid": ended_process()}))
    (folder / "owner-far").write_text(json.dumps({**identify_process(), "host": "elsewhere"}))
    with ChunkLeases(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["owner-far"]
