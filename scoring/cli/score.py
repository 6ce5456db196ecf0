"""The commands score, which runs a model, and build, which rebuilds the database."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scoring.bundled import BUNDLED_MODEL
from scoring.cli import console
from scoring.cli.commands import (
    EngineOption,
    JsonOption,
    WorkersOption,
    WorkspaceOption,
)
from scoring.database.connection import Store
from scoring.database.queries.edited_scores import list_score_changes
from scoring.database.queries.image_use import (
    describe_image_use,
    find_image_problem,
    image_use_values,
    read_image_use,
)
from scoring.database.queries.scorer_fit import (
    TRAINING_NOTE,
    find_fit_problem,
    format_categories,
    read_scorer_fits,
)
from scoring.engine.options import ScoreOptions
from scoring.errors import InputError, VisnecError, WorkerError, WorkspaceError
from scoring.models.options import ModelOptions, check_template, resolve_model_folder
from scoring.option_descriptions import Option
from scoring.predictions.records import TurnChoice
from scoring.reviews.pinned_edits import pin_edits
from scoring.runs.record import RunRecord, read_run
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from scoring.engine.estimate import RunEstimate, TokenStats
    from scoring.engine.workers import Job, LostWorker, WorkersResult
    from scoring.models.hf import HfModel

PREDICTIONS_PANEL = "Predictions"

MaxNewTokensOption = Annotated[
    int | None,
    Option(
        "Longest prediction, in tokens. Default: the limit of the run's earlier predictions, else "
        "64.",
        panel=PREDICTIONS_PANEL,
        min=1,
    ),
]


_SHOWN_CHANGES = 20

TURNS_HELP = (
    "Of a conversation, the first answer, the last or all; the reference answers before it are in "
    "the prompt. All can be added to first ones. "
)


def score(
    workspace: WorkspaceOption,
    model: ModelOptions,
    options: ScoreOptions,
    predict: Annotated[
        TurnChoice | None,
        Option(
            f"Also generate answers with and without the image. {TURNS_HELP}--predict alone: the "
            "first.",
            panel=PREDICTIONS_PANEL,
            bare_value="first",
        ),
    ] = None,
    max_new_tokens: MaxNewTokensOption = None,
    edited: Annotated[
        bool,
        Option(
            "Score the samples that reviewers edited, with their edits, as a run of edits. After "
            "further edits the same command starts another one."
        ),
    ] = False,
    estimate: Annotated[
        bool,
        Option(
            "Only try a few samples and report the tokens, time and memory that the run will take "
            "on one process; nothing is scored."
        ),
    ] = False,
    workers: WorkersOption = 1,
    engine: EngineOption = "local",
    allow_remote: Annotated[
        bool,
        Option(
            "Download the images of http and https URLs into the workspace, from public addresses "
            "only."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Score each sample with and without its image; run the command again to resume."""
    from scoring.engine.workers import Job

    opened = open_workspace(workspace)
    if edited:
        options = _add_edits(opened, options, predict)
    if allow_remote:
        download_images(opened)
    if (workers > 1 or engine != "local") and not estimate:
        job = Job(str(workspace), model, options, predict, max_new_tokens)
        _score_in_workers(opened, job, workers, engine, json)
        return
    loaded = load_model_of(opened, model)
    if estimate:
        from scoring.engine.estimate import estimate_run

        expected = estimate_run(
            opened, loaded, options, predict=predict, max_new_tokens=max_new_tokens
        )
        _show_estimate(expected)
        if json:
            console.print_json(asdict(expected))
        return
    from scoring.engine.image_columns import image_column_names
    from scoring.engine.pipeline import predict_dataset, score_dataset

    with console.stop_on_interrupt() as stop, console.run_progress() as show:
        summary = score_dataset(opened, loaded, options, on_progress=show, stop=stop)
        run_id, stopped = summary.run_id, summary.stopped
        done = console.describe_progress(summary, "a score")
        if summary.left_out:
            done += f"; without each image: {console.describe_progress(summary.left_out, 'losses')}"
        if predict and not stopped:
            predicted = predict_dataset(
                opened,
                loaded,
                run_id,
                turns=predict,
                max_new_tokens=max_new_tokens,
                on_progress=show,
                stop=stop,
            )
            stopped = predicted.stopped
            done += f"; predictions: {console.describe_predictions(predicted)}"
    console.show_run_outcome(summary)
    checks = _show_checks(opened, run_id)
    if predict:
        console.warn_unfinished_thoughts(opened, run_id)
    console.show_message(done)
    if summary.left_out and summary.left_out.n_succeeded:
        names = ", ".join(image_column_names(run_id))
        console.show_message(f"Columns of how much each image matters: {names}")
    if stopped:
        console.stop_command()
    if json:
        console.print_json(asdict(summary) | checks)


