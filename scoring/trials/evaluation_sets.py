"""Evaluation sets as workspaces: a file is imported into the folder of its trial.

So its records are pinned with the trial, and found, read and decoded like those of any dataset.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scoring.dataset.importing import open_or_import
from scoring.dataset.records import count_statuses, read_dataset_info, read_samples
from scoring.errors import InputError, WorkspaceError
from scoring.samples import Sample, Status
from scoring.trials.options import EvaluationSource
from scoring.trials.plan import EvaluationSet, TrialPlan, trial_folder
from scoring.workspace import Workspace, open_workspace

USABLE = (Status.PENDING, Status.TEXT_ONLY)
"""Statuses of records that can be asked."""

EVALUATION_FOLDER = "evaluation"


@dataclass(frozen=True, slots=True)
class OpenedSet:
    """An evaluation set with the workspace that has its records."""

    planned: EvaluationSet
    workspace: Workspace
    n_unusable: int


def add_evaluation_set(workspace: Workspace, trial: str, source: EvaluationSource) -> OpenedSet:
    """Open a workspace, or import a file into the trial. Raises InputError if nothing is usable."""
    path = source.path.resolve()
    folder = trial_folder(workspace, trial) / EVALUATION_FOLDER / source.name
    is_imported = (folder / "dataset").exists()
    try:
        opened = open_or_import(path, folder)
    except WorkspaceError as error:
        if not is_imported:
            raise
        raise InputError(
            f"Trial {trial!r} is already planned with other records of {path}. Choose another "
            "name: a plan is not changed after the fact"
        ) from error
    except InputError as error:
        if "--format" not in str(error):
            raise
        raise InputError(
            f"{error}. Pass these to visnec import, and the imported workspace to --eval"
        ) from error
    info = read_dataset_info(opened)
    statuses, _ = count_statuses(opened)
    n_usable = sum(statuses[status] for status in USABLE)
    if not n_usable:
        raise InputError(f"The evaluation set {path} has no record with a question and an answer.")
    planned = EvaluationSet(source.name, str(path), n_usable, info.fingerprint)
    return OpenedSet(planned, opened, info.n_samples - n_usable)


def open_evaluation_set(workspace: Workspace, plan: TrialPlan, name: str) -> Workspace:
    """Return the workspace with the records of an evaluation set of a plan.

    Raises InputError for an unknown set, or if its records are no longer those of the plan.
    """
    planned = next((each for each in plan.evaluation if each.name == name), None)
    if planned is None:
        known = ", ".join(each.name for each in plan.evaluation)
        raise InputError(f"Trial {plan.name!r} has no evaluation set {name!r}. Its sets: {known}")
    imported = trial_folder(workspace, plan.name) / EVALUATION_FOLDER / name
    opened = open_workspace(imported if imported.exists() else Path(planned.path))
    if read_dataset_info(opened).fingerprint != planned.digest:
        raise InputError(
            f"The records of {planned.path} are not those that trial {plan.name!r} was planned "
            "with. Restore them, or plan another trial"
        )
    return opened


def read_evaluation_samples(opened: Workspace) -> Iterator[Sample]:
    """Yield the samples of an evaluation set that can be asked, in order."""
    yield from (sample for sample in read_samples(opened) if sample.status in USABLE)
