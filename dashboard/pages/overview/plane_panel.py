"""The loss plane: text-only against multimodal loss; a box on it filters the page.

A browser takes a second to load Plotly and draws nothing else meanwhile. The first drawing of each
plane in a session therefore waits until the page is idle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import plotly.graph_objects as go
import streamlit as st

from dashboard.charts import plots
from dashboard.data.context import Context
from dashboard.data.scores import read_loss_plane
from dashboard.view.navigation import change_filter
from dashboard.view.state import Key, View, current_view
from dashboard.widgets import figures, notices, page_frame, poller
from scoring.database.filters import Range

_KEY: Final = "loss_plane"
_MOMENT: Final = 0.1  # seconds


@page_frame.view_fragment()
def show_loss_plane(context: Context, _view: View) -> None:
    """Show the plane under the filter; a box drawn on it changes the filter."""
    figures.show_heading(
        "Loss plane",
        "A score near 0 with both losses high means that the model cannot use the image, not that "
        "the image is redundant. Draw a box to filter by loss, or type it in the filter: "
        "loss_text:0..2 loss_multimodal:0..1",
    )
    plane = read_loss_plane(context)
    if plane.counts.sum() == 0:
        notices.show_empty("No losses yet", "The plane fills as samples are scored.")
    else:
        show_plane(
            _KEY,
            lambda: plots.loss_plane_figure(plane, context.bands, figures.use_dark_theme()),
            _filter_by_box,
        )


def show_plane(key: str, draw: Callable[[], go.Figure], choose_box: Callable[[], None]) -> None:
    """Show a plane of its own fragment, once the page is idle; ``choose_box`` is a callback."""
    drawn: set[str] = st.session_state.setdefault(Key.DRAWN_PLANES, set())
    if key in drawn:
        figures.show_chart(draw(), key, on_select=choose_box, selection_mode="box")
        return
    drawn.add(key)
    height = f"height:{plots.PLANE_HEIGHT}px"
    st.html(f'<div class="vn-waiting vn-quiet" style="{height}">Drawing the plane …</div>')
    poller.rerun_every(f"idle-{key}", _MOMENT)


def _filter_by_box() -> None:
    # A selection is an event: the redrawn figure forgets it, the filter keeps it.
    box = read_box(st.session_state.get(_KEY))
    if box is not None:
        current = current_view().filter
        change_filter(replace(current, loss_text=box[0], loss_multimodal=box[1]), sample=None)


def read_box(state: Any) -> tuple[Range, Range] | None:
    """Return the (text-only, multimodal) limits of the box that was drawn, or None without one."""
    # Losses are never negative.
    loss_text = figures.read_selected_range(state, "x", 0.0)
    loss_multimodal = figures.read_selected_range(state, "y", 0.0)
    return (loss_text, loss_multimodal) if loss_text and loss_multimodal else None
