"""The form that pushes an export to the hub."""

from __future__ import annotations

import streamlit as st

from dashboard.data.exports import ExportSummary, start_push
from dashboard.widgets import figures, notices
from scoring.errors import VisnecError
from scoring.hub.upload import PushTarget
from scoring.workspace import Workspace

_WAIT_SECONDS = 1.5  # a small push finishes before the page is drawn again


def show_push(workspace: Workspace, export: ExportSummary) -> None:
    """Show a form that pushes the export to the hub in the background."""
    name = export.folder.name
    repository = st.text_input(
        "Dataset repository on the hub", key=f"push-to-{name}", placeholder="OWNER/NAME"
    )
    private = st.checkbox("Private", value=True, key=f"push-private-{name}")
    figures.show_caption("Uses the login of hf auth login or HF_TOKEN on this machine.")
    if not st.button("Push now", key=f"push-{name}", type="primary", disabled=not repository):
        return
    try:
        job = start_push(workspace, export.folder, PushTarget(repository.strip(), private))
    except VisnecError as error:
        notices.show_problem(error, "The push was not started")
        return
    job.wait_for_end(_WAIT_SECONDS)
    st.rerun()
