"""Plan and train trials from a page, as processes of the command ``visnec trial``.

So the server itself never loads a model. A training goes on when the server ends, and its results
are in the workspace.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dashboard.data.cache import APP_CACHE
from scoring.errors import InputError
from scoring.trials.plan import TrialPlan, trial_folder
from scoring.workspace import Workspace, check_name

State = Literal["running", "finished", "stopped", "failed"]

_COMMAND = (sys.executable, "-m", "scoring", "trial")
_LOG = "run.log"
_LOG_LINES = 12
_STOPPED = 130
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class TrialProcess:
    """A process that trains the units of a trial; ``log`` is the file with its messages."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def state(self) -> State:
        """Whether it runs, and how it ended."""
        code = self.process.poll()
        if code is None:
            return "running"
        return "finished" if code == 0 else "stopped" if code == _STOPPED else "failed"

    def request_stop(self) -> None:
        """Ask it to stop after the step in progress; the unit in progress is trained again."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def wait_for_end(self, seconds: float) -> bool:
        """Wait for the end for at most ``seconds``; return whether it has ended."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_messages(self) -> str:
        """Return the last lines of its messages."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_LINES:])


def plan_trial(workspace: Workspace, name: str, options: Sequence[str]) -> None:
    """Plan a trial with options of ``visnec trial plan``. Raises InputError with its message."""
    planned = subprocess.run(  # noqa: S603 - our own command, without a shell
        [
            *_COMMAND,
            "plan",
            check_name(name, "trial"),
            "-w",
            str(workspace.root),
            "--quiet",
            *options,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if planned.returncode:
        raise InputError(planned.stderr.strip() or "visnec trial plan ended without a message")


def start_trial(workspace: Workspace, plan: TrialPlan) -> TrialProcess:
    """Train the units of a trial that have no result. Raises InputError if this server does."""
    with _lock:
        processes = _processes_of(workspace)
        earlier = processes.get(plan.name)
        if earlier is not None and earlier.state == "running":
            raise InputError(f"Trial {plan.name!r} is already running")
        log = trial_folder(workspace, plan.name) / _LOG
        with log.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 - our own command, without a shell
                [*_COMMAND, "run", plan.name, "-w", str(workspace.root)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes[plan.name] = TrialProcess(process, log)
        return processes[plan.name]


def find_process(workspace: Workspace, name: str) -> TrialProcess | None:
    """Return the last process that this server started for a trial."""
    return _processes_of(workspace).get(name)


def _processes_of(workspace: Workspace) -> dict[str, TrialProcess]:
    return APP_CACHE.trial_processes.get(workspace.root, dict[str, TrialProcess])
