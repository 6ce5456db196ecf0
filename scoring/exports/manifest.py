"""The manifest of an export: every input that decided its bytes, and the bytes' digests.

The one decision behind it: a manifest holds no clock time and no path of a machine, so the same
workspace and choices give the same manifest, byte for byte, wherever the workspace lies.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import scoring
from scoring.clustering.clusters import list_clusterings
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.exports import ExportOptions, ExportPlan, is_output_name, options_from_dict
from scoring.exports.files import FileDigest, digest_file
from scoring.exports.options import VERSION
from scoring.necessity import Bands
from scoring.reviews.decisions import log_digests, log_offsets
from scoring.runs.record import read_run
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition, definition_from_dict
from scoring.workspace import Workspace

_PART = re.compile(r"(dataset|runs/[^/]+/scores|clusters/[^/]+)/[^/]+\.parquet")
PROGRAM = "visnec-studio"
_LIBRARIES = ("numpy", "duckdb", "pyarrow")


@dataclass(frozen=True, slots=True)
class LogDigest:
    """A decision log up to an event: its sequence number, and the digest of the bytes so far."""

    until: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportInputs:
    """What an export is made from. ``dataset``, ``run`` and ``clustering`` are facts to read;
    ``parts`` are the files that hold the records, the scores and the clusters.
    """

    workspace_id: str
    dataset: Mapping[str, Any]
    run: Mapping[str, Any]
    clustering: Mapping[str, Any] | None
    parts: tuple[FileDigest, ...]
    decision_logs: Mapping[str, LogDigest]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``manifest.json`` holds.

    ``selected_sha256`` is the digest of the selected row_idx, one decimal number a line;
    ``counts`` are numbers of samples before and after, and what was done to records on the way.
    ``derived`` names the ways in which records differ from those that came in: ``turns``,
    ``weights``, ``records`` (rewritten, because they came from a file that is not JSON),
    ``encoding`` (converted to UTF-8 on import), ``images`` (records name the copies of images
    whose own paths lead out of a folder).
    """

    options: ExportOptions
    derived: tuple[str, ...]
    subset: SubsetDefinition
    inputs: ExportInputs
    bands: Mapping[str, float]
    counts: Mapping[str, Any]
    selected_sha256: str
    outputs: tuple[FileDigest, ...]
    versions: Mapping[str, str]

    @property
    def format(self) -> str:
        """The format of the export."""
        return self.options.format

    @property
    def n_missing_images(self) -> int:
        """Images that the export was to hold and that were not there."""
        return int(self.counts.get("written", {}).get("images", {}).get("missing", 0))

    def image_notes(self) -> list[str]:
        """What the export lacks of its images, in sentences; empty where nothing."""
        images = self.counts.get("written", {}).get("images", {})
        notes = []
        if n := self.n_missing_images:
            what = f"{n:,} images were" if n > 1 else "1 image was"
            notes.append(f"{what} missing and not exported; images.jsonl lists them")
        if n := int(images.get("undecodable", 0)):
            what = f"{n:,} images" if n > 1 else "1 image"
            notes.append(
                f"{what} cannot be decoded and would stop a reader, so not exported; "
                "images.jsonl lists them"
            )
        return notes

    def written(self, chosen: ExportPlan, outputs: Iterable[FileDigest]) -> Manifest:
        """The manifest once these files are written."""
        done = chosen.counts()
        counts = {**self.counts, "written": done} if done else self.counts
        return replace(self, counts=counts, derived=tuple(chosen.derived()), outputs=tuple(outputs))

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        inputs = asdict(self.inputs)
        inputs["parts"] = [part.to_dict() for part in self.inputs.parts]
        options = self.options.to_dict()
        subset = {key: one for key, one in self.subset.to_dict().items() if key != "created_at"}
        return {
            "manifest_version": self.options.version,
            "workspace_id": inputs.pop("workspace_id"),
            "format": options.pop("format"),
            "options": options,
            "derived": list(self.derived),
            "subset": subset,
            **{name: getattr(self, name) for name in ("bands", "counts", "selected_sha256")},
            "outputs": [output.to_dict() for output in self.outputs],
            "inputs": inputs,
            "versions": self.versions,
        }

    def to_bytes(self) -> bytes:
        """The content of ``manifest.json``; its last entry is a digest of all the others."""
        value = self.to_dict()
        value["manifest_sha256"] = _digest(value)
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        return text.encode() + b"\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file, or in the folder of an export.

    Raises InputError for what is no manifest, or one of a later version.
    """
    path = manifest_path(path)
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = int(value["manifest_version"])
        if version <= VERSION:
            return _from_dict(value, version)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name an export's manifest.json") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path} is no manifest of an export: {error!r}") from error
    raise InputError(
        f"{path} was written by a newer VisNec Studio (manifest version {version}, this one "
        f"reads up to {VERSION}); upgrade visnec-studio"
    )


def is_edited(path: Path) -> bool:
    """Whether a readable manifest says other things than it was written with."""
    value: dict[str, Any] = json.loads(manifest_path(path).read_text("utf-8"))
    return bool(value.pop("manifest_sha256", None) != _digest(value))


def manifest_path(path: Path) -> Path:
    """The manifest's own path, for it or for the folder of its export."""
    return path / "manifest.json" if path.is_dir() else path


def build_manifest(
    chosen: ExportPlan, inputs: ExportInputs, bands: Mapping[str, float]
) -> Manifest:
    """The manifest of an export that is still to be written: ``outputs`` are empty."""
    outcome = chosen.outcome
    return Manifest(
        options=chosen.options,
        derived=(),
        subset=outcome.definition,
        inputs=inputs,
        bands=bands,
        counts=_counts(outcome, bands),
        selected_sha256=digest_rows(outcome.subset.selected),
        outputs=(),
        versions=library_versions(),
    )


