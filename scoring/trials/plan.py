"""The plan of a trial: what is trained on what, how it is measured, and what is compared.

``trials/<name>/plan.json`` is written once, before the first training, and never changed: other
settings are another trial. ``arms.parquet`` next to it pins the rows of each arm, so results do not
depend on scores or decisions that change later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from scoring.errors import InputError, WorkspaceError
from scoring.reviews.pinned_edits import PinnedEdit
from scoring.runs.record import utc_now
from scoring.workspace import Workspace, check_name, write_json

Measure = Literal["accuracy", "loss"]
"""``accuracy``: share of exactly matching greedy answers, in per cent. ``loss``: mean loss per
answer token, in nats; lower is better."""

ControlKind = Literal["random", "band", "cluster", "tokens", "all"]
"""What a subset is compared with. Drawn at random: the same number of scored samples (``random``),
of those inside the rule's own filter (``band``), of each cluster (``cluster``); samples with the
same number of answer tokens (``tokens``). ``all`` is every sample that can be trained on."""

ARMS_SCHEMA = pa.schema(
    [
        pa.field("arm", pa.string(), nullable=False),
        pa.field("seed", pa.int64()),  # null: the same rows in every seed
        pa.field("row_idx", pa.int64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),  # how often a sample counts; mean 1
    ]
)


@dataclass(frozen=True, slots=True)
class PlannedArm:
    """One arm: a saved subset, or a control that accompanies the subset ``of``.

    ``definition`` is the subset's definition when the trial was planned. Controls that are drawn
    at random are drawn again for each seed; ``n_samples`` and ``n_answer_tokens`` (times the
    weights; unscored samples count none) are those of the first seed.
    """

    name: str
    n_samples: int
    n_answer_tokens: int
    control: ControlKind | None = None  # None: a subset
    of: str | None = None  # the subset that a control accompanies; None for all
    definition: Mapping[str, Any] | None = None
    is_weighted: bool = False


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """Questions that no arm is trained on.

    ``path`` is a file of records or a workspace. It is empty for a benchmark that another program
    measures, whose number of questions and digest are not known here.
    """

    name: str
    path: str
    n_samples: int
    digest: str  # of the records' bytes


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How each arm is trained. One of ``epochs`` and ``steps`` is set.

    ``adapter``: ``lora``, or None to train all weights. ``generate_above``: answers of more tokens
    than this are generated; shorter ones are compared in one pass with the reference as input,
    which is exact for greedy decoding.
    """

    model: str
    model_fingerprint: str
    epochs: float | None = 1.0
    steps: int | None = None
    learning_rate: float = 1e-4
    batch_size: int = 16
    adapter: str | None = None
    lora_rank: int = 16
    dtype: str = "float32"
    generate_above: int = 32


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """Everything that determines what a trial concludes, except its results.

    ``run_id`` and ``baseline`` are those of the first subset. ``training`` is None for a trial
    whose results are recorded from elsewhere. Every subset is compared with each control of its own
    and with ``all``, on every evaluation set; conclusions are about ``primary``, a name of
    ``evaluation``, by ``measure``. ``margin`` is in points of accuracy or nats: how much worse
    counts as equally good.
    """

    name: str
    run_id: str
    baseline: str
    dataset_fingerprint: str
    arms: tuple[PlannedArm, ...]
    arms_digest: str  # of arms.parquet
    evaluation: tuple[EvaluationSet, ...]
    primary: str
    measure: Measure
    margin: float
    seeds: tuple[int, ...]
    training: TrainingSettings | None
    created_at: str = field(default_factory=utc_now)
    notice: str | None = None  # shown above the trial
    edits: tuple[PinnedEdit, ...] = ()  # that the samples of the arms are trained with

    @property
    def digest(self) -> str:
        """A digest of everything but the name, the date and the notice."""
        values = {key: value for key, value in asdict(self).items() if key not in _UNPINNED}
        if not self.edits:  # as in plans of earlier versions
            del values["edits"]
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def units(self) -> list[tuple[str, int]]:
        """The trainings, as (arm, seed): the pilot, all arms of the first seed, of the next, ...

        The pilot, two seeds of the first random control, shows early what the trial can see.
        """
        in_order = [(arm.name, seed) for seed in self.seeds for arm in self.arms]
        random = next((arm.name for arm in self.arms if arm.control == "random"), None)
        pilot = [(random, seed) for seed in self.seeds[:2] if random is not None]
        return [*pilot, *(unit for unit in in_order if unit not in pilot)]

    @property
    def comparisons(self) -> list[tuple[str, str]]:
        """The declared comparisons, as (subset, control)."""
        return [
            (subset.name, control.name)
            for subset in self.arms
            if subset.control is None
            for control in self.arms
            if control.control is not None and control.of in (None, subset.name)
        ]

    def arm(self, name: str) -> PlannedArm:
        """Return an arm by its name. Raises InputError listing the arms."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        known = ", ".join(arm.name for arm in self.arms)
        raise InputError(f"Trial {self.name!r} has no arm {name!r}. Its arms: {known}")


_UNPINNED = ("name", "created_at", "notice")


def trial_folder(workspace: Workspace, name: str) -> Path:
    """Return the folder of a trial, which need not exist."""
    return workspace.trials_dir / check_name(name, "trial")


def is_planned(workspace: Workspace, plan: TrialPlan) -> bool:
    """Return whether this plan is saved. Raises InputError if another one has its name."""
    if not (trial_folder(workspace, plan.name) / "plan.json").exists():
        return False
    saved = read_plan(workspace, plan.name)
    if saved.digest != plan.digest:
        changed = ", ".join(
            name
            for name in TrialPlan.__dataclass_fields__
            if name not in _UNPINNED and getattr(saved, name) != getattr(plan, name)
        )
        raise InputError(
            f"Trial {plan.name!r} is already planned with other settings ({changed}). Choose "
            "another name: a plan is not changed after the fact"
        )
    return True


def save_plan(workspace: Workspace, plan: TrialPlan) -> Path:
    """Write a plan. Raises InputError if the trial is already planned with other settings."""
    path = trial_folder(workspace, plan.name) / "plan.json"
    if not is_planned(workspace, plan):
        write_json(path, asdict(plan) | {"digest": plan.digest})
    return path


def read_plan(workspace: Workspace, name: str) -> TrialPlan:
    """Read a plan. Raises InputError if there is none, WorkspaceError if it was changed."""
    path = trial_folder(workspace, name) / "plan.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        plan = _plan_from_json(raw)
    except FileNotFoundError:
        known = ", ".join(list_trials(workspace)) or "none yet"
        raise InputError(f"No trial {name!r} in {workspace.root}. Trials: {known}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"{path} is not a plan that this version can read ({error})"
        ) from error
    if raw.get("digest") != plan.digest:
        raise WorkspaceError(
            f"{path} was changed after it was written. Restore it, or plan another trial"
        )
    return plan


def list_trials(workspace: Workspace) -> list[str]:
    """Return the names of the planned trials, in alphabetical order."""
    return sorted(path.parent.name for path in workspace.trials_dir.glob("*/plan.json"))


def _plan_from_json(raw: Mapping[str, Any]) -> TrialPlan:
    values = {name: raw[name] for name in TrialPlan.__dataclass_fields__ if name != "edits"}
    values["edits"] = tuple(PinnedEdit(**edit) for edit in raw.get("edits", ()))
    values["arms"] = tuple(PlannedArm(**arm) for arm in raw["arms"])
    values["evaluation"] = tuple(EvaluationSet(**each) for each in raw["evaluation"])
    values["seeds"] = tuple(raw["seeds"])
    if raw["training"] is not None:
        values["training"] = TrainingSettings(**raw["training"])
    return TrialPlan(**values)
