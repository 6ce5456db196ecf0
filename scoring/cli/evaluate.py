"""visnec evaluate: predictions against a benchmark, and against what of it needs its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from scoring.cli.console import make_table, print_json, show_message, show_table
from scoring.cli.options import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.evaluation import evaluate_predictions, read_cell_rows
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.evaluation.accuracy import (
    DEFAULT_MEASURE,
    MEASURES,
    Accuracy,
    ContingencyTable,
    Gain,
    Leakage,
)
from scoring.evaluation.evaluate import (
    DEFAULT_SCORE_BANDS,
    SELF_SELECTION_NOTE,
    Evaluation,
    GroupResult,
    ModelResult,
)
from scoring.evaluation.model_ranks import Ranking
from scoring.necessity import Bands
from scoring.predictions.files import Sight, read_prediction_lines
from scoring.predictions.imported import (
    PredictionImport,
    import_predictions,
    list_predictions,
    remove_predictions,
)
from scoring.runs.record import read_run_or_latest
from scoring.workspace import Workspace, open_workspace

_ABSENT = "-"
_MEASURE_HELP = "What counts as right. " + "; ".join(
    f"{name}: {meaning}" for name, meaning in MEASURES.items()
)

FilesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=]FILE...",
        help="Predictions with the image: JSON lines, a JSON array, CSV or TSV of row_idx or id, "
        "prediction and, if need be, model. Without files: what the workspace has.",
    ),
]
BlindOption = Annotated[
    list[str] | None,
    typer.Option("--blind", metavar="[NAME=]FILE", help="Predictions of a model without images."),
]
TextModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--text-model",
        metavar="[NAME=]FILE",
        help="Predictions of the text-only model that the model NAME is built on, for leakage.",
    ),
]


class Asked(TypedDict):
    """What the figures and the rows behind them are asked by."""

    models: list[str] | None
    measure: str
    threshold: float | None
    bands: Bands


def evaluate(
    workspace: WorkspaceOption,
    files: FilesArgument = None,
    blind: BlindOption = None,
    text_model: TextModelOption = None,
    run: RunOption = None,
    baseline: BaselineOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="The necessary part: visnec of at least this. Default: the upper band limit.",
        ),
    ] = None,
    measure: Annotated[str, typer.Option("--measure", help=_MEASURE_HELP)] = DEFAULT_MEASURE,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Filter, for example: 'source:charts kind:choice'."),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Only these models; may be repeated.")
    ] = None,
    bands: Annotated[
        int, typer.Option("--bands", min=1, help="Score bands of about equally many samples.")
    ] = DEFAULT_SCORE_BANDS,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put files in the place of earlier ones of a name.")
    ] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="NAME", help="Remove a model's imported predictions."),
    ] = None,
    rows: Annotated[
        bool,
        typer.Option(
            "--rows",
            help="As --json, with the row_idx of the samples behind each cell of blind against "
            "seen.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Accuracy with and without the image, on all samples and on those that need it."""
    place = open_workspace(workspace)
    record = read_run_or_latest(place, run)
    scope = Scope(record.run_id, baseline or record.first_baseline)
    for name in remove or ():
        show_message(f"Removed {remove_predictions(place, name)} prediction files of {name}")
    given = {Sight.SEEN: files, Sight.BLIND: blind, Sight.TEXT_MODEL: text_model}
    done = _take_in(place, given, replace)
    if remove or any(not one.already for one in done):
        build_database(place)
    store = Store(place)
    which = parse_filter(only or "")
    asked: Asked = {
        "models": model,
        "measure": measure,
        "threshold": threshold,
        "bands": place.bands,
    }
    found = evaluate_predictions(store, scope, which, n_bands=bands, **asked)
    for part in _tables(found):
        show_table(part)
    if found.ranking:
        show_message(_told_ranking(found.ranking))
    show_message(
        f"{found.n_necessary:,} of {found.n_samples:,} samples are in the necessary part (visnec "
        f"of {found.threshold:g} or more); {found.n_samples - found.n_scored:,} have no score. "
        f"Right is: {MEASURES[measure]}. Intervals are 95 %"
    )
    for one in found.models:
        if one.chose_part:
            show_message(f"* {one.model}: {SELF_SELECTION_NOTE}")
    if json or rows:
        about = {"run_id": scope.run_id, "baseline": scope.baseline, "measure": measure}
        kept = [asdict(one) | {"n_missing": one.n_missing} for one in list_predictions(place)]
        told = about | {"filter": str(which)} | found.to_dict() | {"predictions": kept}
        if rows:
            told["rows"] = read_cell_rows(store, scope, which, **asked)
        print_json(told)


def _take_in(
    place: Workspace, given: dict[Sight, list[str] | None], replace: bool
) -> list[PredictionImport]:
    names = [_named(one)[0] or _stem(one) for one in given[Sight.SEEN] or ()]
    done = []
    for sight, files in given.items():
        for one in files or ():
            name, path = _named(one)
            if name is None and sight is not Sight.SEEN and len(names) == 1:
                name = names[0]  # the one model that the command is about
            elif name is None and sight is not Sight.SEEN and not _names_models(path):
                option = "--blind" if sight is Sight.BLIND else "--text-model"
                raise InputError(
                    f"{one} answers for a model that is not named; write {option} NAME={one}"
                )
            done.append(import_predictions(place, path, model=name, sight=sight, replace=replace))
            _tell_import(done[-1])
    return done


