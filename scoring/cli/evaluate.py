"""The command evaluate: predictions on a benchmark, and on the part that needs its images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from scoring.cli import console
from scoring.cli.commands import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.evaluation import evaluate_predictions, read_cell_rows
from scoring.database.values import Scope
from scoring.evaluation.accuracy import MEASURES, Accuracy
from scoring.evaluation.evaluate import (
    SELF_SELECTION_NOTE,
    Evaluation,
    EvaluationOptions,
    GroupResult,
    Ranking,
)
from scoring.option_descriptions import Option
from scoring.predictions.files import Sight
from scoring.predictions.imported import (
    import_prediction_files,
    list_predictions,
    remove_predictions,
)
from scoring.predictions.records import TurnChoice
from scoring.runs.record import read_run_or_latest
from scoring.workspace import open_workspace

_ABSENT = "-"
_COLUMNS = ("model", "samples", "n", "with image", "without image", "gain", "leakage")
_OUTCOMES = ("right", "wrong")
_FILES = "Prediction files"


def evaluate(
    workspace: WorkspaceOption,
    options: EvaluationOptions,
    files: Annotated[
        tuple[str, ...],
        Option(
            "Predictions with the image: JSON lines, a JSON array, CSV or TSV with row_idx or id, "
            "prediction and optionally turn_number (from 1) and model. Without files: those in the "
            "workspace.",
            metavar="[NAME=]FILE...",
            is_argument=True,
        ),
    ] = (),
    blind: Annotated[
        tuple[str, ...],
        Option("Predictions of a model without the images.", panel=_FILES, metavar="[NAME=]FILE"),
    ] = (),
    text_model: Annotated[
        tuple[str, ...],
        Option(
            "Predictions of the text-only model that the model NAME is built on, for leakage.",
            panel=_FILES,
            metavar="[NAME=]FILE",
        ),
    ] = (),
    replace: Annotated[
        bool, Option("Replace earlier predictions of the same name.", panel=_FILES)
    ] = False,
    remove: Annotated[
        tuple[str, ...],
        Option("Remove a model's imported predictions.", panel=_FILES, metavar="NAME"),
    ] = (),
    run: RunOption = None,
    baseline: BaselineOption = None,
    only: Annotated[
        str | None,
        Option(
            "Evaluate only samples that match this filter, for example 'source:charts kind:choice'."
        ),
    ] = None,
    rows: Annotated[
        bool,
        Option("Like --json, with the row_idx of the samples in each cell of blind against seen."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Report accuracy with and without the image, on all samples and on those that need it."""
    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, run)
    scope = Scope(record.run_id, baseline or record.first_baseline)
    for name in remove:
        n_removed = remove_predictions(opened, name)
        console.show_message(f"Removed {n_removed} prediction files of {name}")
    is_changed = bool(remove)
    given = {Sight.SEEN: files, Sight.BLIND: blind, Sight.TEXT_MODEL: text_model}
    for imported in import_prediction_files(opened, given, replace=replace):
        is_changed = is_changed or not imported.already
        first = imported.sets[0]
        again = " (already imported; nothing was changed)" if imported.already else ""
        console.show_table(
            f"{imported.file}: {first.n_records:,} records{again}",
            ["model", "predictions", "samples", "samples without"],
            [
                (each.model, each.sight.replace("_", " "), each.n_taken, each.n_missing)
                for each in imported.sets
            ],
        )
        if n_later := sum(each.n_later for each in imported.sets):
            console.show_message(
                f"{n_later:,} predictions are about later answers; --turns all evaluates them"
            )
        console.show_issues("Not imported", first.findings)
    if is_changed:
        build_database(opened)
    store = Store(opened)
    query = parse_filter(only or "")
    result = evaluate_predictions(store, scope, query, options, bands=opened.bands)
    _show_evaluation(result, options.measure, options.turns)
    if options.turns == "all":
        console.show_message(
            "Accuracies count the answers of all turns; their intervals resample whole samples, "
            "because the answers of a sample are not independent"
        )
    if json or rows:
        values: dict[str, Any] = {"run_id": scope.run_id, "baseline": scope.baseline}
        values |= {
            "measure": options.measure,
            "turns": options.turns,
            "filter": str(query),
            **result.to_dict(),
        }
        saved = list_predictions(opened)
        values["predictions"] = [asdict(each) | {"n_missing": each.n_missing} for each in saved]
        if rows:
            values["rows"] = read_cell_rows(store, scope, query, options, bands=opened.bands)
        console.print_json(values)


