"""Areas of maps in the filter: one written form, and hand-checked points."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dashboard.widgets.filter_bar import read_chips, remove_chip
from scoring.database.areas import Area, SortedPoints
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.map_points import list_maps, read_map
from scoring.database.queries.overview import sample_count
from scoring.database.queries.review_labels import is_within
from scoring.database.score_index.index import open_score_index
from scoring.errors import FilterError
from scoring.exchange.imported_columns import import_columns
from scoring.samples import Status
from tests.database.conftest import SCOPE
from tests.synthetic import Row, make_workspace

_TURN = ("What?", "Red", 4, 0.5, 0.25)
ROWS = [
    *(Row(turns=(_TURN,), image=f"{n}.png", source="ab"[n % 2]) for n in range(7)),
    Row(status=Status.TEXT_ONLY, turns=(("Describe", "one", 4, 0, 0),)),
]
RECORDS: list[dict[str, Any]] = [
    {"row_idx": 0, "map_x": 10, "map_y": 10},
    {"row_idx": 1, "map_x": 30, "map_y": 10},
    {"row_idx": 2, "map_x": 30, "map_y": 30},
    {"row_idx": 3, "map_x": 10, "map_y": 30},
    {"row_idx": 4, "map_x": 20, "map_y": 20.5},
    {"row_idx": 5, "map_x": 20},  # no point without the other coordinate
    {"row_idx": 7, "map_x": 5, "map_y": 5, "rating_x": 1, "rating_y": 2},  # without a score
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("areas")
    workspace = make_workspace(root / "ws", rows=ROWS, with_images=False)
    path = root / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), "utf-8")
    import_columns(workspace, path)
    return Store(workspace)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("area:map@0,0;100,0;100,100;0,100", [0, 1, 2, 3, 4, 7]),
        # Its left and lower borders belong to a box, its right and upper ones do not.
        ("area:map@10,10;30,10;30,30;10,30", [0, 4]),
        ("area:map@5,5;10,5;10,10;5,10", [7]),
        # (10, 10) and (5, 5) are on its left edge, (30, 10) on its right one.
        ("area:map@0,0;40,0;20,20", [0, 7]),
        # A concave one: the corner at (20, 21) leaves out the point below it.
        ("area:map@0,15;20,21;40,15;40,40;0,40", [2, 3]),
        ("area:map@0,15;20,20;40,15;40,40;0,40", [2, 3, 4]),
        # A bow tie: both of its triangles, and not above or below its crossing.
        ("area:map@0,0;40,40;40,5;0,45", [2, 3, 4]),
        ("area:map@0,0;40,45;40,0;0,45", [2, 3]),
        # A pentagram: its centre is surrounded twice, so it is outside.
        ("area:map@20,0;32,40;0,15;40,15;8,40", []),
        ("area:map@0,0;25,0;25,100;0,100 area:map@0,25;100,25;100,100;0,100", [3]),
        ("area:map@0,0;25,0;25,100;0,100 status:text_only", [7]),
        ("area:map@0,0;25,0;25,100;0,100 source:a,scenes", [0, 4, 7]),
        ("area:map@0,0;25,0;25,100;0,100 visnec:0.5..", []),
        ("area:map@0,0;10,10;30,30", []),
        ("area:rating@0,0;9,0;9,9;0,9", [7]),
    ],
)
def test_hand_checked_points(store: Store, text: str, rows: list[int]) -> None:
    where = parse_filter(text)
    selection = store.selection(SCOPE, where)
    assert parse_filter(str(where)) == where
    assert sorted(matching_rows(selection).tolist()) == rows
    assert sample_count(selection) == len(rows)
    open_score_index(store.selection(SCOPE))  # an area is then taken from this index
    for opened in (store, Store(store.workspace)):
        index = open_score_index(opened.selection(SCOPE, where))
        assert sorted(index.row_idx.tolist()) == [row for row in rows if row != 7]
        assert index.n_unscored == (7 in rows)


def test_area_has_one_written_form() -> None:
    where = parse_filter("area:b@1.50,2;-0,4e1;5,6 tokens:3.. area:a@1,2;3,4;5,6.25")
    assert str(where) == "tokens:3.. area:a@1,2;3,4;5,6.25 area:b@1.5,2;0,40;5,6"
    assert where.area[0] == Area("a", ((1, 2), (3, 4), (5, 6.25)))
    assert Filter(area=(where.area[1], where.area[0], where.area[1])).area == where.area
    with pytest.raises(FilterError, match="does not accept"):
        Filter(area=("a@1,2;3,4;5,6 more",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("area:map", "'map' is not an area"),
        ("area: ", "has no value"),
        ("area:map@1,2;3,4", "3 to 64 corners, got 2"),
        ("area:map@" + ";".join(["1,2"] * 65), "3 to 64 corners, got 65"),
        ("area:map@1,2;3,4;5", "'5' is not a corner"),
        ("area:map@1,2;3,4;5,x", "'5,x' is not a corner"),
        ("area:map@1,2;3,4;5,inf", "finite numbers"),
        ("area:map@1,2;3,4;5,nan", "finite numbers"),
        ("area:_a@1,2;3,4;5,6", "is not an area"),
    ],
)
def test_other_texts_are_not_areas(text: str, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse_filter(text)
    assert problem in str(caught.value)


def test_unknown_map_is_named(store: Store) -> None:
    where = parse_filter("area:other@1,2;3,4;5,6")
    with pytest.raises(FilterError, match=r"No map 'other'.* other_x and other_y\. Maps: map, rat"):
        matching_rows(store.selection(SCOPE, where))


def test_edge_that_two_areas_share_is_in_one_of_them() -> None:
    # Points on and around a diagonal that a random fan of triangles shares.
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 3, (2, 20_000)).round(1)
    points = SortedPoints.of(x, y)
    corners = [(0.1 * n, 3.0) for n in range(31)]
    fan = [Area("m", ((1.3, 0.0), *pair)) for pair in pairwise(corners)]
    rows = np.concatenate([np.flatnonzero(points.mark_inside(area)) for area in fan])
    assert len(rows) == len(np.unique(rows)) > 5000
    whole = points.mark_inside(Area("m", ((1.3, 0.0), (0.0, 3.0), (3.0, 3.0))))
    assert np.array_equal(np.sort(rows), np.flatnonzero(whole))


def test_points_by_row(store: Store) -> None:
    points = read_map(store, "map")
    assert points.x.dtype == np.float32
    assert np.array_equal(points.x, [10, 30, 30, 10, 20, np.nan, np.nan, 5], equal_nan=True)
    assert np.array_equal(points.y, [10, 10, 30, 30, 20.5, np.nan, np.nan, 5], equal_nan=True)
    assert list_maps(store) == []  # the command made none of them


def test_areas_are_joined_by_and() -> None:
    where = parse_filter("area:a@1,2;3,4;5,6 area:b@1,2;3,4;5,6")
    assert is_within(where, parse_filter("area:a@1,2;3,4;5,6"))
    assert not is_within(parse_filter("area:a@1,2;3,4;5,6"), where)
    chips = read_chips(where, {})
    assert [(chip.name, chip.value) for chip in chips][1] == ("area", "3 corners on b")
    assert remove_chip(where, chips[1].key) == parse_filter("area:a@1,2;3,4;5,6")
