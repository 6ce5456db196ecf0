"""Reruns the fragment around it from time to time, invisibly.

Streamlit's own timed fragments are not used: a timer that fires while a button leads to another
page requests a fragment of the page that was left, and the browser shows an empty page. This
component waits until the page is idle.
"""

from __future__ import annotations

import streamlit as st

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