def _show_evaluation(result: Evaluation, measure: str, turns: TurnChoice) -> None:
    names = {
        model.model: f"{model.model} *" if model.chose_part else model.model
        for model in result.models
    }
    rows = [
        (names[model.model], *_group_row(group))
        for model in result.models
        for group in (model.all, model.necessary, model.rest)
    ]
    console.show_table("Models", _COLUMNS, rows)
    for model in result.models:
        groups = (
            ("category", model.by_category),
            ("score band", model.by_band),
            ("source", model.by_source),
            ("type of answer", model.by_kind),
        )
        for name, results in groups:
            if len(results) > 1 or name in ("category", "score band"):
                rows = [_group_row(group) for group in results]
                console.show_table(f"{model.model} by {name}", [name, *_COLUMNS[2:]], rows)
        if model.all.cells:
            counted = "answers" if turns == "all" else "samples"
            cells_by_part = (("all", model.all.cells), ("necessary", model.necessary.cells))
            rows = [
                (f"{part}: blind {blind}", *(cells.count(blind, seen) for seen in _OUTCOMES))
                for part, cells in cells_by_part
                if cells
                for blind in _OUTCOMES
            ]
            columns = [counted, "seen right", "seen wrong"]
            console.show_table(f"{model.model}: blind against seen", columns, rows)
    if result.ranking:
        _show_ranking(result.ranking, names)
    console.show_message(
        f"{result.n_necessary:,} of {result.n_samples:,} samples are in the necessary part (visnec "
        f"of {result.threshold:g} or more); {result.n_samples - result.n_scored:,} have no score. "
        f"Right means: {MEASURES[measure]}. Intervals are 95 %"
    )
    for model in result.models:
        if model.chose_part:
            console.show_message(f"* {model.model}: {SELF_SELECTION_NOTE}")


def _group_row(group: GroupResult) -> tuple[Any, ...]:
    gain, leakage = group.gain, group.leakage
    interval = f" ({100 * gain.low:+.0f} to {100 * gain.high:+.0f})" if gain else ""
    return (
        group.name,
        group.n_samples,
        _format_accuracy(group.seen, group.n_samples),
        _format_accuracy(group.blind, group.n_samples),
        f"{100 * gain.value:+.1f}{interval}" if gain else _ABSENT,
        f"{100 * leakage.value:.1f}" if leakage else _ABSENT,
    )


def _format_accuracy(accuracy: Accuracy | None, n_samples: int) -> str:
    """Return per cent with the interval, and the number of samples unless it covers all."""
    if accuracy is None or accuracy.value is None or accuracy.interval is None:
        return _ABSENT
    low, high = accuracy.interval
    of = "" if accuracy.n == n_samples else f" of {accuracy.n:,}"
    return f"{accuracy.value:.1%} ({100 * low:.0f}-{100 * high:.0f}){of}"


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
    console.show_table("Ranks of the models", columns, rows)
    agreement = ", ".join(
        f"{name} {_ABSENT if value is None else f'{value:.2f}'}"
        for name, value in (("Spearman", ranking.spearman), ("Kendall", ranking.kendall))
    )
    console.show_message(
        f"Models are ranked on the {ranking.n_common:,} samples that all of them answered, "
        f"{ranking.n_necessary:,} of them in the necessary part; agreement of the two orders: "
        f"{agreement}"
    )
