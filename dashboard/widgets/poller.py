"""Draws the fragment around it anew from time to time, without being seen.

The one decision behind it: Streamlit's own timed fragments are not used. A timer that ends just
while a button leads to another page asks for a part of the page that is left, and the browser is
left with an empty one; this component waits until the page is at rest.
"""

from __future__ import annotations

import streamlit as st

from dashboard.frontend import assets

_pulse = st.components.v2.component(
    "visnec_pulse", html=assets.HTML, css=":host { display: none; }", js=assets.script("poller")
)


def show(key: str, seconds: float, address: str | None = None, state: str = "") -> None:
    """Every so many seconds; with ``address``, only when it answers with another ``state``."""
    with st.container(key=f"pulse-{key}"):
        _pulse(
            key=key,
            data={"seconds": seconds, "address": address, "state": state},
            on_beat_change=lambda: None,
        )