def _names_models(path: Path) -> bool:
    """Whether the records say themselves whose predictions they are."""
    lines = (one for one in read_prediction_lines(path) if one.problem is None)
    first = next(lines, None)
    return first is not None and first.model is not None


def _named(given: str) -> tuple[str | None, Path]:
    """``NAME=FILE`` as its two halves; a file whose own name holds a ``=`` needs no name."""
    name, sign, path = given.partition("=")
    return (name, Path(path)) if sign and not Path(given).exists() else (None, Path(given))


def _stem(given: str) -> str:
    return Path(given).name.partition(".")[0]


def _tell_import(done: PredictionImport) -> None:
    rows = [
        (one.model, one.sight.replace("_", " "), one.n_taken, one.n_missing) for one in done.sets
    ]
    again = " (taken in before; nothing was changed)" if done.already else ""
    title = f"{done.file}: {done.sets[0].n_records:,} records{again}"
    show_table(make_table(title, ["model", "predictions", "samples", "samples without"], rows))
    if findings := done.sets[0].findings:
        told = [(one["what"], one["n"], "; ".join(one["examples"][:2])) for one in findings]
        show_table(make_table("What did not fit", ["what", "records", "such as"], told))


def _tables(found: Evaluation) -> list[Any]:
    main = [(_marked(one), *_row(part)) for one in found.models for part in _main_parts(one)]
    made = [make_table("Models", _COLUMNS, main)]
    for one in found.models:
        groups = (
            ("category", one.by_category),
            ("score band", one.by_band),
            ("source", one.by_source),
            ("type of answer", one.by_kind),
        )
        made += [
            make_table(
                f"{one.model} by {name}", [name, *_COLUMNS[2:]], [_row(part) for part in parts]
            )
            for name, parts in groups
            if len(parts) > 1 or name in ("category", "score band")
        ]
        if one.all.cells:
            made.append(_cells_table(one))
    if found.ranking:
        made.append(
            _ranking_table(found.ranking, {one.model: _marked(one) for one in found.models})
        )
    return made


def _marked(one: ModelResult) -> str:
    return f"{one.model} *" if one.chose_part else one.model


_COLUMNS = ("model", "samples", "n", "with image", "without image", "gain", "leakage")


def _main_parts(one: ModelResult) -> tuple[GroupResult, ...]:
    return one.all, one.necessary, one.rest


def _row(part: GroupResult) -> tuple[Any, ...]:
    return (
        part.name,
        part.n_samples,
        _accuracy(part.seen, part.n_samples),
        _accuracy(part.blind, part.n_samples),
        _gain(part.gain),
        _leakage(part.leakage),
    )


def _accuracy(one: Accuracy | None, n_samples: int) -> str:
    """In per cent with its interval, and over how many samples where it is not over all."""
    if one is None or one.value is None or one.interval is None:
        return _ABSENT
    low, high = one.interval
    of = "" if one.n == n_samples else f" of {one.n:,}"
    return f"{one.value:.1%} ({100 * low:.0f}-{100 * high:.0f}){of}"


def _gain(one: Gain | None) -> str:
    if one is None:
        return _ABSENT
    return f"{100 * one.value:+.1f} ({100 * one.low:+.0f} to {100 * one.high:+.0f})"


def _leakage(one: Leakage | None) -> str:
    return _ABSENT if one is None else f"{100 * one.value:.1f}"


def _cells_table(one: ModelResult) -> Any:
    parts = [("all", one.all.cells), ("necessary", one.necessary.cells)]
    shown = [(name, cells) for name, cells in parts if cells]
    rows = [(f"{name}: blind {blind}", *_counts(cells, blind)) for name, cells in shown
            for blind in ("right", "wrong")]  # fmt: skip
    return make_table(
        f"{one.model}: blind against seen", ["samples", "seen right", "seen wrong"], rows
    )


def _counts(cells: ContingencyTable, blind: str) -> Sequence[int]:
    return [cells.count(blind, seen) for seen in ("right", "wrong")]


def _ranking_table(ranking: Ranking, names: Mapping[str, str]) -> Any:
    rows = [
        (names[one.model], f"{one.rank_all:g}", _accuracy(one.on_all, ranking.n_common),
         f"{one.rank_necessary:g}", _accuracy(one.on_necessary, ranking.n_necessary))
        for one in ranking.models
    ]  # fmt: skip
    columns = ["model", "rank", "on all", "rank there", "on the necessary part"]
    return make_table("Ranks of the models", columns, rows)


def _told_ranking(ranking: Ranking) -> str:
    told = ", ".join(
        f"{name} {_ABSENT if value is None else f'{value:.2f}'}"
        for name, value in (("Spearman", ranking.spearman), ("Kendall", ranking.kendall))
    )
    return (
        f"Models are ranked over the {ranking.n_common:,} samples that all of them answered, "
        f"{ranking.n_necessary:,} of them in the necessary part; the two orders agree by {told}"
    )
