"""Run the units of a trial: train, measure, write one result each; alone or with other processes.

A process leases a unit, trains and measures it, and writes its result as one file. So a process
that is killed loses at most the unit that it was working on, and another takes it over. Processes
and machines share a trial through its folder, as they share a run.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime

from scoring.dataset.edited_samples import read_edited_samples
from scoring.dataset.records import read_dataset_info
from scoring.engine.pipeline import installed_versions
from scoring.engine.preparation import ImageLoader
from scoring.errors import InputError, RunConflictError
from scoring.models import load_model
from scoring.models.loading import text_digest
from scoring.reviews.pinned_edits import find_pinned_edits
from scoring.runs.leases import ChunkLeases
from scoring.runs.progress import Rate, ReportFile
from scoring.training.samples import WorkspaceSamples
from scoring.trials.arms import arm_rows, read_arms
from scoring.trials.encoding_cache import MAX_BYTES, CachingCollator
from scoring.trials.evaluation_sets import open_evaluation_set, read_evaluation_samples
from scoring.trials.measuring import EvaluationRunner
from scoring.trials.plan import TrainingSettings, TrialPlan, read_plan, trial_folder
from scoring.trials.progress import (
    Phase,
    TrialProgress,
    open_units,
    progress_folder,
    read_trial_progress,
)
from scoring.trials.results import SetResult, UnitResult, result_path, write_result
from scoring.trials.training import (
    TrainedUnit,
    UnitStoppedError,
    UnitTrainer,
    check_training_packages,
    loading_dtype,
    save_trained,
)
from scoring.workspace import Workspace

_PACKAGES = ("visnec-studio", "torch", "transformers", "accelerate", "peft")
_WAIT_SECONDS = 0.5
_REPORT_SECONDS = 1.0

OnTrialProgress = Callable[[TrialProgress], None]


@dataclass(frozen=True, slots=True)
class TrialSummary:
    """The state of a trial at the end of a command, as numbers of units."""

    name: str
    done_before: int
    done: int
    total: int
    stopped: bool


def run_trial(
    workspace: Workspace,
    name: str,
    *,
    device: str | None = None,
    keep_models: bool = False,
    on_progress: OnTrialProgress | None = None,
    stop: threading.Event | None = None,
) -> TrialSummary:
    """Train and measure the units of a trial that have no result yet.

    Args:
        workspace: The workspace with the trial.
        name: Of the trial.
        device: To compute on; by default a GPU if there is one.
        keep_models: Keep the adapter, or the weights, of each unit under ``models``.
        on_progress: Called about once a second.
        stop: Setting it ends the work within a step; the unit in flight is done again later.

    Raises:
        InputError: The trial is not planned or has no training; the extra [trial] is missing; the
            dataset, the arms, the model or an evaluation set are not those of the plan.
        TrainingError: A training diverged or does not fit the device.
    """
    plan = read_plan(workspace, name)
    n_before = len(plan.units) - len(open_units(workspace, plan))
    if n_before < len(plan.units):
        runner = TrialRunner(workspace, plan, device=device, keep_models=keep_models)
        runner.run(on_progress=on_progress, stop=stop)
    return summarize_trial(workspace, plan, n_before)


def summarize_trial(workspace: Workspace, plan: TrialPlan, done_before: int) -> TrialSummary:
    """Return the state of a trial."""
    total, n_open = len(plan.units), len(open_units(workspace, plan))
    return TrialSummary(plan.name, done_before, total - n_open, total, stopped=n_open > 0)


def check_plan(workspace: Workspace, plan: TrialPlan) -> TrainingSettings:
    """Return the training of a plan that can be run. Raises InputError, as ``run_trial`` does."""
    if plan.training is None:
        raise InputError(
            f"Trial {plan.name!r} was planned for results of trainings done elsewhere. Add them "
            "with visnec trial record, or plan a trial with --model."
        )
    check_training_packages(plan.training)
    info = read_dataset_info(workspace)
    if not info.includes_edition(plan.dataset_fingerprint):
        raise RunConflictError(
            f"The dataset is not the one that trial {plan.name!r} was planned with (its "
            f"fingerprint was {plan.dataset_fingerprint[:12]}, now {info.fingerprint[:12]}). Plan "
            "another trial."
        )
    return plan.training


class TrialRunner:
    """A process that runs units of one trial, with one loaded model."""

    def __init__(
        self,
        workspace: Workspace,
        plan: TrialPlan,
        *,
        device: str | None = None,
        keep_models: bool = False,
    ) -> None:
        self._workspace, self._plan, self._keep_models = workspace, plan, keep_models
        settings = check_plan(workspace, plan)
        self._arms = read_arms(workspace, plan)
        self._edited = read_edited_samples(workspace, find_pinned_edits(workspace, plan.edits))
        sets = {
            each.name: open_evaluation_set(workspace, plan, each.name) for each in plan.evaluation
        }
        self._model = load_model(settings.model, device=device, dtype=loading_dtype(settings))
        if self._model.info.fingerprint != settings.model_fingerprint:
            raise RunConflictError(
                f"The weights of {settings.model} are not those that trial {plan.name!r} was "
                "planned with. Restore them, or plan another trial."
            )
        self._model.freeze_date(datetime.fromisoformat(plan.created_at))
        collator = CachingCollator(self._model, workspace)
        self._trainer = UnitTrainer(self._model, settings, collator)
        self._evaluations = {
            name: EvaluationRunner(
                self._model,
                list(read_evaluation_samples(opened)),
                ImageLoader(opened.image_roots),
                settings.generate_above,
                MAX_BYTES // len(sets),
            )
            for name, opened in sets.items()
        }

    def run(
        self,
        units: Sequence[int] | None = None,
        *,
        on_progress: OnTrialProgress | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Run ``units``, positions in ``plan.units``; by default all that have no result.

        Of given units, those that others work on are skipped; otherwise it waits for the others,
        and takes over from those that die.
        """
        stop = stop or threading.Event()
        claims = trial_folder(self._workspace, self._plan.name) / "claims"
        with ExitStack() as stack:
            leases = stack.enter_context(ChunkLeases(claims))
            file = stack.enter_context(ReportFile(progress_folder(self._workspace, self._plan)))
            reporter = _Reporter(self._workspace, self._plan, file, on_progress)
            try:
                while not stop.is_set() and (open_now := self._open_units(units)):
                    unit = next((each for each in open_now if leases.acquire(each)), None)
                    if unit is not None:
                        self._run_leased(unit, leases, reporter, stop)
                    elif units is not None:
                        break
                    else:
                        reporter.report_waiting()
                        stop.wait(_WAIT_SECONDS)
            except UnitStoppedError:
                pass
            finally:
                reporter.report_end()

    def _open_units(self, units: Sequence[int] | None) -> list[int]:
        return [
            unit
            for unit in open_units(self._workspace, self._plan)
            if units is None or unit in units
        ]

    def _run_leased(
        self, unit: int, leases: ChunkLeases, reporter: _Reporter, stop: threading.Event
    ) -> None:
        """Run one unit and write its result, unless another process has done so meanwhile."""
        arm, seed = self._plan.units[unit]
        try:
            if result_path(self._workspace, self._plan, arm, seed).exists():
                return
            result = self._run_unit(arm, seed, reporter, stop)
            if leases.is_held(unit):
                write_result(self._workspace, self._plan, result)
        finally:
            leases.release([unit])

    def _run_unit(
        self, arm: str, seed: int, reporter: _Reporter, stop: threading.Event
    ) -> UnitResult:
        rows = arm_rows(self._arms, arm, seed)
        weights = rows.weights.tolist() if self._plan.arm(arm).is_weighted else None
        samples = WorkspaceSamples(self._workspace, rows.row_idx, self._edited)
        reporter.begin(arm, seed, "train")
        with self._trainer.train(
            samples, seed, weights, on_step=reporter.count, stop=stop
        ) as trained:
            start = time.monotonic()
            sets: dict[str, SetResult] = {}
            for name, evaluation in self._evaluations.items():
                reporter.begin(arm, seed, "evaluate")
                sets[name] = evaluation.measure(on_measured=reporter.count, stop=stop)
            evaluation_seconds = time.monotonic() - start
            if self._keep_models:
                self._save_model(trained, arm, seed)
        return UnitResult(
            plan_digest=self._plan.digest,
            arm=arm,
            seed=seed,
            sets=sets,
            n_samples=len(samples),
            n_answer_tokens=trained.n_answer_tokens,
            n_steps=trained.n_steps,
            training_loss=trained.loss,
            training_seconds=round(trained.seconds, 3),
            evaluation_seconds=round(evaluation_seconds, 3),
            device=self._model.info.device_name or self._model.info.device,
            versions=installed_versions(_PACKAGES) | {"model files": self._digest_model_files()},
        )

    def _digest_model_files(self) -> str:
        """Return a digest of what decides token ids and pixels: tokenizer, template, processor."""
        info = self._model.info
        return text_digest(json.dumps([info.files, info.template_digest], sort_keys=True))

    def _save_model(self, trained: TrainedUnit, arm: str, seed: int) -> None:
        folder = trial_folder(self._workspace, self._plan.name) / "models" / f"{seed}-{arm}"
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            save_trained(trained, self._model, temporary)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


