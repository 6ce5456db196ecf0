"""Scores a dataset and predicts answers: which rows are processed, and with which task.

A ``runner`` processes the rows in the order of the ``plan``, alone or shared with other processes.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from scoring.dataset.edited_samples import read_edited_samples
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.engine.baselines import (
    DEFAULT_BLUR_SIGMA,
    DEFAULT_SHUFFLE_SEED,
    GRAY,
    SHUFFLED,
    BaselineSettings,
    ShuffledImages,
    write_shuffled_images,
)
from scoring.engine.image_columns import check_image_columns, store_image_columns
from scoring.engine.leave_one_out import LeaveOneOutScorer
from scoring.engine.options import ScoreOptions
from scoring.engine.plan import open_plan
from scoring.engine.predictions import Predictor
from scoring.engine.preparation import Preparer
from scoring.engine.run_counts import positions_with_status
from scoring.engine.runner import OnProgress, Runner, RunPhase, RunSummary, summarize_run
from scoring.engine.scorer import Scorer, check_baselines
from scoring.errors import InputError, RunConflictError
from scoring.images.digests import last_index, read_digests
from scoring.images.thumbnails import thumbnail_writer
from scoring.models.base import ModelInfo, PromptReader, VisionLanguageModel
from scoring.predictions.records import LaterTurns, TurnChoice, begin_predictions
from scoring.reviews.pinned_edits import find_pinned_edits
from scoring.runs.journal import Journal
from scoring.runs.record import (
    SCORING_VERSION,
    RunRecord,
    begin_run,
    find_differences,
    read_run,
    require_whole_run,
    settings_digest,
    utc_now,
)
from scoring.schemas import IMAGE_LOSSES, PREDICTIONS, SCORES, TURN_PREDICTIONS
from scoring.workspace import Workspace, open_workspace

_COPIED = (  # from the model's description to the run's record, for the reader
    *("device", "device_name", "processor", "revision", "shortcuts"),
    *("image_processor", "adapter", "notice"),
)
_PACKAGES = ("visnec-studio", "torch", "transformers", "tokenizers", "pillow", "numpy")


def score_dataset(
    workspace: Workspace,
    model: VisionLanguageModel,
    options: ScoreOptions | None = None,
    *,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    build: bool = True,
    **settings: Any,
) -> RunSummary:
    """Score the dataset with and without its images; resume the run if it was stopped.

    Processes that call this at the same time share the work. Retried samples come first; their new
    outcome replaces the old one, whose parts are kept.

    Args:
        workspace, model, options: The dataset, the model that scores, and what to score.
        on_progress: Called with the progress of the run.
        stop: Set it to stop after the samples in flight; everything scored is kept.
        build: Whether to bring the database up to date at the end.
        settings: Fields of ``ScoreOptions`` by name, as in ``score_dataset(..., tokens=True)``.

    Raises RunConflictError for a run with other settings, StorageError if writing fails.
    """
    options = replace(options or ScoreOptions(), **settings)
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    check_baselines(model, options.baselines)
    record = begin_run(workspace, build_run_record(workspace, model, options))
    if options.leave_one_out:
        check_image_columns(workspace, record.run_id)
    scorer = build_scorer(workspace, record, model)
    phase = scoring_phase(workspace, record, options.limit)
    if options.retry:
        wanted = phase.wanted & positions_with_status(phase.plan, phase.journal, options.retry)
        attempt = Journal(phase.journal.folder, SCORES, retry=phase.journal.last_retry() + 1)
        retry = replace(phase, wanted=wanted, journal=attempt)
        retried = Runner(retry, scorer, on_progress=on_progress, stop=stop, build=False).run()
        # positions_with_status has read the parts, so the rest needs a journal of its own
        phase = scoring_phase(workspace, record, options.limit)
        if retried.stopped:
            return replace(summarize_run(record.run_id, phase.count_rows()), stopped=True)
    summary = Runner(phase, scorer, on_progress=on_progress, stop=stop, build=build).run()
    if not options.leave_one_out or summary.stopped:
        return summary
    left_out = Runner(
        left_out_phase(workspace, record, options.limit),
        LeaveOneOutScorer(model, workspace.image_roots),
        on_progress=on_progress,
        stop=stop,
        build=build,
        before_build=lambda: store_image_columns(workspace, record.run_id),
    ).run()
    return replace(summary, stopped=left_out.stopped, left_out=left_out)


def left_out_phase(workspace: Workspace, record: RunRecord, limit: int | None) -> RunPhase:
    """Return the phase of the samples with several images that are scored or still to be scored."""
    scoring = scoring_phase(workspace, record, limit)
    scores = scoring.count_rows()
    return replace(
        scoring,
        phase="leave_one_out",
        journal=Journal(workspace.run_dir(record.run_id) / "image_losses", IMAGE_LOSSES),
        wanted=scoring.wanted & ~scores.failed & _have_several(workspace, scoring, "n_images"),
        baselines=(),
        scores=scores,
    )


def _have_several(workspace: Workspace, phase: RunPhase, column: str) -> NDArray[np.bool_]:
    """Return (n,) flags by position: whether a column of counts in the dataset is above 1."""
    several = np.zeros(len(phase.wanted), dtype=bool)
    for table in read_columns(workspace, ["row_idx", column]):
        rows = table.filter(pc.greater(table[column], 1))["row_idx"].to_numpy()
        several[phase.plan.position_of[rows]] = True
    return several


def scoring_phase(workspace: Workspace, record: RunRecord, limit: int | None = None) -> RunPhase:
    """Return the rows to score in a run: all, those edited in a run of edits, or ``limit`` rows."""
    plan = open_plan(workspace, record.image_index)
    wanted = np.ones(len(plan.rows), dtype=bool)
    if record.edits:
        plan.edited = read_edited_samples(workspace, find_pinned_edits(workspace, record.edits))
        wanted = np.isin(plan.rows, list(plan.edited))
    if limit is not None:
        wanted &= np.cumsum(wanted) <= limit
    journal = Journal(workspace.run_dir(record.run_id) / "scores", SCORES)
    return RunPhase(workspace, record.run_id, "score", plan, journal, wanted, record.baselines)


def read_run_summary(workspace: Workspace, run_id: str, limit: int | None = None) -> RunSummary:
    """Return the current state of a run from its parts, including those of other processes."""
    phase = scoring_phase(workspace, read_run(workspace, run_id), limit)
    return summarize_run(run_id, phase.count_rows())


def build_scorer(
    workspace: Workspace,
    record: RunRecord,
    model: VisionLanguageModel,
    trial_folder: Path | None = None,
) -> Scorer:
    """Return the scorer for a run by its record; see ``build_preparer``."""
    return Scorer(build_preparer(workspace, record, model, trial_folder), tokens=record.tokens)


def build_preparer(
    workspace: Workspace,
    record: RunRecord,
    model: VisionLanguageModel,
    trial_folder: Path | None = None,
) -> Preparer:
    """Return what prepares the samples of a run by its record; dates in prompts are the run's.

    For a trial, the shuffled order of the images is written to ``trial_folder`` and no thumbnails
    are.
    """
    model.freeze_date(record.started)
    baselines = BaselineSettings(
        record.baselines,
        record.baseline_parameters.get("blur_sigma", DEFAULT_BLUR_SIGMA),
        int(record.baseline_parameters.get("shuffle_seed", DEFAULT_SHUFFLE_SEED)),
    )
    shuffled = None
    if SHUFFLED in baselines.names:
        # The order depends on the dataset, the seed and the images that are known as copies when
        # the run begins: a missing one is written identically.
        path = (trial_folder or workspace.run_dir(record.run_id)) / "images.arrow"
        if not path.exists():
            tables = read_columns(workspace, ["images"])
            columns = (table.column(0).to_pylist() for table in tables)
            first_images = ([paths[0] if paths else None for paths in lists] for lists in columns)
            digests = read_digests(workspace, record.image_index)
            write_shuffled_images(path, first_images, baselines.shuffle_seed, digests)
        shuffled = ShuffledImages(path, baselines.shuffle_seed)
    on_opened = None if trial_folder else thumbnail_writer(workspace)
    truncate = bool(record.truncate)
    return Preparer(
        model, workspace.image_roots, baselines, shuffled, truncate=truncate, on_opened=on_opened
    )


def predict_dataset(
    workspace: Workspace,
    model: VisionLanguageModel,
    run_id: str,
    *,
    rows: NDArray[np.int64] | None = None,
    max_new_tokens: int | None = None,
    rotate_choices: bool | None = None,
    turns: TurnChoice | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    build: bool = True,
) -> RunSummary:
    """Predict answers for the scored samples of a run; resume if it was stopped.

    Processes that call this at the same time share the work. The model's ``chat_template_kwargs``
    may differ from the run's, but not between predictions of one run.

    Args:
        workspace, model, run_id, on_progress, stop, build: As in ``score_dataset``.
        rows: Only these rows; by default all scored ones.
        max_new_tokens: Tokens per answer; by default as the run's predictions started, or 64.
        rotate_choices: Whether to ask each multiple-choice question once per option, with the
            options rotated; by default as the run's predictions started, or not.
        turns: Which answers of a conversation: the first, the last or all; by default as the run's
            predictions started, or the first. All may be added to the first; ``later_turns`` of the
            summary is about those after the first.

    Raises InputError if the model is not the run's or it is a run of edits, and RunConflictError
    if it reads prompts or images differently than in the run (template, dtype, processor) or the
    predictions were started with other settings.
    """
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    record = require_whole_run(read_run(workspace, run_id))
    if record.model_fingerprint != model.info.fingerprint:
        raise InputError(f"Run {run_id!r} was scored by {record.model}, not by {model.info.name}")
    settings = {**_reading_settings(model.info), "image_processor": model.info.image_processor}
    if changed := find_differences(record, settings):
        raise RunConflictError(
            f"Run {run_id!r} was scored with other settings ({'; '.join(changed)}). Predict with "
            "the same settings, or score another --run."
        )
    model.freeze_date(record.started)
    fixed = begin_predictions(
        workspace,
        run_id,
        max_new_tokens,
        rotate_choices,
        model.info.chat_template_kwargs,
        None if turns is None or turns == "first" else turns,
    )
    later = None if turns == "first" else fixed.later_turns
    first, of_later = _prediction_phases(workspace, record, rows, later)

    def run_phase(phase: RunPhase, later: LaterTurns | None) -> RunSummary:
        predictor = Predictor(
            model,
            workspace.image_roots,
            max_new_tokens=fixed.max_new_tokens,
            rotate_choices=fixed.rotate_choices,
            later=later,
        )
        return Runner(phase, predictor, on_progress=on_progress, stop=stop, build=build).run()

    summary = run_phase(first, None)
    if later is None or summary.stopped:
        return summary
    later_turns = run_phase(of_later, later)
    return replace(summary, stopped=later_turns.stopped, later_turns=later_turns)


def count_unfinished_thoughts(workspace: Workspace, run_id: str) -> int:
    """Return the number of samples of a run with a prediction that ends inside a thought."""
    phases = _prediction_phases(workspace, read_run(workspace, run_id))
    first, later = (phase.count_rows().thoughts_unfinished for phase in phases)
    return int((first | later).sum())


def _prediction_phases(
    workspace: Workspace,
    record: RunRecord,
    rows: NDArray[np.int64] | None = None,
    later: LaterTurns | None = None,
) -> tuple[RunPhase, RunPhase]:
    """Return the phase of first answers and that of later ones, each with the scored samples.

    With ``later`` "last", only the single answer of a sample counts as a first one.
    """
    scoring = scoring_phase(workspace, record)
    scores = scoring.count_rows()
    wanted = scores.succeeded.copy()
    if rows is not None:
        requested = np.zeros(len(wanted), dtype=bool)
        requested[scoring.plan.position_of[rows]] = True
        wanted &= requested
    has_later = _have_several(workspace, scoring, "n_turns")
    folder = workspace.run_dir(record.run_id)
    first = replace(
        scoring,
        phase="predict",
        journal=Journal(folder / "predictions", PREDICTIONS),
        wanted=wanted & ~has_later if later == "last" else wanted,
        baselines=(),
        scores=scores,
    )
    journal = Journal(folder / "turn_predictions", TURN_PREDICTIONS)
    return first, replace(first, phase="predict_turns", journal=journal, wanted=wanted & has_later)


def build_run_record(workspace: Workspace, model: PromptReader, options: ScoreOptions) -> RunRecord:
    """Return the record of a run with these settings; its name is their digest unless given."""
    info, dataset, baselines = model.info, read_dataset_info(workspace), options.baselines
    # Samples added to a dataset are scored by the existing run. Only a shuffled order, which
    # depends on all its images, requires another run.
    shuffled = SHUFFLED in baselines.names
    deciding: dict[str, object] = {
        "scoring_version": SCORING_VERSION,
        "model_fingerprint": info.fingerprint,
        "dataset_fingerprint": dataset.fingerprint if shuffled else dataset.origin,
        "baselines": baselines.names,
        **_reading_settings(info),
        "score_eos": info.score_eos,
        "max_length": info.max_length,
        "truncate": options.truncate,
    }
    if options.tokens:
        deciding["tokens"] = True
    if info.chat_template_kwargs:
        deciding["chat_template_kwargs"] = dict(info.chat_template_kwargs)
    if parameters := baselines.run_parameters():
        deciding["baseline_parameters"] = parameters
    known = {name: value for name, value in deciding.items() if value is not None}
    if options.edits:
        known["edits"] = [asdict(edit) for edit in options.edits]
    return RunRecord(
        run_id=options.run_id or settings_digest(**known),
        edits=options.edits,
        model=info.name,
        model_family=info.family,
        gray_colour=model.neutral_colour() if GRAY in baselines.names else None,
        created_at=utc_now(),
        versions=installed_versions(_PACKAGES),
        image_index=last_index(workspace),
        **{name: getattr(info, name) for name in _COPIED},
        **deciding,  # type: ignore[arg-type]
    )


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of those ``packages`` that are installed."""
    versions = {"python": platform.python_version()}
    for package in packages:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


def _reading_settings(info: ModelInfo) -> dict[str, object]:
    """Return the settings besides weights that decide how a model reads prompts and images."""
    return {
        "template": info.template,
        "template_digest": info.template_digest,
        "dtype": info.dtype,
        "model_files": None if info.files is None else dict(info.files),
        "adapter_fingerprint": info.adapter_fingerprint,
        "quantization": info.quantization,
        "device_map": info.device_map,
    }
