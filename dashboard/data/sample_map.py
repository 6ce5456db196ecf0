"""Reads about the map of samples: its points in their colours, pictures of it, and its legend.

The map shows all samples that have a point: those outside the filter are dimmed. An area of the map
in the filter dims nothing, since it is drawn as a polygon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from dashboard.charts.map_image import (
    FIRST_VALUE,
    OUTSIDE,
    WITHOUT_VALUE,
    ClassedPoints,
    Viewport,
    draw_map,
    order_points,
)
from dashboard.charts.theme import ABSENT, DIMMED, Shade
from dashboard.data.cache import APP_CACHE
from dashboard.data.context import Context, cached_query
from dashboard.data.facts import choose_map
from dashboard.data.map_colours import colour_samples
from dashboard.data.samples import count_samples
from dashboard.data.threshold_stats import InvalidRequest
from dashboard.text import formatting
from dashboard.view.state import MapColour, View
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.map_points import read_map
from scoring.errors import WorkspaceError

MAX_SIDE: Final = 2800  # pixels of a picture
MAX_DENSITY: Final = 3  # pixels of a picture per pixel of the page
MAX_SIDE_MOVING: Final = 1200  # of one that is shown while the map moves
_LARGEST: Final = 1e6  # coordinate
_SMALLEST: Final = 1e-3  # width and height of what is shown


@dataclass(frozen=True, slots=True, eq=False)
class ColouredMap:
    """The points of a map, with name and colour of each class; of its steps for the score."""

    points: ClassedPoints
    shades: Mapping[str, Shade]

    def count(self, number: int) -> int:
        """Return the number of points of a class."""
        return self.points.starts[number + 1] - self.points.starts[number]


def without_areas(context: Context, name: str) -> Context:
    """Return the context without the areas of this map in its filter."""
    areas = tuple(area for area in context.filter.area if area.map != name)
    return replace(context, filter=replace(context.filter, area=areas))


def read_coloured_map(context: Context, name: str, colour: MapColour) -> ColouredMap:
    """Return the points of a map, cached; those outside the filter are a class of their own."""
    context = without_areas(context, name)
    return cached_query(
        context,
        "coloured map",
        lambda: _colour_points(context, name, colour),
        name,
        colour,
        decisions=colour is MapColour.DECISION,
        cache=APP_CACHE.map_points,
    )


def _colour_points(context: Context, name: str, colour: MapColour) -> ColouredMap:
    on_map = read_map(context.store, name)
    colouring = colour_samples(context, colour, len(on_map.x))
    classes, values = colouring.classes, colouring.values
    if context.filter:
        is_outside = np.ones(len(classes), bool)
        is_outside[matching_rows(context.selection)] = False
        classes[is_outside] = OUTSIDE
    has_point = np.flatnonzero(~np.isnan(on_map.x))
    x, y = on_map.x[has_point], on_map.y[has_point]
    values = None if values is None else values[has_point]
    points = order_points(x, y, classes[has_point], values, colouring.limits)
    others = {"outside the filter": DIMMED, colouring.without: ABSENT}
    return ColouredMap(points, {**others, **colouring.shades})


def draw_picture(context: Context | None, view: View, request: Mapping[str, str]) -> bytes:
    """Return the part of the view's map that a request describes as PNG.

    Raises:
        InvalidRequest: If the request has no valid limits or no valid size.
        WorkspaceError: If there is no map.
    """
    viewport = read_viewport(request)
    name = None if context is None else choose_map(context.store, view.map)
    if context is None or name is None:
        raise WorkspaceError("there is no map here")
    coloured = read_coloured_map(context, name, view.colour)
    is_dark = request.get("dark") == "1"
    colours = [shade.of(is_dark) for shade in coloured.shades.values()]
    return draw_map(coloured.points, colours, viewport)


def read_viewport(request: Mapping[str, str]) -> Viewport:
    """Return what to draw. Raises InvalidRequest."""
    try:
        x0, x1, y0, y1 = (float(request[side]) for side in ("x0", "x1", "y0", "y1"))
        width, height = int(request["width"]), int(request["height"])
        density = float(request.get("density", 1))
    except (KeyError, ValueError):
        raise InvalidRequest("a picture has numbers x0, x1, y0, y1, width and height") from None
    limits_are_valid = all(abs(limit) <= _LARGEST for limit in (x0, x1, y0, y1))
    if not (limits_are_valid and x1 - x0 >= _SMALLEST and y1 - y0 >= _SMALLEST):
        raise InvalidRequest(f"x0 is below x1, y0 is below y1, and all are within {_LARGEST:g}")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise InvalidRequest(f"a picture is 1 to {MAX_SIDE} pixels wide and high")
    if not 0 < density <= MAX_DENSITY:
        raise InvalidRequest(f"the density is above 0 and at most {MAX_DENSITY}")
    return Viewport(x0, x1, y0, y1, width, height, density)


def describe_legend(context: Context, name: str, coloured: ColouredMap) -> dict[str, Any]:
    """Return the classes with their colours and numbers of samples, for the browser.

    ``scale`` are the colours of the steps and the scores at both ends. ``n_without`` samples under
    the filter have no point.
    """
    points, shades = coloured.points, list(coloured.shades.items())
    n_classes = FIRST_VALUE if points.limits else len(shades)
    n_shown = points.starts[-1] - points.starts[WITHOUT_VALUE]
    legend: dict[str, Any] = {
        "classes": [
            {"name": label, "colour": shade.css, "n": coloured.count(number)}
            for number, (label, shade) in enumerate(shades[:n_classes])
        ],
        "n_without": count_samples(without_areas(context, name)) - n_shown,
    }
    # The classes with a value first, then those without one and outside the filter.
    legend["classes"] = legend["classes"][FIRST_VALUE:] + legend["classes"][FIRST_VALUE - 1 :: -1]
    if points.limits:
        legend["scale"] = {
            "colours": [shade.css for _, shade in shades[FIRST_VALUE:]],
            "from": formatting.score(points.limits[0], 2),
            "to": formatting.score(points.limits[-1], 2),
        }
    return legend


def find_sample(
    context: Context, name: str, at: tuple[float, float], reach: tuple[float, float]
) -> int | None:
    """Return the sample under the filter that is nearest to a point; None beyond ``reach``.

    ``reach`` are the axes of an ellipse around the point, in the map's unit.
    """
    rows = matching_rows(without_areas(context, name).selection)
    on_map = read_map(context.store, name)
    distances = np.hypot((on_map.x[rows] - at[0]) / reach[0], (on_map.y[rows] - at[1]) / reach[1])
    near = np.flatnonzero(distances <= 1)
    return int(rows[near[np.argmin(distances[near])]]) if len(near) else None
