"""The loss plane: text-only against multimodal loss; a box on it filters the page.

A browser takes a second to load Plotly and draws nothing else meanwhile. The first plane of a
session is therefore drawn once the page is idle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import streamlit as st

from dashboard.charts import plots
from dashboard.data.context import Context
from dashboard.data.scores import read_loss_plane
from dashboard.view.navigation import Fragment, rerun_fragment
from dashboard.view.state import Key, View, change_view, current_view
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
    elif not st.session_state.get(Key.PLOTLY_LOADED):
        st.session_state[Key.PLOTLY_LOADED] = True
        height = f"height:{plots.PLANE_HEIGHT}px"
        st.html(f'<div class="vn-waiting vn-quiet" style="{height}">Drawing the loss plane …</div>')
        poller.rerun_every("plane", _MOMENT)
    else:
        figure = plots.loss_plane_figure(plane, context.bands, figures.use_dark_theme())
        figures.show_chart(figure, _KEY, on_select=_filter_by_box, selection_mode="box")


def _filter_by_box() -> None:
    # A selection is an event: the redrawn figure forgets it, the filter keeps it.
    box = read_box(st.session_state.get(_KEY))
    if box is not None:
        current = current_view().filter
        change_view(filter=replace(current, loss_text=box[0], loss_multimodal=box[1]), sample=None)
        rerun_fragment(Fragment.SCORES)


def read_box(state: Any) -> tuple[Range, Range] | None:
    """Return the (text-only, multimodal) limits of the box that was drawn, or None without one."""
    # Losses are never negative.
    loss_text = figures.read_selected_range(state, "x", 0.0)
    loss_multimodal = figures.read_selected_range(state, "y", 0.0)
    return (loss_text, loss_multimodal) if loss_text and loss_multimodal else None
