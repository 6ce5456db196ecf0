"""Plan a trial: pin the samples of every arm and check its evaluation sets, before any training."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from scoring.database.connection import Store
from scoring.dataset.edited_samples import read_edited_samples
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.models.options import ModelOptions
from scoring.necessity import Bands
from scoring.reviews.pinned_edits import PinnedEdit, current_edits
from scoring.rules.candidates import Ints
from scoring.samples import Sample, Status
from scoring.subsets.definitions import ResolvedSubset, name_arm, read_outcome, read_subset
from scoring.trials.arms import Arms, digest_arms, write_arms
from scoring.trials.controls import (
    ArmRows,
    count_untrainable,
    draw_control,
    find_obstacle,
    select_all,
    subset_rows,
)
from scoring.trials.evaluation_sets import EVALUATION_FOLDER, USABLE, OpenedSet, add_evaluation_set
from scoring.trials.leakage import LeakReport, check_leakage
from scoring.trials.options import PlanOptions
from scoring.trials.plan import (
    ControlKind,
    EvaluationSet,
    PlannedArm,
    TrainingSettings,
    TrialPlan,
    is_planned,
    read_plan,
    save_plan,
    trial_folder,
)
from scoring.workspace import Workspace

_DEFAULT_CONTROLS: tuple[ControlKind, ...] = ("random", "band", "all")

Say = Callable[[str], None]


def plan_trial(
    workspace: Workspace,
    store: Store,
    name: str,
    options: PlanOptions,
    *,
    warn: Say = lambda _: None,
    note: Say = lambda _: None,
    progress: Callable[[int, int], None] | None = None,
) -> TrialPlan:
    """Write the plan of a trial and return it. Planning the same again changes nothing.

    Args:
        workspace: The workspace with the subsets.
        store: Its database.
        name: Of the trial.
        options: What is compared, measured and trained.
        warn: Called with what was left out or could not be checked, a sentence at a time.
        note: Called with other facts about the evaluation sets.
        progress: Called with (samples compared with the evaluation sets, samples in total).

    Raises:
        InputError: A subset has no such control, an evaluation set leaks, a sample has no image,
            or the trial is already planned with other settings.
    """
    folder = trial_folder(workspace, name)
    workspace.trials_dir.mkdir(exist_ok=True)
    with FileLock(folder.with_name(f".{name}.lock")):
        is_new = not (folder / "plan.json").exists()
        if is_new:
            _discard_unfinished(folder)
        try:
            planned, arms = _collect_arms(workspace, store, options, warn)
            training = _training_settings(options)
            evaluation = [
                add_evaluation_set(workspace, name, source) for source in options.evaluation
            ]
            first = read_subset(workspace, options.subsets[0])
            rows = np.unique(np.concatenate([each.row_idx for each in arms.values()]))
            edits, edited = _pin_edits(workspace, options, rows)
            plan = TrialPlan(
                name=name,
                run_id=first.run_id,
                baseline=first.baseline,
                dataset_fingerprint=read_dataset_info(workspace).fingerprint,
                arms=planned,
                arms_digest=digest_arms(arms),
                evaluation=(
                    *(opened.planned for opened in evaluation),
                    *(EvaluationSet(each, "", 0, "") for each in options.benchmarks),
                ),
                primary=options.primary_name,
                measure=options.measure,
                margin=options.margin_or_default,
                seeds=options.seed_numbers,
                training=training,
                edits=edits,
            )
            if not is_planned(workspace, plan):
                report = check_leakage(workspace, rows, evaluation, edited, progress)
                _check_sets(plan, report, evaluation, warn, note)
                if edits:
                    note(
                        f"{len(edits):,} samples are trained with reviewers' edits; scores and "
                        "answer tokens are those of their records before"
                    )
                write_arms(workspace, name, arms)
                save_plan(workspace, plan)
        except BaseException:
            if is_new:
                _discard_unfinished(folder)
            else:
                _discard_sets(read_plan(workspace, name), folder)
            raise
    return read_plan(workspace, name)


def _pin_edits(
    workspace: Workspace, options: PlanOptions, rows: Ints
) -> tuple[tuple[PinnedEdit, ...], dict[int, Sample]]:
    """Return the current edits of these rows, and the edited samples by row.

    Raises RecordError for an edit that cannot be applied, InputError for one that leaves a sample
    which cannot be trained on.
    """
    if options.edits == "ignore":
        return (), {}
    wanted = set(rows.tolist())
    chosen = [edit for edit in current_edits(workspace) if edit.event.row_idx in wanted]
    edited = read_edited_samples(workspace, chosen)
    for sample in edited.values():
        if sample.status not in USABLE:
            raise InputError(
                f"With its edit, row {sample.row_idx} cannot be trained on: {sample.status}, "
                f"{sample.reason}. Edit it again, undo the edit, or plan with --edits ignore"
            )
    return tuple(replace(edit.pin(), conflict=False) for edit in chosen), edited


def _discard_sets(plan: TrialPlan, folder: Path) -> None:
    """Remove evaluation sets that a refused planning imported and the saved plan does not have."""
    imported = {
        each.name for each in plan.evaluation if not (Path(each.path) / "workspace.json").is_file()
    }
    for path in (folder / EVALUATION_FOLDER).glob("*"):
        if path.name not in imported:
            shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):  # absent, or with other sets
        (folder / EVALUATION_FOLDER).rmdir()


def _discard_unfinished(folder: Path) -> None:
    """Remove what a planning that did not end has written."""
    shutil.rmtree(folder / EVALUATION_FOLDER, ignore_errors=True)
    (folder / "arms.parquet").unlink(missing_ok=True)
    with suppress(OSError):  # absent, or with other files
        folder.rmdir()


def _collect_arms(
    workspace: Workspace, store: Store, options: PlanOptions, warn: Say
) -> tuple[tuple[PlannedArm, ...], Arms]:
    """Return the arms in order and their samples. Raises InputError for an empty or second one."""
    subsets = [
        read_outcome(workspace, store, read_subset(workspace, each)) for each in options.subsets
    ]
    planned: dict[str, PlannedArm] = {}
    arms: dict[tuple[str, int | None], ArmRows] = {}
    for arm, rows_by_seed in _draw_arms(subsets, options, workspace.bands, warn):
        if arm.n_samples == 0:
            raise InputError(f"The arm {arm.name!r} has no sample that can be trained on")
        if arm.name in planned:
            raise InputError(f"Two arms would be named {arm.name!r}. Rename one of the subsets")
        planned[arm.name] = arm
        arms |= {(arm.name, seed): rows for seed, rows in rows_by_seed.items()}
    return tuple(planned.values()), arms


def _draw_arms(
    subsets: Sequence[ResolvedSubset], options: PlanOptions, bands: Bands, warn: Say
) -> Iterator[tuple[PlannedArm, dict[int | None, ArmRows]]]:
    """Yield each arm with its samples by seed: a subset, its controls, the next, and ``all``."""
    controls, seeds = options.controls or _DEFAULT_CONTROLS, options.seed_numbers
    for resolved in subsets:
        name, definition = resolved.definition.name, resolved.definition.to_dict()
        if n_untrainable := count_untrainable(resolved):
            warn(
                f"{n_untrainable:,} samples of {name} are left out: by their status they cannot "
                "be trained on"
            )
        rows = subset_rows(resolved)
        is_weighted = resolved.subset.weights is not None
        arm = _plan_arm(name, rows, resolved, is_weighted)
        yield replace(arm, definition=definition), {None: rows}
        for kind in controls:
            if kind == "all":
                continue
            obstacle = find_obstacle(resolved, kind, bands)
            if obstacle is not None:
                if options.controls is not None:
                    raise InputError(obstacle)
                warn(obstacle)
                continue
            drawn: dict[int | None, ArmRows] = {
                seed: draw_control(resolved, kind, bands, seed) for seed in seeds
            }
            arm = _plan_arm(name_arm(name, kind), drawn[seeds[0]], resolved, is_weighted)
            yield replace(arm, control=kind, of=name), drawn
    if "all" in controls:
        candidates = subsets[0].candidates
        rows = select_all(candidates)
        if n_pending := int(candidates.has_status(Status.PENDING).sum()):
            warn(
                f"{n_pending:,} samples of all are pending in run {subsets[0].definition.run_id}. "
                "A damaged image among them would stop a training; finish the run first"
            )
        yield replace(_plan_arm("all", rows, subsets[0]), control="all"), {None: rows}


def _plan_arm(
    name: str, rows: ArmRows, resolved: ResolvedSubset, is_weighted: bool = False
) -> PlannedArm:
    tokens = resolved.candidates.n_answer_tokens[rows.row_idx]
    n_tokens = round(float((tokens * rows.weights).sum()))
    return PlannedArm(name, len(rows.row_idx), n_tokens, is_weighted=is_weighted)


def _training_settings(options: PlanOptions) -> TrainingSettings | None:
    """Return how each arm is trained, with a digest of the model's weights. Raises ModelError."""
    if options.model is None:
        return None
    from scoring.models import find_model
    from scoring.models.loading import weights_fingerprint  # torch takes seconds to import

    model, folder, _, _ = find_model(ModelOptions(options.model))
    is_folder = Path(model.name).is_dir()
    return TrainingSettings(
        model=str(folder.resolve()) if is_folder else model.name,
        model_fingerprint=weights_fingerprint(folder),
        epochs=options.budget.epochs,
        steps=options.budget.steps,
        learning_rate=options.learning_rate,
        batch_size=options.batch_size,
        adapter=options.adapter,
        lora_rank=options.lora_rank,
        dtype=options.dtype,
        generate_above=options.generate_above,
    )


def _check_sets(
    plan: TrialPlan, report: LeakReport, evaluation: Sequence[OpenedSet], warn: Say, note: Say
) -> None:
    """Raise InputError if a set leaks or a sample lacks its image; warn of what is left out."""
    report.refuse_leaks()
    if report.unreadable:
        text = f"{len(report.unreadable):,} images of the samples are not readable"
        example = f" (first: {report.unreadable[0]})"
        if plan.training is not None:
            raise InputError(
                f"{text}{example}. Restore them, or leave these samples out of the subsets and "
                "score again"
            )
        warn(f"{text} and were not compared with the evaluation sets{example}")
    for opened, overlap in zip(evaluation, report.overlaps, strict=True):
        name = overlap.name
        if opened.n_unusable:
            warn(f"{opened.n_unusable:,} records of {name} cannot be asked and are left out")
        if overlap.unreadable:
            warn(
                f"{len(overlap.unreadable):,} images of {name} are not readable "
                f"(first: {overlap.unreadable[0]})"
            )
        if overlap.n_questions:
            note(
                f"{overlap.n_questions:,} questions of {name} are also asked about other images "
                "of the dataset; that is not a leak"
            )
