"""Scores of edited records on the pages: on cards, on Runs, and where a run is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.data.context import WORKSPACE_VARIABLE, Context, open_view_context
from dashboard.data.samples import read_card
from dashboard.view.state import View
from scoring.engine.pipeline import score_dataset
from scoring.reviews.edits import RemoveImage, SetText
from scoring.workspace import Workspace
from tests.dashboard.conftest import Draw, written
from tests.edited_workspace import LOSSES, edit, make_edit_workspace, score_edited
from tests.fakes import FakeModel


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Four scored samples, of which two are edited."""
    made = make_edit_workspace(tmp_path)
    score_dataset(made, FakeModel(LOSSES), run_id="whole")
    edit(made, 0, SetText(1, "right"))
    edit(made, 1, RemoveImage(0))
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(made.root))
    return made


def open_context(view: View | None = None) -> Context:
    context = open_view_context(view or View()).context
    assert context is not None
    return context


def score_on_card(row_idx: int) -> str | None:
    card = read_card(open_context(), row_idx)
    score: str | None = (card["edit"] or {}).get("score")
    return score


def test_a_card_shows_the_score_of_the_edited_text(workspace: Workspace) -> None:
    open_question = "The edited text is not scored. Score it with visnec score --edited."
    assert score_on_card(0) == open_question
    score_edited(workspace, run_id="fixed")
    assert score_on_card(0) == "Score of the edited text: +2.000 (run fixed)."
    assert score_on_card(1) == "The edited text has no score: text only (run fixed)."
    assert score_on_card(2) is None
    assert read_card(open_context(), 0)["visnec"] == -1.0
    edit(workspace, 0, SetText(1, "later"))
    assert score_on_card(0) == open_question


def test_a_score_of_another_model_is_named_as_such(workspace: Workspace) -> None:
    score_edited(workspace, FakeModel(LOSSES, fingerprint="other"), run_id="other")
    assert score_on_card(0) == (
        "Score of the edited text: +2.000 (run other, of another model or with other settings)."
    )


def test_runs_shows_a_run_of_edits_for_what_it_is(workspace: Workspace, draw: Draw) -> None:
    score_edited(workspace, run_id="fixed")
    edit(workspace, 1, SetText(1, "right"))
    app = draw("runs")
    assert not app.exception
    shown = written(app)
    assert '<b>fixed</b> <span class="vn-quiet">run of edits · fake' in shown
    assert '>−1.000</td><td class="number">+2.000</td><td class=""></td>' in shown
    assert '>text only</td><td class="">edit replaced or undone since</td>' in shown
    assert "Before: the scores of run whole, with the same model and settings." in shown


def test_a_view_of_a_run_of_edits_shows_another_run_and_why(workspace: Workspace) -> None:
    score_edited(workspace, run_id="fixed")
    opened = open_view_context(View(run="fixed"))
    assert opened.context is not None
    assert opened.context.scope.run_id == "whole"
    assert opened.problems == (
        "fixed is a run of edits: see it on Runs and with each edited sample. Showing whole.",
    )
