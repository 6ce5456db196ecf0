"""A mixture is designed, saved, opened again, exported with its repeats, and verified."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, expect

from scoring.exports.manifest import read_manifest
from scoring.exports.verify import verify_manifest
from scoring.rules import Mixture
from scoring.subsets.definitions import read_subset
from scoring.workspace import open_workspace
from tests.browser.conftest import Watched


def targets(page: Page) -> dict[str, float]:
    """The targets in the URL."""
    return dict(json.loads(parse_qs(urlsplit(page.url).query)["target"][0]))


def cells(page: Page, group: str) -> list[str]:
    """The cells of a group before and after; those of bars are empty."""
    row = page.locator(".st-key-pair-mixture .vn-table tr", has_text=group)
    return [" ".join(cell.split()) for cell in row.locator("td").all_inner_texts()]


def test_targets_are_typed_normalized_saved_and_exported(demo: Watched) -> None:
    # Without manual decisions, of which other tests of this workspace make some.
    page = demo.open("subset", "?rule=threshold&hand=0")
    demo.choose("Select by", "Mixture of groups")
    expect(page).to_have_url(re.compile("rule=mixture(&|$)"))
    expect(page.get_by_text("The targets add up to 100 %.")).to_be_visible()
    for label, value in (("Repeats at most", "6"), ("Samples to keep", "100")):
        if label == "Samples to keep":
            demo.press(page.get_by_role("radio", name="Number", exact=True))
            demo.settle()
        page.get_by_label(label).fill(value)
        page.get_by_label(label).press("Enter")
    demo.press(page.get_by_role("button", name="Equal"))
    expect(page).to_have_url(re.compile("target="))
    demo.settle()
    assert set(targets(page).values()) == {0.25}
    assert cells(page, "charts")[5] == "25.0 %"

    demo.type_into_cell("75", row=0, column=2, n_columns=3)  # the largest source
    expect(page.get_by_text("The targets add up to 150 %")).to_be_visible()
    expect(page.get_by_text("This rule cannot be applied")).to_be_visible()
    demo.press(page.get_by_role("button", name="Normalise to 100 %"))
    expect(page.get_by_text("The targets add up to 100 %.")).to_be_visible()
    demo.settle()
    shares = targets(page)
    largest = max(shares, key=lambda name: shares[name])
    assert shares[largest] == 0.5
    row = cells(page, largest)
    assert [row[3], row[5], row[7]] == ["50.0 %", "50.0 %", "50"]

    demo.save_subset("blend")
    rule = read_subset(open_workspace(demo.server.root), "blend").rule
    assert rule == Mixture(tuple(shares.items()), count=100, max_repeat=6, seed=1)
    link = page.url
    demo.open("subset", "?rule=threshold")
    demo.press(page.locator(".st-key-saved-blend").get_by_role("button", name="Open"))
    expect(page).to_have_url(re.compile("rule=mixture"))
    demo.settle()
    assert parse_qs(urlsplit(page.url).query).items() >= parse_qs(urlsplit(link).query).items()
    demo.assert_sound()


def test_groups_below_their_target_are_named_and_repeats_exported(demo: Watched) -> None:
    target = json.dumps([["misaligned", 0.9], ["vision-critical", 0.1]])
    query = f"?rule=mixture&mix_per=category&amount=count&count=2000&max_repeat=6&target={target}"
    page = demo.open("subset", query)
    note = page.get_by_text(re.compile(r"misaligned gets [\d,]+ of 1,800 samples"))
    expect(note).to_be_visible()
    expect(page.get_by_text("misaligned is repeated up to 6 times")).to_be_visible()
    demo.choose("Targets by", "Answer type")
    expect(page).not_to_have_url(re.compile("target="))
    demo.settle()
    assert cells(page, "yes/no")
    page.go_back()
    expect(note).to_be_visible()
    demo.settle()
    demo.save_subset("upsampled")
    demo.press(page.locator(".st-key-saved-upsampled").get_by_role("button", name="Export"))
    demo.choose("Weights", "as repeated records")
    demo.press(page.get_by_role("button", name="Export now"))
    expect(page.get_by_text(re.compile("^Exported .* of upsampled"))).to_be_visible()
    folder = demo.server.root / "exports" / "upsampled"
    manifest = read_manifest(folder)
    assert manifest.counts["written"]["repeats"]["records"] > 1000
    verify_manifest(folder)
    demo.assert_sound()
