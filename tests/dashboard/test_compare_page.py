"""The Compare page, and threshold quality from decisions, on a workspace with two baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.data.context import WORKSPACE_VARIABLE, Context, open_view_context
from dashboard.data.reviews import read_labels
from dashboard.data.scores import read_other_scopes, read_threshold_counts
from dashboard.pages.compare.page import open_ends
from dashboard.pages.overview.health_panel import toggle_value
from dashboard.pages.overview.plane_panel import read_box
from dashboard.view.state import Key, View
from scoring.database.build.build import build_database
from scoring.database.filters import Filter, Range
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.compare import compare_scopes
from scoring.database.queries.review_queues import review_queue
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log
from scoring.reviews.threshold_estimation import estimate_quality
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, threshold_figures, written
from tests.synthetic import make_workspace, typed_row, write_run


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """200 samples scored against no image and against grey."""
    workspace = make_workspace(tmp_path / "two", n=200, baselines=("none", "gray"))
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    context = open_view_context(View()).context
    assert context is not None
    return context


def test_one_set_of_scores_shows_how_to_add_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    workspace = make_workspace(tmp_path / "one", n=20)
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    app = draw("compare")
    assert not app.exception
    assert "Only one set of scores" in written(app)


def test_two_baselines_are_compared(two: Context, draw: Draw) -> None:
    app = draw("compare")
    assert not app.exception
    (other,) = read_other_scopes(two)
    found = compare_scopes(two.store.selection(two.scope, Filter(), two.bands), other, 0.15)
    page = written(app)
    assert f"{found.n_both:,}" in page
    assert f"{found.spearman:.3f}" in page
    for i in range(3):
        for j in range(3):
            if found.flips[i, j]:
                assert f">{found.flips[i, j]:,}</a>" in page


def test_more_runs_show_a_trend_and_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    workspace = make_workspace(tmp_path / "ws", visnec=[0.0, 0.5, 0.125], with_images=False)
    for number, scores in ((2, [0.25, 0.5, 0.0]), (3, [1.0, 0.125, 0.0])):
        rows = [typed_row(score, i) for i, score in enumerate(scores)]
        created_at = f"2026-01-0{number}T00:00:00Z"
        write_run(workspace, rows, "x", run_id=f"step-{number}", created_at=created_at)
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    link = {"run": "tiny-run", "other": "step-3/none"}
    app = draw("compare", link)
    assert not app.exception
    assert "A against B" not in [heading.value for heading in app.subheader]
    app = draw("compare", link | {"through": "step-2/none,gone/none"})
    assert not app.exception
    page = written(app)
    assert "3 samples with a score in all 3 runs" in page
    assert [tab.label for tab in app.tabs] == [
        *("Median score", "Accuracy with the image", "Accuracy without the image"),
        *("Became vision-critical: 1", "Stopped being vision-critical: 1"),
    ]
    assert "+1.000" in page
    assert "filter=category%3Amisaligned%2Credundant" in page
    assert "other=step-3%2Fnone" not in page  # Explore needs no B
    chosen = next(widget for widget in app.multiselect if widget.label == "Between A and B")
    assert chosen.value == ["step-2/none"]


def test_a_number_in_the_category_table_opens_its_samples(two: Context, draw: Draw) -> None:
    from scoring.database.queries.compare import flip_filter
    from scoring.necessity import CATEGORIES, Category

    (other,) = read_other_scopes(two)
    found = compare_scopes(two.store.selection(two.scope, Filter(), two.bands), other, 0.15)
    which = flip_filter(Filter(), other, Category.VISION_CRITICAL, Category.REDUNDANT)
    n = len(matching_rows(two.store.selection(two.scope, which, two.bands)))
    places = [CATEGORIES.index(one) for one in (Category.VISION_CRITICAL, Category.REDUNDANT)]
    assert n == found.flips[places[0], places[1]]
    app = draw("explore", {"filter": str(which)})
    assert not app.exception
    assert f"{n} sample" in written(app)


def test_decisions_from_a_random_queue_estimate_threshold_quality(two: Context, draw: Draw) -> None:
    session = {str(Key.REVIEWER): "ada"}
    overview = draw("overview")
    assert "Wrongly dropped: –, 0 of 10 labels needed" in threshold_figures(overview)
    assert any(one.label.startswith("Label samples") for one in overview.button)
    app = draw("review", session=session)
    assert "Not enough randomly sampled decisions" in written(app)
    queue = review_queue(two.store.selection(two.scope, Filter(), two.bands), "stratified", 60, 1)
    for name, n in (("ada", 60), ("bob", 30)):
        drawn = list(zip(queue.rows, queue.probabilities, strict=True))[:n]
        open_review_log(open_workspace(two.workspace.root), name).append(
            [
                DecisionDraft(
                    row,
                    Decision.KEEP if place % 3 else Decision.DROP,
                    queue=queue.name,
                    sampling_probability=chance,
                    draw=queue.draw,
                )
                for place, (row, chance) in enumerate(drawn)
            ]
        )
    overview = draw("overview")
    assert not any(one.label.startswith("Label samples") for one in overview.button)
    labels = read_labels(open_view_context(View()).context or two)
    for cut in (two.bands.high, 0.9):
        dropped = estimate_quality(labels, cut).wrongly_dropped
        assert dropped is not None
        n_dropped = read_threshold_counts(two, cut).n_dropped
        said = threshold_figures(draw("overview", {"cut": str(cut)}))
        assert f"{100 * dropped.value:.1f} %" in said
        assert f"≈ {round(dropped.value * n_dropped):,} samples" in said
        assert f"≈ {round(dropped.value * n_dropped):,} samples" in written(
            draw("review", {"cut": str(cut)}, session)
        )
    page = written(draw("review", session=session))
    assert "Precision of keeping" in page
    assert "Wrongly dropped" in page
    assert "ada and bob" in page
    assert "100.0 %" in page  # both gave the same decisions


def test_a_row_of_the_health_table_is_added_to_the_filter_and_removed() -> None:
    scenes = Filter(source=("scenes",))
    undecided = toggle_value(scenes, "certainty", ("undecided",))
    assert undecided == replace(scenes, certainty=("undecided",))
    assert toggle_value(undecided, "certainty", ("undecided",)) == scenes


def test_a_box_beyond_the_axis_is_open_on_that_side() -> None:
    assert open_ends(Range(-1.0, 2.0), -3.0, 3.0) == Range(-1.0, 2.0)
    assert open_ends(Range(-3.1, 2.0), -3.0, 3.0) == Range(None, 2.0)
    assert open_ends(Range(1.0, 3.1), -3.0, 3.0) == Range(1.0, None)
    assert open_ends(Range(-4.0, 4.0), -3.0, 3.0) is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, None),
        ({"selection": {"box": []}}, None),
        ({"selection": {"box": [{"x": [2.0, 0.5], "y": [-0.4, 1.234]}]}}, ((0.5, 2.0), (0, 1.23))),
        ({"selection": {"box": [{"x": [1.0, 1.001], "y": [0.0, 1.0]}]}}, None),
    ],
)
def test_a_box_becomes_two_ranges(
    state: object, expected: tuple[tuple[float, float], tuple[float, float]] | None
) -> None:
    wanted = None if expected is None else tuple(Range(*one) for one in expected)
    assert read_box(state) == wanted
