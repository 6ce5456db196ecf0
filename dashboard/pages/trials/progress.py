"""The progress of a trial, and the buttons that start and stop its trainings."""

from __future__ import annotations

import streamlit as st

from dashboard.data.context import read_workspace
from dashboard.data.trial_processes import TrialProcess, find_process, start_trial
from dashboard.data.trials import TrialResults
from dashboard.text import formatting
from dashboard.widgets import figures, notices, poller
from scoring.trials.plan import TrialPlan, read_plan
from scoring.trials.progress import TrialProgress, UnitProgress, read_trial_progress
from scoring.workspace import Workspace

_SECTION = "trial progress"
_POLL_SECONDS = 2.0
_START_SECONDS = 0.5
_STOP_SECONDS = 3.0
_PHASES = {"train": ("training", "step"), "evaluate": ("evaluating", "question")}


def show_progress(workspace: Workspace, trial: TrialResults) -> None:
    """Show how many trainings are done, and follow those in progress."""
    plan = trial.plan
    notices.show_message(_SECTION)
    if plan.training is None:
        return
    process = find_process(workspace, plan.name)
    progress = read_trial_progress(workspace, plan)
    if progress.state == "running" or (process and process.state == "running"):
        _watch_trainings(plan.name, progress.done)
        return
    if process is not None and process.state == "failed":
        notices.show_notice("problem", "The training ended with an error", process.last_messages())
    if progress.state == "finished":
        return
    about, button = st.columns([5, 1], vertical_alignment="center")
    with about:
        _show_done(progress)
    button.button(
        "Resume" if progress.done else "Start",
        icon=":material/play_arrow:",
        type="primary",
        width="stretch",
        on_click=_start_training,
        args=(plan,),
    )


@st.fragment
def _watch_trainings(name: str, n_done: int) -> None:
    """Show the trainings in progress; rerun the page when one has ended."""
    workspace = read_workspace()
    progress = read_trial_progress(workspace, read_plan(workspace, name))
    process = find_process(workspace, name)
    is_ours = process is not None and process.state == "running"
    if progress.done != n_done or not (is_ours or progress.state == "running"):
        poller.rerun_page()
    about, button = st.columns([5, 1], vertical_alignment="center")
    with about:
        _show_done(progress)
    if is_ours:
        button.button("Stop", width="stretch", on_click=_stop_training, args=(process,))
    poller.rerun_every(f"trial-{name}", _POLL_SECONDS)


def _show_done(progress: TrialProgress) -> None:
    """Show the finished trainings, with the steps of those in progress counted as parts."""
    parts = sum(unit.done / unit.total for unit in progress.active if unit.total)
    text = f"{progress.done:,} of {formatting.plural(progress.total, 'training')} done"
    if progress.state == "silent":
        text += "; the process that trained may have been killed, and its unit starts again"
    figures.show_progress_bar(progress.done + parts, progress.total, text)
    figures.show_caption("; ".join((text, *map(_describe_unit, progress.active))))


def _describe_unit(unit: UnitProgress) -> str:
    verb, counted = _PHASES[unit.phase]
    done = f", {counted} {unit.done:,} of {unit.total:,}" if unit.total else ""
    return f"{verb} {unit.arm}, seed {unit.seed}{done}"


def _start_training(plan: TrialPlan) -> None:
    with notices.set_message_on_failure("The trial was not started", _SECTION):
        start_trial(read_workspace(), plan).wait_for_end(_START_SECONDS)


def _stop_training(process: TrialProcess) -> None:
    process.request_stop()
    if process.wait_for_end(_STOP_SECONDS):
        notices.set_message("note", "Stopped", "Finished trainings are kept.", _SECTION)
