"""Progress of a trial: its finished units, and the units that processes work on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scoring.runs.progress import is_active, read_values
from scoring.trials.plan import TrialPlan, trial_folder
from scoring.trials.results import result_path
from scoring.workspace import Workspace

Phase = Literal["train", "evaluate"]
State = Literal["planned", "running", "stopped", "silent", "finished"]


@dataclass(frozen=True, slots=True)
class UnitProgress:
    """A unit that a process works on: steps of its training, or questions of its evaluation."""

    arm: str
    seed: int
    phase: Phase
    done: int
    total: int
    rate: float  # steps or questions per second
    host: str
    pid: int
    updated_at: str


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """The progress of a trial, all its processes together.

    It is ``silent`` if its processes ended without reporting it; their units will be done again.
    """

    done: int  # units
    total: int
    state: State
    active: tuple[UnitProgress, ...]


def progress_folder(workspace: Workspace, plan: TrialPlan) -> Path:
    """Return where processes report on a trial."""
    return trial_folder(workspace, plan.name) / "progress"


def open_units(workspace: Workspace, plan: TrialPlan) -> list[int]:
    """Return the positions in ``plan.units`` of those without a result."""
    return [
        position
        for position, (arm, seed) in enumerate(plan.units)
        if not result_path(workspace, plan, arm, seed).exists()
    ]


def read_trial_progress(workspace: Workspace, plan: TrialPlan) -> TrialProgress:
    """Return the progress of a trial that is trained here."""
    active: list[UnitProgress] = []
    n_silent = 0
    for path in sorted(progress_folder(workspace, plan).glob("*.json")):
        values = read_values(path)
        if values is None:
            continue
        if not is_active(path, values):
            n_silent += values.get("state") == "running"
        elif values.get("arm") is not None:
            active.append(_read_unit(values))
    total, n_open = len(plan.units), len(open_units(workspace, plan))
    if not n_open:
        return TrialProgress(total, total, "finished", ())
    if active:
        return TrialProgress(total - n_open, total, "running", tuple(active))
    has_begun = n_open < total or progress_folder(workspace, plan).exists()
    state: State = "silent" if n_silent else "stopped" if has_begun else "planned"
    return TrialProgress(total - n_open, total, state, ())


def _read_unit(values: Mapping[str, Any]) -> UnitProgress:
    process = values["process"]
    names = ("arm", "seed", "phase", "done", "total", "rate", "updated_at")
    return UnitProgress(
        **{name: values[name] for name in names}, host=process["host"], pid=process["pid"]
    )
