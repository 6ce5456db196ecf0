"""Commands that put scores beside a dataset: score, predict, build."""

from __future__ import annotations

from dataclasses import asdict
from json import loads
from typing import Annotated, Any

import typer

from scoring.cli.console import (
    baselines_table,
    done_words,
    print_json,
    run_progress,
    say,
    say_alterations,
    say_unfinished_thoughts,
    stopping,
    talk,
)
from scoring.cli.options import (
    AdapterOption,
    AllowRemoteOption,
    ChatTemplateKwargsOption,
    DeviceMapOption,
    DeviceOption,
    DtypeOption,
    ImageProcessorOption,
    JsonOption,
    MaxNewTokensOption,
    ModelOption,
    QuantizationOption,
    RevisionOption,
    RunOption,
    TemplateOption,
    WorkspaceOption,
)
from scoring.cli.remote import fetch_remote
from scoring.engine.baselines import (
    DEFAULT_BLUR_SIGMA,
    DEFAULT_SHUFFLE_SEED,
    NONE,
    BaselineSettings,
)
from scoring.errors import InputError
from scoring.runs.record import RunRecord, read_run_or_latest
from scoring.workspace import Workspace, open_workspace


def score(
    workspace: WorkspaceOption,
    model: ModelOption,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            "--baseline",
            help="What stands in for the image: none (it is removed), reference (masked), gray, "
            "blur, shuffled (another sample's). Several, each named by one --baseline, share the "
            "pass with the image. They belong to a run: another list is another run.",
        ),
    ] = None,
    blur_sigma: Annotated[
        float,
        typer.Option(help="Of --baseline blur: sigma as a share of the image's longer side."),
    ] = DEFAULT_BLUR_SIGMA,
    shuffle_seed: Annotated[
        int, typer.Option(help="Of --baseline shuffled: which order of the images.")
    ] = DEFAULT_SHUFFLE_SEED,
    tokens: Annotated[
        bool,
        typer.Option("--tokens", help="Also keep the losses of every answer token."),
    ] = False,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Name of the run. Default: a digest of its settings."),
    ] = None,
    predict: Annotated[
        bool, typer.Option("--predict", help="Also generate answers with and without the image.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Score at most so many samples, for a first look."),
    ] = None,
    truncate: Annotated[
        bool,
        typer.Option("--truncate", help="Score what fits of samples that are too long."),
    ] = False,
    retry: Annotated[
        str | None,
        typer.Option(
            "--retry",
            help="Also score anew the samples of the run that ended with one of these statuses, "
            "for example missing_image,bad_image once the images are there.",
        ),
    ] = None,
    score_eos: Annotated[
        bool,
        typer.Option(
            "--score-eos/--no-score-eos", help="Count the end-of-turn token as an answer token."
        ),
    ] = True,
    max_new_tokens: MaxNewTokensOption = None,
    template: TemplateOption = None,
    chat_template_kwargs: ChatTemplateKwargsOption = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    revision: RevisionOption = None,
    image_processor: ImageProcessorOption = "auto",
    adapter: AdapterOption = None,
    quantization: QuantizationOption = None,
    device_map: DeviceMapOption = None,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Only try a few samples and tell the tokens, the time and the memory that the "
            "run will take on one process; nothing is scored.",
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            help="Processes of this machine that share the work, one per GPU where there are any.",
        ),
    ] = 1,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", help="local, or ray: workers are actors of a Ray cluster (extra [ray])."
        ),
    ] = "local",
    allow_remote: AllowRemoteOption = False,
    json: JsonOption = False,
) -> None:
    """Score each sample with and without its image; repeat the command to go on."""
    from scoring.cli.multiprocess import Job, is_shared, score_shared

    place = open_workspace(workspace)
    if allow_remote:
        fetch_remote(place)
    statuses, variables = _retried(retry), _template_variables(chat_template_kwargs)
    blind = BaselineSettings(tuple(baseline or (NONE,)), blur_sigma, shuffle_seed)
    loading = {
        "image_processor": image_processor,
        "adapter": adapter,
        "quantization": quantization,
        "device_map": device_map,
    }
    if is_shared(workers, engine) and not estimate:
        job = Job(
            workspace=str(workspace),
            model={
                "name": model,
                "template": template,
                "dtype": dtype,
                "device": device,
                "score_eos": score_eos,
                "revision": revision,
                **loading,
                "chat_template_kwargs": variables,
            },
            run_id=run,
            baselines=blind,
            tokens=tokens,
            limit=limit,
            truncate=truncate,
            retry=statuses,
            predict=predict,
            max_new_tokens=max_new_tokens,
        )
        score_shared(place, job, workers, engine, json)
        return
    loaded = _load(place, model, template, dtype, device, score_eos, revision, loading, variables)
    if estimate:
        from scoring.cli.estimate import tell_estimate

        tell_estimate(
            place,
            loaded,
            json=json,
            run_id=run,
            baselines=blind,
            tokens=tokens,
            limit=limit,
            truncate=truncate,
            predict=predict,
            max_new_tokens=max_new_tokens,
        )
        return
    from scoring.engine.pipeline import (
        count_unfinished_thoughts,
        predict_dataset,
        score_dataset,
    )

    with stopping() as stop, run_progress("Scoring") as show:
        summary = score_dataset(
            place,
            loaded,
            run_id=run,
            baselines=blind,
            tokens=tokens,
            limit=limit,
            truncate=truncate,
            retry=statuses,
            on_progress=show,
            stop=stop,
        )
        kept, stopped = done_words(summary, "a score"), summary.stopped
        if predict and not stopped:
            predicted = predict_dataset(
                place,
                loaded,
                summary.run_id,
                max_new_tokens=max_new_tokens,
                on_progress=show,
                stop=stop,
            )
            stopped = predicted.stopped
            kept += f"; predictions: {done_words(predicted, 'both')}"
    talk.print(baselines_table(f"Run {summary.run_id}", summary.by_baseline))
    say_alterations(summary)
    if predict:
        say_unfinished_thoughts(count_unfinished_thoughts(place, summary.run_id))
    _close(stopped, kept)
    if json:
        print_json(asdict(summary))


