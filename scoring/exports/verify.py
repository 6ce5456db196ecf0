"""Checks that an export is what its workspace rebuilds, byte by byte.

The one decision behind it: nothing of the export is believed. The database is built anew in a
temporary folder from the very parts that the manifest names, the rule is applied with the
decisions up to the recorded offsets, and every output is compared with what comes out, piece by
piece, so that a difference is told with its file, byte and row, and with the inputs that changed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from scoring.database.build.build import build_database, list_parts
from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.errors import InputError, VerificationError, VisnecError
from scoring.exports import ExportPlan, plan_export, read_outputs
from scoring.exports.card import card_outputs
from scoring.exports.files import FileDigest, OutputFile, digest_file
from scoring.exports.manifest import (
    PROGRAM,
    ExportInputs,
    Manifest,
    build_manifest,
    clustering_facts,
    dataset_facts,
    is_edited,
    library_versions,
    manifest_path,
    read_inputs,
    read_manifest,
    run_facts,
)
from scoring.reviews.decisions import log_digests, log_offsets
from scoring.subsets.definitions import resolve_definition
from scoring.workspace import Workspace, open_workspace, write_json

__all__ = [
    "ExportInputs",
    "FileDigest",
    "Manifest",
    "VerifyReport",
    "build_manifest",
    "read_inputs",
    "read_manifest",
    "verify_manifest",
]

_STEP = 1000  # samples between two reports of progress

Progress = Callable[[str, int, int], None]
"""Called with what is being done in words, steps or samples done so far, and in all."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """An export that its workspace rebuilds exactly.

    ``changed_inputs`` are inputs that changed without effect on it, ``notes`` what came to the
    workspace since and was rightly left out, and what the export lacks of its images.
    """

    manifest: Manifest
    path: Path
    n_samples: int
    changed_inputs: tuple[str, ...]
    notes: tuple[str, ...]


def verify_manifest(
    path: Path, workspace: Workspace | None = None, progress: Progress | None = None
) -> VerifyReport:
    """Rebuilds an export from its workspace and compares every byte.

    ``path`` is the manifest or its folder. Without ``workspace`` it is the one around the export.
    Needs room for a database in the temporary folder. Raises InputError where manifest or
    workspace cannot be used, VerificationError naming the first difference and what changed.
    """
    path = manifest_path(path)
    manifest = read_manifest(path)
    workspace = workspace or _workspace_around(path)
    if workspace.settings.workspace_id != manifest.inputs.workspace_id:
        raise InputError(
            f"{path} was exported from workspace {manifest.inputs.workspace_id}, "
            f"{workspace.root} is {workspace.settings.workspace_id}; name the right one with -w"
        )
    changed, notes = _changed_inputs(manifest, workspace), _notes(manifest, workspace)
    try:
        problem = _compare(manifest, path, workspace, progress or (lambda *_: None))
    except (VisnecError, OSError, pa.ArrowException) as error:
        problem = f"the workspace cannot rebuild it: {error}"
    if problem is not None:
        raise VerificationError(_explain(problem, changed, notes, manifest, path))
    n_samples = int(manifest.counts["selected"])
    lacking = manifest.image_notes()
    return VerifyReport(manifest, path, n_samples, tuple(changed), (*notes, *lacking))


def _compare(
    manifest: Manifest, path: Path, workspace: Workspace, progress: Progress
) -> str | None:
    """The first difference in words, None where there is none."""
    with rebuilt_plan(manifest, workspace, progress) as chosen:
        again = build_manifest(chosen, manifest.inputs, manifest.bands)
        told = _Told(progress, chosen.n_written)
        facts: list[FileDigest] = []
        for output in read_outputs(chosen):
            difference, fact = output.compare(path.parent / output.name, told.step)
            if difference is not None:
                return difference + _other_samples(manifest, again)
            facts.append(fact)
        if is_edited(path):
            return "the manifest was edited: it says other things than it was written with"
        again = again.written(chosen, facts)
        if chosen.options.card:
            cards = card_outputs(chosen, again)
            difference, of_cards = _compare_cards(manifest, path, cards)
            if difference is not None:
                return difference
            again = again.written(chosen, [*facts, *of_cards])
    return _compare_manifests(manifest, again)


@contextmanager
def rebuilt_plan(
    manifest: Manifest, workspace: Workspace, progress: Progress | None = None
) -> Iterator[ExportPlan]:
    """The samples of an export, chosen anew from the very inputs that its manifest names."""
    offsets = {name: log.until for name, log in manifest.inputs.decision_logs.items()}
    with _snapshot(workspace, manifest) as snapshot:
        build_database(snapshot, progress)
        store = Store(snapshot)
        found = read_candidates(store, manifest.subset.scope)
        outcome = resolve_definition(workspace, manifest.subset, found, offsets)
        yield plan_export(workspace, store, outcome, manifest.options)


def _compare_cards(
    manifest: Manifest, path: Path, cards: list[OutputFile]
) -> tuple[str | None, list[FileDigest]]:
    """Cards byte by byte; those of another version of this program are told by their digest."""
    said = {one.name: one for one in manifest.outputs}
    facts: list[FileDigest] = []
    for card in cards:
        if manifest.versions.get(PROGRAM) == library_versions()[PROGRAM]:
            difference, fact = card.compare(path.parent / card.name, lambda *_: None)
            if difference is not None:
                return difference, facts
            facts.append(fact)
        elif card.name in said:
            try:
                fact = digest_file(path.parent, card.name)
            except FileNotFoundError:
                return f"{card.name} is missing beside the manifest", facts
            if fact != said[card.name]:
                return f"{card.name} is not the file of the manifest", facts
            facts.append(fact)
    return None, facts


def _other_samples(manifest: Manifest, again: Manifest) -> str:
    if manifest.selected_sha256 == again.selected_sha256:
        return ""
    now, then = again.counts["selected"], manifest.counts.get("selected")
    return f"; it takes other samples now: {now} instead of {then}"


def _compare_manifests(manifest: Manifest, again: Manifest) -> str | None:
    """What a manifest says otherwise than the rebuilt one; its library versions may differ."""
    said = {one.name: one for one in manifest.outputs}
    made = {one.name: one for one in again.outputs}
    if said.keys() != made.keys():
        names = ", ".join(sorted(said.keys() ^ made.keys()))
        return f"the manifest names other files than are rebuilt: {names}"
    if names := ", ".join(name for name in said if not said[name].same_content(made[name])):
        return f"the manifest's size or sha256 of {names} is not that of the file"
    if manifest.selected_sha256 != again.selected_sha256:
        return "the manifest's digest of the selected rows is not that of the export"
    for key, value in again.counts.items():
        if manifest.counts.get(key) != value:
            return f"the manifest says {key} = {manifest.counts.get(key)}, rebuilt is {value}"
    if manifest.derived != again.derived and manifest.derived:
        return f"the manifest calls derived {manifest.derived}, rebuilt is {again.derived}"
    return None


def _changed_inputs(manifest: Manifest, workspace: Workspace) -> list[str]:
    """Every recorded input that is no longer what it was, in words."""
    inputs, subset = manifest.inputs, manifest.subset
    changed: list[str] = []
    facts: list[tuple[str, Any, Callable[[], Any]]] = [
        ("the dataset's record (dataset.json)", inputs.dataset, lambda: dataset_facts(workspace)),
        (f"run {subset.run_id}", inputs.run, lambda: run_facts(workspace, subset.run_id)),
        (
            f"clustering {subset.clustering_id}",
            inputs.clustering,
            lambda: clustering_facts(workspace, subset.clustering_id),
        ),
    ]
    for what, then, read in facts:
        try:
            now = read()
        except (VisnecError, OSError, ValueError, TypeError, KeyError) as error:
            changed.append(f"{what} cannot be read ({error})")
        else:
            changed += _changed_facts(what, then, now)
    changed += _changed_parts(inputs, workspace)
    return changed + _changed_logs(inputs, workspace)


def _changed_facts(
    what: str, then: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> list[str]:
    if then is None or now is None:
        return [] if then == now else [f"{what} {'is new' if then is None else 'is gone'}"]
    keys = [key for key in {**then, **now} if _plain(then.get(key)) != _plain(now.get(key))]
    return [f"{what}: {', '.join(keys)}"] if keys else []


def _plain(value: object) -> object:
    """Tuples as the lists that JSON makes of them."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _changed_parts(inputs: ExportInputs, workspace: Workspace) -> list[str]:
    changed = []
    for part in inputs.parts:
        try:
            now = digest_file(workspace.root, part.name)
        except FileNotFoundError:
            changed.append(f"{part.name} is gone")
        else:
            changed += [part.name] if now != part else []
    return changed