class _Reporter:
    """Reports the unit in flight of this process, to others and to the caller."""

    def __init__(
        self,
        workspace: Workspace,
        plan: TrialPlan,
        file: ReportFile,
        on_progress: OnTrialProgress | None,
    ) -> None:
        self._workspace, self._plan, self._file = workspace, plan, file
        self._on_progress, self._shown = on_progress, 0.0
        self._unit: dict[str, object] = {}

    def begin(self, arm: str, seed: int, phase: Phase) -> None:
        """Start counting the steps of a training, or the questions of an evaluation set."""
        self._unit = {"arm": arm, "seed": seed, "phase": phase}
        self._rate = Rate()
        self.count(0, 0)

    def count(self, done: int, total: int) -> None:
        """Report how many steps or questions are done."""
        rate = self._rate.update(done)
        self._file.report(state="running", **self._unit, done=done, total=total, rate=rate)
        self._show_if_due()

    def report_waiting(self) -> None:
        """Report that all units left are those of other processes."""
        self._file.report(state="running")
        self._show_if_due()

    def report_end(self) -> None:
        """Report that this process has ended."""
        is_finished = not open_units(self._workspace, self._plan)
        self._file.report(state="finished" if is_finished else "stopped")
        self._file.write()
        self._shown = 0.0
        self._show_if_due()

    def _show_if_due(self) -> None:
        if self._on_progress and time.monotonic() - self._shown >= _REPORT_SECONDS:
            self._file.write()
            self._on_progress(read_trial_progress(self._workspace, self._plan))
            self._shown = time.monotonic()
