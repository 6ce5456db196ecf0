"""The score of an edited text on the sample's card, in Review and in Explore."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from scoring.engine.pipeline import score_dataset
from scoring.reviews.edits import SetText
from tests.browser.conftest import serving, watching
from tests.edited_workspace import LOSSES, edit, make_edit_workspace, score_edited
from tests.fakes import FakeModel


@pytest.mark.long
def test_the_card_shows_the_score_of_the_edited_text(browser: Browser, tmp_path: Path) -> None:
    workspace = make_edit_workspace(tmp_path)
    score_dataset(workspace, FakeModel(LOSSES), run_id="whole")
    edit(workspace, 0, SetText(1, "right"))
    score_edited(workspace, run_id="fixed")
    expect.set_options(timeout=90_000)
    with (
        serving(workspace.root, tmp_path / "log.txt") as served,
        watching(browser, served) as watched,
    ):
        page = watched.page
        for address in ("explore?sample=0", "review?reviewer=Ada&queue=row_idx"):
            page.goto(f"{served.address}/{address}")
            edited = page.get_by_role("region", name="Edit").first
            expect(edited).to_contain_text("Score of the edited text: +2.000 (run fixed).")
