"""The threshold editor: limits typed, stepped, dragged and moved by keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Locator, expect

from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.score_index.thresholds import count_kept
from scoring.database.values import Scope, ThresholdCounts
from scoring.workspace import open_workspace
from tests.browser.conftest import Served, Watched, serving, watching


def counts_above(server: Served, cut: float) -> ThresholdCounts:
    """Return the library's counts for a threshold on the demo's run."""
    store = Store(open_workspace(server.root))
    run_id, baseline = store.snapshot().scopes[-1][0], "none"
    return count_kept(store.selection(Scope(run_id, baseline)), cut, None)


def kept_above(server: Served, cut: float) -> int:
    return counts_above(server, cut).n_kept


def live(watched: Watched) -> Locator:
    """Return the line of counts below the histogram."""
    return watched.page.locator(".live")


def threshold_in_url(watched: Watched) -> float | None:
    values = parse_qs(urlsplit(watched.page.url).query).get("cut")
    return float(values[0]) if values else None


def expect_kept(watched: Watched, cut: float) -> None:
    """Check that the page shows the library's exact counts."""
    n = kept_above(watched.server, cut)
    expect(live(watched)).to_have_attribute("data-exact", "yes")
    expect(live(watched)).to_have_attribute("data-kept", str(n))
    expect(live(watched)).to_contain_text(f"kept {n:,} ")


