"""A run: one model, template and dtype over one dataset, and the record that pins them.

The record is written once. Resuming the run needs the same settings, model and dataset; an error
lists the differences.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock

from scoring.errors import InputError, RunConflictError, WorkspaceError
from scoring.reviews.pinned_edits import PinnedEdit
from scoring.workspace import Workspace, check_name, require_dataset, write_json


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that determines a run's numbers (``run.json``).

    ``model``, ``revision``, ``device``, ``device_name``, ``processor``, ``shortcuts``,
    ``created_at``, ``versions`` and ``notice`` are for the reader, ``image_index`` decides the
    order of the work; the rest must be equal when the run is resumed. Runs of earlier versions lack
    some fields, and unknown values are not compared; those of imported scores are None or empty.
    """

    run_id: str
    model: str
    model_fingerprint: str
    model_family: str
    dataset_fingerprint: str
    baselines: tuple[str, ...]
    template: str
    dtype: str
    device: str
    score_eos: bool | None
    max_length: int | None
    truncate: bool | None
    created_at: str
    versions: dict[str, str] = field(default_factory=dict)
    notice: str | None = None
    tokens: bool = False  # the parts have a loss per answer token
    # of its own baselines: blur_sigma (share of the image's longer side), shuffle_seed
    baseline_parameters: dict[str, float] = field(default_factory=dict)
    processor: str | None = None  # classes that produced token ids and pixels
    device_name: str | None = None  # the product name
    imported_from: str | None = None  # the file (name and sha256) of imported scores
    template_digest: str | None = None  # of the template's text
    model_files: dict[str, str] | None = None  # digests of files that affect token ids and pixels
    revision: str | None = None
    shortcuts: tuple[str, ...] = ()
    image_processor: str | None = None  # class and backend that produced pixels
    gray_colour: tuple[int, ...] | None = None  # of the baseline gray
    adapter: str | None = None  # folder of the PEFT adapter
    adapter_fingerprint: str | None = None
    quantization: dict[str, Any] | None = None
    device_map: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)  # the template's variables
    image_index: str = ""  # the last pass over the images that its order goes by
    scoring_version: int | None = None  # at the start of the run; the first version wrote none
    edits: tuple[PinnedEdit, ...] = ()  # of a run of edits, which scores only edited samples

    @property
    def image_processor_backend(self) -> str:
        """``pil`` or ``torchvision``; ``auto`` if unknown."""
        name, _, backend = (self.image_processor or "").partition(" (")
        return backend.rstrip(")") if name and backend in ("pil)", "torchvision)") else "auto"

    @property
    def started(self) -> datetime:
        """When the run began: the date in chat templates, also after resuming."""
        return datetime.fromisoformat(self.created_at)

    @property
    def first_baseline(self) -> str:
        """The default baseline: ``none`` if the run has it, as it comes first."""
        return next(iter(self.baselines), "none")


SCORING_VERSION = 2
"""Incremented by each change after which the same settings give other scores: 2 removes the image
from the multimodal prompt, applies the head in float32, and scales grey images with more than 8
bits."""

_COMPARED = (
    "scoring_version",
    "model_fingerprint",
    "dataset_fingerprint",
    "baselines",
    "template",
    "dtype",
    "score_eos",
    "max_length",
    "truncate",
    "tokens",
    "baseline_parameters",
    "imported_from",
    "template_digest",
    "model_files",
    "image_processor",
    "gray_colour",
    "adapter_fingerprint",
    "quantization",
    "device_map",
    "chat_template_kwargs",
    "edits",
)
_OF_ONE_RUN = ("edits", "baselines", "tokens", "gray_colour", "imported_from")
_OF_THE_BASELINE = ("dataset_fingerprint", "baseline_parameters")
_MAY_BE_UNKNOWN = ("template_digest", "model_files", "image_processor")  # in earlier versions
_REMEDIES = {
    "image_processor": "choose one with --image-processor pil or torchvision",
    "scoring_version": "as this version of VisNec Studio computes other scores",
}


