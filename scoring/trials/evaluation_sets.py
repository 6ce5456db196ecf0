"""Evaluation sets as workspaces: one that exists, or a file imported into the trial's folder."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.trials.plan import EvaluationSet, trial_folder
from scoring.workspace import Workspace, create_workspace, open_workspace


def open_evaluation_set(workspace: Workspace, trial: str, name: str, path: str) -> Workspace:
    """Return the workspace with the questions of ``path``, a workspace or a file of records.

    A file is imported once, into ``trials/<trial>/evaluation/<name>``, with every format and
    image folder that an import detects. The fingerprint of its dataset is the digest of the set.
    Raises InputError.
    """
    if (Path(path) / "workspace.json").is_file():
        return open_workspace(Path(path))
    folder = trial_folder(workspace, trial) / "evaluation" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):  # several processes may start a trial
        imported = create_workspace(folder)
        if not imported.dataset_dir.exists():
            import_dataset(imported, [path])
    return open_workspace(folder)


def open_planned_set(workspace: Workspace, trial: str, planned: EvaluationSet) -> Workspace:
    """Return the workspace of a planned set. Raises InputError if its records have changed."""
    opened = open_evaluation_set(workspace, trial, planned.name, planned.path)
    found = read_dataset_info(opened).fingerprint
    if found != planned.digest:
        raise InputError(
            f"The evaluation set {planned.name!r} ({planned.path}) changed after the trial was "
            f"planned: its digest was {planned.digest[:12]} and is {found[:12]}. Restore it, or "
            "plan another trial."
        )
    return opened
