"""The manifest of an export: every input that decided its bytes, and the digests of the bytes.

A manifest contains no clock time and no path of a machine: the same workspace and options give the
same manifest, byte for byte, wherever the workspace is.
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

from numpy.typing import NDArray

import scoring
from scoring.clustering.clusters import list_clusterings
from scoring.dataset.records import DatasetInfo, read_dataset_info
from scoring.errors import InputError
from scoring.exports.export_plan import ExportPlan
from scoring.exports.files import FileDigest, digest_file
from scoring.exports.options import MANIFEST, VERSION, ExportOptions, is_output_name
from scoring.exports.trainers import start_command
from scoring.necessity import Bands
from scoring.reviews.decisions import log_digests
from scoring.reviews.pinned_edits import PinnedEdit
from scoring.runs.record import read_run
from scoring.subsets.definitions import SubsetDefinition, definition_from_dict
from scoring.workspace import Workspace

_PART = re.compile(r"(dataset|runs/[^/]+/scores|(clusters|columns)/[^/]+)/[^/]+\.parquet")
PROGRAM = "visnec-studio"


@dataclass(frozen=True, slots=True)
class LogDigest:
    """A decision log up to an event: its sequence number, and the digest of the bytes so far."""

    until: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ExportInputs:
    """Everything an export was made from.

    ``dataset``, ``run`` and ``clustering`` describe them for people; ``parts`` are the files with
    the records, scores, clusters, and columns that the subset is filtered by or the export adds.
    ``edits`` are the reviewers' edits that were applied.
    """

    workspace_id: str
    dataset: Mapping[str, Any]
    run: Mapping[str, Any]
    clustering: Mapping[str, Any] | None
    parts: tuple[FileDigest, ...]
    decision_logs: Mapping[str, LogDigest]
    edits: tuple[PinnedEdit, ...] = ()

    @property
    def log_ends(self) -> dict[str, int]:
        """The last event of each decision log."""
        return {name: log.until for name, log in self.decision_logs.items()}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of ``manifest.json``.

    Attributes:
        derived: In which ways records differ from the imported ones: ``turns``, ``weights``,
            ``edits`` (by reviewers, listed in ``edits.jsonl``),
            ``records`` (rewritten, because their file was not JSON), ``scores`` and ``columns``
            (added to records), ``encoding`` (converted to UTF-8 on import), ``images`` (records
            name the copies of images whose own paths lead outside of a folder).
        bands: The band limits of the categories.
        counts: Numbers of samples before and after, and of changes to records.
        selected_sha256: Digest of the selected row_idx, one decimal number per line.
        versions: This program and the libraries it used.
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
    def n_listed(self) -> int:
        """Number of samples in the files: those of the subset, or with ``dropped`` all others."""
        n_selected = int(self.counts["selected"])
        return int(self.counts["samples"]) - n_selected if self.format == "dropped" else n_selected

    def describe_content(self) -> str:
        """Return what the files contain, such as "257 samples"."""
        samples = f"{self.n_listed:,} sample{'' if self.n_listed == 1 else 's'}"
        if self.format == "ids":
            return f"ids and row numbers of {samples}"
        return f"{samples} left out" if self.format == "dropped" else samples

    @property
    def n_missing_images(self) -> int:
        """Number of images that should be in the export and were missing."""
        return int(self.counts.get("written", {}).get("images", {}).get("missing", 0))

    @property
    def source_files(self) -> list[dict[str, Any]]:
        """The files of the sources where these are weighed (see ``SourceFile``); else empty."""
        return list(self.counts.get("written", {}).get("sources", []))

    def start_command(self, folder: str) -> str:
        """Return the command that trains on the export in ``folder``; empty without a trainer."""
        return start_command(self.options, self.subset.name, folder, self.source_files)

    def image_notes(self) -> list[str]:
        """Return sentences about images that were not exported; the card contains them."""
        notes = []
        if n := self.n_missing_images:
            count = f"{n:,} images were" if n > 1 else "1 image was"
            notes.append(f"{count} missing and not exported; images.jsonl lists them")
        if n := int(self.counts.get("written", {}).get("images", {}).get("undecodable", 0)):
            count = f"{n:,} images" if n > 1 else "1 image"
            notes.append(
                f"{count} cannot be decoded and would stop a reader, so not exported; "
                "images.jsonl lists them"
            )
        return notes

    def use_notes(self) -> list[str]:
        """Return sentences about what limits the use of the export."""
        notes = []
        if self.options.folder is not None:
            notes.append(
                "Files of this export give absolute paths in its folder, so it cannot be moved; to "
                "have it elsewhere, export there"
            )
        trainer = self.options.trains_with
        if trainer and "assistant_only_loss" in trainer.command:
            notes.append(
                f"{trainer.title} needs a chat template with {{% generation %}} marks, which most "
                "models lack; for those, pass TrainingCollator to SFTTrainer as data_collator "
                "(docs/training.md)"
            )
        return notes

    def name_derived(self) -> list[str]:
        """Return ``derived`` in words: only the paths of images change, never the images."""
        return ["image paths" if kind == "images" else kind for kind in self.derived]

    def with_outputs(self, plan: ExportPlan, outputs: Iterable[FileDigest]) -> Manifest:
        """Return the manifest with these files, once they are written."""
        changes = plan.count_changes()
        counts = {**self.counts, "written": changes} if changes else self.counts
        derived = tuple(plan.derived_kinds())
        return replace(self, counts=counts, derived=derived, outputs=tuple(outputs))

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON values."""
        inputs = asdict(self.inputs)
        inputs["parts"] = [part.to_dict() for part in self.inputs.parts]
        if not inputs["edits"]:  # as before there were any
            del inputs["edits"]
        options = self.options.to_dict()
        subset = self.subset.to_dict()
        del subset["created_at"]
        return {
            "manifest_version": self.options.version,
            "workspace_id": inputs.pop("workspace_id"),
            "format": options.pop("format"),
            "options": options,
            "derived": list(self.derived),
            "subset": subset,
            "bands": self.bands,
            "counts": self.counts,
            "selected_sha256": self.selected_sha256,
            "outputs": [output.to_dict() for output in self.outputs],
            "inputs": inputs,
            "versions": self.versions,
        }

    def to_bytes(self) -> bytes:
        """Return the content of ``manifest.json``; its last entry is a digest of all others."""
        value = self.to_dict()
        value["manifest_sha256"] = digest_manifest(value)
        text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
        return text.encode() + b"\n"


