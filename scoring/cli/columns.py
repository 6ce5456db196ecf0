"""The commands import-columns and disagreements."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from scoring.cli import console
from scoring.cli.commands import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.errors import InputError
from scoring.option_descriptions import Option, split_keys
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from scoring.database.connection import Selection
    from scoring.exchange.imported_columns import ColumnImport


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """How the rows of a file are matched and its columns named."""

    on: Annotated[
        str,
        Option(
            "What the rows are matched by: row_idx, id or image (its path as in the record).",
            metavar="row_idx|id|image",
        ),
    ] = "row_idx"
    prefix: Annotated[str, Option("Text before each column name, such as gdo_.")] = ""
    columns: Annotated[
        str,
        Option(
            "Import only these keys, separated by commas; dots lead into JSON objects. Default: "
            "all numbers, texts, booleans and lists of these.",
            metavar="KEYS",
        ),
    ] = ""
    replace: Annotated[bool, Option("Replace columns that have the same names.")] = False


def import_columns(
    workspace: WorkspaceOption,
    options: ColumnOptions,
    file: Annotated[
        Path | None,
        Option(
            "Parquet, JSON lines, JSON or CSV, one row per sample or image; a list has one value "
            "per answer.",
            metavar="FILE",
            is_argument=True,
        ),
    ] = None,
    remove: Annotated[
        str | None, Option("Remove this column instead of importing a file.", metavar="NAME")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Import values of samples or answers as columns, for filters and exports."""
    opened = open_workspace(workspace)
    if (file is None) == (remove is None):
        raise InputError("Name a file to import, or a column to remove with --remove.")
    if remove is not None:
        _remove(opened, remove)
        return
    if file is not None:
        from scoring.exchange import imported_columns

        result = imported_columns.import_columns(
            opened,
            file,
            on=options.on,
            prefix=options.prefix,
            columns=split_keys(options.columns),
            replace_existing=options.replace,
        )
        show_columns(result, json=json)


def show_columns(result: ColumnImport, *, json: bool = False) -> None:
    """Print the columns of an import and the rows that were not used."""
    if result.already:
        console.show_message("These columns are already imported; nothing was changed.")
    rows = [
        (column.name, f"{column.type} per {column.per}", column.n_values, column.n_samples)
        for column in result.columns
    ]
    console.show_table("Columns", ["column", "type", "samples with a value", "samples"], rows)
    console.show_issues("Not imported", result.findings)
    if json:
        console.print_json(asdict(result))


def disagreements(
    workspace: WorkspaceOption,
    column: Annotated[
        str,
        Option(
            "A column of numbers, such as clip; with several per answer rating.min, rating.max or "
            "rating.mean.",
            metavar="COLUMN",
            is_argument=True,
        ),
    ],
    high: Annotated[
        Literal["score", "column"],
        Option("What is high: the score, with a low value, or the column, with a low score."),
    ] = "score",
    limit: Annotated[int, Option("Samples to list, the largest difference first.", min=1)] = 50,
    only: Annotated[
        str | None, Option("Compare only samples that match this filter.", metavar="FILTER")
    ] = None,
    run: RunOption = None,
    baseline: BaselineOption = None,
    json: JsonOption = False,
) -> None:
    """List the samples that the score and an imported column rank most differently."""
    from scoring.database.queries import column_values

    selection = _select_samples(workspace, run, baseline, only)
    frame = column_values.disagreements(selection, column, high=high, limit=limit)
    names = ("high score, low", "low score, high")
    frame = frame.set_index("row_idx")
    console.show_frame(f"Disagreements: {names[high == 'column']} {column}", frame)
    if json:
        console.print_json(console.frame_records(frame))


def suspects(
    workspace: WorkspaceOption,
    column: Annotated[
        str | None,
        Option("A column of numbers that is high for good samples, such as clip.", metavar="NAME"),
    ] = None,
    limit: Annotated[int, Option("Samples to list, the strongest suspects first.", min=1)] = 50,
    only: Annotated[
        str | None, Option("Only samples that match this filter.", metavar="FILTER")
    ] = None,
    run: RunOption = None,
    baseline: BaselineOption = None,
    json: JsonOption = False,
) -> None:
    """List samples whose answer may be wrong, and how many of them reviewers found wrong."""
    from scoring.database.queries import suspects as queries

    selection = _select_samples(workspace, run, baseline, only)
    frame = queries.suspects(selection, column, limit).set_index("row_idx")
    console.show_frame("Suspects", frame)
    counts = queries.suspect_precision(selection, column)
    rows = [(each.evidence, each.n, each.n_decided, each.n_wrong) for each in counts]
    headers = ["evidence", "samples", "decided", "dropped or edited"]
    console.show_table("By evidence", headers, rows)
    if json:
        precision = [asdict(each) | {"precision": each.precision} for each in counts]
        console.print_json({"samples": console.frame_records(frame), "precision": precision})


def _remove(workspace: Workspace, name: str) -> None:
    from scoring.columns.parts import remove_column
    from scoring.database.build.build import build_database

    remove_column(workspace, name)
    build_database(workspace)
    console.show_message(f"Removed column {name}")


def _select_samples(
    workspace: Path, run: str | None, baseline: str | None, only: str | None
) -> Selection:
    """Return the samples that match a filter, with the scores of a run or the latest one."""
    from scoring.database.connection import Store
    from scoring.database.filters import parse_filter
    from scoring.database.values import Scope
    from scoring.runs.record import read_run_or_latest

    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, run)
    scope = Scope(record.run_id, baseline or record.first_baseline)
    return Store(opened).selection(scope, parse_filter(only or ""))