def _changed_logs(inputs: ExportInputs, workspace: Workspace) -> list[str]:
    offsets = {name: log.until for name, log in inputs.decision_logs.items()}
    digests = log_digests(workspace, offsets)
    changed = []
    for name, log in inputs.decision_logs.items():
        if name not in digests:
            changed.append(f"the decision log {name} lacks event {log.until} or is gone")
        elif digests[name] != log.sha256:
            changed.append(f"the decision log {name}, up to event {log.until}")
    return changed


def _notes(manifest: Manifest, workspace: Workspace) -> list[str]:
    """What came since the export and is left out when it is rebuilt."""
    inputs, subset = manifest.inputs, manifest.subset
    notes = []
    known = {part.name for part in inputs.parts}
    found = {name for name, _ in list_parts(workspace).list_kinds(workspace)}
    of_run = f"runs/{subset.run_id}/scores/"
    if new := sum(name.startswith(of_run) for name in found - known):
        notes.append(f"{new} score part(s) of run {subset.run_id} came later and are left out")
    if subset.hand_wins:
        then = {name: log.until for name, log in inputs.decision_logs.items()}
        later = {
            name: end for name, end in log_offsets(workspace).items() if end > then.get(name, 0)
        }
        if later:
            notes.append(f"later decisions in {', '.join(sorted(later))} are left out")
    return notes


