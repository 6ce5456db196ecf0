"""From a rule to files: a subset is saved, exported and verified in the browser."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from scoring.exports.verify import verify_manifest
from tests.browser.conftest import Watched


def test_a_subset_is_saved_exported_and_verified(demo: Watched) -> None:
    page = demo.open("subset", "?rule=top-share&share=0.25")
    demo.save_subset("quarter")
    saved = page.locator(".st-key-saved-quarter")
    demo.press(saved.get_by_role("button", name="Export"))
    demo.press(page.get_by_role("button", name="Export now"))
    expect(page.get_by_text(re.compile(r"^Exported \d+ samples of quarter"))).to_be_visible()
    expect(page.get_by_text("Folder on this machine")).to_have_count(0)  # the options are closed
    folder = demo.server.root / "exports" / "quarter"
    report = verify_manifest(folder / "manifest.json")
    records = json.loads((folder / "samples.json").read_text("utf-8"))
    assert len(records) == report.n_samples > 0
    export = page.locator(".st-key-export-of-quarter")
    demo.press(export.get_by_role("button", name="Verify"))
    expect(export.get_by_text("all bytes identical")).to_be_visible()
    demo.press(export.get_by_role("button", name="Files"))
    with page.expect_download() as download:
        demo.press(page.get_by_role("button", name="samples.json"))
    assert download.value.path().read_bytes() == (folder / "samples.json").read_bytes()
    demo.assert_sound()


def _size(page: Page) -> str:
    figure = page.locator(".vn-figure", has_text="Samples in the subset").locator(".vn-value")
    return figure.inner_text()


def test_a_random_draw_from_a_band_is_set_up(demo: Watched) -> None:
    page = demo.open("subset", "?rule=threshold&minimum=0.25")
    demo.choose("Select by", "Random draw from a band")
    expect(page).to_have_url(re.compile("rule=band"))
    expect(page.get_by_text("Evidence: 15 % drawn from 0.25")).to_be_visible()
    demo.press(page.get_by_role("radio", name="Number", exact=True))
    expect(page).to_have_url(re.compile("amount=count"))
    page.get_by_label("Samples to keep").fill("7")
    page.get_by_label("Samples to keep").press("Enter")
    expect(page).to_have_url(re.compile("count=7"))
    demo.settle()
    expect(page.get_by_role("heading", name="By answer type")).to_be_visible()


def test_a_rule_is_chosen_changed_saved_and_compared(demo: Watched) -> None:
    page = demo.open("subset")
    demo.choose("Select by", "Highest scores per group")
    expect(page).to_have_url(re.compile("rule=budget$"))
    demo.press(page.get_by_role("radio", name="Per source", exact=True))
    expect(page).to_have_url(re.compile("rule=per-source"))
    demo.settle()
    before = _size(page)
    page.get_by_label("Share, %").fill("40")
    page.get_by_label("Share, %").press("Enter")
    expect(page).to_have_url(re.compile("share=0.4"))
    demo.settle()
    assert int(_size(page).replace(",", "")) > int(before.replace(",", ""))
    demo.save_subset("by-source")

    demo.open("subset", "?rule=per-source&share=0.2&panel=compare&subset_b=by-source")
    overlap = page.locator(".vn-figure", has_text="Overlap").locator(".vn-value").first
    assert 45 < float(overlap.inner_text().rstrip(" %")) < 55  # about half
    only_there = page.get_by_role("radio", name="Only in B")
    only_there.click()
    demo.settle()
    demo.assert_sound()


def test_limits_of_one_source_are_typed_into_the_table(demo: Watched) -> None:
    page = demo.open("subset", "?rule=budget&count=60")
    page.get_by_text("Limits by source").click()
    expect(page.get_by_text("Empty cells use the common limits above.")).to_be_visible()
    demo.settle()
    demo.type_into_cell("4", row=1, column=3, n_columns=4)
    expect(page.get_by_text("Limits by source: 1 source")).to_be_visible()
    demo.settle()
    demo.type_into_cell("1", row=2, column=2, n_columns=4)
    expect(page.get_by_text("Limits by source: 2 sources")).to_be_visible()
    expect(page).to_have_url(re.compile(r"source_limits=.+%5D%2C%5B"))
    limits = json.loads(parse_qs(urlsplit(page.url).query)["source_limits"][0])
    assert sorted(map(repr, (one[1:] for one in limits))) == ["[1, None]", "[None, 4]"]
    page.reload()
    demo.settle()
    expect(page.get_by_text("Limits by source: 2 sources")).to_be_visible()
    demo.assert_sound()
