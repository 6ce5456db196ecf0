"""The command trial plan: what a trial compares, measures and trains, before the first training."""

from __future__ import annotations

from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from scoring.cli import console
from scoring.cli.commands import JsonOption, WorkspaceOption
from scoring.database.connection import Store
from scoring.dataset.records import read_dataset_info
from scoring.option_descriptions import Option
from scoring.trials.options import PlanOptions
from scoring.trials.results import read_results
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scoring.trials.plan import TrialPlan
    from scoring.trials.results import UnitResult

TrialArgument = Annotated[str, Option("Name of the trial.", metavar="NAME", is_argument=True)]


def plan(
    name: TrialArgument,
    workspace: WorkspaceOption,
    options: PlanOptions,
    json: JsonOption = False,
) -> None:
    """Write the plan of a trial: its arms, evaluation and training, fixed before the first one."""
    from scoring.trials.planning import plan_trial
    from scoring.trials.report import describe_unused
    from scoring.trials.statistics import MIN_SEEDS

    opened = open_workspace(workspace)
    with console.count_progress("Comparing with the evaluation sets (samples)") as show:
        planned = plan_trial(
            opened,
            Store(opened),
            name,
            options,
            warn=console.show_warning,
            note=console.show_message,
            progress=show,
        )
    show_plan(opened, planned)
    if unused := describe_unused(planned):
        console.show_warning(unused)
    if len(planned.seeds) < MIN_SEEDS:
        console.show_warning(f"No conclusion is drawn from fewer than {MIN_SEEDS} seeds")
    if json:
        console.print_json(asdict(planned) | {"digest": planned.digest})


def show_plan(workspace: Workspace, planned: TrialPlan) -> None:
    """Print the arms, the evaluation sets, the comparisons, the training, and what comes next."""
    from scoring.trials.report import describe_training

    n_samples = read_dataset_info(workspace).n_samples
    console.show_table(
        f"Arms of trial {planned.name}",
        ["arm", "compared as", "samples", "of the dataset", "answer tokens"],
        [
            (
                arm.name,
                "subset" if arm.control is None else f"control: {arm.control}",
                arm.n_samples,
                f"{arm.n_samples / n_samples:.1%}",
                arm.n_answer_tokens,
            )
            for arm in planned.arms
        ],
    )
    console.show_table(
        "Evaluation sets",
        ["set", "records", "conclusions", "from"],
        [
            (
                each.name,
                each.n_samples or "",
                "yes" if each.name == planned.primary else "no",
                each.path or "measured elsewhere",
            )
            for each in planned.evaluation
        ],
    )
    pairs = "; ".join(f"{subset} - {control}" for subset, control in planned.comparisons)
    console.show_message(f"Comparisons by {planned.measure}: {pairs or 'none'}")
    console.show_message(
        f"{len(planned.units):,} trainings: {len(planned.arms):,} arms x {len(planned.seeds)} seeds"
    )
    if planned.training is not None:
        console.show_message(f"Margin {planned.margin:g}. {describe_training(planned.training)}")
    results = read_results(workspace, planned)
    show_outlook(planned, results)
    if len({(each.arm, each.seed) for each in results}) < len(planned.units):
        verb, files = ("run", "") if planned.training else ("record", " RESULTS")
        root = quote(str(workspace.root))
        console.show_message(f"Next: visnec trial {verb} {planned.name} -w {root}{files}")


def show_outlook(planned: TrialPlan, results: Sequence[UnitResult]) -> None:
    """Print how long the rest of a trial takes and which differences it can see, where known."""
    from scoring.trials.pilot import describe_pilot, estimate_seconds, pilot_spread

    seconds = estimate_seconds(planned, results)
    if planned.training is None:
        console.show_message(
            "Without --model nothing is trained here: train on the rows of arms.parquet elsewhere, "
            "then record the results"
        )
    elif seconds is None:
        console.show_message("How long they take is unknown before the first training has ended")
    elif not seconds:
        console.show_message(f"All {len(planned.units):,} trainings are done")
    else:
        console.show_message(
            f"The trainings left take about {console.format_duration(seconds)}, one after another"
        )
    if (precision := describe_pilot(planned, results)) is not None:
        console.show_message(f"By the spread so far: {precision}")
    elif pilot_spread(planned, results) == 0:
        console.show_message(
            "Which differences it can see is unknown: the results so far do not differ"
        )
    elif seconds is None:
        console.show_message("Which differences it can see is unknown before an arm has two seeds")