def predict(
    workspace: WorkspaceOption,
    run: RunOption = None,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Filter, for example: 'category:misaligned source:charts'."),
    ] = None,
    max_new_tokens: MaxNewTokensOption = None,
    rotate_choices: Annotated[
        bool | None,
        typer.Option(
            "--rotate-choices/--no-rotate-choices",
            help="Ask each multiple-choice question once per option, with the options moved, so "
            "that a liking for a letter does not pass for knowledge. Default: as the run's "
            "predictions began, else not.",
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            help="The Jinja file that the run was scored with, if it was; other templates are "
            "known from the run.",
        ),
    ] = None,
    chat_template_kwargs: ChatTemplateKwargsOption = None,
    device: DeviceOption = None,
    revision: RevisionOption = None,
    adapter: AdapterOption = None,
    json: JsonOption = False,
) -> None:
    """Generate answers with and without the image, by the model of a run."""
    place = open_workspace(workspace)
    record = read_run_or_latest(place, run)
    if record.imported_from:
        raise InputError(
            f"the scores of run {record.run_id!r} were imported, so there is no model to predict "
            "with; score a run with a model, or name one with --run"
        )
    loaded = _load(
        place,
        record.model,
        _template_of(record, template),
        record.dtype,
        device or record.device,
        record.score_eos is not False,
        revision or record.revision,
        {
            "image_processor": record.image_processor_backend,
            "adapter": adapter or record.adapter,
            "quantization": record.quantization,
            "device_map": record.device_map,
        },
        _prediction_variables(place, record, chat_template_kwargs),
    )
    from scoring.engine.pipeline import count_unfinished_thoughts, predict_dataset

    with stopping() as stop, run_progress("Predicting") as show:
        summary = predict_dataset(
            place,
            loaded,
            record.run_id,
            rows=_rows(place, record, only) if only else None,
            max_new_tokens=max_new_tokens,
            rotate_choices=rotate_choices,
            on_progress=show,
            stop=stop,
        )
    say_unfinished_thoughts(count_unfinished_thoughts(place, record.run_id))
    _close(summary.stopped, done_words(summary, "both predictions"))
    if json:
        print_json(asdict(summary))


