"""From a dataset to a database: which rows a command means, and what is done to them.

Scoring and predicting differ in that alone; ``runner`` takes the rows through, in the order of
the ``plan``, alone or shared with other processes.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.dataset.records import read_columns, read_dataset_info
from scoring.engine.baselines import (
    DEFAULT_BLUR_SIGMA,
    DEFAULT_SHUFFLE_SEED,
    GRAY,
    SHUFFLED,
    BaselineSettings,
)
from scoring.engine.options import ScoreOptions
from scoring.engine.plan import open_plan
from scoring.engine.predictions import Predictor
from scoring.engine.prefetch import SampleTask
from scoring.engine.preparation import Prepared
from scoring.engine.rotated_predictions import RotatingPredictor
from scoring.engine.run_counts import RunCounts, positions_with_status
from scoring.engine.runner import OnProgress, Runner, RunPhase, RunSummary, summarize_run
from scoring.engine.scorer import Scorer, check_baselines, score_row
from scoring.engine.shuffled_images import ShuffledImages, write_shuffled_images
from scoring.errors import InputError, RunConflictError
from scoring.images.thumbnails import thumbnail_writer
from scoring.models.base import ModelInfo, VisionLanguageModel
from scoring.predictions.records import begin_predictions, to_prediction_row
from scoring.runs.journal import Journal
from scoring.runs.record import (
    SCORING_VERSION,
    RunRecord,
    begin_run,
    find_differences,
    read_run,
    settings_digest,
    utc_now,
)
from scoring.schemas import PREDICTIONS, SCORES
from scoring.workspace import Workspace

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
        workspace: The workspace with the dataset.
        model: The model that scores.
        options: What to score.
        on_progress: Called with the progress of the run.
        stop: Set it to stop after the samples in flight; everything scored is kept.
        build: Whether to bring the database up to date at the end.
        settings: Fields of ``ScoreOptions`` by name, as in ``score_dataset(..., tokens=True)``.

    Raises:
        RunConflictError: The run was started with other settings.
        StorageError: Results cannot be written.
    """
    options = replace(options or ScoreOptions(), **settings)
    check_baselines(model, options.baselines)
    record = begin_run(workspace, build_run_record(workspace, model, options))
    work = build_scoring_task(workspace, record, model)
    if options.retry:
        again = _retry_phase(workspace, record, options)
        retried = Runner(again, work, on_progress=on_progress, stop=stop, build=False).run()
        if retried.stopped:
            summary = read_run_summary(workspace, record.run_id, options.limit)
            return replace(summary, stopped=True)
    task = scoring_phase(workspace, record, options.limit)
    return Runner(task, work, on_progress=on_progress, stop=stop, build=build).run()


def scoring_phase(workspace: Workspace, record: RunRecord, limit: int | None = None) -> RunPhase:
    """What there is to score in a run: the whole plan, or its first ``limit`` rows."""
    plan = open_plan(workspace)
    wanted = np.arange(len(plan.rows)) < (len(plan.rows) if limit is None else limit)
    journal = Journal(workspace.run_dir(record.run_id) / "scores", SCORES)
    return RunPhase(workspace, record.run_id, "score", plan, journal, wanted, record.baselines)


def _retry_phase(workspace: Workspace, record: RunRecord, options: ScoreOptions) -> RunPhase:
    """Return the rows of a run that ended with a status to retry, as a separate attempt."""
    task = scoring_phase(workspace, record, options.limit)
    wanted = task.wanted & positions_with_status(task.plan, task.journal, options.retry)
    journal = Journal(task.journal.folder, SCORES, retry=task.journal.last_retry() + 1)
    return replace(task, wanted=wanted, journal=journal)


def read_run_summary(workspace: Workspace, run_id: str, limit: int | None = None) -> RunSummary:
    """What the parts of a run hold now, whoever wrote them."""
    task = scoring_phase(workspace, read_run(workspace, run_id), limit)
    return summarize_run(run_id, RunCounts(task.plan, task.journal, task.wanted, task.baselines))


def build_scoring_task(
    workspace: Workspace, record: RunRecord, model: VisionLanguageModel
) -> SampleTask:
    """How samples are scored in a run, as its record says; dates in prompts are the run's."""
    model.freeze_date(record.started)
    blind = BaselineSettings(
        record.baselines,
        record.baseline_parameters.get("blur_sigma", DEFAULT_BLUR_SIGMA),
        int(record.baseline_parameters.get("shuffle_seed", DEFAULT_SHUFFLE_SEED)),
    )
    scorer = Scorer(
        model,
        workspace.image_roots,
        baselines=blind,
        cycle=open_shuffled_images(workspace, record.run_id, blind),
        truncate=bool(record.truncate),
        tokens=record.tokens,
        on_opened=thumbnail_writer(workspace),
    )
    return SampleTask(
        scorer.prepare,
        lambda prepared: [score_row(one) for one in scorer.score(prepared)],
        Prepared.encoded,
    )


