"""A page opened before anything was scored shows new results without a reload."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import data
from tests.browser.conftest import serving, watching

MODEL = Path(data.__file__).with_name("tiny-vlm")


def visnec(*arguments: object) -> None:
    code = "from scoring.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def figure(page: Page, name: str) -> Locator:
    """Return the number of a figure on the Overview, once it is redrawn."""
    named = page.locator(".vn-name").get_by_text(name, exact=True)
    return page.locator("[data-stale='false'] .vn-figure").filter(has=named).locator(".vn-value")


@pytest.fixture
def unscored(demo_built: Path, tmp_path: Path) -> Path:
    """Return the demo's dataset without scores."""
    root = tmp_path / "unscored"
    shutil.copytree(demo_built, root, ignore=shutil.ignore_patterns("runs", "visnec.duckdb"))
    return root


def test_results_of_a_running_scorer_load_automatically(
    browser: Browser, unscored: Path, tmp_path: Path
) -> None:
    expect.set_options(timeout=90_000)
    with serving(unscored, tmp_path / "log.txt") as server, watching(browser, server) as watched:
        page = watched.open("overview")
        expect(page.get_by_text("No scores yet")).to_be_visible()
        page.evaluate("window.notReloaded = true")
        visnec("score", "-w", unscored, "--model", MODEL, "--run", "tiny", "--limit", 100)
        expect(figure(page, "Scored")).to_have_text(re.compile("^[1-9]"))
        few = int(figure(page, "Scored").inner_text())
        assert few <= 100
        assert figure(page, "Pending").inner_text() != "0"
        visnec("score", "-w", unscored, "--model", MODEL, "--run", "tiny")
        expect(figure(page, "Pending")).to_have_text("0")
        assert int(figure(page, "Scored").inner_text()) > few
        expect(figure(page, "Samples")).to_have_text("600")
        assert page.evaluate("window.notReloaded") is True
        watched.assert_sound()
