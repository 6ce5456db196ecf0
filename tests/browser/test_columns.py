"""Imported columns on the Overview: threshold, plane, groups and queues."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, expect

from scoring.database.connection import Selection, Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.column_values import disagreements
from scoring.database.values import Scope
from scoring.exchange.imported_columns import import_columns
from scoring.workspace import open_workspace
from tests.browser.conftest import Served, Watched, serving, watching

ORIGINS = ("web", "book scans", "coco")


@pytest.fixture(scope="module")
def server(demo_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the demo with a clip value from 0 to 0.99 on 540 of 600 samples, and their origin."""
    folder = tmp_path_factory.mktemp("columns")
    shutil.copytree(demo_built, folder / "demo")
    records: list[dict[str, Any]] = [
        {"row_idx": n, "clip": n % 100 / 100, "origin": ORIGINS[n % 3]} for n in range(600)
    ]
    for record in records[9::10]:
        del record["clip"]
    path = folder / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    import_columns(open_workspace(folder / "demo"), path, replace_existing=True)
    with serving(folder / "demo", folder / "log.txt") as served:
        yield served


@pytest.fixture(scope="module")
def _tab(browser: Browser, server: Served) -> Iterator[Watched]:
    expect.set_options(timeout=90_000)
    with watching(browser, server) as watched:
        yield watched


def select(watched: Watched, where: Filter) -> Selection:
    store = Store(open_workspace(watched.server.root))
    return store.selection(Scope(store.snapshot().scopes[-1][0], "none"), where)


def filter_in_url(watched: Watched) -> Filter:
    return parse_filter(parse_qs(urlsplit(watched.page.url).query)["filter"][0])


def editor(watched: Watched) -> Locator:
    """Return the threshold editor of the column."""
    plot = watched.page.get_by_role("group", name="Histogram of clip with a movable threshold")
    plot.scroll_into_view_if_needed()
    return plot.locator("xpath=ancestor::*[contains(@class, 'vn')][last()]")


def expect_kept(watched: Watched, n: int) -> None:
    live = editor(watched).locator(".live")
    expect(live).to_have_attribute("data-exact", "yes")
    expect(live).to_have_attribute("data-kept", str(n))
    expect(live).to_contain_text(f"kept {n:,} ")


def test_a_typed_threshold_on_a_column_opens_what_it_keeps(visited: Watched) -> None:
    page = visited.open("overview", "?column=clip")
    field = page.get_by_role("spinbutton", name="Threshold: keep values from")
    field.fill("0.75")
    field.press("Enter")
    expect(page).to_have_url(re.compile(r"column=clip&column_cut=0\.75\b"))
    # Of 100 values 25 are kept, without 0.79, 0.89 and 0.99, six times.
    expect_kept(visited, 132)
    assert "cut" not in parse_qs(urlsplit(page.url).query)
    page.get_by_role("button", name="Show kept samples").click()
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    visited.settle()
    assert filter_in_url(visited) == parse_filter("col:clip>=0.75")
    expect(page.get_by_text("132 samples").first).to_be_visible()
    visited.assert_sound()


def test_the_threshold_on_a_column_is_dragged_and_requested(visited: Watched) -> None:
    page = visited.open("overview", "?column=clip&column_cut=0.5")
    expect_kept(visited, 270)
    box: Any = editor(visited).locator('[data-limit="cut"] .grip').bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 90, y, steps=5)
    expect(editor(visited).locator(".live")).to_have_attribute("data-exact", "no")
    page.mouse.up()
    expect(page).not_to_have_url(re.compile(r"column_cut=0\.5\b"))
    cut = float(parse_qs(urlsplit(page.url).query)["column_cut"][0])
    assert cut > 0.55
    expect_kept(visited, len(matching_rows(select(visited, parse_filter(f"col:clip>={cut!r}")))))
    editor(visited).get_by_label("Unit of the threshold").select_option("share")
    share = editor(visited).get_by_role("spinbutton", name="Share to keep, %")
    share.fill("10")
    share.press("Enter")
    expect_kept(visited, 54)
    visited.assert_sound()


def test_a_value_of_a_text_column_filters_the_page(visited: Watched) -> None:
    page = visited.open("overview")
    page.get_by_role("radio", name="Column").or_(
        page.get_by_role("button", name="Column", exact=True)
    ).first.click()
    expect(page).to_have_url(re.compile("group=column"))
    table = page.get_by_role("region", name="Scores by origin")
    expect(table.locator("tbody tr")).to_have_count(3)
    table.get_by_role("button", name="book scans").click()
    expect(page).to_have_url(re.compile("filter=col%3Aorigin%3D%22book"))
    expect(table.locator("tr.chosen")).to_have_count(1)
    expect(table.locator("tbody tr")).to_have_count(3)
    expect(page.get_by_role("button", name="Show 200 samples")).to_be_visible()
    visited.assert_sound()


def test_disagreements_open_in_review(visited: Watched) -> None:
    page = visited.open("overview", "?column=clip")
    page.get_by_role("button", name="High score, low clip").click()
    expect(page.get_by_role("heading", name="Review")).to_be_visible()
    expect(page).to_have_url(re.compile("column=clip&queue=above"))
    page.get_by_label("Your name").fill("Ada")
    page.keyboard.press("Enter")
    deck = page.locator(".vn:has(.buttons)")
    expect(page.get_by_role("combobox", name="Column")).to_be_visible()
    first = disagreements(select(visited, Filter()), "clip", limit=1)["row_idx"][0]
    expect(deck.locator(f'article.card[data-row="{first}"]')).to_be_visible()
    visited.assert_sound()


def test_a_box_of_score_and_value_opens_its_samples(visited: Watched) -> None:
    page = visited.open("overview", "?column=clip")
    expect(page.get_by_role("heading", name="VisNec score against clip")).to_be_visible()
    plane = page.locator(".js-plotly-plot .nsewdrag").nth(1)
    plane.scroll_into_view_if_needed()
    visited.settle()
    place: Any = plane.bounding_box()
    left, top = place["x"] + 0.5 * place["width"], place["y"] + 0.2 * place["height"]
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 0.45 * place["width"], top + 0.5 * place["height"], steps=8)
    page.mouse.up()
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    visited.settle()
    where = filter_in_url(visited)
    assert where.visnec is not None
    assert [(each.name, each.operator) for each in where.col] == [("clip", "<"), ("clip", ">=")]
    n = len(matching_rows(select(visited, where)))
    assert 0 < n < 540
    expect(page.get_by_text(f"{n:,} samples").first).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    visited.settle()
    expect(page.get_by_role("heading", name="VisNec score against clip")).to_be_visible()
    visited.assert_sound()
