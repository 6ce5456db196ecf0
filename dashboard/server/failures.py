"""What a page shows when something goes wrong: calm words, never a traceback.

Errors that are explained (VisnecError) are shown with their remedy where they arise. Anything else
is a fault of the program: its details go to the terminal under a short number, and the page says
the number.
"""

from __future__ import annotations

import logging
import uuid

import streamlit as st

from dashboard.widgets.notices import show_fault, show_problem
from scoring.errors import VisnecError

_LOG = logging.getLogger("visnec.dashboard")


def show_failure(error: Exception) -> bool:
    """Shows an uncaught error in words; true tells Streamlit not to add its own."""
    if isinstance(error, VisnecError):
        show_problem(error)
        return True
    number = uuid.uuid4().hex[:8]
    _LOG.error("failure %s while drawing a page", number, exc_info=error)
    with st.container(key=f"failure-{number}"):
        show_fault(number)
    return True
