"""Shows the progress of active runs and reruns the page when there is new data.

A page knows the state it was drawn from and checks every few seconds. It reruns only when that
state has changed: a first import, a run that starts or ends, a database with more results.
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

_SECONDS: Final = 3


@st.fragment
def watch_runs(drawn_from: WorkspaceState, beats: list[bool]) -> None:
    """Show the progress of active runs; rerun the page once its state is not ``drawn_from``.

    That happens from the second of the ``beats`` on, a list that starts empty. The first belongs to
    the page's own run: aborting that would lose what the reader did to start it, such as a name
    that was typed or a button that was pressed.
    """
    view = current_view()
    beats.append(True)
    opened = open_view_context(view)
    active = read_active_runs(opened)
    mark = state_digest(opened)
    if read_state(opened) != drawn_from:
        mark = ""  # the next beat looks again
        context = opened.context
        if len(beats) > 1 and (context is None or prefetch.is_ready(context, view)):
            poller.rerun_page()
    if active:
        actions.build_in_background(opened.workspace)
    for run, progress in active.items():
        age = formatting.seconds_since(progress.updated_at)
        text = formatting.describe_progress(progress, age).rstrip(".")
        figures.show_progress_bar(progress.done, progress.total, text)
        name = f"{run}: " if len(active) > 1 else ""
        figures.show_caption(f"{name}{text}. New results load automatically.")
    poller.rerun_every("watch", _SECONDS, state_url(), mark)
