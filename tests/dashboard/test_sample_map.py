"""The map in Explore: what is coloured and counted, its route, and shapes drawn on it."""

from __future__ import annotations

import io
import math
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from dashboard.data.context import Context, open_view_context
from dashboard.data.map_colours import score_limits
from dashboard.data.sample_map import describe_legend, find_sample, read_coloured_map
from dashboard.pages.explore.shapes import read_corners, simplify_shape
from dashboard.view.links import map_url
from dashboard.view.state import MapColour, View
from scoring.columns.parts import NUMBER
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.map_points import MAP_COMMAND
from scoring.duplicates.stored import ComputedColumn, store_computed
from scoring.necessity import Bands
from tests.dashboard.conftest import Draw, data_of, written

N_ROWS = 120


@pytest.fixture
def on_map(context: Context) -> Context:
    """The workspace with a map: row n is at (n, 2 n), apart from every tenth row."""
    rows = np.array([row for row in range(N_ROWS) if row % 10])
    columns = [
        ComputedColumn(name, rows, values, {}, NUMBER)
        for name, values in (("map_x", rows * 1.0), ("map_y", rows * 2.0))
    ]
    store_computed(context.workspace, MAP_COMMAND, columns)
    return open_context()


def open_context(where: str = "") -> Context:
    context = open_view_context(View(filter=parse_filter(where))).context
    assert context is not None
    return context


def legend_of(context: Context, colour: MapColour) -> dict[str, int]:
    legend = describe_legend(context, "map", read_coloured_map(context, "map", colour))
    counts = {each["name"]: each["n"] for each in legend["classes"]}
    return counts | {"without": legend["n_without"]}


def count_on_map(where: str) -> int:
    rows = matching_rows(open_context(where).selection)
    return int(np.count_nonzero(rows % 10))


# ---- colours -------------------------------------------------------------------------------------


def test_the_legend_counts_what_a_filter_counts(on_map: Context) -> None:
    categories = ("misaligned", "redundant", "vision-critical")
    expected = {name: count_on_map(f"category:{name}") for name in categories}
    n_without = count_on_map("") - sum(expected.values())
    by_category = legend_of(on_map, MapColour.CATEGORY)
    assert by_category == {
        **expected,
        "no score": n_without,
        "outside the filter": 0,
        "without": N_ROWS // 10,
    }
    by_decision = legend_of(on_map, MapColour.DECISION)
    for decision in ("keep", "drop", "unsure"):
        assert by_decision[decision] == count_on_map(f"decision:{decision}")
    assert by_decision["keep"] > 0
    assert by_decision["undecided"] == count_on_map("decision:none")
    assert sum(by_decision.values()) == N_ROWS


def test_samples_without_a_score_have_the_colour_of_their_source(on_map: Context) -> None:
    by_source = legend_of(on_map, MapColour.SOURCE)
    sources = {name: n for name, n in by_source.items() if n and name != "without"}
    assert len(sources) > 1
    for name, n in sources.items():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        assert n == count_on_map(f'source:"{quoted}"')


def test_a_filter_dims_the_others_and_an_area_dims_nothing(on_map: Context) -> None:
    where = "category:redundant"
    filtered = legend_of(open_context(where), MapColour.CATEGORY)
    n = count_on_map(where)
    assert (filtered["redundant"], filtered["misaligned"]) == (n, 0)
    assert filtered["outside the filter"] == N_ROWS - N_ROWS // 10 - n
    area = "area:map@0,0;10,0;10,20;0,20"
    assert legend_of(open_context(f"{where} {area}"), MapColour.CATEGORY) == filtered


def test_the_band_is_one_step_of_the_score() -> None:
    limits = score_limits({0.05: -0.8, 0.95: 2.25}, Bands(0.0, 0.25))
    assert limits == pytest.approx((-0.6, -0.4, -0.2, 0.0, 0.25, 0.75, 1.25, 1.75))
    assert list(score_limits({}, Bands(0.5, 0.5))) == sorted(score_limits({}, Bands(0.5, 0.5)))


def test_a_click_finds_the_nearest_sample_of_the_filter(on_map: Context) -> None:
    assert find_sample(on_map, "map", (33.2, 66.0), (2, 2)) == 33
    assert find_sample(on_map, "map", (33.2, 70.0), (1, 1)) is None
    assert find_sample(on_map, "map", (30.0, 60.0), (0.9, 1.9)) is None  # it is not on the map
    scored = open_context("status:scored")
    unscored = set(range(N_ROWS)) - set(matching_rows(scored.selection).tolist())
    row = next(row for row in sorted(unscored) if row % 10)
    assert find_sample(on_map, "map", (row, 2.0 * row), (0.5, 0.5)) == row
    assert find_sample(scored, "map", (row, 2.0 * row), (0.5, 0.5)) is None


