"""Verify that an export is what its workspace rebuilds, byte by byte; compare two exports.

Nothing in the export is trusted. A database is built in a temporary folder from the parts that the
manifest names, the rule is applied with the decisions up to the recorded events, and every file is
compared with the result as it streams, so a difference is reported with its file, byte and row, and
with the inputs that changed.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from scoring.columns.parts import record_of_part
from scoring.database.build.build import build_database, list_parts
from scoring.database.connection import Store
from scoring.dataset.records import DatasetInfo, read_dataset_info
from scoring.errors import InputError, VerificationError, VisnecError
from scoring.exports.card import card_outputs
from scoring.exports.export_edits import count_later_edits
from scoring.exports.export_plan import ExportPlan, plan_export
from scoring.exports.files import FileDigest, FileMismatch, OutputFile, digest_file
from scoring.exports.formats import plan_outputs
from scoring.exports.manifest import (
    PROGRAM,
    Manifest,
    build_manifest,
    clustering_facts,
    dataset_facts,
    digest_rows,
    is_edited,
    library_versions,
    manifest_path,
    read_inputs,
    read_manifest,
    run_facts,
)
from scoring.exports.options import VERSION
from scoring.reviews.decisions import log_digests, log_offsets
from scoring.reviews.pinned_edits import find_pinned_edits
from scoring.subsets.definitions import ResolvedSubset, read_rule_inputs, resolve_definition
from scoring.workspace import Workspace, open_workspace, write_json

_STEP = 1000  # samples between two reports of progress

Progress = Callable[[str, int, int], None]
"""Called with a description of the step, steps or samples done so far, and in all."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """An export that its workspace rebuilds exactly.

    ``changed_inputs`` are inputs that changed without an effect on it. ``notes`` are later
    additions to the workspace, which do not count, and images that were not exported.
    """

    manifest: Manifest
    path: Path
    n_samples: int
    changed_inputs: tuple[str, ...]
    notes: tuple[str, ...]


def verify_manifest(
    path: Path, workspace: Workspace | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Rebuild an export from its workspace and compare every byte.

    Needs space for a database in the temporary folder. ``path`` is the manifest or its folder; the
    workspace is by default the one that contains it.

    Raises:
        InputError: The manifest or the workspace cannot be used.
        VerificationError: The export differs; the message names the first difference and the
            inputs that changed.
    """
    path = manifest_path(path)
    manifest = read_manifest(path)
    if workspace is None:
        roots = (each for each in path.absolute().parents if (each / "workspace.json").exists())
        if (root := next(roots, None)) is None:
            raise InputError(f"{path} is not inside a workspace. Name its workspace with -w.")
        workspace = open_workspace(root)
    if workspace.settings.workspace_id != manifest.inputs.workspace_id:
        raise InputError(
            f"{path} was exported from workspace {manifest.inputs.workspace_id}, and "
            f"{workspace.root} is workspace {workspace.settings.workspace_id}. Name the right one "
            "with -w."
        )
    changed, notes = _changed_inputs(manifest, workspace), _later_inputs(manifest, workspace)
    problem = None
    try:
        notes += _compare_export(manifest, path, workspace, progress or (lambda *_: None))
    except FileMismatch as mismatch:
        problem = str(mismatch)
    except (VisnecError, OSError, pa.ArrowException) as error:
        problem = f"the workspace cannot rebuild it: {error}"
    if problem is not None:
        causes = _find_causes(manifest, path, changed)
        raise VerificationError(". ".join([problem, *causes, *notes]))
    return VerifyReport(
        manifest,
        path,
        int(manifest.counts["selected"]),
        tuple(changed),
        (*notes, *manifest.image_notes()),
    )


@contextmanager
def rebuilt_plan(
    manifest: Manifest, workspace: Workspace, progress: Progress | None = None
) -> Iterator[ExportPlan]:
    """Yield the plan of an export, selected again from the inputs that its manifest names."""
    with _linked_workspace(workspace, manifest) as copy:
        build_database(copy, progress)
        store = Store(copy)
        workspace = replace(workspace, dataset_record=copy.dataset_dir / "dataset.json")
        rows = read_rule_inputs(store, manifest.subset)
        outcome = resolve_definition(workspace, manifest.subset, rows, manifest.inputs.log_ends)
        edits = find_pinned_edits(workspace, manifest.inputs.edits)
        yield plan_export(workspace, store, outcome, manifest.options, edits)


