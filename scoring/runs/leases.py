"""Leases: which process works on which chunk of a run, as lock files in a shared folder.

A lease is a hard link to its owner's file, so touching that file every few seconds renews all
leases of a process. A lease whose owner is silent or known to be dead is taken over by renaming it,
which only one process can do. Leases only avoid duplicate work: a process that wakes up after a
takeover notices before it writes its part, and readers count a row once in any case.
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
from typing import Any, Self

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0  # without a heartbeat, by the clock of the file system


class ChunkLeases:
    """The chunks that this process holds in one folder. Entering it starts the heartbeat."""

    def __init__(self, folder: Path, *, stale_seconds: float = STALE_SECONDS) -> None:
        self._folder, self._stale_seconds = folder, stale_seconds
        self._me = json.dumps({**identify_process(), "token": uuid.uuid4().hex})
        self._owner = folder / f"owner-{uuid.uuid4().hex}"
        self._copies: set[Path] = set()  # leases that could not be hard links
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._renew_leases, daemon=True, name="leases")
        self.held: set[int] = set()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._owner.write_text(self._me, "utf-8")
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heart.join()
        self.release(sorted(self.held))
        self._owner.unlink(missing_ok=True)
        for path in self._folder.glob("owner-*"):  # that killed processes left behind
            owner = _read_owner(path)
            if owner is not None and self._is_abandoned(path, owner):
                path.unlink(missing_ok=True)
        for path in self._folder.glob(".*.taken"):
            if self._is_silent(path):
                path.unlink(missing_ok=True)

    def acquire(self, chunk: int) -> bool:
        """Take the lease of ``chunk`` unless a living process holds it."""
        path = self._lease_path(chunk)
        if not self._create_lease(path):
            owner = _read_owner(path)  # None: it was released just now
            if owner is not None:
                is_taken = owner == self._me or not self._is_abandoned(path, owner)
                if is_taken or not _remove_lease(path, owner):
                    return False
            if not self._create_lease(path):
                return False
        self.held.add(chunk)
        return True

    def is_held(self, chunk: int) -> bool:
        """Return whether this process still holds ``chunk``: no one has taken it over."""
        return chunk in self.held and _read_owner(self._lease_path(chunk)) == self._me

    def release(self, chunks: Iterable[int]) -> None:
        """Give up ``chunks``; those that others have taken over stay theirs."""
        for chunk in chunks:
            path = self._lease_path(chunk)
            self.held.discard(chunk)
            self._copies.discard(path)
            if _read_owner(path) == self._me:
                _remove_lease(path, self._me)

    def _lease_path(self, chunk: int) -> Path:
        return self._folder / f"chunk-{chunk:08d}.lock"

    def _create_lease(self, path: Path) -> bool:
        """Create the lease with its content at once; False if there is one."""
        try:
            os.link(self._owner, path)
        except FileExistsError:
            return False
        except OSError:  # no hard links on this file system
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(self._me)
            except FileExistsError:
                return False
            self._copies.add(path)
        return True

    def _is_abandoned(self, path: Path, owner: str) -> bool:
        with suppress(
            ValueError, KeyError, TypeError, AttributeError
        ):  # being written, or not ours
            if has_exited(json.loads(owner)):
                return True
        return self._is_silent(path)

    def _is_silent(self, path: Path) -> bool:
        """A time stamp in the future is old too: the clock went back and was not renewed since."""
        with suppress(FileNotFoundError):
            return abs(read_file_clock(self._folder) - path.stat().st_mtime) > self._stale_seconds
        return False

    def _renew_leases(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            for path in (self._owner, *self._copies.copy()):
                with suppress(OSError):  # the next heartbeat may work; if not, others take over
                    os.utime(path)


def identify_process() -> dict[str, Any]:
    """Return what distinguishes this process from any other, on this machine and elsewhere."""
    return {
        "host": socket.gethostname(),
        "machine": _identify_machine(),
        "pid": os.getpid(),
        "started": _read_start_time(os.getpid()),
    }


def has_exited(process: dict[str, Any]) -> bool:
    """Return whether ``process`` (from ``identify_process``) ran on this machine and has ended."""
    if process.get("host") != socket.gethostname() or process.get("machine") != _identify_machine():
        return False
    pid = int(process["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _read_start_time(pid) != process.get("started")  # a zombie, or a reused pid


def read_file_clock(folder: Path) -> float:
    """Return the time by the clock that stamps files in ``folder``, which may be a server's."""
    probe = folder / f".clock-{os.getpid()}-{threading.get_ident()}"
    try:
        probe.touch()
        os.utime(probe)
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _remove_lease(path: Path, expected: str) -> bool:
    """Remove the lease at ``path`` if its owner is ``expected``; only one process succeeds."""
    taken = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.taken")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return False
    owner = _read_owner(taken)
    if owner != expected:  # another process was faster and holds the lease: give it back
        with suppress(OSError):
            os.link(taken, path)
    taken.unlink(missing_ok=True)
    return owner == expected


def _read_owner(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except OSError:
        return None


def _identify_machine() -> str:
    """Return an id that differs between containers that share a host name but not processes."""
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _read_start_time(pid: int) -> str:
    """Return when ``pid`` started, in kernel ticks; empty for a zombie, or if unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    fields = re.sub(r"^.*\) ", "", stat, flags=re.DOTALL).split()
    return "" if fields[0] == "Z" else fields[19]
