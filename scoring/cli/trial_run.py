"""The command trial run: train and measure the arms of a trial."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from scoring.cli import console
from scoring.cli.commands import EngineOption, JsonOption, WorkersOption, WorkspaceOption
from scoring.cli.trial_plan import TrialArgument, show_outlook
from scoring.errors import InputError, WorkerError
from scoring.option_descriptions import Option
from scoring.trials.plan import TrialPlan, read_plan
from scoring.trials.progress import TrialProgress, open_units
from scoring.trials.results import UnitResult, read_results
from scoring.trials.workers import TrialJob, run_trial_workers
from scoring.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from scoring.engine.workers import LostWorker, WorkersResult

_PILOT = 2  # units, after which the outlook of a trial is known


def run(
    name: TrialArgument,
    workspace: WorkspaceOption,
    device: Annotated[
        str | None, Option("cpu or cuda. Default: the first visible GPU if there is one.")
    ] = None,
    keep_models: Annotated[
        bool,
        Option(
            "Keep the adapter, or the weights, of each training in trials/NAME/models. Default: "
            "they are discarded once they are measured."
        ),
    ] = False,
    workers: WorkersOption = 1,
    engine: EngineOption = "local",
    json: JsonOption = False,
) -> None:
    """Train the model on each arm with each seed and measure it; run it again to resume."""
    from scoring.trials.run import check_plan, run_trial, summarize_trial

    opened = open_workspace(workspace)
    plan = read_plan(opened, name)
    n_before = len(plan.units) - len(open_units(opened, plan))
    settings = check_plan(opened, plan)
    console.show_message(
        f"Trial {name}: {n_before:,} of {len(plan.units):,} trainings of {settings.model} are done"
    )
    outcome: WorkersResult | None = None
    with console.stop_on_interrupt("step") as stop, _show_trial(opened, plan) as show:
        if n_before == len(plan.units):
            pass
        elif workers == 1 and engine == "local":
            console.show_message("Loading the model and the evaluation sets")
            run_trial(
                opened, name, device=device, keep_models=keep_models, on_progress=show, stop=stop
            )
        else:
            job = TrialJob(str(workspace), name, device, keep_models)
            outcome = _run_in_workers(opened, job, workers, engine, show, stop)
    summary = summarize_trial(opened, plan, n_before)
    results = read_results(opened, plan)
    _show_results(plan, results)
    if summary.stopped:
        show_outlook(plan, results)
    if json:
        console.print_json(asdict(summary) | {"results": [asdict(each) for each in results]})
    done = f"{summary.done:,} of {summary.total:,} trainings are done"
    if outcome is not None and outcome.lost:
        _raise_lost(outcome, done)
    console.show_message(done)
    if summary.stopped:
        console.stop_command(
            "Finished trainings are saved; run the same command to resume. Only the one in "
            "progress starts again."
        )
    console.show_message(
        f"See what they show with: visnec trial report {name} -w {quote(str(workspace))}"
    )


def _run_in_workers(
    workspace: Workspace,
    job: TrialJob,
    workers: int,
    engine: str,
    show: Callable[[TrialProgress], None],
    stop: Any,
) -> WorkersResult:
    def warn_lost_worker(worker: LostWorker) -> None:
        console.show_warning(
            f"Worker {worker.number} ended with code {worker.exit_code}; the other workers do its "
            f"trainings. Its last output:\n{worker.output_tail}"
        )

    kind = "Ray actors" if engine == "ray" else "workers"
    console.show_message(f"Starting {workers} {kind}; each loads the model")
    if engine == "ray":
        from scoring.trials.distributed import run_trial_distributed

        return run_trial_distributed(workspace, job, workers, on_progress=show, stop=stop)
    return run_trial_workers(
        workspace, job, workers, on_progress=show, on_lost=warn_lost_worker, stop=stop
    )


def _raise_lost(outcome: WorkersResult, done: str) -> None:
    """Raise the error of workers that ended early: their own, if all had the same."""
    tails = {worker.output_tail.strip() for worker in outcome.lost}
    if {worker.exit_code for worker in outcome.lost} == {InputError.exit_code} and len(tails) == 1:
        raise InputError(tails.pop())
    numbers = ", ".join(str(worker.number) for worker in outcome.lost)
    raise WorkerError(
        f"Worker {numbers} ended early (see above); {done}. Finished trainings are saved; run the "
        "same command to resume."
    )


def _show_results(plan: TrialPlan, results: list[UnitResult]) -> None:
    """Print the finished trainings, one per row."""
    measure = plan.measure
    names = [each.name for each in plan.evaluation]
    rows = [
        (
            result.arm,
            result.seed,
            "-" if result.n_steps is None else result.n_steps,
            "-" if result.training_loss is None else f"{result.training_loss:.3f}",
            *(
                f"{result.sets[name].values[measure]:.2f}"
                if name in result.sets and measure in result.sets[name].values
                else "-"
                for name in names
            ),
            "-" if result.training_seconds is None else f"{result.training_seconds:,.0f} s",
        )
        for result in results
    ]
    unit = "accuracy, %" if measure == "accuracy" else "loss, nats"
    columns = ["arm", "seed", "steps", "training loss", *(f"{each} ({unit})" for each in names)]
    if rows:
        console.show_table(f"Trainings of trial {plan.name}", [*columns, "training"], rows)


@contextmanager
def _show_trial(workspace: Workspace, plan: TrialPlan) -> Iterator[Callable[[TrialProgress], None]]:
    """Show a bar of the trainings, below it one of each process, and once the pilot's outlook."""
    is_shown = len(plan.units) - len(open_units(workspace, plan)) >= _PILOT
    with console.progress_bar("steps/s") as bar:
        whole = bar.add_task(f"Trial {plan.name}", total=len(plan.units), rate="")
        tasks: dict[tuple[str, int], Any] = {}

        def update(progress: TrialProgress) -> None:
            nonlocal is_shown
            if _PILOT <= progress.done < progress.total and not is_shown:
                is_shown = True
                show_outlook(plan, read_results(workspace, plan))
            bar.update(whole, completed=progress.done, total=progress.total)
            keys = {(unit.host, unit.pid) for unit in progress.active}
            for key in tasks.keys() - keys:
                bar.remove_task(tasks.pop(key))
            for unit in progress.active:
                key = (unit.host, unit.pid)
                if key not in tasks:
                    tasks[key] = bar.add_task("", total=None, rate="")
                verb = "training" if unit.phase == "train" else "measuring"
                bar.update(
                    tasks[key],
                    description=f"  {verb} {unit.arm}, seed {unit.seed}",
                    completed=unit.done,
                    total=unit.total or None,
                    rate=f"{unit.rate:,.1f}" if unit.rate else "",
                )

        yield update
