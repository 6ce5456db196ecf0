"""From a rule to files: a subset is saved, exported and verified in the browser."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from scoring.provenance import verify_manifest
from tests.browser.conftest import Watched


def test_a_subset_is_saved_exported_and_verified(demo: Watched) -> None:
    page = demo.open("subset", "?rule=top-share&share=0.25")
    page.get_by_label("Save as").fill("quarter")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as quarter")).to_be_visible()
    saved = page.locator(".st-key-saved-quarter")
    saved.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Export now").click()
    expect(page.get_by_text("Exported", exact=False).first).to_be_visible()
    folder = demo.server.root / "exports" / "quarter"
    report = verify_manifest(folder / "manifest.json")
    records = json.loads((folder / "samples.json").read_text("utf-8"))
    assert len(records) == report.n_samples > 0
    export = page.locator(".st-key-export-of-quarter")
    export.get_by_role("button", name="Verify").click()
    expect(export.get_by_text("every byte the same")).to_be_visible()
    export.get_by_role("button", name="Files").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="samples.json").click()
    assert download.value.path().read_bytes() == (folder / "samples.json").read_bytes()
    demo.assert_sound()
