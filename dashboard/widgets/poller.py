"""Reruns the fragment around it from time to time, invisibly.

Streamlit's own timed fragments are not used: a timer that fires while a button leads to another
page requests a fragment of the page that was left, and the browser shows an empty page. This
component waits until the page is idle.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard.frontend import assets

_pulse = st.components.v2.component(
    "visnec_pulse", html=assets.HTML, css=":host { display: none; }", js=assets.script("poller")
)


def rerun_every(key: str, seconds: float, address: str | None = None, state: str = "") -> None:
    """Rerun every ``seconds``; with an ``address``, only once it answers with a new ``state``."""
    with st.container(key=f"pulse-{key}"):
        _pulse(
            key=key,
            data={"seconds": seconds, "address": address, "state": state},
            on_beat_change=lambda: None,
        )


def rerun_page() -> None:
    """Rerun the page, unless that would lose a click; then the next beat may do it.

    What happens while the page reruns is collected into one run of several fragments. A rerun from
    the first of them ends that run before the others see the click that they were rerun for.
    """
    run = get_script_run_ctx()
    if run is None or len(run.fragment_ids_this_run or ()) < 2:
        st.rerun()