def read_inputs(
    workspace: Workspace,
    definition: SubsetDefinition,
    parts: Iterable[str],
    until: Mapping[str, int] | None = None,
) -> ExportInputs:
    """The facts of what is there now.

    ``parts`` are names inside the workspace; those that this subset does not read are left out.
    Decision logs count up to ``until``, default their ends, and not at all where verdicts are
    left out. Raises FileNotFoundError for a part that is gone.
    """
    used = [name for name in parts if _is_used(name, definition)]
    offsets = dict(until if until is not None else log_offsets(workspace))
    digests = log_digests(workspace, offsets) if definition.hand_wins else {}
    return ExportInputs(
        workspace_id=workspace.settings.workspace_id,
        dataset=dataset_facts(workspace),
        run=run_facts(workspace, definition.run_id),
        clustering=clustering_facts(workspace, definition.clustering_id),
        parts=tuple(digest_file(workspace.root, name) for name in sorted(used)),
        decision_logs={name: LogDigest(offsets[name], one) for name, one in digests.items()},
    )


def dataset_facts(workspace: Workspace) -> dict[str, Any]:
    """What was imported, without the moment."""
    facts = read_dataset_info(workspace).as_json()
    del facts["imported_at"]
    return facts


def run_facts(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """The run record without its moment; of a model's local path only the last name."""
    facts = asdict(read_run(workspace, run_id))
    del facts["created_at"]
    return facts | {"model": _without_folders(facts["model"])}


def _without_folders(name: str) -> str:
    return PurePath(name).name if PurePath(name).is_absolute() else name


def clustering_facts(workspace: Workspace, clustering_id: str | None) -> dict[str, Any] | None:
    """The clustering without its moment and its names; of an embedder's local path only the last
    name. None without a clustering.
    """
    for clustering in list_clusterings(workspace):
        if clustering.clustering_id == clustering_id:
            facts = asdict(clustering)
            del facts["created_at"], facts["clusters"]
            return facts | {"embedder": _without_folders(facts["embedder"])}
    return None


def _is_used(part: str, definition: SubsetDefinition) -> bool:
    folders = ("dataset/", f"runs/{definition.run_id}/scores/")
    return part.startswith(folders) or part.startswith(f"clusters/{definition.clustering_id}/")


def _counts(outcome: ResolvedSubset, bands: Mapping[str, float]) -> dict[str, Any]:
    subset = outcome.subset
    return {
        "samples": len(outcome.candidates),
        "selected": len(subset.selected),
        "hand_kept": subset.n_hand_kept,
        "hand_dropped": subset.n_hand_dropped,
        "hand_unknown": subset.n_hand_unknown,
        "by_reason": [
            {"kept": one.kept, "reason": str(one.reason), "samples": one.n}
            for one in subset.count_reasons()
        ],
        "by_source": _before_after(outcome.by_source()),
        "by_status": _before_after(outcome.by_status()),
        "by_category": _before_after(outcome.by_category(Bands(**bands))),
    }


def _before_after(frame: pd.DataFrame) -> dict[str, dict[str, int]]:
    return {
        str(name): {"before": int(before), "after": int(after)}
        for name, before, after in zip(frame.index, frame["samples"], frame["kept"], strict=True)
    }


def digest_rows(rows: NDArray[np.int64]) -> str:
    """The digest of row numbers, one decimal number a line."""
    digest = hashlib.sha256()
    for start in range(0, len(rows), 100_000):
        digest.update(
            "".join(f"{row}\n" for row in rows[start : start + 100_000].tolist()).encode()
        )
    return digest.hexdigest()


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """This program and the libraries that have a part in what comes out."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {
        PROGRAM: scoring.__version__,
        "python": platform.python_version(),
        **libraries,
    }


def _from_dict(value: Mapping[str, Any], version: int) -> Manifest:
    raw = value["inputs"]
    clustering = raw["clustering"]
    if clustering:  # the first versions kept the whole path of a local embedder
        clustering = clustering | {"embedder": _without_folders(str(clustering["embedder"]))}
    logs = {
        name: LogDigest(int(one["until"]), one["sha256"])
        for name, one in raw["decision_logs"].items()
    }
    inputs = ExportInputs(
        workspace_id=str(value["workspace_id"]),
        parts=tuple(FileDigest(**one) for one in raw["parts"]),
        decision_logs=logs,
        dataset=raw["dataset"],
        run=raw["run"],
        clustering=clustering,
    )
    outputs = tuple(FileDigest(**one) for one in value["outputs"])
    if version < 3:  # whose digests of values depended on how many rows were taken at a time
        outputs = tuple(replace(one, content_sha256=None) for one in outputs)
    # Names from a manifest become paths, so only names that an export gives may stand there.
    strange = [one.name for one in outputs if not is_output_name(one.name)]
    if strange or not outputs:
        raise ValueError(f"the outputs are not those of an export: {strange[:1]}")
    odd = [one.name for one in inputs.parts if not _PART.fullmatch(one.name) or ".." in one.name]
    if odd:
        raise ValueError(f"{odd[0]!r} is no part of a workspace")
    return Manifest(
        options=options_from_dict(
            {"format": value["format"], **value.get("options", {}), "version": version}
        ),
        derived=tuple(value.get("derived", ())),
        subset=definition_from_dict(value["subset"]),
        inputs=inputs,
        bands=value["bands"],
        counts=value["counts"],
        selected_sha256=value["selected_sha256"],
        outputs=outputs,
        versions=value["versions"],
    )
