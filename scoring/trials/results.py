"""The results of a trial: one file per training, which appears complete or not at all.

A unit is one arm trained with one seed. ``results/`` holds the units trained here, ``recorded/``
what was measured elsewhere; both give the same values to the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scoring.errors import WorkspaceError
from scoring.runs.record import utc_now
from scoring.trials.plan import TrialPlan, trial_folder
from scoring.workspace import Workspace, write_json


@dataclass(frozen=True, slots=True)
class SetResult:
    """One trained model on one evaluation set.

    ``values`` are by measure: ``accuracy`` in per cent, ``loss`` in nats per answer token.
    ``by_kind`` has the number of questions and the accuracy by type of answer. Of a recorded
    result, ``n_samples`` may be None, and ``metric`` is what the other program calls the value.
    """

    n_samples: int | None
    values: Mapping[str, float]
    n_skipped: int = 0  # samples that this model cannot read, such as one that is too long
    n_generated: int = 0  # whose answer was generated, not compared in one pass
    by_kind: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class UnitResult:
    """The result of one unit; ``sets`` is by the name of the evaluation set.

    Of a recorded result, the counts and seconds may be None.
    """

    plan_digest: str
    arm: str
    seed: int
    sets: Mapping[str, SetResult]
    n_samples: int | None = None
    n_answer_tokens: int | None = None  # trained on, in all steps together
    n_steps: int | None = None
    training_loss: float | None = None  # mean of the last tenth of the steps, nats per answer token
    training_seconds: float | None = None
    evaluation_seconds: float | None = None
    device: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    recorded_from: str | None = None  # file (name and sha256) of results of another program
    manifest_digest: str | None = None  # of the export that a recorded training used
    created_at: str = field(default_factory=utc_now)


def result_path(workspace: Workspace, plan: TrialPlan, arm: str, seed: int) -> Path:
    """Return where the result of a unit that was trained here is written."""
    return trial_folder(workspace, plan.name) / "results" / f"{seed}-{arm}.json"


def write_result(workspace: Workspace, plan: TrialPlan, result: UnitResult) -> Path:
    """Write the result of a unit that was trained here, atomically."""
    path = result_path(workspace, plan, result.arm, result.seed)
    write_json(path, asdict(result))
    return path


def read_results(workspace: Workspace, plan: TrialPlan) -> list[UnitResult]:
    """Return all results, those trained here before the recorded ones, in the order of the plan.

    Raises WorkspaceError for a result of another plan, or one that cannot be read.
    """
    order = {arm.name: number for number, arm in enumerate(plan.arms)}
    results = [read_result(path, plan) for path in list_result_files(workspace, plan)]
    known = [result for result in results if result.arm in order]
    return sorted(
        known, key=lambda each: (each.recorded_from is not None, each.seed, order[each.arm])
    )


def list_result_files(workspace: Workspace, plan: TrialPlan) -> list[Path]:
    """Return the files of all results, those trained here before the recorded ones."""
    folder = trial_folder(workspace, plan.name)
    return [
        path for kind in ("results", "recorded") for path in sorted((folder / kind).glob("*.json"))
    ]


def read_result(path: Path, plan: TrialPlan) -> UnitResult:
    """Read a result file. Raises WorkspaceError if it is of another plan or cannot be read."""
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        sets = {
            name: SetResult(
                **(each | {"by_kind": {kind: tuple(v) for kind, v in each["by_kind"].items()}})
            )
            for name, each in raw["sets"].items()
        }
        result = UnitResult(**(raw | {"sets": sets}))
    except (ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"{path} is not a result that this version can read ({error})"
        ) from error
    if result.plan_digest != plan.digest:
        raise WorkspaceError(f"{path} is a result of another plan. Remove it from this trial")
    return result
