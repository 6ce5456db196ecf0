"""Claims: which process works on which chunk of a run, told by lock files in a shared folder.

A claim is a hard link to its owner's file, so that one touch every few seconds keeps all of a
process's claims alive. A claim whose owner is silent or known to be dead is stolen by renaming it
away, which only one can do. Claims spare work twice over and are no more than that: who wakes up
after a theft finds that out before its part is written, and readers count a row once in any case.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0  # without a heartbeat; clocks of the file system, never of two machines


class ChunkLeases:
    """The chunks that this process holds in one folder. Enter it to begin the heartbeat."""

    def __init__(self, folder: Path, *, stale_seconds: float = STALE_SECONDS) -> None:
        self._folder, self._stale_seconds = folder, stale_seconds
        self._me = json.dumps({**identify_process(), "token": uuid.uuid4().hex})
        self._owner = folder / f"owner-{uuid.uuid4().hex}"
        self._copies: set[Path] = set()  # claims that could not be hard links
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="claims")
        self.held: set[int] = set()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._owner.write_text(self._me, "utf-8")
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._heart.join()
        self.release(sorted(self.held))
        self._owner.unlink(missing_ok=True)
        self._remove_orphans()

    def acquire(self, chunk: int) -> bool:
        """Claims ``chunk`` unless a living process holds it."""
        path = self._path(chunk)
        if self._place(path) or (self._is_abandoned(path) and self._place(path)):
            self.held.add(chunk)
            return True
        return False

    def is_held(self, chunk: int) -> bool:
        """Whether no one has taken ``chunk`` over from this process."""
        return chunk in self.held and _read(self._path(chunk)) == self._me

    def release(self, chunks: Iterable[int]) -> None:
        """Gives ``chunks`` back; those that others took over meanwhile stay theirs."""
        for chunk in chunks:
            path = self._path(chunk)
            self.held.discard(chunk)
            self._copies.discard(path)
            if _read(path) == self._me:
                _take_away(path, self._me)

    def _path(self, chunk: int) -> Path:
        return self._folder / f"chunk-{chunk:08d}.lock"

    def _place(self, path: Path) -> bool:
        """Puts the claim there whole, or finds another one there."""
        try:
            os.link(self._owner, path)
        except FileExistsError:
            return False
        except OSError:  # no hard links on this file system
            return self._place_copy(path)
        return True

    def _place_copy(self, path: Path) -> bool:
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(self._me)
        except FileExistsError:
            return False
        self._copies.add(path)
        return True

    def _is_abandoned(self, path: Path) -> bool:
        """Takes a claim away whose owner is dead or silent; True if it is gone."""
        found = _read(path)
        if found is None:
            return True
        if found == self._me or not (_is_dead(found) or self._is_silent(path)):
            return False
        return _take_away(path, found)

    def _is_silent(self, path: Path) -> bool:
        """A stamp of the future is old too: the clock went back, and no beat has come since."""
        with suppress(FileNotFoundError):
            return abs(read_file_clock(self._folder) - path.stat().st_mtime) > self._stale_seconds
        return False

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            for path in (self._owner, *self._copies.copy()):
                with suppress(OSError):  # the next beat may get through; if not, others take over
                    os.utime(path)

    def _remove_orphans(self) -> None:
        """Removes what killed processes left."""
        for path in self._folder.glob("owner-*"):
            found = _read(path)
            if found is not None and (_is_dead(found) or self._is_silent(path)):
                path.unlink(missing_ok=True)
        for path in self._folder.glob(".*.taken"):
            if self._is_silent(path):
                path.unlink(missing_ok=True)


def identify_process() -> dict[str, Any]:
    """What tells this process from any other, on this machine and elsewhere."""
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def has_exited(process: dict[str, Any]) -> bool:
    """Whether ``process`` (as of ``this_process``) ran on this machine and is no more."""
    if process.get("host") != socket.gethostname() or process.get("machine") != _machine():
        return False
    pid = int(process["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _started(pid) != process.get("started")  # a zombie, or another one with its number


def read_file_clock(folder: Path) -> float:
    """The time by the clock that stamps files in ``folder``, which may be a server's."""
    probe = folder / f".clock-{os.getpid()}-{threading.get_ident()}"
    try:
        probe.touch()
        os.utime(probe)
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _take_away(path: Path, expected: str) -> bool:
    """Removes the claim at ``path`` if it still reads ``expected``; only one process succeeds."""
    taken = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.taken")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return False
    found = _read(taken)
    if found != expected:  # another one was quicker and has claimed it since: it gets it back
        with suppress(OSError):
            os.link(taken, path)
    taken.unlink(missing_ok=True)
    return found == expected


def _is_dead(owner: str) -> bool:
    try:
        return has_exited(json.loads(owner))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False  # being written, or not ours: silence will tell


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None


def _machine() -> str:
    """Containers may share a host's name without seeing each other's processes."""
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str:
    """When ``pid`` began, in the kernel's ticks; empty for a zombie, or where none can know."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    fields = re.sub(r"^.*\) ", "", stat, flags=re.DOTALL).split()
    return "" if fields[0] == "Z" else fields[19]
