"""Check that a recorded training used an export of its arm."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scoring.errors import InputError
from scoring.exports.manifest import (
    Manifest,
    digest_manifest,
    digest_rows,
    manifest_path,
    read_manifest,
)
from scoring.rules.candidates import Ints
from scoring.subsets.definitions import definition_from_dict
from scoring.trials.arms import Arms, arm_rows
from scoring.trials.plan import PlannedArm, TrialPlan
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class TrainedExport:
    """An export, by the name that it was given with; ``digest`` is its ``manifest_sha256``."""

    name: str
    digest: str
    manifest: Manifest


def read_export(workspace: Workspace, text: str) -> TrainedExport:
    """Read an export by its name in the workspace, or by path. Raises InputError."""
    path = Path(text)
    if not path.exists():
        path = workspace.exports_dir / text
    manifest = read_manifest(path)
    value: dict[str, Any] = json.loads(manifest_path(path).read_text("utf-8"))
    stated = value.pop("manifest_sha256", None)
    digest = digest_manifest(value)
    if stated not in (None, digest):
        raise InputError(f"{manifest_path(path)} was changed after it was written")
    return TrainedExport(text, digest, manifest)


def match_export(
    workspace: Workspace,
    plan: TrialPlan,
    get_arms: Callable[[], Arms],
    arm: str,
    seed: int,
    stated: set[str],
    exports: Sequence[TrainedExport],
) -> tuple[str | None, list[str]]:
    """Return the digest of the manifest that a unit was trained on, and notes about it.

    ``stated`` are the digests that the file of results names, at most one; ``exports`` those that
    were given, by default the ones of the workspace.

    Raises InputError if the export that the file names, or each one that is given, does not contain
    the samples of the arm.
    """
    if len(stated) > 1:
        raise InputError(f"{arm} seed {seed} names several exports: {', '.join(sorted(stated))}")
    wanted = next(iter(stated), None)
    known = list(exports) or (_list_exports(workspace) if wanted else [])
    if wanted is None and not known:
        return None, []
    candidates = [export for export in known if wanted in (None, export.digest)]
    if not candidates and exports:
        raise InputError(f"{arm} seed {seed} names the export {wanted}, which is not a given one")
    if not candidates:
        return wanted, [f"The export of {arm} ({wanted}) is not in this workspace, so not checked"]
    rows = arm_rows(get_arms(), arm, seed).row_idx
    reasons = []
    for export in candidates:
        reason, notes = _compare_export(plan, plan.arm(arm), rows, export)
        if reason is None:
            return export.digest, notes
        reasons.append(f"{export.name} {reason}")
    raise InputError(f"No export has the samples of {arm} seed {seed}: {'; '.join(reasons)}")


def _list_exports(workspace: Workspace) -> list[TrainedExport]:
    exports = []
    for path in sorted(workspace.exports_dir.glob("*/manifest.json")):
        try:
            exports.append(read_export(workspace, str(path)))
        except InputError:  # not an export, or changed: no result can name it
            continue
    return exports


def _compare_export(
    plan: TrialPlan, arm: PlannedArm, rows: Ints, export: TrainedExport
) -> tuple[str | None, list[str]]:
    """Return why an export is not one of the arm's samples, None if it is, and notes about it."""
    dataset = export.manifest.inputs.dataset
    editions = [each["fingerprint"] for each in dataset.get("editions", ())]
    if plan.dataset_fingerprint not in (dataset["fingerprint"], *editions):
        return "is of another dataset", []
    reason, notes = _compare_edits(plan, rows, export)
    if reason is not None:
        return reason, []
    if export.manifest.selected_sha256 == digest_rows(rows):
        return None, notes
    n_selected, n_samples = (export.manifest.counts[key] for key in ("selected", "samples"))
    if n_selected == n_samples:
        note = f"{export.name} has the whole dataset; which of it {arm.name} used was not checked"
        return None, [note, *notes]
    if arm.definition is not None:
        definition = definition_from_dict(arm.definition)
        if replace(export.manifest.subset, created_at=definition.created_at) == definition:
            note = (
                f"{export.name} is an export of {arm.name} with {n_selected:,} samples; the plan "
                f"has {len(rows):,} that can be trained on"
            )
            return None, [note, *notes]
    return f"has {n_selected:,} samples, which are not the {len(rows):,} of the arm", []


def _compare_edits(
    plan: TrialPlan, rows: Ints, export: TrainedExport
) -> tuple[str | None, list[str]]:
    """Return why the edits of an export are not those of the plan, and notes where it names none.

    Plans of earlier versions name none, also where their samples were trained with edits.
    """
    in_arm = set(rows.tolist())
    planned, applied = (
        {edit.event_id for edit in edits if edit.row_idx in in_arm}
        for edits in (plan.edits, export.manifest.inputs.edits)
    )
    if planned == applied:
        return None, []
    if not plan.edits:
        return None, [f"{export.name} has {len(applied):,} edits of samples; the plan has none"]
    return f"has other edits of samples ({len(applied):,}) than the plan ({len(planned):,})", []
