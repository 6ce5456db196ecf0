"""Trials: planned from a saved subset, trained, stopped and resumed on the page, and read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scoring.bundled import bundled_folder
from scoring.trials.plan import list_trials, read_plan
from scoring.trials.results import read_results
from scoring.workspace import open_workspace
from tests.browser.conftest import Served, Watched, serving, watching

HELD_OUT = Path(__file__).parents[2] / "data" / "held-out"


@pytest.fixture
def trialled(
    browser: Browser, demo_built: Path, tmp_path: Path
) -> Iterator[tuple[Served, Watched]]:
    """Serve a copy of the demo without trials."""
    pytest.importorskip("accelerate")
    root = tmp_path / "demo"
    shutil.copytree(demo_built, root, ignore=shutil.ignore_patterns("trials"))
    expect.set_options(timeout=90_000)
    with (
        serving(root, tmp_path / "log.txt") as served,
        watching(browser, served) as watched,
    ):
        yield served, watched


def test_a_subset_is_tried_stopped_and_resumed(trialled: tuple[Served, Watched]) -> None:
    served, watched = trialled
    workspace = open_workspace(served.root)
    page = watched.open("subset", "?rule=band&minimum=0.25&share=0.1")
    watched.save_subset("tried")

    watched.press(page.locator(".st-key-saved-tried").get_by_role("button", name="Try"))
    page.get_by_role("textbox", name="Model").fill(str(bundled_folder("tiny-vlm")))
    page.get_by_role("spinbutton", name="Seeds").fill("3")
    watched.press(page.get_by_role("button", name="Plan this trial"))
    expect(page.get_by_text("at least one evaluation set")).to_be_visible()
    assert list_trials(workspace) == []
    page.get_by_role("textbox", name="Evaluation sets").fill(str(HELD_OUT / "text.json"))
    watched.press(page.get_by_role("button", name="Plan this trial"))
    expect(page).to_have_url(re.compile(r"/trials\?.*trial=tried"))
    expect(page.get_by_text("0 of 9 trainings done")).to_be_visible()
    expect(page.get_by_text("No results yet")).to_be_visible()

    watched.press(page.get_by_role("button", name="Start"))
    expect(page.get_by_text(re.compile("[1-8] of 9 trainings done"))).to_be_visible()
    watched.press(page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True))
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    plan = read_plan(workspace, "tried")
    before = {(result.arm, result.seed): result for result in read_results(workspace, plan)}
    assert 1 <= len(before) < 9

    watched.press(page.get_by_role("button", name="Resume"))
    conclusion = re.compile(r"(better|worse|not significant|as good as all|no conclusion)")
    expect(page.get_by_role("button", name="Resume")).to_have_count(0)
    expect(  # after up to eight trainings
        page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True)
    ).to_have_count(0, timeout=600_000)
    expect(page.locator(".vn-table").first.get_by_text(conclusion)).to_have_count(2)
    results = {(result.arm, result.seed): result for result in read_results(workspace, plan)}
    assert sorted(results) == sorted(plan.units)
    assert {unit: results[unit] for unit in before} == before
    watched.assert_sound()