def _compare_export(
    manifest: Manifest, path: Path, workspace: Workspace, progress: Progress
) -> list[str]:
    """Raise FileMismatch with the first difference; returns notes on later edits."""
    with rebuilt_plan(manifest, workspace, progress) as plan:
        rebuilt = build_manifest(plan, manifest.inputs, manifest.bands)
        done: Counter[str] = Counter()

        def count_samples(name: str, n: int) -> None:
            before = done[name]
            done[name] += n
            if done[name] // _STEP > before // _STEP or done[name] == plan.n_written:
                n_done = min(done[name], plan.n_written)
                progress(f"compare {name}", n_done, plan.n_written)

        try:
            files = [
                output.compare(path.parent / output.name, count_samples)
                for output in plan_outputs(plan)
            ]
        except FileMismatch as mismatch:
            if manifest.selected_sha256 == rebuilt.selected_sha256:
                raise
            now, then = rebuilt.counts["selected"], manifest.counts.get("selected")
            raise FileMismatch(
                f"{mismatch}; other samples are selected now: {now} instead of {then}"
            ) from None
        if is_edited(path):
            raise FileMismatch("the manifest was edited after it was written")
        rebuilt = rebuilt.with_outputs(plan, files)
        cards = _compare_cards(manifest, path, card_outputs(plan, rebuilt))
        rebuilt = rebuilt.with_outputs(plan, [*files, *cards])
        n_later = count_later_edits(plan, manifest.inputs.edits)
    _compare_manifests(manifest, rebuilt)
    return [f"later edits of {n_later:,} of its samples were ignored"] if n_later else []


def _compare_cards(manifest: Manifest, path: Path, cards: list[OutputFile]) -> list[FileDigest]:
    """Compare cards byte by byte; those of another version of this program by their digest."""
    is_own = manifest.versions.get(PROGRAM) == library_versions()[PROGRAM]
    if is_own and manifest.options.version == VERSION:
        return [card.compare(path.parent / card.name, lambda *_: None) for card in cards]
    recorded = {output.name: output for output in manifest.outputs}
    files = []
    for name in [card.name for card in cards if card.name in recorded]:
        try:
            files.append(digest_file(path.parent, name))
        except FileNotFoundError:
            raise FileMismatch(f"{name} is missing next to the manifest") from None
        if files[-1] != recorded[name]:
            raise FileMismatch(f"{name} is not the file of the manifest")
    return files


def _compare_manifests(manifest: Manifest, rebuilt: Manifest) -> None:
    """Compare a manifest with the rebuilt one; library versions may differ."""
    recorded = {output.name: output for output in manifest.outputs}
    files = {output.name: output for output in rebuilt.outputs}
    if names := ", ".join(sorted(recorded.keys() ^ files.keys())):
        raise FileMismatch(f"the manifest names other files than are rebuilt: {names}")
    changed = [name for name in recorded if not recorded[name].has_same_content(files[name])]
    if changed:
        raise FileMismatch(
            f"the manifest's size or sha256 of {', '.join(changed)} is not that of the file"
        )
    if manifest.selected_sha256 != rebuilt.selected_sha256:
        raise FileMismatch("the manifest's digest of the selected rows is not that of the export")
    for key, value in rebuilt.counts.items():
        if manifest.counts.get(key) != value:
            raise FileMismatch(
                f"the manifest has {key} = {manifest.counts.get(key)}, and {value} is rebuilt"
            )
    if manifest.derived != rebuilt.derived and manifest.derived:
        raise FileMismatch(
            f"the manifest lists {manifest.derived} as derived, and {rebuilt.derived} is rebuilt"
        )


def _changed_inputs(manifest: Manifest, workspace: Workspace) -> list[str]:
    """Describe every recorded input that has changed."""
    inputs, subset = manifest.inputs, manifest.subset
    changed: list[str] = []
    run_id, clustering_id = subset.run_id, subset.clustering_id
    facts: list[tuple[str, Mapping[str, Any] | None, Callable[[], Mapping[str, Any] | None]]] = [
        (
            "the dataset's record (dataset.json)",
            inputs.dataset,
            lambda: dataset_facts(_recorded_dataset(workspace, manifest)),
        ),
        (f"run {run_id}", inputs.run, lambda: run_facts(workspace, run_id)),
        (
            f"clustering {clustering_id}",
            inputs.clustering,
            lambda: clustering_facts(workspace, clustering_id),
        ),
    ]
    for title, before, read_facts in facts:
        try:
            now = read_facts()
        except (VisnecError, OSError, ValueError, TypeError, KeyError) as error:
            changed.append(f"{title} cannot be read ({error})")
            continue
        if before is None or now is None:
            if before != now:
                changed.append(f"{title} {'is new' if before is None else 'is gone'}")
            continue
        now = json.loads(json.dumps(now))  # with lists for tuples, as in the manifest
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        changed += [f"{title}: {', '.join(keys)}"] if keys else []
    for part in inputs.parts:
        try:
            if digest_file(workspace.root, part.name) != part:
                changed.append(part.name)
        except FileNotFoundError:
            changed.append(f"{part.name} is gone")
    digests = log_digests(workspace, inputs.log_ends)
    for name, log in inputs.decision_logs.items():
        if name not in digests:
            changed.append(f"the decision log {name} lacks event {log.until} or is gone")
        elif digests[name] != log.sha256:
            changed.append(f"the decision log {name}, up to event {log.until}")
    return changed