def read_manifest(path: Path) -> Manifest:
    """Read the manifest in a file, or in the folder of an export.

    Raises InputError if the file is not a manifest, or one of a later version.
    """
    path = manifest_path(path)
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = int(value["manifest_version"])
        if version <= VERSION:
            return _parse_manifest(value, version)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Name an export's manifest.json.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path} is not a manifest of an export: {error!r}") from error
    raise InputError(
        f"{path} was written by a newer VisNec Studio (manifest version {version}; this one reads "
        f"up to {VERSION}). Upgrade visnec-studio."
    )


def is_edited(path: Path) -> bool:
    """Return whether a readable manifest was changed after it was written."""
    value: dict[str, Any] = json.loads(manifest_path(path).read_text("utf-8"))
    return bool(value.pop("manifest_sha256", None) != digest_manifest(value))


def manifest_path(path: Path) -> Path:
    """Return the path of the manifest, given that or the folder of its export."""
    return path / MANIFEST if path.is_dir() else path


def build_manifest(plan: ExportPlan, inputs: ExportInputs, bands: Mapping[str, float]) -> Manifest:
    """Return the manifest of an export that is not written yet: ``outputs`` are empty."""
    outcome, subset = plan.outcome, plan.outcome.subset
    frames = {
        "by_source": outcome.by_source(),
        "by_status": outcome.by_status(),
        "by_category": outcome.by_category(Bands(**bands)),
    }
    counts: dict[str, Any] = {
        "samples": len(outcome.candidates),
        "selected": len(subset.selected),
        "hand_kept": subset.n_hand_kept,
        "hand_dropped": subset.n_hand_dropped,
        "hand_unknown": subset.n_hand_unknown,
        "by_reason": [
            {"kept": count.kept, "reason": str(count.reason), "samples": count.n}
            for count in subset.count_reasons()
        ],
    }
    for name, frame in frames.items():
        before, after = frame["samples"].tolist(), frame["kept"].tolist()
        counts[name] = {
            str(group): {"before": n_before, "after": n_after}
            for group, n_before, n_after in zip(frame.index, before, after, strict=True)
        }
    return Manifest(
        options=plan.options,
        derived=(),
        subset=outcome.definition,
        inputs=inputs,
        bands=bands,
        counts=counts,
        selected_sha256=digest_rows(subset.selected),
        outputs=(),
        versions=library_versions(),
    )


