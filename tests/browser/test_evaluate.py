"""Evaluate in the browser: from a model to the samples behind a cell of the 2x2."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import Watched


def test_from_the_figures_to_the_samples_behind_a_cell(demo: Watched) -> None:
    page = demo.open("evaluate", "?cut=0.5")
    expect(page.get_by_text("Blind against seen")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_role("tab", name="By score band").click()
    expect(page.get_by_role("cell", name="and more")).to_be_visible()
    cell = page.locator("tr", has_text="blind wrong").last.locator("a").first
    n = cell.inner_text()
    cell.click()
    expect(page.locator("h1").first).to_have_text("Explore")
    expect(page.get_by_text(re.compile(rf"^{n} samples?\b")).first).to_be_visible()
    assert "seen%3Aright" in page.url
    demo.settle()
    demo.assert_sound()