def _later_inputs(manifest: Manifest, workspace: Workspace) -> list[str]:
    """Describe what was added since the export; rebuilding it ignores these."""
    inputs, subset = manifest.inputs, manifest.subset
    notes = []
    with suppress(VisnecError, OSError, ValueError, TypeError, KeyError):  # reported as a change
        n_samples = _recorded_dataset(workspace, manifest).n_samples
        if n_later := read_dataset_info(workspace).n_samples - n_samples:
            notes.append(f"{n_later:,} samples were added to the dataset later and were ignored")
    recorded = {part.name for part in inputs.parts}
    present = list_parts(workspace).keys()
    scores = f"runs/{subset.run_id}/scores/"
    if n := sum(name.startswith(scores) for name in present - recorded):
        notes.append(f"{n} score part(s) of run {subset.run_id} are newer and were ignored")
    ends = log_offsets(workspace) if subset.hand_wins else {}
    if later := sorted(name for name, end in ends.items() if end > inputs.log_ends.get(name, 0)):
        notes.append(f"later decisions in {', '.join(later)} were ignored")
    return notes


def _find_causes(manifest: Manifest, path: Path, changed: list[str]) -> list[str]:
    """Describe what may have caused a difference."""
    causes = [
        f"{output.name} is no longer the file of the manifest"
        for output in manifest.outputs
        if (path.parent / output.name).is_file()
        and digest_file(path.parent, output.name).sha256 != output.sha256
    ]
    if is_edited(path):
        causes.append("the manifest itself was edited")
    causes += [f"changed since the export: {change}" for change in changed]
    if not causes:
        versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
        causes.append(f"no recorded input changed; it was exported with {versions}")
    return causes


@contextmanager
def _linked_workspace(workspace: Workspace, manifest: Manifest) -> Iterator[Workspace]:
    """Yield a temporary workspace that links to the recorded parts and nothing else."""
    subset = manifest.subset
    names = [part.name for part in manifest.inputs.parts]
    names.append(f"runs/{subset.run_id}/run.json")
    if subset.clustering_id is not None:
        names.append(f"clusters/{subset.clustering_id}/clustering.json")
    files = {name: workspace.root / name for name in names}
    for name in [name for name in names if name.startswith("columns/")]:
        files[f"{name.rpartition('/')[0]}/column.json"] = record_of_part(workspace.root / name)
    with tempfile.TemporaryDirectory(prefix="visnec-verify-") as folder:
        root = Path(folder)
        write_json(root / "workspace.json", asdict(workspace.settings))
        (root / "dataset").mkdir()
        dataset = _recorded_dataset(workspace, manifest)
        write_json(root / "dataset" / "dataset.json", dataset.as_json())
        for name, file in files.items():
            original = file.resolve()
            if not original.is_file():
                raise InputError(f"{name} is gone from {workspace.root}")
            link = root / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(original)
        yield Workspace(root, workspace.settings)


def _recorded_dataset(workspace: Workspace, manifest: Manifest) -> DatasetInfo:
    """Return the dataset as of the export where it only grew since, else as it is."""
    info, recorded = read_dataset_info(workspace), manifest.inputs.dataset
    if recorded.get("fingerprint") in [state.fingerprint for state in info.editions[:-1]]:
        return info.at_edition(recorded["fingerprint"], len(recorded["files"]))
    return info


def is_manifest_path(text: str) -> bool:
    """Return whether an argument names an export or its manifest, not a saved subset."""
    path = Path(text)
    return (path.suffix == ".json" or len(path.parts) > 1) and manifest_path(path).is_file()


def resolve_manifest(workspace: Workspace, store: Store, manifest: Manifest) -> ResolvedSubset:
    """Select the samples of an export again, from the inputs that its manifest names.

    Raises InputError if the manifest is of another workspace, or the workspace has changed.
    """
    if manifest.inputs.workspace_id != workspace.settings.workspace_id:
        raise InputError(
            f"The export of {manifest.subset.name} is from workspace "
            f"{manifest.inputs.workspace_id}, and {workspace.root} is workspace "
            f"{workspace.settings.workspace_id}. Name the right one with -w."
        )
    inputs = read_inputs(
        workspace,
        manifest.subset,
        store.part_names(),
        manifest.inputs.log_ends,
        manifest.options.add_columns,
    )
    if inputs.parts == manifest.inputs.parts:  # the database was built from them
        rows = read_rule_inputs(store, manifest.subset)
        outcome = resolve_definition(workspace, manifest.subset, rows, manifest.inputs.log_ends)
        edits = find_pinned_edits(workspace, manifest.inputs.edits)
        outcome = plan_export(workspace, store, outcome, manifest.options, edits).outcome
        if digest_rows(outcome.subset.selected) == manifest.selected_sha256:
            return outcome
    with rebuilt_plan(manifest, workspace) as plan:
        if digest_rows(plan.outcome.subset.selected) == manifest.selected_sha256:
            return plan.outcome
    raise InputError(
        f"The workspace no longer gives the samples of the export of {manifest.subset.name}. "
        "Run visnec verify to see what changed."
    )