def read_inputs(
    workspace: Workspace,
    definition: SubsetDefinition,
    parts: Iterable[str],
    until: Mapping[str, int],
    columns: Iterable[str] = (),
) -> ExportInputs:
    """Read the inputs of a subset as they are now, with each decision log up to an event.

    Of ``parts`` (names inside the workspace), those that neither the subset nor the export with
    ``columns`` uses are left out, such as the digests of images. Raises FileNotFoundError if one is
    gone.
    """
    scores, clusters = f"runs/{definition.run_id}/scores/", f"clusters/{definition.clustering_id}/"
    known = {part.split("/")[1] for part in parts if part.startswith("columns/")}
    used_columns = sorted(definition.find_columns(known).union(columns))
    used = ("dataset/", scores, clusters, *(f"columns/{name}/" for name in used_columns))
    names = sorted(part for part in parts if part.startswith(used) and _PART.fullmatch(part))
    digests = log_digests(workspace, until) if definition.hand_wins else {}
    return ExportInputs(
        workspace_id=workspace.settings.workspace_id,
        dataset=dataset_facts(read_dataset_info(workspace)),
        run=run_facts(workspace, definition.run_id),
        clustering=clustering_facts(workspace, definition.clustering_id),
        parts=tuple(digest_file(workspace.root, name) for name in names),
        decision_logs={name: LogDigest(until[name], digest) for name, digest in digests.items()},
    )


def dataset_facts(info: DatasetInfo) -> dict[str, Any]:
    """Return the record of the import without its time, and as earlier versions wrote it."""
    facts = info.as_json()
    del facts["imported_at"]
    for file in facts["files"]:
        file.pop("reading", None)
    return facts


def run_facts(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """Return a run's record without its time, order and edits, and folders of a local model."""
    facts = asdict(read_run(workspace, run_id))
    del facts["created_at"], facts["image_index"], facts["edits"]
    return _strip_run(facts)


def clustering_facts(workspace: Workspace, clustering_id: str | None) -> dict[str, Any] | None:
    """Return the clustering without time, cluster names and folders of a local embedder."""
    for clustering in list_clusterings(workspace):
        if clustering.clustering_id == clustering_id:
            facts = asdict(clustering)
            del facts["created_at"], facts["clusters"]
            return facts | {"embedder": _strip_folders(facts["embedder"])}
    return None


def digest_rows(rows: NDArray[Any]) -> str:
    """Return the digest of row numbers, one decimal number per line."""
    digest = hashlib.sha256()
    for start in range(0, len(rows), 100_000):
        lines = "".join(f"{row}\n" for row in rows[start : start + 100_000].tolist())
        digest.update(lines.encode())
    return digest.hexdigest()


def digest_manifest(value: Mapping[str, Any]) -> str:
    """Return the digest of a manifest's values without ``manifest_sha256``."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of this program and the libraries that affect an export."""
    libraries = {name: metadata.version(name) for name in ("numpy", "duckdb", "pyarrow")}
    return {PROGRAM: scoring.__version__, "python": platform.python_version(), **libraries}


def _strip_run(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the run record without the folders of a local model and adapter."""
    names = {key: facts.get(key) for key in ("model", "adapter")}
    return facts | {key: _strip_folders(name) for key, name in names.items() if name}


def _strip_folders(name: str) -> str:
    return PurePath(name).name if PurePath(name).is_absolute() else name


def _parse_manifest(value: Mapping[str, Any], version: int) -> Manifest:
    inputs = value["inputs"]
    outputs = tuple(FileDigest(**output) for output in value["outputs"])
    if version < 3:  # whose digests of values depended on how rows were batched
        outputs = tuple(replace(output, content_sha256=None) for output in outputs)
    # Names from a manifest become paths, so only names that an export writes are allowed.
    invalid = [output.name for output in outputs if not is_output_name(output.name)]
    if invalid or not outputs:
        raise ValueError(f"the outputs are not those of an export: {invalid[:1]}")
    parts = tuple(FileDigest(**part) for part in inputs["parts"])
    for part in parts:
        if not _PART.fullmatch(part.name) or ".." in part.name:
            raise ValueError(f"{part.name!r} is not a part of a workspace")
    clustering = inputs["clustering"]
    if clustering:  # the first versions kept the whole path of a local embedder
        clustering = clustering | {"embedder": _strip_folders(str(clustering["embedder"]))}
    return Manifest(
        options=ExportOptions(
            **{"format": value["format"], **value.get("options", {}), "version": version}
        ),
        derived=tuple(value.get("derived", ())),
        subset=definition_from_dict(value["subset"]),
        inputs=ExportInputs(
            workspace_id=str(value["workspace_id"]),
            dataset=inputs["dataset"],
            run=_strip_run(inputs["run"]),  # earlier versions kept the folder of an adapter
            clustering=clustering,
            parts=parts,
            decision_logs={
                name: LogDigest(int(log["until"]), log["sha256"])
                for name, log in inputs["decision_logs"].items()
            },
            edits=tuple(PinnedEdit(**edit) for edit in inputs.get("edits", ())),
        ),
        bands=value["bands"],
        counts=value["counts"],
        selected_sha256=value["selected_sha256"],
        outputs=outputs,
        versions=value["versions"],
    )
