"""What a page shows when something goes wrong: a plain message, never a traceback.

Explained errors (VisnecError) are shown with their remedy. Anything else is a bug: the details go
to the terminal under a short number, and the page shows the number.
"""

from __future__ import annotations

import logging
import uuid

import streamlit as st

from dashboard.widgets.notices import show_fault, show_problem
from scoring.errors import VisnecError

_LOG = logging.getLogger("visnec.dashboard")


def show_failure(error: Exception) -> bool:
    """Show an uncaught error; True keeps Streamlit from showing its own message."""
    if isinstance(error, VisnecError):
        show_problem(error)
        return True
    number = uuid.uuid4().hex[:8]
    _LOG.error("failure %s while rendering a page", number, exc_info=error)
    with st.container(key=f"failure-{number}"):
        show_fault(number)
    return True
