"""Typical ways through Overview, Explore and Subset."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from scoring.database.connection import Store
from scoring.database.queries.overview import fetch_scopes
from scoring.database.score_index.thresholds import count_kept
from scoring.database.values import Scope
from scoring.exports.verify import verify_manifest
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched


def kept_by_store(demo: Watched, cut: float) -> int:
    """Count the samples that a threshold keeps, in the database."""
    store = Store(open_workspace(demo.server.root))
    scope = Scope(str(fetch_scopes(store).iloc[-1]["run_id"]), "none")
    return int(count_kept(store.selection(scope), cut, None).n_kept)


def is_exact(live: Locator) -> int:
    """Return the count next to the histogram once the server has confirmed it."""
    expect(live.page.locator('[data-testid="stStatusWidget"]')).to_have_count(0)
    expect(live).to_have_attribute("data-exact", "yes")
    return int(live.get_attribute("data-kept") or "-1")


def test_a_typed_threshold_changes_the_exact_count(demo: Watched) -> None:
    page = demo.open("overview")
    live = page.locator(".live")
    before = is_exact(live)
    field = page.get_by_label("Threshold: keep scores from")
    field.fill("0.75")
    field.press("Enter")
    expect(page.locator('[data-limit="cut"]')).to_have_attribute("aria-valuenow", "0.75")
    expect(live).not_to_have_attribute("data-kept", str(before))
    assert is_exact(live) == kept_by_store(demo, 0.75)
    demo.assert_sound()


def test_a_limit_dragged_with_the_mouse_is_counted_on_release(demo: Watched) -> None:
    page = demo.open("overview")
    live = page.locator(".live")
    before = is_exact(live)
    grip = page.locator('[data-limit="cut"] .grip')
    grip.scroll_into_view_if_needed()
    box = grip.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=5)
    expect(live).to_have_attribute("data-exact", "no")
    page.mouse.move(x + 90, y, steps=5)
    page.mouse.up()
    after = is_exact(live)
    assert after < before
    cut = float(page.locator('[data-limit="cut"]').get_attribute("aria-valuenow") or "nan")
    assert after == kept_by_store(demo, cut)
    demo.assert_sound()


def test_explore_filters_and_opens_a_sample_with_its_image_and_predictions(demo: Watched) -> None:
    page = demo.open("explore")
    tiles = page.locator("button.tile")
    expect(tiles.first).to_be_visible()
    demo.press(page.get_by_role("button", name="Filter"))
    field = page.get_by_label("Text", exact=True)
    field.fill("colour")
    field.press("Enter")
    expect(page).to_have_url(re.compile("filter="))
    demo.settle()
    page.keyboard.press("Escape")
    tile = tiles.filter(has_text="colour").first
    row = tile.get_attribute("data-row")
    tile.click()
    card = page.locator(f'article.card[data-row="{row}"]')
    expect(card).to_be_visible()
    picture = card.locator("img.picture").first
    expect(picture).to_be_visible()
    page.wait_for_function(
        "picture => picture.complete && picture.naturalWidth > 0", arg=picture.element_handle()
    )
    for kind in ("reference", "blind", "seeing"):
        expect(card.locator(f".answer.{kind} p")).not_to_be_empty()
    expect(card.locator(".answer.blind p")).not_to_contain_text("no prediction")
    demo.assert_sound()


def test_a_subset_is_saved_exported_and_rebuilt_byte_for_byte(demo: Watched) -> None:
    page = demo.open("subset", "?rule=top-share&share=0.4&hand=0")
    demo.save_subset("browser-choice")
    saved = page.locator(".st-key-saved-browser-choice")
    demo.press(saved.get_by_role("button", name="Export"))
    demo.press(page.get_by_role("button", name="Export now"))
    expect(page.get_by_text("Exported 221 samples of browser-choice")).to_be_visible()
    workspace = open_workspace(demo.server.root)
    report = verify_manifest(workspace.exports_dir / "browser-choice", workspace)
    assert report.n_samples == 221  # of 554 scored, 40 % are 221.6
    demo.assert_sound()
