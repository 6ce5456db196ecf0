"""A lock whose file is removed with it, for folders in which no file may stay."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from filelock import Timeout

_POLL_SECONDS = 0.05


class TemporaryLock:
    """Like ``FileLock``, which leaves its file behind because others may be waiting for it.

    Here, those who wait notice that the file is gone and start over with a new one.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, -1

    def acquire(self, timeout: float) -> None:
        """Lock the file, which is created. Raises Timeout if that takes ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not self._try_lock():
            if time.monotonic() >= end:
                raise Timeout(str(self._path))
            time.sleep(_POLL_SECONDS)

    def release(self) -> None:
        """Remove the file, then unlock it: in this order, no one locks a file that is removed."""
        if os.fstat(self._descriptor).st_nlink:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _try_lock(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else it was removed after it was opened
                self._descriptor = descriptor
                return True
        except BlockingIOError:
            pass
        os.close(descriptor)
        return False