def build(workspace: WorkspaceOption, json: JsonOption = False) -> None:
    """Rebuild visnec.duckdb from the parts of the workspace; it is derived and loses nothing."""
    from scoring.database.build.build import build_database

    place = open_workspace(workspace)
    report = build_database(place)
    say(f"Built {place.database}")
    if json:
        print_json(asdict(report))


def _load(
    place: Workspace,
    model: str,
    template: str | None,
    dtype: str | None,
    device: str | None,
    score_eos: bool,
    revision: str | None,
    loading: dict[str, Any],
    chat_template_kwargs: dict[str, Any] | None,
) -> Any:
    from scoring.dataset.records import read_dataset_info

    read_dataset_info(place)  # before the slow part: is there anything to score?
    say(f"Loading {model}")
    from scoring.models import load_model

    loaded = load_model(
        model,
        template=template,
        dtype=dtype,
        device=device,
        score_eos=score_eos,
        revision=revision,
        **loading,
        chat_template_kwargs=chat_template_kwargs,
    )
    info = loaded.info
    say(f"{info.family} in {info.dtype} on {info.device}, template {info.template}")
    if info.shortcuts:
        say(f"Measured to be exact and taken: {', '.join(info.shortcuts)}")
    if info.notice:
        say(info.notice)
    return loaded


def _retried(named: str | None) -> tuple[str, ...]:
    """The statuses named with --retry, checked before a model is loaded."""
    if named is None:
        return ()
    from scoring.engine.pipeline import check_retry

    statuses = tuple(one.strip() for one in named.split(","))
    check_retry(statuses)
    return statuses


def _template_of(record: RunRecord, given: str | None) -> str:
    """What to load the model with, so that predictions read as the scores did."""
    if given is None and record.template.startswith("file:"):
        raise InputError(
            f"run {record.run_id!r} was scored with a template file ({record.template}); name "
            "that file with --template"
        )
    return given or record.template


def _template_variables(given: str | None) -> dict[str, Any] | None:
    """The JSON object given with --chat-template-kwargs, checked before a model is loaded."""
    if given is None:
        return None
    try:
        variables = loads(given)
    except ValueError as error:
        raise InputError(f"--chat-template-kwargs is not JSON ({error}): {given}") from error
    if not isinstance(variables, dict):
        raise InputError(f"--chat-template-kwargs takes a JSON object, not {given}")
    return variables


def _prediction_variables(
    place: Workspace, record: RunRecord, given: str | None
) -> dict[str, Any] | None:
    """What the template gets: the variables given, those of earlier predictions, or the run's."""
    from scoring.predictions.records import read_prediction_settings

    if given is not None:
        return _template_variables(given)
    begun = read_prediction_settings(place, record.run_id)
    return begun.chat_template_kwargs if begun else record.chat_template_kwargs


def _rows(place: Workspace, record: RunRecord, only: str) -> Any:
    from scoring.database.connection import Store
    from scoring.database.filters import parse_filter
    from scoring.database.queries.browse import matching_rows
    from scoring.database.values import Scope

    scope = Scope(record.run_id, record.first_baseline)
    return matching_rows(Store(place), scope, parse_filter(only), place.bands)


def _close(stopped: bool, kept: str) -> None:
    if stopped:
        say(f"Stopped; {kept}, and all of that is kept. The same command goes on from there.")
        raise typer.Exit(130)
    say(kept)
