"""A run at work elsewhere: how far it is; pages take its new parts in by themselves."""

from __future__ import annotations

from typing import Final

import streamlit as st

from dashboard import actions, loaders, text
from dashboard.components import figures
from dashboard.loaders import Context
from dashboard.state import current_view

_SECONDS: Final = 3


def is_at_work(context: Context) -> bool:
    """Whether a process works on the run that is shown."""
    progress = loaders.read_run_progress(context.workspace, context.scope.run_id)
    return progress is not None and progress.state == "running"


@st.fragment(run_every=_SECONDS)
def follow(generation: str) -> None:
    """The line that moves; the page is drawn anew when the database has new parts, or the run
    ends. ``generation`` is the database that the page was drawn from."""
    context = loaders.open_view_context(current_view()).context
    if context is None:
        return
    if context.store.generation != generation or not is_at_work(context):
        st.rerun()
    progress = loaders.read_run_progress(context.workspace, context.scope.run_id)
    actions.follow_parts(context.workspace)
    if progress is not None:
        share = progress.done / progress.total if progress.total else 0.0
        said = text.progress_words(progress, text.seconds_since(progress.updated_at)).rstrip(".")
        figures.show_progress_bar(share, said)
        figures.show_quiet(f"{said}. New parts come in by themselves.")
