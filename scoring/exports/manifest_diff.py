"""Two exports side by side: which facts of their manifests differ, and which samples.

The one decision behind it: a manifest holds no rows, so they are chosen anew from the inputs it
names. Where the database at hand was built from those very inputs it serves; else they are built
into one of their own, as for a check.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.errors import InputError
from scoring.exports.export_plan import plan_export
from scoring.exports.manifest import Manifest, digest_rows, manifest_path, read_inputs
from scoring.exports.verify import rebuilt_plan
from scoring.subsets.definitions import ResolvedSubset, resolve_definition
from scoring.workspace import Workspace

_LEFT_OUT = ("manifest_sha256", "outputs", "selected_sha256")


def is_manifest_path(text: str) -> bool:
    """Whether an argument names an export or its manifest, not a saved subset."""
    path = Path(text)
    return (path.suffix == ".json" or len(path.parts) > 1) and manifest_path(path).is_file()


def resolve_manifest(workspace: Workspace, store: Store, manifest: Manifest) -> ResolvedSubset:
    """The samples of an export. Raises InputError where its workspace cannot give them any more."""
    if manifest.inputs.workspace_id != workspace.settings.workspace_id:
        raise InputError(
            f"the export of {manifest.subset.name} is of workspace {manifest.inputs.workspace_id}, "
            f"{workspace.root} is {workspace.settings.workspace_id}; name the right one with -w"
        )
    if (found := _at_hand(workspace, store, manifest)) is not None:
        return found
    with rebuilt_plan(manifest, workspace) as chosen:
        outcome = chosen.outcome
    if digest_rows(outcome.subset.selected) != manifest.selected_sha256:
        raise InputError(
            f"the workspace no longer gives the samples of the export of {manifest.subset.name}; "
            "visnec verify says what changed"
        )
    return outcome


def _at_hand(workspace: Workspace, store: Store, manifest: Manifest) -> ResolvedSubset | None:
    """From the database as it is; None where it does not give what the manifest says."""
    until = {name: log.until for name, log in manifest.inputs.decision_logs.items()}
    now = read_inputs(workspace, manifest.subset, store.part_names(), until)
    if now.parts != manifest.inputs.parts:
        return None
    found = read_candidates(store, manifest.subset.scope)
    outcome = resolve_definition(workspace, manifest.subset, found, until)
    outcome = plan_export(workspace, store, outcome, manifest.options).outcome
    same = digest_rows(outcome.subset.selected) == manifest.selected_sha256
    return outcome if same else None


def diff_manifests(a: Manifest, b: Manifest) -> list[tuple[str, Any, Any]]:
    """(fact, its value in a, in b) of every fact that differs; None where one has it not."""
    first, second = dict(_flat("", a.to_dict())), dict(_flat("", b.to_dict()))
    keys = list(dict.fromkeys([*first, *second]))
    return [
        (key, first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)
    ]


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if name or key not in _LEFT_OUT:
                yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for place, inner in enumerate(value):
            own = inner.get("name") or place
            if "reason" in inner:  # of counts by outcome and reason
                own = f"{'kept' if inner['kept'] else 'dropped'} {inner['reason']}"
            yield from _flat(f"{name}.{own}", inner)
    else:
        yield name, list(value) if isinstance(value, tuple) else value
