"""All figures of one page come from one snapshot of the database."""

from __future__ import annotations

from pathlib import Path

from dashboard.data.context import Context, open_view_context, single_snapshot
from dashboard.data.samples import count_samples
from dashboard.view.state import View
from scoring.database.build.build import build_database
from scoring.database.filters import Filter
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.workspace import open_workspace


def opened() -> Context:
    context = open_view_context(View()).context
    assert context is not None
    return context


def test_a_build_during_a_page_shows_in_the_next_one_only(root: Path) -> None:
    with single_snapshot():
        before = opened()
        n_before = count_samples(before)
        build_database(open_workspace(root))
        with single_snapshot():  # a fragment inside the page
            again = opened()
        assert again.store is before.store
        assert again.store.generation == before.store.generation
        assert again.store.snapshot() is before.store.snapshot()
        assert count_samples(again) == n_before
    assert opened().store.generation != before.store.generation


def test_decisions_are_current_inside_a_snapshot(root: Path) -> None:
    decided = View(filter=Filter(reviewer=("Zoe",)))
    with single_snapshot():
        assert count_samples(open_view_context(decided).context or opened()) == 0
        open_review_log(open_workspace(root), "Zoe").append([DecisionDraft(3, Decision.KEEP)])
        assert count_samples(open_view_context(decided).context or opened()) == 1
