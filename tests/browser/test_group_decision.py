"""One decision on a sample and its near-duplicates in Review; the log shows what is saved."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import Browser, expect

from scoring.database.connection import Store
from scoring.duplicates.find import find_duplicates
from scoring.duplicates.members import read_groups
from scoring.workspace import open_workspace
from tests.browser.conftest import serving, watching
from tests.browser.test_review import all_saved, begin, on_disk, row_on_show


def test_a_group_is_decided_offline_saved_later_and_undone_as_a_whole(
    browser: Browser, demo_built: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(demo_built, tmp_path / "workspace")
    workspace = open_workspace(root)
    find_duplicates(workspace, ["questions", "images"])
    expect.set_options(timeout=90_000)
    with serving(root, tmp_path / "log") as server, watching(browser, server) as demo:
        deck = begin(demo, "Ada", "?queue=row_idx&filter=col:image_group>=0")
        row = row_on_show(deck)
        groups = read_groups(Store(workspace), [row])[row]
        group = next(each for each in groups if each.kind == "images")
        bar = deck.get_by_role("region", name="Near-duplicates")
        expect(bar).to_contain_text(f"{group.n_samples - 1} near-duplicate")
        expect(bar.locator("li img").first).to_be_visible()

        demo.page.evaluate("WebSocket.prototype.send = () => {}")  # the page can no longer send
        demo.page.keyboard.press("Shift+D")
        expect(deck).to_have_attribute("data-waiting", "1")
        expect(deck).not_to_have_attribute("data-row", str(row))
        assert row_on_show(deck) not in group.rows
        assert on_disk(demo, "Ada")[0] == {}
        demo.page.reload()
        deck = demo.page.locator(".vn:has(.buttons)")
        all_saved(deck)
        assert on_disk(demo, "Ada")[0] == dict.fromkeys(group.rows, "drop")

        demo.page.keyboard.press("z")
        expect(deck).to_have_attribute("data-row", str(row))
        all_saved(deck)
        holds, events = on_disk(demo, "Ada")
        assert holds == {}
        assert len(events) == 2 * group.n_samples
        demo.assert_sound()
