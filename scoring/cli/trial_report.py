"""The commands trial report and trial record: what the results of a trial show."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.cli.trial_plan import TrialArgument
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.trials.options import RecordOptions
from scoring.workspace import open_atomic, open_workspace


def report(
    name: TrialArgument,
    workspace: WorkspaceOption,
    markdown: Annotated[
        Path | None, Option("Also write the report to this file as Markdown.", panel="Output")
    ] = None,
    plot: Annotated[
        Path | None,
        Option("Also draw arms with their intervals to this SVG file.", panel="Output"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare the arms of a trial by seed and print what is significant, with 95 % intervals."""
    from scoring.trials.report import describe_missing, trial_report

    if plot and plot.suffix.lower() != ".svg":
        raise InputError(f"--plot writes SVG: give {plot} the suffix .svg")
    made = trial_report(open_workspace(workspace), name)
    columns, rows = made.table()
    console.show_table(f"Trial {name}: mean ± sd (seeds)", columns, rows)
    if made.notice:
        console.show_message(made.notice)
    for remark in (*describe_missing(made), *made.notes):
        console.show_warning(remark)
    if markdown:
        with open_atomic(markdown, "w") as file:
            file.write(made.to_markdown())
    if plot:
        from scoring.trials.plots import draw_report

        with open_atomic(plot) as file:
            file.write(draw_report(made))
    for path in (markdown, plot):
        if path:
            console.show_message(f"Written: {path}")
    if json:
        console.print_json(made.to_dict())
        return
    for each in made.comparisons:
        console.print_text(f"{each.subset} - {each.control}: {each.text}")
    console.print_text(made.applies_to)


def record(
    name: TrialArgument,
    files: Annotated[
        list[Path],
        Option(
            "Tables (CSV, JSON, JSON lines) with the columns arm, seed, benchmark and value, or "
            "result files of lmms-eval or VLMEvalKit.",
            metavar="RESULTS...",
            is_argument=True,
        ),
    ],
    workspace: WorkspaceOption,
    options: RecordOptions,
    json: JsonOption = False,
) -> None:
    """Record results of trainings done elsewhere as results of a trial."""
    from scoring.trials.recording import record_results
    from scoring.trials.report import describe_missing, trial_report

    opened = open_workspace(workspace)
    recorded = record_results(opened, name, files, options)
    for note in recorded.notes:
        console.show_warning(note)
    rows = [
        (unit.arm, unit.seed, evaluation_set, measure, value)
        for unit in recorded.units
        for evaluation_set, each in unit.sets.items()
        for measure, value in each.values.items()
    ]
    console.show_table(
        f"Recorded for trial {name}", ["arm", "seed", "evaluation set", "measure", "value"], rows
    )
    for remark in describe_missing(trial_report(opened, name)):
        console.show_message(remark)
    if json:
        console.print_json([asdict(unit) for unit in recorded.units])
