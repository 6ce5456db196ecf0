"""A worker process of ``--workers``: what to do comes in on stdin, where it is goes out on stdout.

``python -m scoring.cli.worker`` is started by ``scoring.engine.workers`` and by nobody else.
"""

from __future__ import annotations

import json
import signal
import sys
import threading

from scoring.cli.console import print_line
from scoring.engine.workers import STOPPED, Job, run_job
from scoring.errors import VisnecError


def main() -> int:
    """Does one job; the exit code tells how it ended."""
    job = Job.from_json(sys.stdin.readline())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_wait_for_the_end, args=(stop,), daemon=True).start()
    try:
        stopped = run_job(job, lambda value: print_line(json.dumps(value)), stop)
    except VisnecError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return STOPPED if stopped else 0


def _wait_for_the_end(stop: threading.Event) -> None:
    """The parent closes the pipe to ask for the end; the system does where the parent dies."""
    while sys.stdin.readline():
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
