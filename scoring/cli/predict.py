"""The command predict: answers of a run's model after its scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from scoring.cli import console
from scoring.cli.commands import JsonOption, RunOption, WorkspaceOption
from scoring.cli.score import PREDICTIONS_PANEL, TURNS_HELP, MaxNewTokensOption, load_model_of
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.models.options import ModelOptions
from scoring.option_descriptions import Option, parse_json_object
from scoring.predictions.records import TurnChoice, read_prediction_settings
from scoring.runs.record import read_run_or_latest
from scoring.workspace import open_workspace


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """Which samples of a run get predictions, and what differs from the run's own model.

    None means the setting of the run's earlier predictions, or of the run.
    """

    run_id: RunOption = None
    only: Annotated[
        str | None,
        Option(
            "Predict only samples that match this filter, for example 'category:misaligned "
            "source:charts'."
        ),
    ] = None
    turns: Annotated[
        TurnChoice | None,
        Option(
            f"{TURNS_HELP}Default: as in the run's earlier predictions, else the first.",
            panel=PREDICTIONS_PANEL,
        ),
    ] = None
    max_new_tokens: MaxNewTokensOption = None
    rotate_choices: Annotated[
        bool | None,
        Option(
            "Ask each multiple-choice question once per option, with the options rotated, to "
            "separate knowledge from a preference for one letter. Default: as in the run's earlier "
            "predictions, else no.",
            "--rotate-choices/--no-rotate-choices",
            PREDICTIONS_PANEL,
        ),
    ] = None
    template: Annotated[
        str | None,
        Option(
            "The Jinja file that the run was scored with, if any; other templates are known from "
            "the run."
        ),
    ] = None
    chat_template_kwargs: Annotated[
        Mapping[str, Any] | None,
        Option(
            "Variables for the chat template as a JSON object. Default: those of the run's earlier "
            "predictions, else of the run.",
            parse=parse_json_object("--chat-template-kwargs"),
            metavar="JSON",
        ),
    ] = None
    device: Annotated[str | None, Option("cpu, cuda, ... Default: that of the run.")] = None
    revision: Annotated[str | None, Option("Revision of the model, if not the run's.")] = None
    adapter: Annotated[str | None, Option("Folder of the run's adapter, if it moved.")] = None


def predict(workspace: WorkspaceOption, options: PredictOptions, json: JsonOption = False) -> None:
    """Generate answers with and without the image, using the model of a run."""
    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, options.run_id)
    if record.imported_from:
        raise InputError(
            f"The scores of run {record.run_id!r} were imported, so there is no model to predict "
            "with. Score a run with a model, or name one with --run."
        )
    if options.template is None and record.template.startswith("file:"):
        raise InputError(
            f"Run {record.run_id!r} was scored with a template file ({record.template}). Pass that "
            "file with --template."
        )
    variables = options.chat_template_kwargs
    if variables is None:
        earlier = read_prediction_settings(opened, record.run_id) or record
        variables = earlier.chat_template_kwargs
    model = ModelOptions(
        name=record.model,
        template=options.template or record.template,
        chat_template_kwargs=variables,
        score_eos=record.score_eos is not False,
        dtype=record.dtype,
        device=options.device or record.device,
        revision=options.revision or record.revision,
        image_processor=record.image_processor_backend,
        adapter=options.adapter or record.adapter,
    )
    loaded = load_model_of(
        opened, model, quantization=record.quantization, device_map=record.device_map
    )
    rows = None
    if options.only:
        scope, query = Scope(record.run_id, record.first_baseline), parse_filter(options.only)
        rows = matching_rows(Store(opened).selection(scope, query, opened.bands))
    from scoring.engine.pipeline import predict_dataset

    with console.stop_on_interrupt() as stop, console.run_progress() as show:
        summary = predict_dataset(
            opened,
            loaded,
            record.run_id,
            rows=rows,
            max_new_tokens=options.max_new_tokens,
            rotate_choices=options.rotate_choices,
            turns=options.turns,
            on_progress=show,
            stop=stop,
        )
    console.warn_unfinished_thoughts(opened, record.run_id)
    console.show_message(console.describe_predictions(summary))
    if summary.stopped:
        console.stop_command()
    if json:
        console.print_json(asdict(summary))
