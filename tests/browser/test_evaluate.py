"""Evaluate in the browser: from a model to the samples behind a cell of the 2x2."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from scoring.database.build.build import build_database
from scoring.dataset.records import read_columns
from scoring.predictions.files import Sight
from scoring.predictions.imported import import_predictions
from scoring.workspace import Workspace, open_workspace
from tests.browser.conftest import Watched
from tests.evaluation.conftest import write_lines


def test_a_cell_opens_its_samples(demo: Watched) -> None:
    page = demo.open("evaluate", "?cut=0.5")
    expect(page.get_by_role("heading", name="With and without the image")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_role("tab", name="By score band").click()
    expect(page.get_by_role("cell", name="and more")).to_be_visible()
    cell = page.locator("tr", has_text="Wrong without image").last.locator("a").first
    n = cell.inner_text()
    cell.click()
    expect(page.locator("h1").first).to_have_text("Explore")
    expect(page.get_by_text(re.compile(rf"^{n} samples?\b")).first).to_be_visible()
    assert "seen%3Aright" in page.url
    demo.settle()
    demo.assert_sound()


def import_oracle(workspace: Workspace, folder: Path) -> None:
    """Import a model that is always right with the image, every second time without.

    Its text-only model is never right.
    """
    rows: list[tuple[int, str]] = []
    for table in read_columns(workspace, ["row_idx", "answer"]):
        rows += zip(table["row_idx"].to_pylist(), table["answer"].to_pylist(), strict=True)
    for sight, known in ((Sight.SEEN, (0, 1)), (Sight.BLIND, (0,)), (Sight.TEXT_MODEL, ())):
        records = [
            {"row_idx": row, "prediction": answer if row % 2 in known else "no idea"}
            for row, answer in rows
        ]
        path = write_lines(folder / f"{sight}.jsonl", records)
        import_predictions(workspace, path, model="oracle", sight=sight)
    build_database(workspace)


def value(page: Page, name: str) -> Locator:
    return page.locator(".vn-figure", has_text=name).locator(".vn-value").first


def test_every_control_changes_the_figures(demo: Watched, tmp_path: Path) -> None:
    import_oracle(open_workspace(demo.server.root), tmp_path)
    page = demo.open("evaluate")
    part = page.get_by_text(re.compile(r"^The necessary part contains"))
    said, of_run = part.inner_text(), value(page, "Accuracy, all samples").inner_text()

    page.get_by_label("Threshold of the necessary part", exact=True).fill("1.5")
    page.get_by_label("Threshold of the necessary part", exact=True).press("Enter")
    expect(page).to_have_url(re.compile("cut=1.5"))
    expect(part).not_to_have_text(said)

    demo.choose("Model", "oracle")
    expect(page).to_have_url(re.compile("model%3Aoracle"))
    demo.choose("Correct if", re.compile("^strict"))
    expect(page).to_have_url(re.compile("measure"))
    expect(value(page, "Accuracy, all samples")).to_have_text("100.0 %")
    assert of_run != "100.0 %"
    blind = float(value(page, "Without image, all samples").inner_text().rstrip(" %"))
    assert 45 < blind < 55
    leaked = value(page, "Leakage, all samples").inner_text()
    assert leaked == f"{blind:.1f} points"  # its text-only model is never right

    order = page.locator(".vn-table", has_text="Necessary part").last
    expect(order.get_by_role("row", name=re.compile("^oracle 1 100.0 %"))).to_be_visible()
    demo.settle()
    page.get_by_text("Imported predictions: 3 files").click()
    expect(page.get_by_role("cell", name="text-only model")).to_be_visible()

    cell = page.locator("tr", has_text="Wrong without image").first.locator("a").first
    n = cell.inner_text()
    cell.click()
    expect(page.locator("h1").first).to_have_text("Explore")
    expect(page.get_by_text(re.compile(rf"^{n} samples?\b")).first).to_be_visible()
    assert "model%3Aoracle" in page.url
    demo.settle()
    demo.assert_sound()
