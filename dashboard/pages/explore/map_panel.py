"""The map in Explore: points of all samples, areas of it as a filter, and names of clusters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import streamlit as st

from dashboard.data.context import Context, open_view_context
from dashboard.data.facts import choose_map, read_maps
from dashboard.data.sample_map import (
    MAX_DENSITY,
    MAX_SIDE,
    MAX_SIDE_MOVING,
    describe_legend,
    find_sample,
    read_coloured_map,
    without_areas,
)
from dashboard.frontend import assets
from dashboard.pages.explore.open_sample import open_row
from dashboard.pages.explore.shapes import read_corners, read_numbers
from dashboard.view import url_widgets
from dashboard.view.links import map_url
from dashboard.view.navigation import Fragment, change_filter, rerun_fragments
from dashboard.view.state import MapColour, View, current_view
from dashboard.widgets import figures, notices
from scoring.database.areas import Area
from scoring.database.queries.map_points import (
    IMAGE_MAP,
    INSTRUCTION_MAP,
    MAP_COMMAND,
    MAP_SIZE,
    describe_clusters_on_map,
)

_KEY: Final = "map"
_NAMES: Final = {INSTRUCTION_MAP: "Instructions", IMAGE_MAP: "Images"}
_map = st.components.v2.component(
    "visnec_map", html=assets.HTML, css=assets.style("map"), js=assets.script("map")
)


def open_map(context: Context, view: View) -> str | None:
    """Return the name of the view's map, or show how to make one and return None."""
    name = choose_map(context.store, view.map)
    if name is None:
        notices.show_empty("No map yet", "", f"{MAP_COMMAND} -w {context.workspace.root}")
    return name


def show_map(context: Context, view: View, name: str) -> None:
    """Show a map, and a choice of maps and colours."""
    with st.container(horizontal=True, vertical_alignment="center", key="map_line"):
        names = read_maps(context.store)
        if len(names) > 1:
            url_widgets.choose_option(
                "map", "Map", names, name, lambda each: _NAMES.get(each, each), width=150
            )
        url_widgets.choose_option(
            "colour",
            "Colour by",
            list(MapColour),
            view.colour,
            lambda colour: f"Colour by {colour}",
            width=190,
        )
    with notices.show_problem_on_failure("The map could not be read"):
        _show_component(context, name, view.colour)


def _show_component(context: Context, name: str, colour: MapColour) -> None:
    data = _read_data(context, name, colour)

    def handle_area() -> None:
        corners = read_corners(_read_sent("area"))
        if corners is not None:
            current = current_view().filter
            others = [area for area in current.area if area.map != name]
            change_filter(replace(current, area=(*others, Area(name, corners))))

    def handle_cluster() -> None:
        cluster_id = _read_sent("cluster")
        if cluster_id in [cluster["id"] for cluster in data["clusters"]]:
            current = current_view().filter
            chosen = () if current.cluster == (cluster_id,) else (cluster_id,)
            change_filter(replace(current, cluster=chosen))

    def handle_point() -> None:
        row_idx = _find_row(name, _read_sent("point"))
        if row_idx is not None:
            open_row(row_idx)
            rerun_fragments(Fragment.FILTERED)

    _map(
        key=_KEY,
        data=data,
        on_area_change=handle_area,
        on_cluster_change=handle_cluster,
        on_point_change=handle_point,
    )


def _read_data(context: Context, name: str, colour: MapColour) -> dict[str, Any]:
    """Return what the browser shows: where its pictures come from, and what is drawn over them."""
    clusters = []
    if context.scope.clustering_id is not None:
        clusters = describe_clusters_on_map(context.store, context.scope.clustering_id, name)
    return {
        "map": name,
        "address": _picture_address(context, name, colour),
        "size": MAP_SIZE,
        "max_density": MAX_DENSITY,
        "max_side": MAX_SIDE,
        "max_side_moving": MAX_SIDE_MOVING,
        "legend": describe_legend(context, name, read_coloured_map(context, name, colour)),
        "areas": [area.corners for area in context.filter.area if area.map == name],
        "clusters": [
            {
                "id": cluster.cluster_id,
                "name": cluster.name,
                "x": cluster.x,
                "y": cluster.y,
                "chosen": cluster.cluster_id in context.filter.cluster,
            }
            for cluster in clusters
        ],
    }


def _picture_address(context: Context, name: str, colour: MapColour) -> str:
    """Return the address of the picture, which changes with everything that it depends on."""
    context, store = without_areas(context, name), context.store
    by_decision = colour is MapColour.DECISION or context.filter.needs_decisions
    return map_url(
        context.scope,
        context.filter,
        context.bands,
        store.generation,
        map=name,
        colour=str(colour),
        dark=str(int(figures.use_dark_theme())),
        decided=store.decisions_generation if by_decision else "",
    )


def _read_sent(name: str) -> Any:
    return (st.session_state.get(_KEY) or {}).get(name)


def _find_row(name: str, sent: object) -> int | None:
    """Return the sample that was clicked; the browser sends x, y and how far away it may be."""
    numbers = read_numbers(sent, (4,))
    context = open_view_context(current_view()).context
    if context is None or numbers is None or min(numbers[2:]) <= 0:
        return None
    x, y, across, up = map(float, numbers)
    return find_sample(context, name, (x, y), (across, up))
