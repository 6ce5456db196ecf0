"""Maps: points of samples in two dimensions, from the number columns ``NAME_x`` and ``NAME_y``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.clustering.projection import MAP_SIZE as MAP_SIZE
from scoring.database.areas import Area, SortedPoints
from scoring.database.connection import Match, Snapshot, Store
from scoring.database.queries.column_rows import MAP_COMMAND as MAP_COMMAND
from scoring.database.queries.column_rows import column_numbers, numeric_columns
from scoring.errors import FilterError

INSTRUCTION_MAP, IMAGE_MAP = "map", "image_map"
"""The names of maps by instructions and by images, unless another is given."""

_MAPS = """
    SELECT left(x.name, -2) AS name
    FROM columns x JOIN columns y ON left(x.name, -2) = left(y.name, -2)
    WHERE x.file = $command AND y.file = $command
        AND ends_with(x.name, '_x') AND ends_with(y.name, '_y') AND x.n_values > 0
    ORDER BY name
"""
_CLUSTERS = """
    SELECT n.cluster_id, n.name, median(x.number), median(y.number), count(*) AS n_samples
    FROM cluster_names n
    JOIN clusters c USING (clustering_id, cluster_id)
    JOIN column_values x ON x.row_idx = c.row_idx AND x.name = $x AND x.number IS NOT NULL
    JOIN column_values y ON y.row_idx = c.row_idx AND y.name = $y AND y.number IS NOT NULL
    WHERE n.clustering_id = $clustering_id
    GROUP BY n.cluster_id, n.name
    ORDER BY n_samples DESC, n.cluster_id
"""


@dataclass(frozen=True, slots=True, eq=False)
class MapPoints:
    """Coordinates by row_idx, NaN for samples without a point; do not modify."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ClusterOnMap:
    """A cluster, and the medians of the coordinates of its ``n_samples`` on a map."""

    cluster_id: int
    name: str
    x: float
    y: float
    n_samples: int


def list_maps(store: Store) -> list[str]:
    """Return the names of the maps that ``visnec map`` made, ascending."""
    rows = store.snapshot().fetch_rows(_MAPS, {"command": MAP_COMMAND})
    return [str(name) for (name,) in rows]


def read_map(store: Store, name: str) -> MapPoints:
    """Return the points of a map, read on first use and kept while they fit.

    Raises FilterError for an unknown map.
    """
    snapshot = store.snapshot()

    def read() -> MapPoints:
        points = _sort_points(snapshot, name)
        x, y = np.full((2, points.n_samples), np.nan, np.float32)
        x[points.row_idx], y[points.row_idx] = points.x, points.y
        return MapPoints(x, y)

    return snapshot.cache.get_or_compute(("map", name), read, lambda points: 2 * points.x.nbytes)


def describe_clusters_on_map(store: Store, clustering_id: str, name: str) -> list[ClusterOnMap]:
    """Return the clusters of a clustering on a map, the largest first; kept while they fit."""
    snapshot = store.snapshot()
    values = {"x": f"{name}_x", "y": f"{name}_y", "clustering_id": clustering_id}
    return snapshot.cache.get_or_compute(
        ("clusters on map", name, clustering_id),
        lambda: [ClusterOnMap(*row) for row in snapshot.fetch_rows(_CLUSTERS, values)],
        lambda clusters: 500 * len(clusters),
    )


def mark_area(snapshot: Snapshot, area: Area) -> NDArray[np.bool_]:
    """Return by row_idx whether a sample's point is in an area; kept while it fits.

    Raises FilterError for an unknown map.
    """
    points = _sort_points(snapshot, area.map)
    return snapshot.cache.get_or_compute(
        ("area", area), lambda: points.mark_inside(area), lambda by_row: by_row.nbytes
    )


def match_area(snapshot: Snapshot, area: Area) -> Match:
    """Return the samples whose points are in an area. Raises FilterError for an unknown map."""
    by_row = mark_area(snapshot, area)
    return snapshot.keep_rows(("area", area), lambda: np.flatnonzero(by_row))


def _sort_points(snapshot: Snapshot, name: str) -> SortedPoints:
    """Return the points of a map, read on first use and kept while they fit. Raises FilterError."""

    def read() -> SortedPoints:
        known = numeric_columns(snapshot)
        columns = f"{name}_x", f"{name}_y"
        if not set(columns) <= set(known):
            maps = [
                each[:-2] for each in known if each.endswith("_x") and f"{each[:-2]}_y" in known
            ]
            raise FilterError(
                f"No map {name!r}, which needs the columns of numbers {' and '.join(columns)}. "
                f"Maps: {', '.join(maps) or f'none yet, run {MAP_COMMAND}'}."
            )
        return SortedPoints.of(*(column_numbers(snapshot, column) for column in columns))

    return snapshot.cache.get_or_compute(
        ("sorted map", name), read, lambda points: 20 * len(points.row_idx)
    )