def _add_edits(
    workspace: Workspace, options: ScoreOptions, predict: TurnChoice | None
) -> ScoreOptions:
    """Return the options of a run of the current edits. Raises InputError."""
    if predict:
        raise InputError("A run of edits keeps scores only. Leave out --predict.")
    return replace(options, edits=pin_edits(workspace))


def build(workspace: WorkspaceOption, json: JsonOption = False) -> None:
    """Rebuild visnec.duckdb from the files of the workspace; nothing is lost."""
    from scoring.database.build.build import build_database

    opened = open_workspace(workspace)
    report = build_database(opened)
    console.show_message(f"Built {opened.database}")
    if json:
        console.print_json(asdict(report))


def download_images(workspace: Workspace) -> None:
    """Download images that the cache lacks and report the outcome; Ctrl-C keeps what is there."""
    from scoring.dataset.download_images import fetch_images

    with console.stop_on_interrupt() as stop, console.count_progress("Downloading images") as show:
        report = fetch_images(workspace, show, stop)
    console.show_message(
        f"Images: {report.fetched:,} downloaded, {report.present:,} already there, "
        f"{report.refused:,} refused, {report.failed:,} failed (tried again next time)"
    )
    if stop.is_set():
        console.stop_command("Downloaded images are kept; score --allow-remote downloads the rest.")


def load_model_of(workspace: Workspace, options: ModelOptions, **settings: Any) -> HfModel:
    """Load a model and report what was loaded; ``settings`` override ``options``."""
    from scoring.dataset.records import read_dataset_info

    read_dataset_info(workspace)  # before the slow part: is there anything to score?
    console.show_message(f"Loading {options.name}")
    from scoring.models import load_model

    model = load_model(**{**asdict(options), **settings})
    info = model.info
    console.show_message(
        f"{info.family} in {info.dtype} on {info.device}, template {info.template}"
    )
    if info.shortcuts:
        console.show_message(
            f"Shortcuts measured to be exact and used: {', '.join(info.shortcuts)}"
        )
    if info.notice:
        console.show_message(info.notice)
    return model


def _score_in_workers(
    workspace: Workspace, job: Job, workers: int, engine: str, json: bool
) -> None:
    """Score with several processes and report the outcome, also by the exit code."""
    from scoring.database.build.refresh import build_if_outdated
    from scoring.dataset.records import read_dataset_info
    from scoring.engine.pipeline import read_run_summary
    from scoring.engine.workers import run_workers

    read_dataset_info(workspace)  # before the slow part: is there anything to score?
    if workers > 1 and job.model.device_map:
        raise InputError(
            "--device-map spreads one model over all devices, so several workers would each need "
            "all of them. Leave out --workers."
        )
    if engine == "local":  # find a mistyped path here instead of in each worker
        check_template(job.model.template)
        if job.model.name != BUNDLED_MODEL:
            resolve_model_folder(job.model.name, job.model.revision)

    def warn_lost_worker(worker: LostWorker) -> None:
        console.show_warning(
            f"Worker {worker.number} ended with code {worker.exit_code}; the other workers score "
            f"its samples. Its last output:\n{worker.output_tail}"
        )

    kind = "Ray actors" if engine == "ray" else "workers"
    console.show_message(f"Starting {workers} {kind}; each loads {job.model.name}")
    with console.stop_on_interrupt() as stop, console.run_progress() as show:
        if engine == "ray":
            from scoring.engine.distributed import score_distributed

            outcome = score_distributed(workspace, job, workers, on_progress=show, stop=stop)
        else:
            outcome = run_workers(
                workspace, job, workers, on_progress=show, on_lost=warn_lost_worker, stop=stop
            )
    if outcome.run_id is None:
        raise _startup_error(outcome)
    build_if_outdated(workspace)
    summary = read_run_summary(workspace, outcome.run_id, job.score.limit)
    console.show_run_outcome(summary)
    checks = _show_checks(workspace, outcome.run_id)
    if job.predict:
        console.warn_unfinished_thoughts(workspace, outcome.run_id)
    done = console.describe_progress(summary, "a score")
    if json:
        console.print_json(asdict(summary) | checks)
    if outcome.lost:
        numbers = ", ".join(str(worker.number) for worker in outcome.lost)
        raise WorkerError(
            f"Worker {numbers} ended early (see above); {done}. Progress is saved; run the same "
            "command to resume."
        )
    console.show_message(done)
    if outcome.stopped:
        console.stop_command()


