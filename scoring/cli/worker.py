"""A worker process of ``--workers``: reads its job from stdin and reports the run on stdout.

``scoring.engine.workers`` starts it as ``python -m scoring.cli.worker``. Other modules are started
the same way for other work, with ``run_worker``.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable

from scoring.cli.console import print_line
from scoring.engine.workers import STOPPED, Job, run_job
from scoring.errors import VisnecError


def main() -> int:
    """Score, and return the exit code."""

    def score(line: str, stop: threading.Event) -> bool:
        return run_job(Job.from_json(line), lambda value: print_line(json.dumps(value)), stop)

    return run_worker(score)


def run_worker(run: Callable[[str, threading.Event], bool]) -> int:
    """Call ``run`` with the job and an event that stops it, and return the exit code.

    ``run`` returns whether it was stopped before the end.
    """
    line = sys.stdin.readline()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    try:
        stopped = run(line, stop)
    except VisnecError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return STOPPED if stopped else 0


def _wait_for_end_of_input(stop: threading.Event) -> None:
    """Set ``stop`` when the pipe closes: the parent asks the worker to stop, or it has died."""
    while sys.stdin.readline():
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