def _explain(
    problem: str, changed: list[str], notes: list[str], manifest: Manifest, path: Path
) -> str:
    tampered = [
        one.name
        for one in manifest.outputs
        if (path.parent / one.name).is_file()
        and digest_file(path.parent, one.name).sha256 != one.sha256
    ]
    causes = [f"{name} is no longer the file of the manifest" for name in tampered]
    if is_edited(path):
        causes.append("the manifest itself was edited")
    causes += [f"changed since the export: {one}" for one in changed]
    if not causes:
        versions = ", ".join(f"{name} {one}" for name, one in manifest.versions.items())
        causes.append(f"no recorded input changed; it was exported with {versions}")
    return ". ".join([problem, *causes, *notes])


@contextmanager
def _snapshot(workspace: Workspace, manifest: Manifest) -> Iterator[Workspace]:
    """A temporary workspace that links to the recorded parts and to nothing else."""
    subset = manifest.subset
    names = [part.name for part in manifest.inputs.parts]
    names += ["dataset/dataset.json", f"runs/{subset.run_id}/run.json"]
    if subset.clustering_id is not None:
        names.append(f"clusters/{subset.clustering_id}/clustering.json")
    with tempfile.TemporaryDirectory(prefix="visnec-verify-") as folder:
        root = Path(folder)
        write_json(root / "workspace.json", asdict(workspace.settings))
        for name in names:
            original = (workspace.root / name).resolve()
            if not original.is_file():
                raise InputError(f"{name} is gone from {workspace.root}")
            link = root / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(original)
        yield Workspace(root, workspace.settings)


class _Told:
    """Passes every thousandth sample of a file on, and the last."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._done: dict[str, int] = {}

    def step(self, name: str, n: int) -> None:
        before = self._done.get(name, 0)
        done = self._done[name] = before + n
        if done // _STEP > before // _STEP or done == self._total:
            self._progress(f"compare {name}", min(done, self._total), self._total)


def _workspace_around(path: Path) -> Workspace:
    for folder in path.absolute().parents:
        if (folder / "workspace.json").exists():
            return open_workspace(folder)
    raise InputError(f"{path} does not lie in its workspace; name that with -w")
