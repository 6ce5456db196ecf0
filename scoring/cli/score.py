"""The commands that run a model: score and predict; and build, which rebuilds the database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from scoring.bundled import BUNDLED_MODEL
from scoring.cli.console import (
    count_progress,
    describe_progress,
    make_table,
    print_json,
    run_progress,
    show_message,
    show_run_outcome,
    show_table,
    show_warning,
    stop_command,
    stop_on_interrupt,
    warn_unfinished_thoughts,
)
from scoring.cli.options import (
    AllowRemoteOption,
    JsonOption,
    MaxNewTokensOption,
    RunOption,
    WorkspaceOption,
)
from scoring.engine.options import ScoreOptions
from scoring.errors import InputError, VisnecError, WorkerError
from scoring.models.options import ModelOptions, check_template, resolve_model_folder
from scoring.options import parse_json_object
from scoring.runs.record import RunRecord, read_run_or_latest
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from scoring.engine.estimate import RunEstimate, TokenStats
    from scoring.engine.workers import Job, LostWorker, WorkersResult
    from scoring.models.hf import HfModel

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def score(
    workspace: WorkspaceOption,
    model: ModelOptions,
    options: ScoreOptions,
    predict: Annotated[
        bool,
        typer.Option(
            "--predict",
            help="Also generate answers with and without the image.",
            rich_help_panel="Predictions",
        ),
    ] = False,
    max_new_tokens: MaxNewTokensOption = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Only try a few samples and report the tokens, time and memory that the run will "
            "take on one process; nothing is scored.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            help="Processes of this machine that share the work, one per GPU where there are any.",
            rich_help_panel="Several processes",
        ),
    ] = 1,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(
            "--engine",
            help="Where workers run: processes of this machine, or actors of a Ray cluster (needs "
            "the extra \\[ray]).",
            rich_help_panel="Several processes",
        ),
    ] = "local",
    allow_remote: AllowRemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Score each sample with and without its image; run the command again to resume."""
    from scoring.engine.workers import Job

    opened = open_workspace(workspace)
    if allow_remote:
        download_images(opened)
    if (workers > 1 or engine != "local") and not estimate:
        job = Job(str(workspace), model, options, predict, max_new_tokens)
        _score_in_workers(opened, job, workers, engine, json)
        return
    loaded = _load_model(opened, model)
    if estimate:
        from scoring.engine.estimate import estimate_run

        expected = estimate_run(
            opened, loaded, options, predict=predict, max_new_tokens=max_new_tokens
        )
        _show_estimate(expected)
        if json:
            print_json(asdict(expected))
        return
    from scoring.engine.pipeline import count_unfinished_thoughts, predict_dataset, score_dataset

    with stop_on_interrupt() as stop, run_progress("Scoring") as show:
        summary = score_dataset(opened, loaded, options, on_progress=show, stop=stop)
        done, stopped = describe_progress(summary, "a score"), summary.stopped
        if predict and not stopped:
            predicted = predict_dataset(
                opened,
                loaded,
                summary.run_id,
                max_new_tokens=max_new_tokens,
                on_progress=show,
                stop=stop,
            )
            stopped = predicted.stopped
            done += f"; predictions: {describe_progress(predicted, 'both')}"
    show_run_outcome(summary)
    if predict:
        warn_unfinished_thoughts(count_unfinished_thoughts(opened, summary.run_id))
    show_message(done)
    if stopped:
        stop_command()
    if json:
        print_json(asdict(summary))


