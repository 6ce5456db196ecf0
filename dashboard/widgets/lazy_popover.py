"""Popovers whose content is drawn once they are opened.

A list of subsets or exports has several in each row, with forms of a dozen widgets; drawn with the
page, they would cost more than everything else on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

_PLACE = 320  # pixels; a popover that opens empty would open where its content does not fit


@contextmanager
def lazy_popover(
    label: str, key: str, *, icon: str | None = None, tooltip: str | None = None
) -> Iterator[bool]:
    """Draw a popover; yield whether to draw its content, which is so from its first opening on.

    Closing it keeps what was typed. Use it in a fragment: opening it reruns what is around it.
    """
    if st.session_state.pop(f"close-{key}", False):
        st.session_state[key] = False
    popover = st.popover(label, key=key, on_change="rerun", icon=icon, help=tooltip)
    drawn: set[str] = st.session_state.setdefault("drawn popovers", set())
    if popover.open:
        drawn.add(key)
    with popover:
        if key not in drawn:
            st.space(_PLACE)
        yield key in drawn


def close_popover(key: str) -> None:
    """Close a popover the next time that it is drawn."""
    st.session_state[f"close-{key}"] = True