def test_a_typed_threshold_changes_the_counts(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    field = page.get_by_role("spinbutton", name="Threshold: keep scores from")
    field.fill("0.1")
    field.press("Enter")
    expect(page).to_have_url(re.compile(r"cut=0\.1\b"))
    expect_kept(visited, 0.1)
    field.press("ArrowUp")
    expect(page).to_have_url(re.compile(r"cut=0\.11\b"))
    expect_kept(visited, 0.11)
    visited.assert_sound()


def test_a_top_share_moves_the_threshold(visited: Watched) -> None:
    page = visited.open("overview")
    page.get_by_label("Unit of the threshold").select_option("share")
    field = page.get_by_role("spinbutton", name="Share to keep, %")
    field.fill("20")
    field.press("Enter")
    expect(page).to_have_url(re.compile("cut="))
    cut = threshold_in_url(visited)
    assert cut is not None
    expect_kept(visited, cut)
    expect(live(visited)).to_contain_text(re.compile(r"kept [\d,]+ (19\.\d|20\.0) %"))


def test_a_number_of_samples_or_answer_tokens_moves_the_threshold(visited: Watched) -> None:
    page = visited.open("overview")
    for name, wanted in (("Samples to keep", 40), ("Answer tokens to keep", 700)):
        before = page.url
        unit = "samples" if name.startswith("Samples") else "tokens"
        page.get_by_label("Unit of the threshold").select_option(unit)
        field = page.get_by_role("spinbutton", name=name)
        field.fill(str(wanted))
        field.press("Enter")
        expect(page).not_to_have_url(before)
        cut = threshold_in_url(visited)
        assert cut is not None
        expect_kept(visited, cut)
        counts = counts_above(visited.server, cut)
        reached = counts.n_kept if name.startswith("Samples") else counts.tokens_kept or 0
        assert 0 <= wanted - reached < 0.1 * wanted
        expect(field).to_have_value(str(reached))
    visited.assert_sound()


def test_a_field_is_stepped_and_an_unfinished_value_is_discarded(visited: Watched) -> None:
    page = visited.open("overview")
    field = page.get_by_role("spinbutton", name="Threshold: keep scores from")
    box = field.locator("xpath=..")
    for _ in range(3):
        box.get_by_text("+", exact=True).click()
    expect(page).to_have_url(re.compile(r"cut=0\.28\b"))
    expect_kept(visited, 0.28)
    field.fill("0.9")
    field.press("Escape")
    expect(field).to_have_value("0.280")
    field.fill("")
    field.press("Enter")
    expect(field).to_have_value("0.280")
    expect_kept(visited, 0.28)
    page.get_by_label("Unit of the threshold").select_option("share")
    share = page.get_by_role("spinbutton", name="Share to keep, %")
    share.fill("250")
    share.press("Enter")
    expect(share).to_have_value("100.00")
    visited.assert_sound()


def test_the_last_typed_value_is_kept_on_the_next_page(visited: Watched) -> None:
    page = visited.open("overview")
    page.get_by_role("spinbutton", name="Threshold: keep scores from").fill("0.45")
    page.get_by_role("button", name="Create subset from threshold").click()
    expect(page.get_by_role("heading", name="Subset", exact=True)).to_be_visible()
    expect(page).to_have_url(re.compile(r"minimum=0\.45\b"))
    visited.assert_sound()


def test_counts_on_a_logarithmic_scale(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    bars = page.locator("svg.plot path").first
    linear = bars.get_attribute("d")
    page.get_by_label("Log counts").check()
    expect(page).to_have_url(re.compile("log=1"))
    assert bars.get_attribute("d") != linear
    visited.settle()
    page.get_by_label("Log counts").uncheck()
    expect(page).not_to_have_url(re.compile("log="))
    assert bars.get_attribute("d") == linear


def test_invalid_limits_are_explained_and_limits_work_without_the_route(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    page.route("**/visnec/cut**", lambda route: route.abort())
    page.get_by_label("Unit of the threshold").select_option("share")
    share = page.get_by_role("spinbutton", name="Share to keep, %")
    share.fill("10")
    share.press("Enter")
    expect(page.get_by_text("The threshold was not moved")).to_be_visible()
    expect(share).to_have_value("46.39")
    page.get_by_label("Unit of the threshold").select_option("cut")
    cut = page.get_by_role("spinbutton", name="Threshold: keep scores from")
    cut.fill("0.4")
    cut.press("Enter")
    expect_kept(visited, 0.4)  # from the page itself
    expect(page.get_by_text("The threshold was not moved")).to_be_hidden()
    page.unroute("**/visnec/cut**")


def test_a_typed_band_limit_pushes_the_other_and_both_are_saved(
    browser: Browser, demo_workspace: Path, tmp_path: Path
) -> None:
    with (
        serving(demo_workspace, tmp_path / "log.txt") as served,
        watching(browser, served) as own,
    ):
        page = own.open("overview")
        save = page.get_by_role("button", name="Save band limits")
        expect(save).to_be_disabled()
        field = page.get_by_role("spinbutton", name="Misaligned below")
        field.fill("0.5")
        field.press("Enter")
        expect(page).to_have_url(re.compile(r"low=0\.5&high=0\.5"))
        expect_kept(own, 0.5)
        save.click()
        expect(page).not_to_have_url(re.compile("low="))
        expect(save).to_be_disabled()
        bands = open_workspace(demo_workspace).bands
        assert (bands.low, bands.high) == (0.5, 0.5)
        page.get_by_role("spinbutton", name="Threshold: keep scores from").fill("0.7")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"cut=0\.7\b"))
        page.get_by_role("button", name="Reset", exact=True).click()
        expect(page).not_to_have_url(re.compile("cut="))
        expect_kept(own, 0.5)
        own.assert_sound()


def grip_of(watched: Watched, limit: str) -> tuple[float, float]:
    """Return the centre of a limit's handle."""
    box: Any = watched.page.locator(f'[data-limit="{limit}"] .grip').bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(watched: Watched, limit: str, by: int) -> None:
    """Drag a limit sideways in steps and check the count on the way."""
    page = watched.page
    x, y = grip_of(watched, limit)
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(x + by * step / 5, y)
    expect(live(watched)).to_have_attribute("data-exact", "no")
    expect(live(watched)).to_contain_text("≈")
    expect(live(watched)).to_contain_text("within ±0.05 of the limit")
    page.mouse.up()
    expect(live(watched)).to_have_attribute("data-exact", "yes")


def parameters(watched: Watched) -> set[str]:
    return set(parse_qs(urlsplit(watched.page.url).query))


def value_of(watched: Watched, name: str) -> float:
    slider = watched.page.get_by_role("slider", name=name)
    return float(str(slider.get_attribute("aria-valuenow")))


def test_the_threshold_is_dragged(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    drag(visited, "cut", 120)
    expect(page).to_have_url(re.compile("cut="))
    cut = threshold_in_url(visited)
    assert cut is not None
    assert cut > 0.3
    expect_kept(visited, cut)
    expect(page.get_by_role("spinbutton", name="Threshold: keep scores from")).to_have_value(
        f"{cut:.3f}"
    )
    assert parameters(visited) == {"cut"}
    visited.assert_sound()


def test_all_three_limits_can_be_dragged_from_one_position(visited: Watched) -> None:
    page = visited.open("overview", "?low=0.25&high=0.25&cut=0.25")
    expect_kept(visited, 0.25)
    drag(visited, "low", -90)
    expect(page).to_have_url(re.compile("low=-"))
    low = value_of(visited, "lower band limit")
    drag(visited, "high", 60)
    expect(page).not_to_have_url(re.compile(r"high=0\.25\b"))
    high = value_of(visited, "upper band limit")
    assert low < 0.25 < high
    assert threshold_in_url(visited) == 0.25
    drag(visited, "cut", 30)
    expect(page).not_to_have_url(re.compile(r"cut=0\.25\b"))
    assert value_of(visited, "lower band limit") == low
    assert value_of(visited, "upper band limit") == high
    visited.assert_sound()


def test_an_unset_threshold_follows_the_upper_band_limit(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    drag(visited, "high", 60)
    expect(page).to_have_url(re.compile("high="))
    assert parameters(visited) == {"high"}
    expect_kept(visited, value_of(visited, "upper band limit"))


def test_the_sources_of_both_sides_follow_the_threshold(visited: Watched) -> None:
    page = visited.open("overview", "?cut=0.1")
    kept = page.locator('.vn-mix [aria-label^="kept:"]')
    dropped = page.locator('.vn-mix [aria-label^="dropped:"]')
    for cut in (0.1, 0.5):
        page.get_by_role("spinbutton", name="Threshold: keep scores from").fill(str(cut))
        page.keyboard.press("Enter")
        expect_kept(visited, cut)
        counts = counts_above(visited.server, cut)
        rows = next(row for row in counts.by_source if row["source"] == "scenes")
        expect(kept).to_have_attribute(
            "aria-label", re.compile(f"scenes {100 * rows['kept'] / counts.n_kept:.1f} %")
        )
        expect(dropped).to_have_attribute(
            "aria-label", re.compile(f"scenes {100 * rows['dropped'] / counts.n_dropped:.1f} %")
        )
    assert kept.bounding_box() is not None


def test_a_range_dragged_across_the_histogram_filters_the_page(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    box: Any = page.locator("svg.plot").bounding_box()
    y = box["y"] + 90
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], y, steps=5)
    expect(page.locator(".brushed")).to_be_visible()
    page.mouse.up()
    expect(page).to_have_url(re.compile("filter=visnec%3A"))
    visited.settle()
    which = parse_filter(parse_qs(urlsplit(page.url).query)["filter"][0])
    assert which.visnec is not None
    assert which == Filter(visnec=which.visnec)
    store = Store(open_workspace(visited.server.root))
    n = len(matching_rows(store.selection(Scope(store.snapshot().scopes[-1][0], "none"), which)))
    assert 0 < n < 554
    expect(page.get_by_role("button", name=f"Show {n:,} samples")).to_be_visible()
    expect(page.locator(".brushed")).to_be_hidden()

    # A click is not a range.
    page.mouse.click(box["x"] + 0.4 * box["width"], y)
    page.get_by_role("button", name="Clear all").click()
    expect(page).not_to_have_url(re.compile("filter="))
    expect_kept(visited, 0.25)
    visited.assert_sound()


def test_a_band_limit_is_dragged_and_moved_by_keys(visited: Watched) -> None:
    page = visited.open("overview")
    expect_kept(visited, 0.25)
    drag(visited, "low", -80)
    expect(page).to_have_url(re.compile("low=-"))
    high = page.get_by_role("slider", name="upper band limit")
    high.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect(high).to_have_attribute("aria-valuenow", "0.36")
    expect(page).to_have_url(re.compile(r"high=0\.36\b"))
    expect(live(visited)).to_have_attribute("data-exact", "yes")
    expect(page.get_by_role("spinbutton", name="Vision-critical from")).to_have_value("0.360")
    visited.assert_sound()
