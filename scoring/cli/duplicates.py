"""The command find-duplicates."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.errors import InputError
from scoring.option_descriptions import Option
from scoring.workspace import open_workspace


def find_duplicates(
    workspace: WorkspaceOption,
    questions: Annotated[
        bool, Option("Group similar first questions: column question_group.", "--questions")
    ] = False,
    samples: Annotated[
        bool,
        Option(
            "Group samples with the same images and similar turns: column sample_group.",
            "--samples",
        ),
    ] = False,
    threshold: Annotated[
        float,
        Option("Jaccard similarity of the runs of three words from which texts are similar."),
    ] = 0.8,
    json: JsonOption = False,
) -> None:
    """Find near-duplicate questions and samples and store their groups as columns."""
    from scoring.duplicates import find

    kinds = [
        kind
        for kind, is_wanted in ((find.QUESTIONS, questions), (find.SAMPLES, samples))
        if is_wanted
    ]
    if not kinds:
        raise InputError("Choose what to compare: --questions, --samples or both.")
    opened = open_workspace(workspace)
    with console.phase_progress("Reading samples") as (show, start_phase):
        results = find.find_duplicates(
            opened, kinds, threshold=threshold, on_progress=show, on_phase=start_phase
        )
    rows = [
        (result.column.name, result.n_groups, result.n_samples, result.largest, result.n_without)
        for result in results
    ]
    headers = ["column", "groups", "samples in a group", "largest group", "samples without text"]
    console.show_table("Near-duplicates", headers, rows)
    if json:
        console.print_json([asdict(result) for result in results])
