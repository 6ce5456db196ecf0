"""The loss plane: where text-only and multimodal loss lie; a box on it narrows the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from dashboard import charts, loaders
from dashboard.components import figures, notices
from dashboard.loaders import Context
from dashboard.state import change_view, current_view
from scoring.store.filters import Filter, Range

_KEY: Final = "loss_plane"


def show(context: Context) -> None:
    """Draws the plane under the filter; a box that is drawn on it goes into the filter."""
    st.subheader("Loss plane", anchor=False)
    figures.show_quiet(
        "A score near 0 with both losses high means that the model cannot use the image, not "
        "that the image is redundant. Draw a box to see only what lies in it."
    )
    plane = loaders.read_loss_plane(context)
    if plane.counts.sum() == 0:
        notices.show_empty("No losses here", "The plane fills as samples are scored.")
        return
    dark = st.context.theme.type == "dark"
    st.plotly_chart(
        charts.loss_plane_figure(plane, context.bands, dark),
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


def _with_losses(which: Filter, loss_text: Range, loss_multimodal: Range) -> Filter:
    return replace(which, loss_text=loss_text, loss_multimodal=loss_multimodal)


def read_box(state: Any) -> tuple[Range, Range] | None:
    """(text-only, multimodal) limits of the box that was drawn, or None where it is none."""
    boxes = (
        ((state or {}).get("selection") or {}).get("box") if isinstance(state, Mapping) else None
    )
    if not boxes:
        return None
    limits = []
    for axis in ("x", "y"):
        low, high = sorted(float(end) for end in boxes[0][axis])
        # Losses are never negative, and two decimals are as fine as a box can be drawn.
        low, high = max(round(low, 2), 0.0), round(high, 2)
        if high <= low:
            return None
        limits.append(Range(low, high))
    return limits[0], limits[1]
