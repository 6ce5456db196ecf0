"""The command compare: the scores and accuracies of several runs in a chosen order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.compare import other_name
from scoring.database.queries.run_trend import CHANGES, RunTrend, compare_runs
from scoring.database.values import Scope
from scoring.option_descriptions import Option
from scoring.runs.record import read_run_or_latest
from scoring.workspace import Workspace, open_atomic, open_workspace

_TABLES = {
    "median": "Median VisNec score",
    "seen": "Accuracy with the image",
    "blind": "Accuracy without the image",
}


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Which samples are compared, and what is written."""

    only: Annotated[
        str | None,
        Option("Compare only samples that match this filter on the first run."),
    ] = None
    rows: Annotated[
        bool,
        Option("With --json: also the samples that became vision-critical or stopped."),
    ] = False
    to: Annotated[
        Path | None,
        Option("CSV to write: row_idx, source, change and the score in each run of these samples."),
    ] = None


def compare(
    runs: Annotated[
        list[str],
        Option(
            "Two or more runs in order, such as checkpoints. Without a baseline: the run's first.",
            metavar="RUN[/BASELINE]...",
            is_argument=True,
        ),
    ],
    workspace: WorkspaceOption,
    options: CompareOptions,
    json: JsonOption = False,
) -> None:
    """Compare runs: median scores and accuracies by source, and what became vision-critical."""
    opened = open_workspace(workspace)
    first, *others = (_read_scope(opened, name) for name in runs)
    store = Store(opened)
    selection = store.selection(first, parse_filter(options.only or ""), opened.bands)
    trend = compare_runs(selection, others)
    names = [other_name(scope) for scope in trend.scopes]
    for measure, title in _TABLES.items():
        if measure == "median" or trend.by_source[f"n_{measure}"].any():
            _show_measure(trend, measure, title, names)
    console.show_message(
        f"{trend.n_samples:,} samples have a score in all runs. From {names[0]} to {names[-1]}, "
        f"{trend.n_changes['became']:,} samples became vision-critical and "
        f"{trend.n_changes['stopped']:,} no longer are"
    )
    changes = trend.changes.rename(columns={f"score_{i}": name for i, name in enumerate(names)})
    if options.to is not None:
        with open_atomic(options.to, "w") as file:
            changes.to_csv(file, index=False, lineterminator="\n")
    if json:
        values: dict[str, Any] = trend.to_dict() | {"filter": str(selection.where)}
        if options.rows:
            of_change = {change: changes[changes["change"] == change] for change in CHANGES}
            values |= {change: _list_rows(frame) for change, frame in of_change.items()}
        console.print_json(values)


def _read_scope(workspace: Workspace, name: str) -> Scope:
    """Return the scores that RUN or RUN/BASELINE names."""
    run_id, _, baseline = name.partition("/")
    return Scope(run_id, baseline or read_run_or_latest(workspace, run_id).first_baseline)


def _show_measure(trend: RunTrend, measure: str, title: str, names: list[str]) -> None:
    n = "n" if measure == "median" else f"n_{measure}"
    rows = [
        (source, int(frame[n].iloc[0]), *frame[measure].astype(float).tolist())
        for source, frame in trend.by_source.groupby("source", sort=False)
        if frame[n].any()
    ]
    console.show_table(title, ["source", "samples", *names], rows)


def _list_rows(changes: pd.DataFrame) -> list[dict[Any, Any]]:
    return console.frame_records(changes.drop(columns="change").set_index("row_idx"))
