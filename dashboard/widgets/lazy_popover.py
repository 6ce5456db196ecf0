"""Popovers whose content is drawn once they are opened.

A list of subsets or exports has several in each row, with forms of a dozen widgets; drawn with the
page, they would cost more than everything else on it.
"""

from __future__ import annotations

from collections import Counter
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
    drawn: set[str] = st.session_state.setdefault("popovers drawn", set())
    current = f"{key}-{_count_closings()[key]}"
    popover = st.popover(label, key=current, on_change="rerun", icon=icon, help=tooltip)
    if popover.open:
        drawn.add(key)
    with popover:
        if key not in drawn:
            st.space(_PLACE)
        yield key in drawn


def close_popover(key: str) -> None:
    """Close a popover from the next time on that it is drawn.

    It gets a new key: setting the state of the old one does not reach a browser that draws the
    popover at another place of the page by then, and opens it again with the next rerun.
    """
    _count_closings()[key] += 1


def _count_closings() -> Counter[str]:
    closings: Counter[str] = st.session_state.setdefault("popovers closed", Counter())
    return closings
