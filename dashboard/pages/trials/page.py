"""Trials: what short trainings on subsets and on controls show."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard.charts import trial_plots
from dashboard.charts.trial_plots import ArmPoint
from dashboard.data.context import Context, OpenedWorkspace
from dashboard.data.trials import TrialResults, read_arm_composition, read_trial
from dashboard.pages.trials import progress
from dashboard.text import formatting
from dashboard.view import url_widgets
from dashboard.view.state import Held, View
from dashboard.widgets import figures, notices, page_frame
from dashboard.widgets.figures import Cell
from scoring.errors import VisnecError
from scoring.trials.plan import TrainingSettings, list_trials, read_plan
from scoring.trials.report import ComparisonReport, describe_missing, describe_unused
from scoring.trials.statistics import DIFFERENCE_UNITS, format_difference

_UNITS = {"accuracy": "accuracy (%)", "loss": "loss (nats per answer token)"}
_MOST = {"accuracy": 100.0}
_HELD_NAMES = {Held.KIND: "Answer type", Held.SOURCE: "Source", Held.CATEGORY: "Category"}
_MARKS = {"better": "▲", "as_good": "≈", "worse": "▼", "not_significant": "○", "none": "…"}


def render() -> None:
    """Show the page."""
    view, opened = page_frame.open_page(
        "Trials", "Short trainings on subsets and on controls of the same size"
    )
    if opened.dataset is None:
        page_frame.require_scores(opened)
        return
    names = list_trials(opened.workspace)
    if not names:
        notices.show_empty(
            "No trial yet",
            "A trial trains a small model on a subset and on controls, and reports whether the "
            "subset was worth it. Save a subset first.",
            f"visnec trial plan NAME -w {opened.workspace.root} --subset SUBSET --model MODEL "
            "--eval QUESTIONS.json\n"
            f"visnec trial run NAME -w {opened.workspace.root}",
        )
        return
    name = view.trial if view.trial in names else names[-1]
    if len(names) > 1:
        with st.columns([2, 3])[0]:
            name = url_widgets.choose_option("trial", "Trial", names, name)
    try:
        trial = read_trial(opened.workspace, read_plan(opened.workspace, name))
    except VisnecError as error:
        notices.show_problem(error, f"Trial {name} cannot be shown")
        return
    _show_trial(opened, trial)


def _show_trial(opened: OpenedWorkspace, trial: TrialResults) -> None:
    plan, report = trial.plan, trial.report
    n_dataset = opened.dataset.n_samples if opened.dataset else 0
    if plan.notice:
        figures.show_caption(plan.notice)
    progress.show_progress(opened.workspace, trial)
    if not trial.results:
        notices.show_note("No results yet", "Figures appear after the first training.")
    else:
        _show_conclusions(trial)
        points = {
            name: trial.points(name, n_dataset)
            for name in (*report.evaluation_sets, *report.undeclared)
        }
        _show_results(trial, points)
    _show_arms(trial)
    _show_plan(opened, trial)


def _show_conclusions(trial: TrialResults) -> None:
    """Show each declared comparison, with what it costs or gains on the other sets."""
    plan, report = trial.plan, trial.report
    figures.show_heading(
        "Conclusions",
        f"Differences of {plan.measure} paired by seed, with 95 % intervals, corrected (Holm) for "
        f"{formatting.plural(len(report.comparisons), 'comparison')}. {report.applies_to}",
    )
    others = [
        name for name in (*report.evaluation_sets, *report.undeclared) if name != plan.primary
    ]
    rows: list[Sequence[Cell]] = [
        (each.subset, each.control, _conclude(each), *_list_others(each, others))
        for each in report.comparisons
    ]
    measures = {each.evaluation_set: each.measure for c in report.comparisons for each in c.others}
    units = {name: DIFFERENCE_UNITS[measures.get(name, plan.measure)] for name in others}
    units = {plan.primary: DIFFERENCE_UNITS[plan.measure], **units}
    columns = ("Subset", "Compared with", *(f"On {name}, {unit}" for name, unit in units.items()))
    figures.show_table(columns, rows)
    missing = describe_missing(report) if plan.training is None else ()
    for remark in (*missing, *report.notes):
        figures.show_caption(remark)


def _conclude(comparison: ComparisonReport) -> str:
    mark = _MARKS[comparison.conclusion.kind]
    return f"{mark} {formatting.typeset_minus(comparison.summary)}"


def _list_others(comparison: ComparisonReport, names: Sequence[str]) -> list[str]:
    known = {
        each.evaluation_set: formatting.typeset_minus(
            format_difference(each.difference, each.measure)
        )
        for each in comparison.others
    }
    return [known.get(name, formatting.ABSENT) for name in names]


def _show_results(trial: TrialResults, points: dict[str, list[ArmPoint]]) -> None:
    """Show the arms on each evaluation set, and the primary result by share of the dataset."""
    plan, dark = trial.plan, figures.use_dark_theme()
    unit, most = _UNITS[plan.measure], _MOST.get(plan.measure)
    shown = [plan.primary, *(name for name in points if name != plan.primary)]
    shown = [name for name in shown if points[name]]
    left, right = figures.pair_columns("trial-results")
    with left:
        figures.show_heading(
            "Results",
            "Mean over seeds with a 95 % interval; a tick per seed. Filled: subsets, open: "
            "controls. Intervals of two arms may overlap although their difference is significant.",
        )
        for name in shown:
            figures.show_caption(f"{name} (primary)" if name == plan.primary else name)
            figure = trial_plots.arms_figure(points[name], unit, dark, most)
            figures.show_chart(figure, f"arms-{name}")
    with right:
        figures.show_heading(
            "Result by share of the dataset",
            f"On {plan.primary}. The dotted line connects controls.",
        )
        figure = trial_plots.retention_figure(points[plan.primary], unit, dark, most)
        figures.show_chart(figure, "retention")


@page_frame.view_fragment()
def _show_arms(context: Context, view: View, trial: TrialResults) -> None:
    """Show how many samples each arm holds, and of which kinds."""
    plan = trial.plan
    figures.show_heading(
        "Contents of each arm", "Share of its samples, by training weight, in the first seed."
    )
    by = url_widgets.choose_segment("held", "Group", list(Held), view.held, _HELD_NAMES.__getitem__)
    try:
        frame = read_arm_composition(context, plan, by)
    except VisnecError as error:
        notices.show_problem(error, "The samples of the arms cannot be shown")
        return
    totals = frame.sum()
    rows: list[Sequence[Cell]] = [
        (str(group), *(formatting.share(counts[name], totals[name]) for name in frame.columns))
        for group, counts in frame.iterrows()
    ]
    rows.append(("Samples", *(formatting.count(totals[name]) for name in frame.columns)))
    rows += _list_trainings(trial)
    columns = (_HELD_NAMES[by], "Dataset", *(arm.name for arm in plan.arms))
    figures.show_table(columns, rows, range(1, len(columns)))


def _list_trainings(trial: TrialResults) -> list[Sequence[Cell]]:
    """Return rows with the steps and the mean time of the trainings done here."""
    done = [
        [r for r in trial.results if r.arm == arm.name and r.training_seconds is not None]
        for arm in trial.plan.arms
    ]
    if not any(done):
        return []
    times = [[(r.training_seconds or 0.0) + (r.evaluation_seconds or 0.0) for r in d] for d in done]
    return [
        ("Steps of a training", None, *(d[0].n_steps if d else None for d in done)),
        (
            "Time of a training",
            None,
            *(formatting.duration(sum(t) / len(t)) if t else formatting.ABSENT for t in times),
        ),
    ]


def _show_plan(opened: OpenedWorkspace, trial: TrialResults) -> None:
    """Show the settings that the trial is pinned to."""
    plan = trial.plan
    baseline = formatting.BASELINE_NAMES.get(plan.baseline, plan.baseline)
    st.subheader("Plan", anchor=False)
    facts = {
        "Primary": f"{plan.measure} on {plan.primary}",
        "Margin": f"{plan.margin:g}",
        "Seeds": ", ".join(map(str, plan.seeds)),
        "Evaluation sets": ", ".join(
            f"{each.name} ({formatting.count(each.n_samples)})" for each in plan.evaluation
        ),
        "Scores": f"run {plan.run_id}, {baseline}",
    }
    facts |= _list_training(plan.training)
    facts |= {
        "Planned": formatting.moment(plan.created_at),
        "Digest": f"{plan.digest[:16]}…",
    }
    figures.show_facts(facts)
    if unused := describe_unused(plan):
        notices.show_note("A part of the samples is not trained on", f"{unused}.")
    if opened.dataset and not opened.dataset.includes_edition(plan.dataset_fingerprint):
        notices.show_note(
            "Planned on another version of the dataset",
            "The trial's dataset fingerprint differs from this dataset's.",
        )


def _list_training(training: TrainingSettings | None) -> dict[str, str]:
    if training is None:
        return {"Training": "elsewhere; results are recorded"}
    length = (
        f"{training.epochs:g} epochs" if training.steps is None else f"{training.steps:,} steps"
    )
    weights = f"LoRA, rank {training.lora_rank}" if training.adapter else "all weights"
    return {
        "Model": training.model,
        "Trained": weights,
        "Budget": f"{length}, {training.batch_size} samples per step",
        "Learning rate": f"{training.learning_rate:g}",
    }
