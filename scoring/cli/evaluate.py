"""The command evaluate: predictions on a benchmark, and on the part that needs its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table

from scoring.cli.console import make_table, print_json, show_message, show_table
from scoring.cli.options import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.evaluation import evaluate_predictions, read_cell_rows
from scoring.database.values import Scope
from scoring.evaluation.accuracy import MEASURES, Accuracy, Gain, Leakage
from scoring.evaluation.evaluate import SELF_SELECTION_NOTE, Evaluation, GroupResult, ModelResult
from scoring.evaluation.model_ranks import Ranking
from scoring.evaluation.options import EvaluationOptions
from scoring.predictions.files import Sight
from scoring.predictions.imported import (
    PredictionImport,
    import_prediction_files,
    list_predictions,
    remove_predictions,
)
from scoring.runs.record import read_run_or_latest
from scoring.workspace import open_workspace

_ABSENT = "-"
_COLUMNS = ("model", "samples", "n", "with image", "without image", "gain", "leakage")
_FILES = "Prediction files"


def evaluate(
    workspace: WorkspaceOption,
    options: EvaluationOptions,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FILE...",
            help="Predictions with the image: JSON lines, a JSON array, CSV or TSV with row_idx or "
            "id, prediction and optionally model. Without files: those in the workspace.",
        ),
    ] = None,
    blind: Annotated[
        list[str] | None,
        typer.Option(
            "--blind",
            metavar="[NAME=]FILE",
            help="Predictions of a model without the images.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    text_model: Annotated[
        list[str] | None,
        typer.Option(
            "--text-model",
            metavar="[NAME=]FILE",
            help="Predictions of the text-only model that the model NAME is built on, for leakage.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Replace earlier predictions of the same name.",
            rich_help_panel=_FILES,
        ),
    ] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            metavar="NAME",
            help="Remove a model's imported predictions.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    run: RunOption = None,
    baseline: BaselineOption = None,
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            help="Evaluate only samples that match this filter, for example 'source:charts "
            "kind:choice'.",
        ),
    ] = None,
    rows: Annotated[
        bool,
        typer.Option(
            "--rows",
            help="Like --json, with the row_idx of the samples in each cell of blind against seen.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Report accuracy with and without the image, on all samples and on those that need it."""
    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, run)
    scope = Scope(record.run_id, baseline or record.first_baseline)
    for name in remove or ():
        n_removed = remove_predictions(opened, name)
        show_message(f"Removed {n_removed} prediction files of {name}")
    given = {Sight.SEEN: files or [], Sight.BLIND: blind or [], Sight.TEXT_MODEL: text_model or []}
    is_changed = bool(remove)
    for imported in import_prediction_files(opened, given, replace=replace):
        _show_import(imported)
        is_changed = is_changed or not imported.already
    if is_changed:
        build_database(opened)
    store = Store(opened)
    query = parse_filter(only or "")
    result = evaluate_predictions(store, scope, query, options, bands=opened.bands)
    _show_evaluation(result, options.measure)
    if json or rows:
        values = {
            "run_id": scope.run_id,
            "baseline": scope.baseline,
            "measure": options.measure,
            "filter": str(query),
            **result.to_dict(),
            "predictions": [
                asdict(each) | {"n_missing": each.n_missing} for each in list_predictions(opened)
            ],
        }
        if rows:
            values["rows"] = read_cell_rows(store, scope, query, options, bands=opened.bands)
        print_json(values)


def _show_import(imported: PredictionImport) -> None:
    rows = [
        (each.model, each.sight.replace("_", " "), each.n_taken, each.n_missing)
        for each in imported.sets
    ]
    again = " (already imported; nothing was changed)" if imported.already else ""
    title = f"{imported.file}: {imported.sets[0].n_records:,} records{again}"
    show_table(make_table(title, ["model", "predictions", "samples", "samples without"], rows))
    if findings := imported.sets[0].findings:
        issues = [(each["what"], each["n"], "; ".join(each["examples"][:2])) for each in findings]
        title = "Records that could not be imported"
        show_table(make_table(title, ["problem", "records", "such as"], issues))


