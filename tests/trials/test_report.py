"""The report of a trial from given results: means, differences, conclusions and what is missing."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from scoring.trials.plots import draw_report
from scoring.trials.report import (
    MissingUnit,
    Report,
    build_report,
    describe_missing,
    describe_unused,
)
from scoring.trials.results import SetResult
from tests.trials.plans import IMAGE, PLAN, TEXT, make_results


@pytest.fixture
def report() -> Report:
    return build_report(PLAN, make_results({"image": IMAGE, "text": TEXT}))


def test_comparisons_have_the_other_sets_in_the_same_line(report: Report) -> None:
    texts = {(each.subset, each.control): each.text for each in report.comparisons}
    assert texts == {
        ("keep15", "keep15-random"): (
            "better +14.2 (12.3 to 16.1) on image, and -44.2 (-44.9 to -43.4) on text"
        ),
        ("keep15", "all"): (
            "as good as all (margin 1.0): -0.2 (-0.5 to 0.2) on image, "
            "and -60.7 (-63.5 to -57.8) on text"
        ),
    }
    better, equal = report.comparisons
    assert better.conclusion.kind == "better" and equal.conclusion.kind == "as_good"
    assert [other.difference.n_seeds for other in better.others] == [3]
    assert report.missing == () and report.notes == () and report.undeclared == ()


def test_budgets_that_leave_samples_unused_are_described() -> None:
    assert PLAN.training is not None
    assert describe_unused(PLAN) is None  # one epoch
    assert describe_unused(replace(PLAN, training=None)) is None
    six, seven = (
        describe_unused(replace(PLAN, training=replace(PLAN.training, epochs=None, steps=steps)))
        for steps in (6, 7)
    )
    assert six == ("6 steps see 96 samples, so a part of these arms is never trained on: all (100)")
    assert seven is None
    half = describe_unused(replace(PLAN, training=replace(PLAN.training, epochs=0.5)))
    assert half is not None and "keep15 (15), keep15-random (15), all (100)" in half


def test_values_of_arms(report: Report) -> None:
    value = report.arm_value("keep15", "image", "accuracy")
    assert value is not None
    assert value.n_seeds == 3 and value.mean == pytest.approx(124 / 3)
    assert value.sd == pytest.approx(1.527525, abs=1e-6)
    assert value.high - value.mean == pytest.approx(4.302653 * 1.527525 / 3**0.5, abs=1e-4)
    assert report.arm_value("keep15", "image", "loss") is None


def test_outputs_have_the_same_content(report: Report) -> None:
    value = report.to_dict()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["comparisons"][0]["primary"]["difference"]["n_seeds"] == 3
    markdown = report.to_markdown()
    for text in (
        "For this model and this budget only: small-vlm, 1 epoch",
        *(f"{each.subset} - {each.control}: {each.text}" for each in report.comparisons),
        "| arm | image (%) | text (%) |",
        "| keep15 | 41.3 ± 1.5 (3) | 27.0 ± 1.0 (3) |",
        "corrected (Holm) for all 2 comparisons",
    ):
        assert text in markdown
    assert "Remarks" not in markdown


def test_missing_results_are_named_and_withhold_conclusions() -> None:
    short = {arm: values[:2] for arm, values in IMAGE.items()}
    results = make_results({"image": short, "text": TEXT})
    report = build_report(PLAN, results)
    assert report.missing == tuple(MissingUnit(arm.name, 3, ("image",)) for arm in PLAN.arms)
    assert describe_missing(report) == [
        "No result on image: keep15 seed 3, keep15-random seed 3, all seed 3"
    ]
    for each in report.comparisons:
        assert each.conclusion.kind == "none"
        assert each.text.startswith("2 of 3 seeds: no conclusion yet. Other sets: -")
    json.dumps(report.to_dict(), allow_nan=False)
    empty = build_report(PLAN, [])
    assert empty.arms == () and len(empty.missing) == 9
    assert [each.text for each in empty.comparisons] == ["0 of 3 seeds: no conclusion yet"] * 2
    assert "No result on text: keep15-random seed 1" in empty.to_markdown()


def test_the_advice_on_constant_differences_depends_on_where_they_are_from() -> None:
    same = dict.fromkeys(IMAGE, (75.0, 75.0, 75.0))
    results = make_results({"image": same, "text": same})
    texts = {each.text for each in build_report(PLAN, results).comparisons}
    assert texts == {
        "no conclusion: +0.0 in each of 3 seeds. All trainings gave the same accuracy; measure the "
        "loss or train longer. Other sets: +0.0 (0.0 to 0.0) on text"
    }
    higher = make_results({"image": same | {"keep15": (80.0, 80.0, 80.0)}})
    assert (
        build_report(PLAN, higher)
        .comparisons[0]
        .text.endswith("3 seeds. Measure the loss or train longer")
    )
    recorded = [replace(each, recorded_from="x.json") for each in results]
    assert "Check that the seeds are" in build_report(PLAN, recorded).comparisons[0].text


def test_loss_is_better_when_lower() -> None:
    plan = replace(PLAN, measure="loss", margin=0.02)
    low = {"keep15": (1.1, 1.21, 1.3), "keep15-random": (1.5, 1.6, 1.7), "all": (1.0, 1.1, 1.2)}
    report = build_report(plan, make_results({"image": low}, plan))
    assert [each.conclusion.kind for each in report.comparisons] == ["better", "worse"]
    assert report.comparisons[0].text.startswith("better -0.397 (")


def test_another_measure_gives_no_conclusion_on_the_primary_set() -> None:
    loss = {"keep15": (1.1, 1.21, 1.3), "keep15-random": (1.5, 1.6, 1.7), "all": (1.0, 1.1, 1.2)}
    results = [
        replace(
            each, sets={"image": SetResult(100, {"loss": each.sets["image"].values["accuracy"]})}
        )
        for each in make_results({"image": loss})
    ]
    report = build_report(PLAN, results)
    assert [each.text for each in report.comparisons] == ["0 of 3 seeds: no conclusion yet"] * 2
    assert describe_missing(report)[0].startswith("No result on image: keep15-random seed 1")


def test_different_numbers_of_questions_are_named() -> None:
    results = make_results({"image": IMAGE, "text": TEXT})
    short = replace(results[0].sets["image"], n_samples=98, n_skipped=2)
    results[0] = replace(results[0], sets=dict(results[0].sets) | {"image": short})
    assert build_report(PLAN, results).notes == (
        "Trainings are compared on different questions of image: 98 (keep15 seed 1), 100 (8 "
        "trainings)",
    )
    skipped = [
        replace(each, sets={"image": replace(each.sets["image"], n_skipped=3)}) for each in results
    ]
    assert build_report(PLAN, skipped[1:]).notes == (
        "The model cannot read 3 questions of image; they are left out",
    )


def test_trainings_with_other_versions_or_model_files_are_named() -> None:
    results = [
        replace(each, versions={"torch": "2.9", "model files": "aa"})
        for each in make_results({"image": IMAGE, "text": TEXT})
    ]
    assert build_report(PLAN, results).notes == ()
    results[0] = replace(results[0], versions={"torch": "2.9", "model files": "bb"})
    assert build_report(PLAN, results).notes == (
        "Trainings had different versions of model files: aa (8 trainings), bb (keep15 seed 1)",
    )
    recorded = replace(results[0], recorded_from="x.json")
    assert build_report(PLAN, [recorded, *results[1:]]).notes == ()


def test_undeclared_sets_and_unused_results_are_named() -> None:
    results = make_results({"image": IMAGE, "gqa": TEXT})
    twice = replace(
        results[0], sets={"image": SetResult(9, {"accuracy": 99.0})}, recorded_from="x.json"
    )
    unplanned = replace(results[0], seed=9)
    report = build_report(PLAN, [*results, twice, unplanned])
    assert report.undeclared == ("gqa",)
    assert [other.evaluation_set for other in report.comparisons[0].others] == ["gqa"]
    assert report.notes == (
        "Not used: a second accuracy of keep15 seed 1 on image, from x.json",
        "Not used: keep15 seed 9, a seed that was not planned",
        "Not declared in the plan, so without a conclusion: gqa",
    )
    value = report.arm_value("keep15", "image", "accuracy")
    assert value is not None and value.mean == pytest.approx(124 / 3)


def test_results_that_are_not_finite_are_named_and_not_used() -> None:
    results = make_results({"image": IMAGE, "text": TEXT})
    diverged = replace(results[0], sets={"image": SetResult(9, {"accuracy": math.nan})})
    report = build_report(PLAN, [diverged, *results[1:]])
    assert report.notes == ("Not used: accuracy of keep15 seed 1 on image is nan",)
    assert report.missing == (MissingUnit("keep15", 1, ("image", "text")),)
    assert report.comparisons[0].text.startswith("2 of 3 seeds: no conclusion yet")


def test_names_do_not_break_the_table() -> None:
    report = build_report(PLAN, make_results({"image": IMAGE, "a|b\n*c*": TEXT}))
    assert "| arm | image (%) | a\\|b \\*c\\* (%) |" in report.to_markdown()


def test_plot_has_a_dot_and_an_interval_per_arm_and_set(report: Report) -> None:
    shapes, texts = parse_picture(draw_report(report))
    assert (shapes.count("circle"), shapes.count("rect")) == (6, 6)
    assert {"image (%)", "text (%)", "keep15-random", "41.3 (37.5 to 45.1)"} <= set(texts)
    single = build_report(PLAN, make_results({"image": IMAGE, "text": TEXT})[:1])
    shapes, _ = parse_picture(draw_report(single))
    assert (shapes.count("circle"), shapes.count("rect")) == (2, 0)
    assert parse_picture(draw_report(build_report(PLAN, [])))[0] == ["title", "text"]


def parse_picture(picture: bytes) -> tuple[list[str], list[str | None]]:
    """Names of the shapes of an SVG file, and its texts."""
    elements = list(ElementTree.fromstring(picture))  # noqa: S314
    names = [element.tag.rpartition("}")[2] for element in elements]
    return names, [element.text for element in elements]
