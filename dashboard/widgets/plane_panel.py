"""The loss plane: where text-only and multimodal loss lie; a box on it narrows the page.

Plotly takes a browser a second to load, during which nothing else on a page is drawn. The first
plane of a session therefore comes once the page is at rest; the counts do not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from dashboard.charts import score_charts
from dashboard.data.context import open_view_context
from dashboard.data.scores import read_loss_plane
from dashboard.view.fragments import Fragment, rerun_fragment
from dashboard.view.state import Key, change_view, current_view
from dashboard.widgets import figures, notices, poller
from scoring.database.filters import Filter, Range

_KEY: Final = "loss_plane"
_MOMENT: Final = 0.1  # seconds


@st.fragment
def show() -> None:
    """Draws the plane under the filter; a box that is drawn on it goes into the filter."""
    context = open_view_context(current_view()).context
    if context is None:
        return
    st.subheader("Loss plane", anchor=False)
    figures.show_quiet(
        "A score near 0 with both losses high means that the model cannot use the image, not "
        "that the image is redundant. Draw a box to see only what lies in it, or give its sides in "
        "Explore's filter as text: loss_text:0..2 loss_multimodal:0..1."
    )
    plane = read_loss_plane(context)
    if plane.counts.sum() == 0:
        notices.show_empty("No losses here", "The plane fills as samples are scored.")
        return
    if not st.session_state.get(Key.PLOTLY_LOADED):
        st.session_state[Key.PLOTLY_LOADED] = True
        height = f"height:{score_charts.PLANE_HEIGHT}px"
        st.html(f'<div class="vn-waiting vn-quiet" style="{height}">Drawing the loss plane …</div>')
        poller.show("plane", _MOMENT)
        return
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        score_charts.loss_plane_figure(plane, context.bands, dark),
        theme="streamlit",
        config={"displayModeBar": False, "scrollZoom": False},
        key=_KEY,
        on_select=_take_box,
        selection_mode="box",
    )


def _take_box() -> None:
    # A selection is an event: the changed figure forgets it, the filter keeps it.
    box = read_box(st.session_state.get(_KEY))
    if box is not None:
        loss_text, loss_multimodal = box
        change_view(
            filter=_with_losses(current_view().filter, loss_text, loss_multimodal), sample=None
        )
        rerun_fragment(Fragment.SCORES)


def _with_losses(which: Filter, loss_text: Range, loss_multimodal: Range) -> Filter:
    return replace(which, loss_text=loss_text, loss_multimodal=loss_multimodal)


def read_box(state: Any) -> tuple[Range, Range] | None:
    """(text-only, multimodal) limits of the box that was drawn, or None where it is none."""
    # Losses are never negative.
    loss_text, loss_multimodal = read_span(state, "x", 0.0), read_span(state, "y", 0.0)
    return (loss_text, loss_multimodal) if loss_text and loss_multimodal else None


def read_span(state: Any, axis: str, least: float = -math.inf) -> Range | None:
    """What the box that was drawn on a figure spans along an axis, or None where it is none.

    Two decimals are as fine as a box can be drawn.
    """
    selection = (state or {}).get("selection") if isinstance(state, Mapping) else None
    boxes = (selection or {}).get("box")
    if not boxes:
        return None
    low, high = sorted(float(end) for end in boxes[0][axis])
    low, high = max(round(low, 2), least), round(high, 2)
    return Range(low, high) if low < high else None
