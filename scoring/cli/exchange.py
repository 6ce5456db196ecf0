"""The commands import-scores and export-scores."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from scoring.cli.console import (
    count_progress,
    make_table,
    print_json,
    show_message,
    show_table,
    status_table,
)
from scoring.cli.options import BaselineOption, JsonOption, RunOption, WorkspaceOption
from scoring.runs.record import read_run_or_latest
from scoring.workspace import open_atomic, open_workspace


def import_scores(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="CSV",
            help="row_idx,id,image_path,loss_multimodal,loss_text,visnec, as the paper's script "
            "writes it; may be compressed as .gz, .bz2 or .zst.",
        ),
    ],
    workspace: WorkspaceOption,
    model: Annotated[
        str, typer.Option("--model", help="The model that computed them; only recorded.")
    ] = "unknown",
    run: Annotated[
        str | None, typer.Option("--run", help="Name of the run. Default: a digest of the file.")
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline",
            help="What replaced the image: none, or reference for files of the paper's script, "
            "which masks the placeholder.",
        ),
    ] = "none",
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check",
            help="Import only rows whose id and image path, where given, match the sample.",
        ),
    ] = True,
    json: JsonOption = False,
) -> None:
    """Import scores that were computed elsewhere, joined to the dataset by row_idx."""
    from scoring.exchange import imported_scores

    opened = open_workspace(workspace)
    with count_progress("Reading scores (bytes)") as show:
        report = imported_scores.import_scores(
            opened, file, model=model, run_id=run, baseline=baseline, check=check, on_bytes=show
        )
    if report.already:
        show_message(f"{file} is already imported; nothing was changed.")
    show_table(status_table(f"Run {report.run_id}", report.statuses))
    if report.findings:
        rows = [
            (issue["what"], issue["n"], "; ".join(issue["examples"][:2]))
            for issue in report.findings
        ]
        show_table(
            make_table("Rows that could not be imported", ["problem", "rows", "such as"], rows)
        )
    scored = report.statuses.get("scored", 0)
    show_message(
        f"{report.n_rows:,} rows read; {scored:,} of {report.n_samples:,} samples have a score"
    )
    if json:
        print_json(asdict(report))


def export_scores(
    workspace: WorkspaceOption,
    run: RunOption = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The file to write. Default: stdout.")
    ] = None,
    baseline: BaselineOption = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="visnec-csv (the paper's columns, scored samples only) or csv (every sample "
            "with its status; safe to open in a spreadsheet).",
        ),
    ] = "visnec-csv",
    decimals: Annotated[
        int | None,
        typer.Option(
            "--decimals",
            min=1,
            max=17,
            help="Digits after the decimal point; the paper's script writes 6. Default: enough "
            "to restore the exact number.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write the scores of a run as CSV."""
    from scoring.database.connection import Store
    from scoring.database.values import Scope
    from scoring.exchange import score_export

    opened = open_workspace(workspace)
    record = read_run_or_latest(opened, run)
    scope = Scope(record.run_id, baseline or record.first_baseline)
    store = Store(opened)
    options: dict[str, Any] = {"file_format": file_format, "decimals": decimals}
    if to is None:
        report = score_export.export_scores(store, scope, sys.stdout, **options)
    else:
        with open_atomic(to, "w") as file:
            report = score_export.export_scores(store, scope, file, **options)
    left_out = f"; {report.n_left_out:,} samples without a score are left out"
    show_message(
        f"{report.n_rows:,} rows written to {to or 'stdout'}"
        + (left_out if report.n_left_out else "")
    )
    if json and to is not None:
        print_json({"file": str(to), "run_id": scope.run_id, **asdict(report)})
