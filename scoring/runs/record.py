"""A run: one model, template and dtype over one dataset, and the record that pins them down.

The run record is written once. Whoever goes on with the run must bring the same settings, model
and dataset; what differs is named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock

from scoring.errors import RunConflictError, WorkspaceError
from scoring.workspace import Workspace, check_name, write_json


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that decides a run's numbers (``run.json``).

    ``model``, ``revision``, ``device``, ``device_name``, ``processor``, ``shortcuts``,
    ``created_at``, ``versions`` and ``notice`` are kept for the reader; the rest must be equal
    when the run goes on. ``template_digest`` is of the template's text, ``model_files`` are the
    digests of the model's files besides its weights that decide ids and pixels; runs of earlier
    versions have neither, and what is not known is not compared. ``chat_template_kwargs`` are
    variables that the template was rendered with. ``scoring_version`` is the SCORING_VERSION that
    the run began with, None in scores from elsewhere and in runs of the first version.
    ``baseline_parameters`` are those of the run's own baselines: ``blur_sigma`` (share of the
    image's longer side), ``shuffle_seed``. ``tokens``: the parts hold a loss per answer token.
    ``imported_from`` is the file (name and sha256) of scores that were computed elsewhere; what
    nobody told of their settings is None, or empty.
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
    tokens: bool = False
    baseline_parameters: dict[str, float] = field(default_factory=dict)
    processor: str | None = None  # classes that made ids and pixels
    device_name: str | None = None  # of the device's maker
    imported_from: str | None = None
    template_digest: str | None = None
    model_files: dict[str, str] | None = None
    revision: str | None = None
    shortcuts: tuple[str, ...] = ()
    image_processor: str | None = None  # class and backend of what made pixels
    gray_colour: tuple[int, ...] | None = None  # of the baseline gray
    adapter: str | None = None  # folder of the PEFT adapter
    adapter_fingerprint: str | None = None
    quantization: dict[str, Any] | None = None
    device_map: str | dict[str, Any] | None = None
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    scoring_version: int | None = None

    @property
    def image_processor_backend(self) -> str:
        """pil or torchvision; auto where it is not known."""
        name, _, backend = (self.image_processor or "").partition(" (")
        return backend.rstrip(")") if name and backend in ("pil)", "torchvision)") else "auto"

    @property
    def started(self) -> datetime:
        """When the run began: the date that chat templates write, also when the run resumes."""
        return datetime.fromisoformat(self.created_at)

    @property
    def first_baseline(self) -> str:
        """The baseline that is meant where none is named; ``none`` stands first if it is there."""
        return next(iter(self.baselines), "none")


SCORING_VERSION = 2
"""Raised by each change after which the same settings give other scores: 2 takes the image out of
the multimodal prompt, applies the head in float32 and scales deep greys."""

_DECIDING = (
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
)
_MAY_BE_UNKNOWN = ("template_digest", "model_files", "image_processor")  # to earlier versions
_REMEDIES = {
    "image_processor": "--image-processor pil or torchvision chooses one",
    "scoring_version": "as this version of VisNec Studio computes other scores",
}


def settings_digest(**settings: object) -> str:
    """A short name for a run: a digest of the settings that decide its numbers."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def begin_run(workspace: Workspace, record: RunRecord) -> RunRecord:
    """Writes the record of a new run, or returns the one that is there.

    Raises RunConflictError naming every setting in which the two differ.
    """
    path = workspace.run_dir(record.run_id) / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(".run.lock")):  # of processes that begin together, one writes
        if not path.exists():
            write_json(path, asdict(record))
            return record
    present = read_run(workspace, record.run_id)
    changed = find_differences(present, {name: getattr(record, name) for name in _DECIDING})
    if changed:
        raise RunConflictError(
            f"run {record.run_id!r} began with other settings ({'; '.join(changed)}); "
            "repeat the old ones, or give another name with --run"
        )
    return present


def find_differences(record: RunRecord, settings: Mapping[str, object]) -> list[str]:
    """In words, each of ``settings`` (field -> value now) that is not as ``record`` has it."""
    found: list[str] = []
    for name, value in settings.items():
        before = getattr(record, name)
        if before == value or (name in _MAY_BE_UNKNOWN and None in (before, value)):
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            keys = sorted({key for key, _ in before.items() ^ value.items()})
            found += [
                f"{name} {key}: {before.get(key)!r} then, {value.get(key)!r} now" for key in keys
            ]
        else:
            remedy = f", {_REMEDIES[name]}" if name in _REMEDIES else ""
            found.append(f"{name}: {before!r} then, {value!r} now{remedy}")
    return found


def read_run(workspace: Workspace, run_id: str) -> RunRecord:
    """The record of one run. Raises WorkspaceError naming the runs there are."""
    path = workspace.run_dir(run_id) / "run.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        known = ", ".join(run.run_id for run in list_runs(workspace)) or "none yet"
        raise WorkspaceError(f"no run {run_id!r} in {workspace.root}; there are: {known}") from None
    known_fields = {item.name for item in fields(RunRecord)}
    values = {name: value for name, value in raw.items() if name in known_fields}
    lists = {name: tuple(values.get(name, ())) for name in ("baselines", "shortcuts")}
    if values.get("gray_colour") is not None:
        lists["gray_colour"] = tuple(values["gray_colour"])
    if values.get("image_processor") is None:
        values["image_processor"] = _image_processor_of(values.get("processor"))
    return RunRecord(**{**values, **lists})


def _image_processor_of(classes: str | None) -> str | None:
    """Class and backend as ``image_processor`` has them, of a run that only recorded classes."""
    found = [name for name in (classes or "").split(", ") if "ImageProcessor" in name]
    if not found:
        return None
    return f"{found[0]} ({'pil' if found[0].endswith('Pil') else 'torchvision'})"


def list_runs(workspace: Workspace) -> list[RunRecord]:
    """The runs of a workspace, oldest first."""
    names = sorted(path.parent.name for path in workspace.runs_dir.glob("*/run.json"))
    runs = [read_run(workspace, name) for name in names]
    return sorted(runs, key=lambda run: (run.created_at, run.run_id))


def read_run_or_latest(workspace: Workspace, run_id: str | None) -> RunRecord:
    """The named run, or without a name the newest one. Raises WorkspaceError where none is."""
    if run_id is not None:
        return read_run(workspace, check_name(run_id, "run"))
    runs = list_runs(workspace)
    if not runs:
        raise WorkspaceError(
            f"{workspace.root} has no run yet; "
            f"score it with: visnec score -w {workspace.root} --model MODEL"
        )
    return runs[-1]


def utc_now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