# ---- the page and its route ----------------------------------------------------------------------


def test_without_a_map_the_page_names_the_command(root: object, draw: Draw) -> None:
    app = draw("explore", {"layout": "map"})
    assert not app.exception
    assert "No map yet" in written(app)
    assert f"visnec map -w {root}" in written(app)


def test_pictures_come_from_the_route(on_map: Context, draw: Draw, client: TestClient) -> None:
    app = draw("explore", {"layout": "map", "filter": "area:map@0,0;10,0;10,20;0,20"})
    assert not app.exception
    data = data_of(app, "visnec_map")
    assert data["areas"] == [[[0, 0], [10, 0], [10, 20], [0, 20]]]
    address = data["address"]
    assert "filter" not in parse_qs(urlsplit(address).query)
    # Only row 3 is in view; it is in the middle, as a dot.
    answer = client.get(f"{address}&x0=2.5&x1=3.5&y0=5.5&y1=6.5&width=9&height=11")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as image:
        pixels = np.asarray(image.convert("RGBA"))[..., 3] > 0
    assert pixels.shape == (11, 9)
    assert pixels[5, 4]
    assert pixels.sum() == 21


@pytest.mark.parametrize(
    "change",
    [
        {"x0": "nan"},
        {"x0": "4"},  # not below x1
        {"x0": "-inf"},
        {"y1": "1e7"},
        {"y1": "5.5001"},
        {"y0": ""},
        {"width": "0"},
        {"width": "2801"},
        {"height": "100000"},
        {"height": "4.5"},
        {"height": "-3"},
        {"density": "0"},
        {"density": "nan"},
        {"density": "3.1"},
    ],
)
def test_bad_requests_are_refused(
    on_map: Context, draw: Draw, client: TestClient, change: dict[str, str]
) -> None:
    address = data_of(draw("explore", {"layout": "map"}), "visnec_map")["address"]
    valid = {"x0": "2.5", "x1": "3.5", "y0": "5.5", "y1": "6.5", "width": "9", "height": "9"}
    whole = "&".join(f"{name}={value}" for name, value in (valid | change).items())
    assert client.get(f"{address}&{whole}").status_code == 400


def test_there_is_no_picture_without_a_map(context: Context, client: TestClient) -> None:
    address = map_url(context.scope, Filter(), context.bands, "", map="map", colour="score")
    limits = "x0=0&x1=1&y0=0&y1=1&width=9&height=9"
    assert client.get(f"{address}&{limits}").status_code == 404


# ---- drawn shapes --------------------------------------------------------------------------------


def test_corners_have_one_decimal_and_needless_ones_are_left_out() -> None:
    square = [[0, 0], [5, 0.04], [10, 0], [10, 10.04], [0, 10], [0, 10], [0, 5]]
    assert read_corners(square) == ((0, 0), (10, 0), (10, 10), (0, 10))


def test_a_lasso_keeps_its_shape_with_64_corners() -> None:
    angles = np.linspace(0, 2 * math.pi, 500, endpoint=False)
    circle = np.stack([500 + 200 * np.cos(angles), 500 + 200 * np.sin(angles)], axis=1)
    corners = simplify_shape(circle)
    assert len(corners) == 64
    following = np.roll(corners, -1, axis=0)
    area = abs(np.sum(corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0])) / 2
    assert area == pytest.approx(math.pi * 200**2, rel=0.005)
    assert len(read_corners(circle.tolist()) or ()) == 64


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "shape",
        [],
        [[0, 0], [1, 1]],
        [[0, 0], [1, 1], [2, 2]],  # on a line
        [[0, 0], [0.01, 0], [0, 0.01]],  # smaller than a decimal
        [[0, 0], [1, 0], [1, math.nan]],
        [[0, 0], [1, 0], [1]],
        [[0, 0, 0], [1, 0, 0], [1, 1, 0]],
        [[0, 0], [1, 0], ["x", 1]],
        [[0, 0], [1, 0], [10**400, 1]],
        [[0, 0], [1, 0], [1, 1]] * 2000,
    ],
)
def test_what_encloses_nothing_is_ignored(sent: Any) -> None:
    assert read_corners(sent) is None
