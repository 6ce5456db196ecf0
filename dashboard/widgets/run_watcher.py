"""Work that goes on elsewhere: a run's progress, and new parts that pages take in by themselves.

The one decision behind it: a page knows the state that it was drawn from and looks for another one
every few seconds; whatever changed (a first import, a run that begins or ends, a database with more
in it), the page is drawn anew, and only then.
"""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard.data import actions
from dashboard.data.activity import WorkspaceState, read_active_runs, read_state, state_digest
from dashboard.data.context import open_view_context
from dashboard.text import formatting
from dashboard.view.links import state_url
from dashboard.view.state import current_view
from dashboard.widgets import figures, poller, prefetch
from scoring.runs.progress import RunProgress

_SECONDS: Final = 3


def watch(drawn_from: WorkspaceState) -> None:
    """How far the runs at work are; draws the page anew where there is more to see than it shows.

    ``drawn_from`` is the state that the page was drawn from.
    """
    _watch(drawn_from, [])


@st.fragment
def _watch(drawn_from: WorkspaceState, beats: list[bool]) -> None:
    """``beats`` tells the drawing of the page from later ones: to break that off would lose what
    the reader did to bring it about, a name that was given or a button that was pressed."""
    view = current_view()
    beats.append(True)
    opened = open_view_context(view)
    at_work = read_active_runs(opened)
    mark = state_digest(opened)
    if read_state(opened) != drawn_from:
        mark = ""  # the next beat looks again
        context = opened.context
        if len(beats) > 1 and (context is None or prefetch.is_ready(context, view)):
            st.rerun()
    if at_work:
        actions.build_in_background(opened.workspace)
    for run, progress in at_work.items():
        _show_progress(run, progress, alone=len(at_work) == 1)
    poller.show("watch", _SECONDS, state_url(), mark)


def _show_progress(run: str, progress: RunProgress, alone: bool) -> None:
    share = progress.done / progress.total if progress.total else 0.0
    said = formatting.describe_progress(
        progress, formatting.seconds_since(progress.updated_at)
    ).rstrip(".")
    figures.show_progress_bar(share, said)
    name = "" if alone else f"{run}: "
    figures.show_quiet(f"{name}{said}. New parts come in by themselves.")