def predict(
    workspace: WorkspaceOption,
    run: RunOption = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Predict only samples that match this filter, for example "
            "'category:misaligned source:charts'.",
        ),
    ] = None,
    max_new_tokens: MaxNewTokensOption = None,
    rotate_choices: Annotated[
        bool | None,
        typer.Option(
            "--rotate-choices/--no-rotate-choices",
            help="Ask each multiple-choice question once per option, with the options rotated, to "
            "separate knowledge from a preference for one letter. Default: as in the run's earlier "
            "predictions, else no.",
            rich_help_panel="Predictions",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="The Jinja file that the run was scored with, if any; other templates are known "
            "from the run.",
        ),
    ] = None,
    chat_template_kwargs: Annotated[
        str | None,
        typer.Option(
            "--chat-template-kwargs",
            metavar="JSON",
            help="Variables for the chat template as a JSON object. Default: those of the run's "
            "earlier predictions, else of the run.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="cpu, cuda, ... Default: that of the run.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", help="Revision of the model, if not the run's.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option("--adapter", help="Folder of the run's adapter, if it moved.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Generate answers with and without the image, using the model of a run."""
    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, run)
    if record.imported_from:
        raise InputError(
            f"The scores of run {record.run_id!r} were imported, so there is no model to predict "
            "with. Score a run with a model, or name one with --run."
        )
    if template is None and record.template.startswith("file:"):
        raise InputError(
            f"Run {record.run_id!r} was scored with a template file ({record.template}). Pass that "
            "file with --template."
        )
    variables = None
    if chat_template_kwargs is not None:
        variables = parse_json_object("--chat-template-kwargs")(chat_template_kwargs)
    loaded = _load_model(
        opened,
        ModelOptions(
            name=record.model,
            template=template or record.template,
            chat_template_kwargs=_prediction_variables(opened, record, variables),
            score_eos=record.score_eos is not False,
            dtype=record.dtype,
            device=device or record.device,
            revision=revision or record.revision,
            image_processor=record.image_processor_backend,
            adapter=adapter or record.adapter,
        ),
        quantization=record.quantization,
        device_map=record.device_map,
    )
    from scoring.engine.pipeline import count_unfinished_thoughts, predict_dataset

    with stop_on_interrupt() as stop, run_progress("Predicting") as show:
        summary = predict_dataset(
            opened,
            loaded,
            record.run_id,
            rows=_matching_rows(opened, record, only) if only else None,
            max_new_tokens=max_new_tokens,
            rotate_choices=rotate_choices,
            on_progress=show,
            stop=stop,
        )
    warn_unfinished_thoughts(count_unfinished_thoughts(opened, record.run_id))
    show_message(describe_progress(summary, "both predictions"))
    if summary.stopped:
        stop_command()
    if json:
        print_json(asdict(summary))


def build(workspace: WorkspaceOption, json: JsonOption = False) -> None:
    """Rebuild visnec.duckdb from the files of the workspace; nothing is lost."""
    from scoring.database.build.build import build_database

    opened = open_workspace(workspace)
    report = build_database(opened)
    show_message(f"Built {opened.database}")
    if json:
        print_json(asdict(report))


def download_images(workspace: Workspace) -> None:
    """Download images that the cache lacks and report the outcome; Ctrl-C keeps what is there."""
    from scoring.dataset.download_images import fetch_images

    with stop_on_interrupt() as stop, count_progress("Downloading images") as show:
        report = fetch_images(workspace, show, stop)
    show_message(
        f"Images: {report.fetched:,} downloaded, {report.present:,} already there, "
        f"{report.refused:,} refused, {report.failed:,} failed (tried again next time)"
    )
    if stop.is_set():
        stop_command("Downloaded images are kept; score --allow-remote downloads the rest.")


def _load_model(workspace: Workspace, options: ModelOptions, **settings: Any) -> HfModel:
    """Load a model and report what was loaded; ``settings`` override ``options``."""
    from scoring.dataset.records import read_dataset_info

    read_dataset_info(workspace)  # before the slow part: is there anything to score?
    show_message(f"Loading {options.name}")
    from scoring.models import load_model

    model = load_model(**{**asdict(options), **settings})
    info = model.info
    show_message(f"{info.family} in {info.dtype} on {info.device}, template {info.template}")
    if info.shortcuts:
        show_message(f"Shortcuts measured to be exact and used: {', '.join(info.shortcuts)}")
    if info.notice:
        show_message(info.notice)
    return model


def _prediction_variables(
    workspace: Workspace, record: RunRecord, variables: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Return the template variables given, else those of earlier predictions, else the run's."""
    from scoring.predictions.records import read_prediction_settings

    if variables is not None:
        return variables
    earlier = read_prediction_settings(workspace, record.run_id)
    return earlier.chat_template_kwargs if earlier else record.chat_template_kwargs


def _matching_rows(workspace: Workspace, record: RunRecord, only: str) -> Any:
    from scoring.database.connection import Store
    from scoring.database.filters import parse_filter
    from scoring.database.queries.browse import matching_rows
    from scoring.database.values import Scope

    scope = Scope(record.run_id, record.first_baseline)
    return matching_rows(Store(workspace), scope, parse_filter(only), workspace.bands)


def _score_in_workers(
    workspace: Workspace, job: Job, workers: int, engine: str, json: bool
) -> None:
    """Score with several processes and report the outcome, also by the exit code."""
    from scoring.database.build.refresh import build_if_outdated
    from scoring.dataset.records import read_dataset_info
    from scoring.engine.pipeline import count_unfinished_thoughts, read_run_summary
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
    kind = "Ray actors" if engine == "ray" else "workers"
    show_message(f"Starting {workers} {kind}; each loads {job.model.name}")
    with stop_on_interrupt() as stop, run_progress("Scoring") as show:
        if engine == "ray":
            from scoring.engine.distributed import score_distributed

            outcome = score_distributed(workspace, job, workers, on_progress=show, stop=stop)
        else:
            outcome = run_workers(
                workspace, job, workers, on_progress=show, on_lost=_warn_lost_worker, stop=stop
            )
    if outcome.run_id is None:
        raise _startup_error(outcome)
    build_if_outdated(workspace)
    summary = read_run_summary(workspace, outcome.run_id, job.score.limit)
    show_run_outcome(summary)
    if job.predict:
        warn_unfinished_thoughts(count_unfinished_thoughts(workspace, outcome.run_id))
    done = describe_progress(summary, "a score")
    if json:
        print_json(asdict(summary))
    if outcome.lost:
        numbers = ", ".join(str(worker.number) for worker in outcome.lost)
        raise WorkerError(
            f"Worker {numbers} ended early (see above); {done}. Progress is saved; run the same "
            "command to resume."
        )
    show_message(done)
    if outcome.stopped:
        stop_command()


def _warn_lost_worker(worker: LostWorker) -> None:
    show_warning(
        f"Worker {worker.number} ended with code {worker.exit_code}; the other workers score its "
        f"samples. Its last output:\n{worker.output_tail}"
    )


def _startup_error(outcome: WorkersResult) -> typer.Exit | VisnecError:
    """Return why no worker started the run."""
    if outcome.stopped and not outcome.lost:
        return typer.Exit(130)
    reason = outcome.lost[0].output_tail if outcome.lost else "no output"
    if {worker.exit_code for worker in outcome.lost} == {InputError.exit_code}:
        return InputError(reason)
    return WorkerError(f"No worker started the run: {reason}")


def _show_estimate(estimate: RunEstimate) -> None:
    rows = [
        ("samples to score", f"{estimate.n_left:,} ({estimate.n_done:,} are done)"),
        ("tokens with the image", _format_tokens(estimate.tokens_multimodal)),
        ("tokens without it", _format_tokens(estimate.tokens_text)),
        ("answer tokens", _format_tokens(estimate.answer_tokens)),
        ("preparing a sample", f"{estimate.prepare_seconds * 1000:,.1f} ms on one core"),
        ("scoring a sample", f"{estimate.score_seconds * 1000:,.1f} ms"),
    ]
    if estimate.predict_seconds is not None:
        rows.append(("predicting a sample", f"{estimate.predict_seconds * 1000:,.1f} ms"))
    shortest, longest = (_format_duration(seconds) for seconds in estimate.seconds)
    duration = shortest if shortest == longest else f"{shortest} to {longest}"
    rate = f"up to {estimate.samples_per_second:,.1f} samples/s, with one process"
    rows += [("expected time", f"{duration}, {rate}"), ("memory", _format_memory(estimate))]
    if estimate.n_left:
        title = f"RunEstimate for run {estimate.run_id}, from {estimate.n_tried:,} samples tried"
        show_table(make_table(title, ["", ""], rows))
    else:
        show_message(f"Nothing left to score: all {estimate.n_samples:,} samples are done.")
    if estimate.n_tried and not estimate.statuses.get("scored"):
        statuses = ", ".join(f"{status} {n:,}" for status, n in estimate.statuses.items())
        show_warning(f"None of the samples tried got a score ({statuses}). Resolve that first.")


def _format_tokens(tokens: TokenStats | None) -> str:
    return "-" if tokens is None else f"{tokens.mean:,.0f} a sample, at most {tokens.most:,}"


def _format_duration(seconds: float) -> str:
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.0f} s"


def _format_memory(estimate: RunEstimate) -> str:
    process = f"{estimate.process_bytes / 1e9:,.1f} GB in the process"
    if estimate.device_bytes is None or estimate.device_total_bytes is None:
        return process
    used, total = estimate.device_bytes / 1e9, estimate.device_total_bytes / 1e9
    return f"{used:,.1f} GB of {total:,.1f} GB on the GPU, {process}"
