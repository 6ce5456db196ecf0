"""The map in Explore: an area drawn with the mouse filters everything, and a name its cluster."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, expect

from scoring.columns.parts import NUMBER
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.map_points import MAP_COMMAND
from scoring.database.values import Scope
from scoring.duplicates.stored import ComputedColumn, store_computed
from scoring.workspace import open_workspace
from tests.browser.conftest import Served, Watched, serving, watching

N_ROWS = 600


@pytest.fixture(scope="module")
def server(demo_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the demo with a map: 30 samples in each of 20 rows."""
    folder = tmp_path_factory.mktemp("map")
    shutil.copytree(demo_built, folder / "demo")
    rows = np.arange(N_ROWS)
    columns = [
        ComputedColumn(name, rows, values, {}, NUMBER)
        for name, values in (("map_x", rows % 30 * 1000 / 29), ("map_y", rows // 30 * 1000 / 19))
    ]
    store_computed(open_workspace(folder / "demo"), MAP_COMMAND, columns)
    with serving(folder / "demo", folder / "log.txt") as served:
        yield served


@pytest.fixture(scope="module")
def _tab(browser: Browser, server: Served) -> Iterator[Watched]:
    expect.set_options(timeout=90_000)
    with watching(browser, server) as watched:
        yield watched


def count(watched: Watched, where: Filter) -> int:
    store = Store(open_workspace(watched.server.root))
    scope = Scope(store.snapshot().scopes[-1][0], "none", store.snapshot().clusterings[-1])
    return len(matching_rows(store.selection(scope, where)))


def filter_in_url(watched: Watched) -> Filter:
    return parse_filter(parse_qs(urlsplit(watched.page.url).query)["filter"][0])


def open_map(watched: Watched) -> Locator:
    """Open the map and wait for its picture."""
    watched.page.set_viewport_size({"width": 1440, "height": 900})
    watched.open("explore", "?layout=map")
    stage = watched.page.get_by_role("application", name="Map of samples")
    expect(stage).to_have_attribute("data-pictures", re.compile(r"\d"))
    return stage


def drag(watched: Watched, stage: Locator, points: list[tuple[float, float]]) -> None:
    """Drag through points, given as shares of the map's width and height."""
    box = stage.bounding_box()
    assert box is not None
    mouse = watched.page.mouse
    for number, (x, y) in enumerate(points):
        mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=5)
        if number == 0:
            mouse.down()
    mouse.up()


def expect_filtered(watched: Watched, where: Filter) -> None:
    """Check that the list, and the Overview under the same filter, count what the library does."""
    n = count(watched, where)
    assert 0 < n < N_ROWS
    expect(watched.page.get_by_text(f"{n} samples").first).to_be_visible()


def test_a_box_filters_and_its_chip_removes_it(visited: Watched) -> None:
    page, stage = visited.page, open_map(visited)
    legend = page.get_by_role("list", name="Colours")
    expect(legend).to_contain_text("vision-critical")
    page.get_by_role("button", name="Drag a box").click()
    drag(visited, stage, [(0.2, 0.3), (0.45, 0.7)])
    expect(page).to_have_url(re.compile("filter=area%3Amap"))
    visited.settle()
    (area,) = filter_in_url(visited).area
    # The map is 8 % smaller than the stage; pixels are whole.
    left, right = (1080 * share - 40 for share in (0.2, 0.45))
    assert sorted({x for x, _ in area.corners}) == pytest.approx([left, right], abs=3)
    low, high = (1040 - 1080 * share for share in (0.7, 0.3))
    assert sorted({y for _, y in area.corners}) == pytest.approx([low, high], abs=3)
    expect_filtered(visited, filter_in_url(visited))
    expect(page.locator("polygon.area")).to_have_count(1)
    expect(page.locator("path.outside")).to_have_count(1)  # dimmed
    page.get_by_role("button", name="area 4 corners on map").click()
    expect(page).not_to_have_url(re.compile("filter="))
    expect(page.get_by_text(f"{N_ROWS} samples").first).to_be_visible()
    expect(page.locator("polygon.area")).to_have_count(0)
    expect(page.locator("path.outside")).to_have_count(0)
    visited.assert_sound()


def test_a_lasso_and_a_cluster_are_joined(visited: Watched) -> None:
    page, stage = visited.page, open_map(visited)
    page.keyboard.down("Shift")
    drag(visited, stage, [(0.1, 0.1), (0.9, 0.2), (0.8, 0.9), (0.3, 0.8)])
    page.keyboard.up("Shift")
    expect(page).to_have_url(re.compile("filter=area%3Amap"))
    visited.settle()
    (area,) = filter_in_url(visited).area
    assert 4 <= len(area.corners) <= 64
    expect_filtered(visited, filter_in_url(visited))
    page.locator("button.name:not(.covered)").first.click()
    expect(page).to_have_url(re.compile("filter=cluster%3A"))
    visited.settle()
    where = filter_in_url(visited)
    assert where.area == (area,)
    assert len(where.cluster) == 1
    expect_filtered(visited, where)
    expect(page.get_by_role("list", name="Colours")).to_contain_text("outside the filter")
    visited.assert_sound()


def test_a_box_may_begin_on_a_name(visited: Watched) -> None:
    page, stage = visited.page, open_map(visited)
    name = page.locator("button.name:not(.covered)").first.bounding_box()
    box = stage.bounding_box()
    assert name is not None
    assert box is not None
    x = (name["x"] + name["width"] / 2 - box["x"]) / box["width"]
    y = (name["y"] + name["height"] / 2 - box["y"]) / box["height"]
    page.get_by_role("button", name="Drag a box").click()
    drag(visited, stage, [(x, y), (0.05, 0.95)])
    expect(page).to_have_url(re.compile("filter=area%3Amap"))
    visited.settle()
    assert filter_in_url(visited).cluster == ()
    visited.assert_sound()


def test_the_map_is_next_to_the_pictures_or_above_them(visited: Watched) -> None:
    page, stage = visited.page, open_map(visited)
    tile, legend = page.locator(".tile").first, page.get_by_role("list", name="Colours")
    expect(tile).to_be_visible()
    beside, right, below = stage.bounding_box(), tile.bounding_box(), legend.bounding_box()
    assert beside and right and below
    assert beside["width"] > 0.55 * 1376  # of the page without its margins
    assert right["x"] > beside["x"] + beside["width"]
    assert below["y"] + below["height"] <= 900
    page.set_viewport_size({"width": 900, "height": 900})
    page.wait_for_function("(stage) => stage.clientWidth > 850", arg=stage.element_handle())
    narrow, under = stage.bounding_box(), tile.bounding_box()
    assert narrow and under
    assert narrow["x"] + narrow["width"] <= 900
    assert under["y"] > narrow["y"] + narrow["height"]
    visited.assert_sound()


def test_the_map_has_all_pixels_of_the_screen(browser: Browser, server: Served) -> None:
    with watching(browser, server, density=2) as watched:
        stage = open_map(watched)
        canvas = stage.locator("canvas")
        sharp = 2 * int(stage.evaluate("stage => stage.clientWidth"))
        expect(canvas).to_have_js_property("width", sharp)
        drawn = int(stage.get_attribute("data-pictures") or "0")
        stage.focus()
        watched.page.keyboard.press("+")
        expect(stage).to_have_attribute("data-pictures", str(drawn + 2))  # one while moving
        expect(canvas).to_have_js_property("width", sharp)
        watched.assert_sound()


def test_a_click_opens_a_sample_and_the_view_stays(visited: Watched) -> None:
    page, stage = visited.page, open_map(visited)
    stage.focus()
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    box = stage.bounding_box()
    assert box is not None
    # Zoomed by 1.5 around the middle, then moved by 60 pixels to the right.
    width, height = box["width"] - 2, box["height"] - 2
    row_idx = 15 + 30 * 12
    across = (row_idx % 30 / 29 - 0.5) / 1.08 * 1.5 * width + 60
    down = (0.5 - row_idx // 30 / 19) / 1.08 * 1.5 * height
    position = {"x": 1 + width / 2 + across, "y": 1 + height / 2 + down}
    stage.click(position=position)  # type: ignore[arg-type]
    expect(page).to_have_url(re.compile(f"sample={row_idx}\\b"))
    page.get_by_role("button", name="Back to the list").click()
    expect(page).not_to_have_url(re.compile("sample="))
    expect(stage).to_have_attribute("data-pictures", re.compile(r"\d"))
    visited.settle()
    stage.click(position=position)  # type: ignore[arg-type]
    expect(page).to_have_url(re.compile(f"sample={row_idx}\\b"))
    visited.assert_sound()