def _show_evaluation(result: Evaluation, measure: str) -> None:
    names = {
        model.model: f"{model.model} *" if model.chose_part else model.model
        for model in result.models
    }
    main = [
        (names[model.model], *_group_row(group))
        for model in result.models
        for group in (model.all, model.necessary, model.rest)
    ]
    show_table(make_table("Models", _COLUMNS, main))
    for model in result.models:
        _show_groups(model)
        if model.all.cells:
            show_table(_contingency_table(model))
    if result.ranking:
        _show_ranking(result.ranking, names)
    show_message(
        f"{result.n_necessary:,} of {result.n_samples:,} samples are in the necessary part (visnec "
        f"of {result.threshold:g} or more); {result.n_samples - result.n_scored:,} have no score. "
        f"Right means: {MEASURES[measure]}. Intervals are 95 %"
    )
    for model in result.models:
        if model.chose_part:
            show_message(f"* {model.model}: {SELF_SELECTION_NOTE}")


def _show_groups(model: ModelResult) -> None:
    groups = (
        ("category", model.by_category),
        ("score band", model.by_band),
        ("source", model.by_source),
        ("type of answer", model.by_kind),
    )
    for name, results in groups:
        if len(results) > 1 or name in ("category", "score band"):
            rows = [_group_row(group) for group in results]
            show_table(make_table(f"{model.model} by {name}", [name, *_COLUMNS[2:]], rows))


def _group_row(group: GroupResult) -> tuple[Any, ...]:
    return (
        group.name,
        group.n_samples,
        _format_accuracy(group.seen, group.n_samples),
        _format_accuracy(group.blind, group.n_samples),
        _format_gain(group.gain),
        _format_leakage(group.leakage),
    )


def _format_accuracy(accuracy: Accuracy | None, n_samples: int) -> str:
    """Return per cent with the interval, and the number of samples unless it covers all."""
    if accuracy is None or accuracy.value is None or accuracy.interval is None:
        return _ABSENT
    low, high = accuracy.interval
    of = "" if accuracy.n == n_samples else f" of {accuracy.n:,}"
    return f"{accuracy.value:.1%} ({100 * low:.0f}-{100 * high:.0f}){of}"


def _format_gain(gain: Gain | None) -> str:
    if gain is None:
        return _ABSENT
    return f"{100 * gain.value:+.1f} ({100 * gain.low:+.0f} to {100 * gain.high:+.0f})"


def _format_leakage(leakage: Leakage | None) -> str:
    return _ABSENT if leakage is None else f"{100 * leakage.value:.1f}"


def _contingency_table(model: ModelResult) -> Table:
    rows = [
        (
            f"{name}: blind {blind}",
            *(cells.count(blind, seen) for seen in ("right", "wrong")),
        )
        for name, cells in (("all", model.all.cells), ("necessary", model.necessary.cells))
        if cells
        for blind in ("right", "wrong")
    ]
    title = f"{model.model}: blind against seen"
    return make_table(title, ["samples", "seen right", "seen wrong"], rows)


def _show_ranking(ranking: Ranking, names: Mapping[str, str]) -> None:
    rows = [
        (
            names[each.model],
            f"{each.rank_all:g}",
            _format_accuracy(each.on_all, ranking.n_common),
            f"{each.rank_necessary:g}",
            _format_accuracy(each.on_necessary, ranking.n_necessary),
        )
        for each in ranking.models
    ]
    columns = ["model", "rank", "on all", "rank there", "on the necessary part"]
    show_table(make_table("Ranks of the models", columns, rows))
    agreement = ", ".join(
        f"{name} {_ABSENT if value is None else f'{value:.2f}'}"
        for name, value in (("Spearman", ranking.spearman), ("Kendall", ranking.kendall))
    )
    show_message(
        f"Models are ranked on the {ranking.n_common:,} samples that all of them answered, "
        f"{ranking.n_necessary:,} of them in the necessary part; agreement of the two orders: "
        f"{agreement}"
    )
