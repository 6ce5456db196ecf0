"""A workspace that two dashboards serve at once, and a read-only one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from scoring.database.build.build import build_database
from scoring.reviews.decisions import read_events
from scoring.workspace import open_workspace
from tests.browser.conftest import PAGES, Watched, serving, watching
from tests.browser.test_review import all_saved, begin, row_on_show
from tests.security.test_faults import POWERLESS
from tests.synthetic import make_workspace, typed_row

ROWS = [typed_row(0.125 * (i % 9) - 0.25, i) for i in range(12)]


def assert_all_pages(watched: Watched) -> None:
    for name in PAGES:
        watched.open(name)
        expect(watched.page.locator("h1").first).to_have_text(name.capitalize())
        watched.assert_sound()


def decide(watched: Watched, reviewer: str, keys: str) -> Any:
    """Open Review and decide about the first samples of the file."""
    deck = begin(watched, reviewer)
    for key in keys:
        row = row_on_show(deck)
        watched.page.keyboard.press(key)
        expect(deck).not_to_have_attribute("data-row", str(row))
    return deck


def decisions(root: Path) -> list[tuple[str, int, str]]:
    events = read_events(open_workspace(root))
    return sorted((event.reviewer, event.row_idx, str(event.decision)) for event in events)


def test_two_dashboards_save_and_show_all_decisions(browser: Browser, tmp_path: Path) -> None:
    expect.set_options(timeout=90_000)
    workspace = make_workspace(tmp_path / "ä ?" / "ws", rows=ROWS)
    build_database(workspace)
    with ExitStack() as both:
        one, two = (
            both.enter_context(
                watching(
                    browser,
                    both.enter_context(serving(workspace.root, tmp_path / f"{name}.txt")),
                )
            )
            for name in ("one", "two")
        )
        for watched in (one, two):
            assert_all_pages(watched)
        all_saved(decide(one, "Ann", "kd"))
        all_saved(decide(two, "Ben", "dd"))
        build_database(workspace)  # while both have it open
        one.page.keyboard.press("u")
        all_saved(one.page.locator(".vn:has(.buttons)"))
        expected = [("Ann", 0, "keep"), ("Ann", 1, "drop"), ("Ann", 2, "unsure")]
        assert decisions(workspace.root) == [*expected, ("Ben", 0, "drop"), ("Ben", 1, "drop")]
        for watched in (one, two):
            page = watched.open("review", "?queue=row_idx")
            for name, decided in (("Ann", "3"), ("Ben", "2")):
                row = page.locator("tr", has=page.get_by_text(name, exact=True)).first
                expect(row.locator("td").nth(1)).to_have_text(decided)
            watched.assert_sound()
    for name in ("one", "two"):
        assert "Traceback" not in (tmp_path / f"{name}.txt").read_text("utf-8", "replace")


@contextmanager
def not_to_be_written(root: Path) -> Iterator[None]:
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_read_only_workspace_is_shown_and_a_decision_waits(
    browser: Browser, tmp_path: Path
) -> None:
    expect.set_options(timeout=90_000)
    root = make_workspace(tmp_path / "ws", rows=ROWS).root
    build_database(open_workspace(root))
    (root / "reviews").mkdir(exist_ok=True)
    powerless = [str(shutil.which("setpriv")), *POWERLESS] if os.geteuid() == 0 else []
    with ExitStack() as served:
        with not_to_be_written(root):
            server = served.enter_context(serving(root, tmp_path / "log.txt", before=powerless))
            watched = served.enter_context(watching(browser, server))
            assert_all_pages(watched)
            deck = decide(watched, "Ann", "k")
            expect(deck.locator(".saved")).to_contain_text("Not saved")
            expect(deck.locator(".saved")).to_contain_text("check the permissions")
            expect(deck).to_have_attribute("data-waiting", "1")
            assert decisions(root) == []
        watched.page.reload()  # the browser has kept it and sends it again
        deck = watched.page.locator(".vn:has(.buttons)")
        all_saved(deck)
        assert decisions(root) == [("Ann", 0, "keep")]
        watched.assert_sound()
    assert "Traceback" not in (tmp_path / "log.txt").read_text("utf-8", "replace")
