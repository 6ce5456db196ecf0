"""Counts of scores by category, and the alarm for a model that is not fit for the task."""

from __future__ import annotations

from pathlib import Path

import pytest

import scoring
from scoring.database.connection import Store
from scoring.database.queries.scorer_fit import (
    ScorerFit,
    find_fit_problem,
    format_categories,
    read_scorer_fits,
)
from scoring.database.score_index.thresholds import count_near
from scoring.necessity import LOW_TOLERANCE, Bands, Category
from tests.database.conftest import SCOPE, built
from tests.synthetic import RUN_ID


def read_fit(root: Path, visnec: list[float | None]) -> ScorerFit:
    _, store = built(root, visnec=visnec)
    [fit] = read_scorer_fits(store, Bands())
    return fit


def test_scores_are_counted_by_category_and_near_the_lower_limit(store: Store) -> None:
    # 0.5 -0.25 0.25 2.0 - 0.0 0.5 - -1.0 0.125 -
    [fit] = read_scorer_fits(store, Bands(0.0, 0.25))
    assert (fit.run_id, fit.baseline, fit.n_scored, fit.n_negative) == (RUN_ID, "none", 8, 2)
    assert list(fit.categories.values()) == [2, 2, 4]
    assert fit.n_near_low == 1
    assert format_categories(fit) == (
        "2 misaligned (below 0; within 0.05 of this limit: 1), 2 redundant, 4 vision-critical"
    )
    [moved] = read_scorer_fits(store, Bands(0.1, 0.5))
    assert moved.categories[Category.MISALIGNED] == 3
    assert moved.n_near_low == 1  # 0.125
    assert read_scorer_fits(store, Bands(), "another") == []


@pytest.mark.parametrize("low", [-0.2, 0.0, 0.1])
def test_the_page_and_the_commands_count_the_same_scores(plausible: Store, low: float) -> None:
    fit, _ = read_scorer_fits(plausible, Bands(low, 0.25))
    selection = plausible.selection(SCOPE, bands=Bands(low, 0.25))
    assert fit.n_near_low == count_near(selection, low, LOW_TOLERANCE)


def test_most_scores_negative_is_an_unfit_model(tmp_path: Path) -> None:
    fit = read_fit(tmp_path, [-0.5] * 11 + [2.0] * 10)
    problem = find_fit_problem(fit)
    assert problem is not None
    assert "worse with the images than without them (52 % of the scores are negative)" in problem
    assert "check the chat template" in problem


def test_a_lower_blind_loss_in_every_source_is_an_unfit_model(tmp_path: Path) -> None:
    # Each source has 4 scores of -1 and 4 of 0.5: half are negative, the mean is -0.25.
    fit = read_fit(tmp_path, [-1.0] * 12 + [0.5] * 12)
    assert (fit.n_sources, fit.n_sources_worse) == (3, 3)
    assert "in every source the mean loss is lower without the images" in str(find_fit_problem(fit))


def test_a_fit_model_raises_no_alarm(tmp_path: Path) -> None:
    one_good_source = read_fit(tmp_path / "a", [-1.0, 0.5, 0.25] * 4 + [0.25, 0.25, 0.5] * 4)
    assert (one_good_source.n_sources, one_good_source.n_sources_worse) == (3, 1)
    assert find_fit_problem(one_good_source) is None
    few = read_fit(tmp_path / "b", [-1.0] * 19)
    assert find_fit_problem(few) is None


def test_status_reports_the_scores_of_each_run(tmp_path: Path) -> None:
    workspace, _ = built(tmp_path, visnec=[-0.5] * 30, baselines=("none", "gray"))
    [run] = scoring.read_status(workspace)["runs"]
    assert [scores["baseline"] for scores in run["scores"]] == ["none", "gray"]
    assert run["scores"][0]["categories"] == {
        "misaligned": 30,
        "redundant": 0,
        "vision-critical": 0,
    }
    assert "100 % of the scores are negative" in run["scores"][0]["problem"]
    workspace.database.unlink()
    assert scoring.read_status(workspace)["runs"][0]["scores"] == []
