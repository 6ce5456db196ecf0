"""A closer look at a subset: its edge, how sure it is, another one beside it, other clusterings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from dashboard.data.context import Context
from dashboard.data.samples import read_row_tiles
from dashboard.pages.subset import clustering_overlap, subset_comparison, subset_stability
from dashboard.view import url_widgets
from dashboard.view.state import Panel, View
from dashboard.widgets import figures, gallery
from scoring.subsets.definitions import ResolvedSubset
from scoring.subsets.selection import REASONS, Reason

_N_EDGE: Final = 7
PANEL_NAMES: Final = {
    Panel.EDGE: "Samples at the edge",
    Panel.STABILITY: "How sure",
    Panel.COMPARE: "Beside another subset",
    Panel.CLUSTERINGS: "With other clusters",
}


def show(context: Context, view: View, outcome: ResolvedSubset) -> int | None:
    """Draws the panel that the view has open; returns the row of a sample chosen just now."""
    st.subheader("A closer look", anchor=False)
    url_widgets.choose_segment(
        "panel", "A closer look", list(Panel), view.panel, PANEL_NAMES.__getitem__
    )
    if view.panel is Panel.STABILITY:
        return subset_stability.show(context, view, outcome.definition)
    if view.panel is Panel.COMPARE:
        return subset_comparison.show(context, view, outcome.definition)
    if view.panel is Panel.CLUSTERINGS:
        clustering_overlap.show(context, outcome.definition)
        return None
    return _show_edge(context, outcome)


def edge_rows(outcome: ResolvedSubset, n: int = _N_EDGE) -> dict[str, list[int]]:
    """Rows to look at: the lowest scores kept, the highest dropped, and those turned by hand."""
    found, subset = outcome.candidates, outcome.subset
    by_hand = np.flatnonzero(subset.why == REASONS.index(Reason.REVIEWER))[:n]
    places = {
        "Lowest scores kept": _first(found.visnec, found.scored & subset.kept, n),
        "Highest scores dropped": _first(-found.visnec, found.scored & ~subset.kept, n),
    }
    if len(by_hand):
        places["Turned by hand"] = by_hand
    return {name: [int(row) for row in found.row_idx[some]] for name, some in places.items()}


def _first(values: NDArray[Any], mask: NDArray[Any], n: int) -> NDArray[Any]:
    """The ``n`` places under the mask with the lowest values, ascending, without sorting all."""
    places = np.flatnonzero(mask)
    if len(places) > n:
        limit = np.partition(values[places], n - 1)[n - 1]
        places = places[values[places] <= limit]
    return places[np.argsort(values[places], kind="stable")][:n]


def _show_edge(context: Context, outcome: ResolvedSubset) -> int | None:
    edges = edge_rows(outcome)
    choice = st.segmented_control(
        "Samples at the edge",
        list(edges),
        default=next(iter(edges)),
        key="subset_edge",
        label_visibility="collapsed",
        required=True,
    )
    rows = edges.get(str(choice), [])
    if not rows:
        figures.show_quiet("There are none.")
        return None
    return gallery.show("subset_gallery", read_row_tiles(context, rows))
