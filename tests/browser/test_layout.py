"""What the pages show at 1440 x 900 without scrolling, and that nothing is cut off below that."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Served, Watched, watching

HEIGHT = 900


@pytest.fixture
def laptop(browser: Browser, demo_server: Served) -> Iterator[Watched]:
    """Open a new browser profile on the demo in a window of 1440 x 900."""
    expect.set_options(timeout=90_000)
    with watching(browser, demo_server) as watched:
        watched.page.set_viewport_size({"width": 1440, "height": HEIGHT})
        yield watched


def assert_visible_whole(*parts: Locator) -> None:
    """Check that these are in the window, none of them cut off at its lower end."""
    for part in parts:
        expect(part).to_be_visible()
        box = part.bounding_box()
        assert box is not None
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= HEIGHT, part


def each_scheme(page: Page) -> Iterator[None]:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        yield


def test_explore_shows_three_rows_of_pictures(laptop: Watched) -> None:
    page = laptop.open("explore", "?filter=status:scored")
    tiles = page.locator(".tile")
    for _ in each_scheme(page):
        laptop.settle()
        expect(tiles.nth(20)).to_be_visible()
        tops = {round(tile.bounding_box()["y"]) for tile in tiles.all()[:21]}  # type: ignore[index]
        assert len(tops) == 3
        assert_visible_whole(tiles.nth(0), tiles.nth(20))


def test_the_overview_shows_histogram_limits_counts_and_groups(laptop: Watched) -> None:
    page = laptop.open("overview")
    table = page.get_by_role("region", name="Scores by source")
    grips = [page.locator(f'[data-limit="{limit}"] .grip') for limit in ("low", "high", "cut")]
    main = [
        page.get_by_role("button", name=name)
        for name in ("Create subset from threshold", "Review near threshold")
    ]
    shares = page.get_by_role("group", name="Kept share").get_by_role("img")
    for _ in each_scheme(page):
        laptop.settle()
        rows = table.locator("tbody tr")
        assert_visible_whole(page.locator("svg.plot"), *grips, page.locator(".live"), *main)
        assert_visible_whole(shares.last, rows.nth(0), rows.nth(1))
    label = str(shares.first.get_attribute("aria-label"))
    assert re.fullmatch(r"\w+: \d+\.\d % of [\d,]+ kept", label)
    laptop.assert_sound()


def test_a_dismissed_notice_stays_away(laptop: Watched) -> None:
    page = laptop.open("runs")
    notice = page.locator(".notice", has_text="demonstration model")
    notice.get_by_role("button", name="Dismiss notice").click()
    expect(notice).to_be_hidden()
    laptop.open("explore")
    expect(page.locator(".tile").first).to_be_visible()
    expect(notice).to_be_hidden()
    page.evaluate("localStorage.clear()")
    laptop.open("runs")
    expect(notice).to_be_visible()
    laptop.assert_sound()


def begin_review(laptop: Watched, scheme: str) -> tuple[Page, Locator]:
    page = laptop.page
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.add_init_script("localStorage.setItem('visnec-reviewer', 'Eve')")
    laptop.open("review", "?queue=row_idx&filter=source:scenes+status:scored+turns:1..2&who=all")
    deck = page.locator(".vn:has(.buttons)")
    expect(deck.locator("article.card img.picture")).to_be_visible()
    return page, deck


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_sample_is_reviewed_without_scrolling(laptop: Watched, scheme: str) -> None:
    _, deck = begin_review(laptop, scheme)
    names = ("Keep", "Drop", "Unsure")
    keys = [deck.get_by_role("button", name=name, exact=False).first for name in names]
    card = deck.locator("article.card")
    said = [card.locator(f".answer.{kind}") for kind in ("reference", "blind", "seeing")]
    picture = card.locator("img.picture")
    assert_visible_whole(*keys, *said, card.locator(".score"), card.locator(".turn.human"), picture)
    stage = card.locator(".stage").bounding_box()
    assert stage is not None
    assert stage["height"] >= 0.55 * HEIGHT
    laptop.assert_sound()


def test_focus_shows_the_sample_alone_and_outlasts_a_decision(laptop: Watched) -> None:
    page, deck = begin_review(laptop, "dark")
    page.keyboard.press("f")
    expect(deck).to_have_attribute("popover", "manual")
    assert deck.bounding_box() == {"x": 0, "y": 0, "width": 1440, "height": HEIGHT}
    row = deck.get_attribute("data-row")
    page.keyboard.press("ArrowRight")
    expect(deck).not_to_have_attribute("data-row", str(row))
    picture = deck.locator("article.card img.picture")
    text = deck.locator("article.card .main")
    keep = deck.get_by_role("button", name="Keep")
    assert_visible_whole(picture, text.locator(".answer.seeing"), keep)
    left, right, below = picture.bounding_box(), text.bounding_box(), keep.bounding_box()
    assert left and right and below
    assert left["x"] + left["width"] < right["x"]
    assert left["y"] + left["height"] < below["y"]
    page.keyboard.press("Escape")
    expect(deck).not_to_have_attribute("popover", "manual")
    page.keyboard.press("f")
    page.keyboard.press("f")
    expect(deck).not_to_have_attribute("popover", "manual")
    laptop.assert_sound()


def test_the_keys_stay_below_the_header_when_one_scrolls(laptop: Watched) -> None:
    page, deck = begin_review(laptop, "light")
    page.set_viewport_size({"width": 900, "height": HEIGHT})
    page.mouse.move(700, 700)
    page.mouse.wheel(0, 500)
    expect(page.locator("h1")).not_to_be_in_viewport()
    header = page.get_by_test_id("stHeader").bounding_box()
    keep = deck.get_by_role("button", name="Keep").first.bounding_box()
    assert header and keep
    assert keep["y"] >= header["y"] + header["height"]


def test_the_edit_form_leaves_the_picture_in_sight(laptop: Watched) -> None:
    page, deck = begin_review(laptop, "light")
    deck.get_by_role("button", name="Edit the record").click()
    expect(page.get_by_role("dialog").get_by_role("button", name="Save edit")).to_be_visible()
    stage = deck.locator(".stage").bounding_box()
    form = page.get_by_role("dialog").bounding_box()
    assert stage and form
    assert stage["x"] + stage["width"] <= form["x"]
