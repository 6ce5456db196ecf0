"""Compare two exports: the facts of their manifests that differ, and their samples.

A manifest contains no rows, so they are selected again from the inputs it names: in the database of
the workspace if that was built from the same inputs, otherwise in a temporary one as for verifying.
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
    """Return whether an argument names an export or its manifest, not a saved subset."""
    path = Path(text)
    return (path.suffix == ".json" or len(path.parts) > 1) and manifest_path(path).is_file()


def resolve_manifest(workspace: Workspace, store: Store, manifest: Manifest) -> ResolvedSubset:
    """Select the samples of an export again.

    Raises:
        InputError: The manifest is of another workspace, or the workspace has changed.
    """
    if manifest.inputs.workspace_id != workspace.settings.workspace_id:
        raise InputError(
            f"The export of {manifest.subset.name} is from workspace "
            f"{manifest.inputs.workspace_id}, and {workspace.root} is workspace "
            f"{workspace.settings.workspace_id}. Name the right one with -w."
        )
    inputs = read_inputs(workspace, manifest.subset, store.part_names(), manifest.inputs.log_ends)
    if inputs.parts == manifest.inputs.parts:  # the database was built from them
        rows = read_candidates(store, manifest.subset.scope)
        outcome = resolve_definition(workspace, manifest.subset, rows, manifest.inputs.log_ends)
        outcome = plan_export(workspace, store, outcome, manifest.options).outcome
        if digest_rows(outcome.subset.selected) == manifest.selected_sha256:
            return outcome
    with rebuilt_plan(manifest, workspace) as plan:
        if digest_rows(plan.outcome.subset.selected) == manifest.selected_sha256:
            return plan.outcome
    raise InputError(
        f"The workspace no longer gives the samples of the export of {manifest.subset.name}. "
        "Run visnec verify to see what changed."
    )


def diff_manifests(a: Manifest, b: Manifest) -> list[tuple[str, Any, Any]]:
    """Return (fact, its value in a, in b) for every difference; None where a fact is absent."""
    first, second = dict(_flatten("", a.to_dict())), dict(_flatten("", b.to_dict()))
    return [
        (key, first.get(key), second.get(key))
        for key in dict.fromkeys([*first, *second])
        if first.get(key) != second.get(key)
    ]


def _flatten(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if name or key not in _LEFT_OUT:
                yield from _flatten(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        for number, inner in enumerate(value):
            label = inner.get("name") or number
            if "reason" in inner:  # of counts by outcome and reason
                label = f"{'kept' if inner['kept'] else 'dropped'} {inner['reason']}"
            yield from _flatten(f"{name}.{label}", inner)
    else:
        yield name, list(value) if isinstance(value, tuple) else value
