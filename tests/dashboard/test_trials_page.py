"""Trials: conclusions, results by arm, what the arms hold, and a trial without results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dashboard.charts.trial_plots import ArmPoint, arms_figure, retention_figure
from dashboard.data.context import Context
from dashboard.data.trials import read_arm_composition, read_trial
from dashboard.text import formatting
from dashboard.view.state import Held
from scoring.trials.arms import digest_arms, write_arms
from scoring.trials.controls import ArmRows
from scoring.trials.plan import TrialPlan, save_plan, trial_folder
from scoring.trials.results import write_result
from tests.dashboard.conftest import Draw, written
from tests.synthetic import RUN_ID
from tests.trials.plans import IMAGE, PLAN, TEXT, make_results

HOSTILE = "<img src=x onerror=alert(1)>*b*"


def plan_trial(
    context: Context,
    sets: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    name: str = "first",
) -> TrialPlan:
    """Plan a trial of 15, 15 and 100 samples, and write results by evaluation set."""
    ends = {"keep15": (0, 15), "keep15-random": (50, 65), "all": (0, 100)}
    arms = {
        (arm, None): ArmRows(np.arange(start, end), np.ones(end - start))
        for arm, (start, end) in ends.items()
    }
    plan = replace(
        PLAN,
        name=name,
        run_id=RUN_ID,
        baseline="none",
        dataset_fingerprint=context.edition,
        arms_digest=digest_arms(arms),
    )
    write_arms(context.workspace, name, arms)
    save_plan(context.workspace, plan)
    for result in make_results(sets or {}, plan):
        if result.sets:
            write_result(context.workspace, plan, result)
    return plan


def test_without_a_trial_the_commands_are_shown(root: Path, draw: Draw) -> None:
    app = draw("trials")
    assert not app.exception
    assert f"visnec trial plan NAME -w {root}" in written(app)


def test_conclusions_and_what_they_cost_are_shown(context: Context, draw: Draw) -> None:
    plan_trial(context, {"image": IMAGE, "text": TEXT})
    app = draw("trials")
    assert not app.exception
    page = written(app)
    assert "▲ better +14.2 (12.3 to 16.1)" in page
    assert "−44.2 (" in page  # on the other set, with a minus sign
    assert "3 of 3 seeds" not in page
    assert "Model</dt><dd>small-vlm" in page
    assert len(app.get("plotly_chart")) == 3
    assert not [b for b in app.button if b.label in ("Start", "Resume", "Stop")]


def test_a_trial_without_results_can_be_started(context: Context, draw: Draw) -> None:
    plan_trial(context)
    app = draw("trials")
    assert not app.exception
    assert "0 of 9 trainings done" in written(app)
    assert "No results yet" in written(app)
    assert [b.label for b in app.button if b.label in ("Start", "Resume")] == ["Start"]


def test_two_seeds_give_no_conclusion(context: Context, draw: Draw) -> None:
    plan_trial(context, {"image": {arm: values[:2] for arm, values in IMAGE.items()}})
    page = written(draw("trials"))
    assert page.count("2 of 3 seeds: no conclusion yet") == 2
    assert "6 of 9 trainings done" in page


def test_the_link_chooses_the_trial(context: Context, draw: Draw) -> None:
    plan_trial(context, {"image": IMAGE, "text": TEXT})
    plan_trial(context, name="second")
    assert "0 of 9 trainings done" in written(draw("trials", {"trial": "second"}))
    assert "better" in written(draw("trials", {"trial": "first"}))


def test_names_of_recorded_benchmarks_stay_text(context: Context, draw: Draw) -> None:
    plan_trial(context, {"image": IMAGE, HOSTILE: TEXT})
    app = draw("trials")
    assert not app.exception
    page = written(app)
    assert "&lt;img src=x" in page
    assert "<img" not in page


def test_a_changed_plan_is_an_explained_error(context: Context, draw: Draw) -> None:
    path = trial_folder(context.workspace, plan_trial(context).name) / "plan.json"
    path.write_text(path.read_text("utf-8").replace('"margin": 1.0', '"margin": 2.0'), "utf-8")
    app = draw("trials")
    assert not app.exception
    assert "was changed after it was written" in written(app)


def test_the_composition_adds_up_to_the_arms(context: Context) -> None:
    plan = plan_trial(context)
    for by in Held:
        frame = read_arm_composition(context, plan, by)
        assert frame.sum().tolist() == [120, 15, 15, 100]


def test_points_have_the_values_of_the_seeds_and_an_interval(context: Context) -> None:
    plan = plan_trial(context, {"image": IMAGE})
    points = read_trial(context.workspace, plan).points("image", 120)
    kept, control, everything = points
    assert kept.values == IMAGE["keep15"]
    assert (kept.is_control, control.is_control, everything.share) == (False, True, 100 / 120)
    assert kept.low is not None and kept.high is not None
    assert kept.low < kept.mean < kept.high


def test_figures_mark_controls_and_leave_out_unknown_intervals() -> None:
    points = [
        ArmPoint("<b>", False, 0.15, 40.0, 38.0, 42.0, (39.0, 41.0)),
        ArmPoint("all", True, 1.0, 44.0, None, None, (44.0,)),
    ]
    seeds, means = arms_figure(points, "accuracy (%)", dark=False).data
    assert list(seeds.x) == [39.0, 41.0, 44.0]
    assert list(means.y) == ["&lt;b&gt;", "all"]
    assert list(means.error_x.array) == [2.0, 0.0]
    assert list(means.marker.symbol) == ["circle", "circle-open"]
    subset, control = retention_figure(points, "accuracy (%)", dark=True).data
    assert (list(subset.x), list(control.x)) == ([15.0], [100.0])


def test_a_minus_sign_replaces_hyphens_before_numbers_only() -> None:
    assert formatting.typeset_minus("-4.1 (-7.7 to -0.5) keep-15") == "−4.1 (−7.7 to −0.5) keep-15"


def test_axes_of_a_bounded_measure_end_with_it() -> None:
    points = [ArmPoint("a", False, 0.15, 100.0, None, None, (100.0,))]
    assert arms_figure(points, "accuracy (%)", False, 100).layout.xaxis.maxallowed == 100
    assert retention_figure(points, "accuracy (%)", False, 100).layout.yaxis.maxallowed == 100
    assert arms_figure(points, "loss", False).layout.xaxis.maxallowed is None
    wide = [ArmPoint("a", False, 0.15, 99.0, 97.0, 101.0, (98.0, 100.0))]
    assert arms_figure(wide, "accuracy (%)", False, 100).layout.xaxis.maxallowed == 101