def predict_dataset(
    workspace: Workspace,
    model: VisionLanguageModel,
    run_id: str,
    *,
    rows: NDArray[np.int64] | None = None,
    max_new_tokens: int | None = None,
    rotate_choices: bool | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    build: bool = True,
) -> RunSummary:
    """Predicts answers for the scored samples of a run, or for those among ``rows``.

    Goes on where it stopped, with the settings it began with (64 ``max_new_tokens`` and no
    ``rotate_choices`` unless given), and is shared like scoring. With ``rotate_choices`` each
    multiple-choice question is asked once per option, the options moved. Raises InputError where
    another model than the run's is brought, RunConflictError where it would read otherwise
    (template, dtype, processor) or the settings are others. The model's
    ``chat_template_kwargs`` may differ from the run's, but not between predictions of one run.
    """
    record = read_run(workspace, run_id)
    if record.model_fingerprint != model.info.fingerprint:
        raise InputError(f"run {run_id!r} was scored by {record.model}, not by {model.info.name}")
    reads = {**_reading_settings(model.info), "image_processor": model.info.image_processor}
    if changed := find_differences(record, reads):
        raise RunConflictError(
            f"run {run_id!r} was scored otherwise ({'; '.join(changed)}); predict with what it was "
            "scored with, or score another --run"
        )
    model.freeze_date(record.started)
    settings = begin_predictions(
        workspace, run_id, max_new_tokens, rotate_choices, model.info.chat_template_kwargs
    )
    limit = settings.max_new_tokens
    plain = Predictor(model, workspace.image_roots, max_new_tokens=limit)
    predictor = RotatingPredictor(plain) if settings.rotate_choices else plain
    work = SampleTask(
        predictor.prepare,
        lambda questions: [to_prediction_row(one, limit) for one in predictor.predict(questions)],
        lambda question: question.encoded(),
    )
    task = _prediction_phase(workspace, record, rows)
    return Runner(task, work, on_progress=on_progress, stop=stop, build=build).run()


def count_unfinished_thoughts(workspace: Workspace, run_id: str) -> int:
    """Samples of a run with a prediction that ends inside a thought."""
    task = _prediction_phase(workspace, read_run(workspace, run_id), None)
    return RunCounts(task.plan, task.journal, task.wanted).n_thoughts_unfinished


def _prediction_phase(
    workspace: Workspace, record: RunRecord, rows: NDArray[np.int64] | None
) -> RunPhase:
    scoring = scoring_phase(workspace, record)
    scores = RunCounts(scoring.plan, scoring.journal, scoring.wanted, record.baselines)
    wanted = scores.succeeded.copy()
    if rows is not None:
        named = np.zeros(len(wanted), dtype=bool)
        named[scoring.plan.position_of[rows]] = True
        wanted &= named
    journal = Journal(workspace.run_dir(record.run_id) / "predictions", PREDICTIONS)
    return replace(
        scoring, phase="predict", journal=journal, wanted=wanted, baselines=(), scores=scores
    )


def build_run_record(
    workspace: Workspace, model: VisionLanguageModel, options: ScoreOptions
) -> RunRecord:
    """Return the record of a run with these settings; its name is their digest unless given."""
    info, dataset, baselines = model.info, read_dataset_info(workspace), options.baselines
    # What is added to a dataset is scored by the run that is there; only a shuffled order, which
    # is one of all its images, makes another run of it.
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
    if parameters := baselines.parameters():
        deciding["baseline_parameters"] = parameters
    known = {name: value for name, value in deciding.items() if value is not None}
    return RunRecord(
        run_id=options.run_id or settings_digest(**known),
        model=info.name,
        model_family=info.family,
        device=info.device,
        device_name=info.device_name,
        processor=info.processor,
        revision=info.revision,
        shortcuts=info.shortcuts,
        image_processor=info.image_processor,
        gray_colour=model.neutral_colour() if GRAY in baselines.names else None,
        adapter=info.adapter,
        created_at=utc_now(),
        versions=_package_versions(),
        notice=info.notice,
        **deciding,  # type: ignore[arg-type]
    )


def _reading_settings(info: ModelInfo) -> dict[str, object]:
    """Besides the weights, what decides how a model reads a conversation and its images."""
    return {
        "template": info.template,
        "template_digest": info.template_digest,
        "dtype": info.dtype,
        "model_files": None if info.files is None else dict(info.files),
        "adapter_fingerprint": info.adapter_fingerprint,
        "quantization": info.quantization,
        "device_map": info.device_map,
    }


def _package_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def open_shuffled_images(
    workspace: Workspace, run_id: str, baselines: BaselineSettings
) -> ShuffledImages | None:
    """The shuffled order of the dataset's images, beside the run; None where no baseline needs it.

    It depends on the dataset and the seed alone, so that a lost one is written the same again.
    """
    if SHUFFLED not in baselines.names:
        return None
    path = workspace.run_dir(run_id) / "images.arrow"
    if not path.exists():
        write_shuffled_images(path, lambda: iter_first_images(workspace), baselines.shuffle_seed)
    return ShuffledImages(path, baselines.shuffle_seed)


def iter_first_images(workspace: Workspace) -> Iterator[list[str | None]]:
    """The first image of each sample, in the order of the dataset, a stretch at a time."""
    for table in read_columns(workspace, ["images"]):
        yield [paths[0] if paths else None for paths in table.column(0).to_pylist()]
