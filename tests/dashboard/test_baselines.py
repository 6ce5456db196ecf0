"""A run with several blind baselines: one is shown at a time, and no sample counts twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.data.context import Context, open_view_context
from dashboard.text import formatting
from dashboard.view.state import View
from scoring.database.queries.browse import fetch_page
from scoring.database.queries.overview import sample_count, score_summary, status_counts
from scoring.database.score_index.thresholds import count_kept
from tests.dashboard.conftest import Draw


def scope_of(view: View) -> Context:
    found = open_view_context(view).context
    assert found is not None
    return found


def test_none_is_shown_unless_another_is_chosen(root: Path) -> None:
    assert scope_of(View()).scope.baseline == "none"
    assert scope_of(View(baseline="gray")).scope.baseline == "gray"
    opened = open_view_context(View(baseline="blur"))
    assert opened.context is not None
    assert opened.context.scope.baseline == "none"
    assert "The run has no baseline blur; showing none." in opened.problems


@pytest.mark.parametrize("baseline", ["none", "gray"])
def test_each_sample_counts_once(root: Path, baseline: str) -> None:
    context = scope_of(View(baseline=baseline))
    store, scope = context.store, context.scope
    assert sample_count(store.selection(scope)) == 120
    statuses = status_counts(store.selection(scope))
    assert statuses["n"].sum() == 120
    scored = int(statuses.set_index("status")["n"]["scored"])
    assert score_summary(store.selection(scope)).n_scored == scored
    cut = count_kept(store.selection(scope), 0.1, None)
    assert cut.n_kept + cut.n_dropped == scored
    assert len(fetch_page(store.selection(scope), limit=500).records) == 120


@pytest.mark.parametrize("page", ["overview", "explore"])
def test_the_baseline_is_chosen_with_the_run(root: Path, draw: Draw, page: str) -> None:
    app = draw(page)
    (picker,) = [box for box in app.selectbox if box.label == "Blind baseline"]
    assert picker.options == [formatting.BASELINE_NAMES["none"], formatting.BASELINE_NAMES["gray"]]
    assert picker.value == "none"
    picker.set_value("gray").run()
    assert not app.exception
    assert app.query_params["baseline"] in ("gray", ["gray"])
    (picker,) = [box for box in app.selectbox if box.label == "Blind baseline"]
    assert picker.value == "gray"
