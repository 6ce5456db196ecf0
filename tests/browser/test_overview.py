"""The Overview: its filters and its links."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import expect

from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.values import Scope
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched
from tests.browser.test_threshold_editor import expect_kept


def test_a_link_shows_a_colleague_the_same_view(visited: Watched) -> None:
    page = visited.open("overview", "?cut=0.4&low=-0.1&high=0.5")
    expect_kept(visited, 0.4)
    expect(page.get_by_role("spinbutton", name="Misaligned below")).to_have_value("-0.100")
    page.get_by_role("link", name="Explore").click()
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    visited.settle()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    expect_kept(visited, 0.4)
    page.reload()
    expect_kept(visited, 0.4)


def test_a_source_filters_the_page_and_opens_its_samples(visited: Watched) -> None:
    page = visited.open("overview")
    table = page.get_by_role("region", name="Scores by source")
    table.get_by_role("button", name="median VisNec").click()
    expect(table.locator("th", has_text="median VisNec")).to_have_attribute(
        "aria-sort", "descending"
    )
    n_rows = table.locator("tbody tr").count()
    source = table.locator("button.open").first
    name = source.inner_text()
    source.click()
    expect(page).to_have_url(re.compile(f"filter=source%3A{name}"))
    expect(table.locator("tr.chosen")).to_have_count(1)
    expect(table.locator("tbody tr")).to_have_count(n_rows)
    page.get_by_role("button", name=re.compile(r"Show [\d,]+ samples")).click()
    expect(page.get_by_role("heading", name="Explore")).to_be_visible()
    visited.settle()
    expect(page.locator(".tile .source").first).to_have_text(name)
    assert set(page.locator(".tile .source").all_inner_texts()) == {name}
    visited.assert_sound()


def test_turns_are_listed_and_open_their_samples(visited: Watched) -> None:
    page = visited.open("overview", "?group=turn")
    table = page.get_by_role("region", name="Scores by turn")
    rows = table.locator("tbody tr")
    expect(rows.first.locator("button.open")).to_have_text("answer 1")
    n_turns = rows.count()
    assert n_turns >= 2
    expect(table.locator("td.histogram svg")).to_have_count(n_turns)
    table.locator("thead").get_by_role("button", name="turn").click()
    expect(table.locator("th.name").first).to_have_attribute("aria-sort", "ascending")
    table.get_by_role("button", name="answer 2").click()
    expect(page).to_have_url(re.compile(r"filter=turns%3A2"))
    expect(table.locator("tr.chosen")).to_have_count(1)
    expect(rows).to_have_count(n_turns)
    store = Store(open_workspace(visited.server.root))
    scope = Scope(store.snapshot().scopes[-1][0], "none")
    n = len(matching_rows(store.selection(scope, parse_filter("turns:2.."))))
    expect(page.get_by_role("button", name=f"Show {n:,} samples")).to_be_visible()
    visited.assert_sound()


def test_a_box_in_the_loss_plane_filters_the_page(visited: Watched) -> None:
    page = visited.open("overview")
    plane = page.locator(".js-plotly-plot .nsewdrag").first
    plane.scroll_into_view_if_needed()
    visited.settle()
    place = plane.bounding_box()
    assert place is not None
    left, top, bottom = place["x"] + 4, place["y"] + 0.1 * place["height"], place["height"] * 0.8
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 0.4 * place["width"], top + bottom, steps=8)
    page.mouse.up()
    expect(page).to_have_url(re.compile("loss_text%3A.*loss_multimodal%3A"))
    visited.settle()
    workspace = open_workspace(visited.server.root)
    store = Store(workspace)
    run_id, baseline = store.snapshot().scopes[-1][0], "none"
    which = parse_filter(parse_qs(urlsplit(page.url).query)["filter"][0])
    n = len(matching_rows(store.selection(Scope(run_id, baseline), which)))
    expect(page.get_by_role("button", name=f"Show {n:,} sample")).to_be_visible()
    page.get_by_role("button", name="Clear all").click()
    expect(page).not_to_have_url(re.compile("filter="))
    visited.assert_sound()


def test_a_range_of_the_comparison_filters_it(visited: Watched) -> None:
    page = visited.open("compare")
    density = page.locator(".js-plotly-plot .nsewdrag").first
    density.scroll_into_view_if_needed()
    visited.settle()
    place: Any = density.bounding_box()
    y = place["y"] + 0.5 * place["height"]
    page.mouse.move(place["x"] + 0.4 * place["width"], y)
    page.mouse.down()
    page.mouse.move(place["x"] + 0.8 * place["width"], y + 5, steps=8)
    page.mouse.up()
    expect(page).to_have_url(re.compile("filter=visnec%3A"))
    visited.settle()
    which = parse_filter(parse_qs(urlsplit(page.url).query)["filter"][0])
    assert which == Filter(visnec=which.visnec)
    store = Store(open_workspace(visited.server.root))
    n = len(matching_rows(store.selection(Scope(store.snapshot().scopes[-1][0], "none"), which)))
    assert 0 < n < 554
    both = page.locator(".vn-figure", has_text="Scored in both")
    expect(both.locator(".vn-value")).to_have_text(f"{n:,}")
    visited.assert_sound()


def test_the_demonstration_model_is_named(visited: Watched) -> None:
    page = visited.open("overview")
    notice = page.locator(".notice", has_text="demonstration model")
    notice.locator("summary").click()
    expect(notice.locator("pre")).to_contain_text("visnec score")