def settings_digest(**settings: object) -> str:
    """Return a digest of the settings that determine a run's numbers, as its short name."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def begin_run(workspace: Workspace, record: RunRecord) -> RunRecord:
    """Write the record of a new run, or return the existing one.

    Raises RunConflictError listing every setting that differs from the existing record.
    """
    path = workspace.run_dir(record.run_id) / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".run.lock")):  # only one of several starting processes writes
        if not path.exists():
            write_json(path, asdict(record))
            return record
    existing = read_run(workspace, record.run_id)
    changed = find_differences(existing, {name: getattr(record, name) for name in _COMPARED})
    if changed:
        raise RunConflictError(
            f"Run {record.run_id!r} began with other settings ({'; '.join(changed)}). "
            "Use the same settings, or choose another name with --run"
        )
    return existing


def find_differences(record: RunRecord, settings: Mapping[str, object]) -> list[str]:
    """Describe each of ``settings`` (field -> value now) that differs from ``record``."""
    differences: list[str] = []
    for name, now in settings.items():
        before = getattr(record, name)
        if before == now or (name in _MAY_BE_UNKNOWN and None in (before, now)):
            continue
        if name == "edits":
            differences.append(_describe_edits(before, now))
        elif isinstance(before, dict) and isinstance(now, dict):
            differences += [
                f"{name} {key}: {before.get(key)!r} then, {now.get(key)!r} now"
                for key in sorted({key for key, _ in before.items() ^ now.items()})
            ]
        else:
            remedy = f", {_REMEDIES[name]}" if name in _REMEDIES else ""
            differences.append(f"{name}: {before!r} then, {now!r} now{remedy}")
    return differences


def _describe_edits(before: Any, now: Any) -> str:
    """Describe how the pinned edits of a run differ from those that it would score now."""
    if not before or not now:
        first, second = (f"{len(edits):,} edits" if edits else "none" for edits in (before, now))
        return f"edits: {first} then, {second} now"
    n_gone, n_new = len(set(before) - set(now)), len(set(now) - set(before))
    return f"edits: {n_gone:,} of {len(before):,} were replaced or undone, {n_new:,} are new"


def is_comparable(record: RunRecord, other: RunRecord, baseline: str) -> bool:
    """Return whether scores of a baseline differ only by the texts that the two runs scored."""
    of_baseline = _OF_THE_BASELINE if baseline in ("none", "reference", "gray") else ()
    names = [name for name in _COMPARED if name not in (*_OF_ONE_RUN, *of_baseline)]
    return (
        baseline in record.baselines
        and baseline in other.baselines
        and not (record.imported_from or other.imported_from)
        and not find_differences(record, {name: getattr(other, name) for name in names})
    )


def read_run(workspace: Workspace, run_id: str) -> RunRecord:
    """Read the record of one run. Raises WorkspaceError listing the known runs."""
    path = workspace.run_dir(run_id) / "run.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(run.run_id for run in list_runs(workspace)) or "none yet"
        raise WorkspaceError(f"No run {run_id!r} in {workspace.root}. Runs: {known}") from None
    return run_from_json(raw)


def run_from_json(raw: Mapping[str, Any]) -> RunRecord:
    """Return the record from its JSON values; fields that this version lacks are ignored."""
    values = {item.name: raw[item.name] for item in fields(RunRecord) if item.name in raw}
    values.setdefault("baselines", ())
    for name in ("baselines", "shortcuts", "gray_colour"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])
    values["edits"] = tuple(PinnedEdit(**edit) for edit in values.get("edits", ()))
    if values.get("image_processor") is None:
        # Runs of earlier versions recorded classes only.
        classes = (values.get("processor") or "").split(", ")
        processor = next((name for name in classes if "ImageProcessor" in name), "")
        backend = "pil" if processor.endswith("Pil") else "torchvision"
        values["image_processor"] = f"{processor} ({backend})" if processor else None
    return RunRecord(**values)


def list_runs(workspace: Workspace) -> list[RunRecord]:
    """Return the runs of a workspace, oldest first."""
    names = sorted(path.parent.name for path in workspace.runs_dir.glob("*/run.json"))
    runs = [read_run(workspace, name) for name in names]
    return sorted(runs, key=lambda run: (run.created_at, run.run_id))


def read_run_or_latest(workspace: Workspace, run_id: str | None) -> RunRecord:
    """Return the named run, or the newest one, of the records as imported.

    Raises WorkspaceError if there is none, and InputError for a run of edits.
    """
    if run_id is not None:
        return require_whole_run(read_run(workspace, check_name(run_id, "run")))
    runs = [run for run in list_runs(workspace) if not run.edits]
    if not runs:
        require_dataset(workspace)
        raise WorkspaceError(
            f"{workspace.root} has no run yet. "
            f"Score it with: visnec score -w {workspace.root} --model MODEL"
        )
    return runs[-1]


def require_whole_run(record: RunRecord) -> RunRecord:
    """Return the record of a run. Raises InputError for a run of edits."""
    if record.edits:
        raise InputError(describe_edit_run(record.run_id))
    return record


def describe_edit_run(run_id: str) -> str:
    """Return why a run of edits is refused where scores of the records are needed."""
    return (
        f"Run {run_id!r} is a run of edits: its scores are of edited records only. See them with "
        "visnec edits, and name a run of the whole dataset here."
    )


def utc_now() -> str:
    """Return the current time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
