"""Exports at work: they run beside the pages, so that no click and no closed tab breaks one off.

The one decision behind it: a job belongs to the process, not to a session. Whoever looks at the
workspace sees it and may stop it; stopped or failed, it leaves nothing behind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scoring.errors import InputError, VisnecError
from scoring.exports.export import ExportResult, OnWait, Progress

Work = Callable[[Progress, OnWait], ExportResult]
State = Literal["running", "done", "stopped", "failed"]
_KEPT_SECONDS = 3600.0
_jobs: dict[Path, list[ExportJob]] = {}
_lock = threading.Lock()


class Stopped(Exception):
    """Somebody stopped the export."""


@dataclass(eq=False)
class ExportJob:
    """One export on its way. ``about`` is all that decides what it writes; it is ``waiting`` while
    another one of the workspace is at work; ``said`` is the error's sentence once it failed.
    """

    name: str
    folder: Path
    about: object = None
    waiting: bool = False
    done: int = 0
    total: int = 0
    state: State = "running"
    said: str = ""
    result: ExportResult | None = None
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def stop(self) -> None:
        """Asks it to stop; it does at its next thousand samples, or while it waits."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Waits for its end, at most so long; whether it came."""
        return self._over.wait(seconds)

    @property
    def seconds_left(self) -> float | None:
        """By its pace so far; None where there is none yet."""
        if not self.done or not self.total:
            return None
        return (time.monotonic() - self.began) * (self.total - self.done) / self.done

    def run(self, work: Work) -> None:
        """Does the work and notes how it ended."""
        try:
            self.result = work(self._tell, self._wait)
            self.state = "done"
        except Stopped:
            self.state = "stopped"
        except (VisnecError, OSError) as error:
            self.state, self.said = "failed", str(error)
        except Exception as error:  # a fault must not leave a bar that never moves
            self.state, self.said = "failed", f"a fault of the program: {error!r}"
            raise
        finally:
            self.ended = time.monotonic()
            self._over.set()

    def _tell(self, done: int, total: int) -> None:
        self.done, self.total, self.waiting = done, total, False
        self._heed()

    def _wait(self) -> None:
        self.waiting = True
        self._heed()

    def _heed(self) -> None:
        if self._stop.is_set():
            raise Stopped


def start(root: Path, name: str, folder: Path, work: Work, about: object = None) -> ExportJob:
    """Begins an export of the workspace at ``root``, once into the same folder at a time.

    The same one that is at work already is given back. Raises InputError where another one is.
    """
    with _lock:
        listed = _jobs.setdefault(root, [])
        for one in listed:
            if one.folder == folder and one.state == "running":
                if (one.name, one.about) == (name, about):
                    return one
                raise InputError(
                    f"{one.name} is being exported to {folder} with other choices; wait for its "
                    "end, stop it, or name another folder"
                )
        job = ExportJob(name, folder, about)
        listed[:] = [one for one in listed if one.folder != folder and not _is_old(one)]
        listed.append(job)
    threading.Thread(target=job.run, args=(work,), name=f"export {name}", daemon=True).start()
    return job


def jobs(root: Path) -> list[ExportJob]:
    """Exports of the last hour, those at work among them, oldest first."""
    with _lock:
        return [one for one in _jobs.get(root, []) if not _is_old(one)]


def dismiss(root: Path, job: ExportJob) -> None:
    """Forgets an export that ended."""
    with _lock:
        _jobs[root] = [one for one in _jobs.get(root, []) if one is not job]


def _is_old(job: ExportJob) -> bool:
    return job.ended is not None and time.monotonic() - job.ended > _KEPT_SECONDS