def _show_checks(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """Print the scores by category, and a warning if the model does not seem fit for the task or
    to use the images; return the latter as JSON values. Print the changes of a run of edits."""
    try:
        store = Store(workspace)
    except WorkspaceError:  # stopped before the database was built
        return {"image_use": None}
    record = read_run(workspace, run_id)
    if record.edits:
        return {"image_use": None, "changes": _show_score_changes(store, record)}
    fits = read_scorer_fits(store, workspace.bands, run_id)
    for fit in fits:
        of_baseline = f" ({fit.baseline})" if len(fits) > 1 else ""
        console.show_message(f"Scores{of_baseline}: {format_categories(fit)}")
        if problem := find_fit_problem(fit):
            console.show_warning(problem)
    use = read_image_use(store, run_id)
    if fits:
        console.show_message(describe_image_use(use))
        console.show_message(f"Note: {TRAINING_NOTE}")
    if problem := find_image_problem(use):
        console.show_warning(problem)
    return {"image_use": image_use_values(use)}


def _show_score_changes(store: Store, record: RunRecord) -> list[dict[str, Any]]:
    """Print and return the scores of a run of edits, and those before the edits."""
    changes = list_score_changes(store, record)
    rows = [
        (
            change.after.row_idx,
            change.after.baseline,
            "" if change.before is None else change.before,
            change.after.status if change.after.visnec is None else change.after.visnec,
        )
        for change in changes[:_SHOWN_CHANGES]
    ]
    shown = f", the first {len(rows):,} of {len(changes):,}" if len(rows) < len(changes) else ""
    console.show_table(
        f"Scores of edited samples{shown}", ["row", "baseline", "before", "after"], rows
    )
    if any(change.run_before is None for change in changes):
        console.show_message(
            "No run of the whole dataset has this model and these settings, so there is no score "
            "before the edit to compare with"
        )
    return [
        asdict(change.after) | {"before": change.before, "run_before": change.run_before}
        for change in changes
    ]


def _startup_error(outcome: WorkersResult) -> typer.Exit | VisnecError:
    """Return why no worker started the run."""
    if outcome.stopped and not outcome.lost:
        return typer.Exit(130)
    reason = outcome.lost[0].output_tail if outcome.lost else "no output"
    if {worker.exit_code for worker in outcome.lost} == {InputError.exit_code}:
        return InputError(reason)
    return WorkerError(f"No worker started the run: {reason}")


def _show_estimate(estimate: RunEstimate) -> None:
    def format_tokens(tokens: TokenStats | None) -> str:
        return "-" if tokens is None else f"{tokens.mean:,.0f} a sample, at most {tokens.most:,}"

    rows = []
    if estimate.n_left:
        rows += [
            ("samples to score", f"{estimate.n_left:,} ({estimate.n_done:,} are done)"),
            ("tokens with the image", format_tokens(estimate.tokens_multimodal)),
            ("tokens without it", format_tokens(estimate.tokens_text)),
            ("answer tokens", format_tokens(estimate.answer_tokens)),
            ("preparing a sample", f"{estimate.prepare_seconds * 1000:,.1f} ms on one core"),
            ("scoring a sample", f"{estimate.score_seconds * 1000:,.1f} ms"),
        ]
    if estimate.predict_seconds is not None:
        rows.append(("predicting a sample", f"{estimate.predict_seconds * 1000:,.1f} ms"))
    if estimate.leave_one_out_seconds is not None:
        rows += [
            ("samples to score without each image", f"at most {estimate.n_left_out:,}"),
            ("scoring one without each image", f"{estimate.leave_one_out_seconds * 1000:,.1f} ms"),
        ]
    duration = " to ".join(dict.fromkeys(map(console.format_duration, estimate.seconds)))
    rate = f"up to {estimate.samples_per_second:,.1f} samples/s, " if estimate.n_left else ""
    memory = f"{estimate.process_bytes / 1e9:,.1f} GB in the process"
    if estimate.device_bytes is not None and estimate.device_total_bytes is not None:
        used, total = estimate.device_bytes / 1e9, estimate.device_total_bytes / 1e9
        memory = f"{used:,.1f} GB of {total:,.1f} GB on the GPU, {memory}"
    rows += [("expected time", f"{duration}, {rate}with one process"), ("memory", memory)]
    if estimate.n_left or estimate.n_left_out:
        tried = f", from {estimate.n_tried:,} samples tried" if estimate.n_tried else ""
        title = f"Estimate for run {estimate.run_id}{tried}"
        console.show_table(title, ["", ""], rows)
    else:
        console.show_message(f"Nothing left to score: all {estimate.n_samples:,} samples are done.")
    if estimate.n_tried and not estimate.statuses.get("scored"):
        statuses = ", ".join(f"{status} {n:,}" for status, n in estimate.statuses.items())
        console.show_warning(
            f"None of the samples tried got a score ({statuses}). Resolve that first."
        )
