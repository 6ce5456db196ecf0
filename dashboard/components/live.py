"""Work that goes on elsewhere: a run's progress, and new parts that pages take in by themselves.

The one decision behind it: a page knows the state that it was drawn from and looks for another one
every few seconds; whatever changed (a first import, a run that begins or ends, a database with more
in it), the page is drawn anew, and only then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import streamlit as st

from dashboard import actions, loaders, text
from dashboard.components import ahead, figures
from dashboard.loaders import Opened
from dashboard.state import current_view
from scoring.progress import RunProgress

_SECONDS: Final = 3


@dataclass(frozen=True, slots=True)
class State:
    """What a page was drawn from: dataset, database, its runs, and those that are at work."""

    dataset: str | None
    generation: str | None
    runs: tuple[str, ...]
    at_work: tuple[str, ...]


def read_state(opened: Opened) -> State:
    """The state of the workspace now."""
    workspace, dataset = opened.workspace, opened.dataset
    generation = None
    if dataset is not None and loaders.has_database(workspace):
        generation = loaders.open_store(workspace).generation
    runs = tuple(run.run_id for run in loaders.read_runs(workspace))
    fingerprint = dataset.fingerprint if dataset else None
    return State(fingerprint, generation, runs, tuple(_at_work(opened)))


def _at_work(opened: Opened) -> dict[str, RunProgress]:
    """The runs on which a process works now, by their names."""
    workspace = opened.workspace
    runs = [run.run_id for run in loaders.read_runs(workspace) if not run.imported_from]
    found = {run: loaders.read_run_progress(workspace, run) for run in runs}
    return {run: one for run, one in found.items() if one is not None and one.state == "running"}


@st.fragment(run_every=_SECONDS)
def watch(drawn_from: State) -> None:
    """How far the runs at work are; draws the page anew where there is more to see than it shows.

    ``drawn_from`` is the state that the page was drawn from.
    """
    view = current_view()
    opened = loaders.open_view_context(view)
    at_work = _at_work(opened)
    if read_state(opened) != drawn_from:
        context = opened.context
        if context is None or ahead.is_ready(context, view):
            st.rerun()
    if at_work:
        actions.follow_parts(opened.workspace)
    for run, progress in at_work.items():
        _show_progress(run, progress, alone=len(at_work) == 1)


def _show_progress(run: str, progress: RunProgress, alone: bool) -> None:
    share = progress.done / progress.total if progress.total else 0.0
    said = text.progress_words(progress, text.seconds_since(progress.updated_at)).rstrip(".")
    figures.show_progress_bar(share, said)
    name = "" if alone else f"{run}: "
    figures.show_quiet(f"{name}{said}. New parts come in by themselves.")
