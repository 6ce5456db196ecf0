"""Inclusion probabilities checked by formulas, the overlap of subsets by counting."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.values import Scope
from scoring.errors import RuleError
from scoring.precision import Noise, noise_of
from scoring.rules import (
    Ablation,
    AnswerThresholds,
    Band,
    ClusterShare,
    Control,
    DropMisaligned,
    LengthCorrected,
    PaperTopShare,
    RandomShare,
    RelativeShare,
    Rule,
    Threshold,
    TopCount,
    Weights,
)
from scoring.samples import Status
from scoring.subsets.comparison import compare_subsets, overlap_table
from scoring.subsets.selection import select
from scoring.subsets.stability import (
    Replicate,
    Stability,
    count_near_threshold,
    format_basis,
    format_near_threshold,
    inclusion_probabilities,
    read_replicates,
)
from tests.rules.columns import NAN, candidates
from tests.synthetic import RUN_ID, make_workspace, typed_row, write_run


def phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def other(scores: list[float], dtype: str | None = None, name: str = "second") -> Replicate:
    return Replicate(name, "none", dtype, lambda: np.array(scores))


def test_a_threshold_includes_with_the_probability_of_a_normal_tail() -> None:
    rms = noise_of("bfloat16").rms  # type: ignore[union-attr]
    scores: list[float | Status] = [0.25, 0.25 + rms, 0.25 - 2 * rms, 5.0, -5.0, Status.TEXT_ONLY]
    found = inclusion_probabilities(
        Threshold(min=0.25), candidates(scores), "bfloat16", n_draws=4000
    )
    expected = [0.5, phi(1.0), phi(-2.0), 1.0, 0.0]
    np.testing.assert_allclose(found.inclusion[:5], expected, atol=0.03)
    assert math.isnan(found.inclusion[5])
    assert found.selected.tolist() == [True, True, False, True, False, False]
    assert (found.n_firm, found.n_open, found.n_used) == (1, 2, 0)
    p = found.inclusion
    assert found.overlap == pytest.approx((p[0] + p[1] + p[3]) / (3 + p[2] + p[4]))
    assert "no other run or baseline" in format_basis(found)


def test_the_better_of_two_wins_with_the_probability_of_their_difference() -> None:
    rms = noise_of("bfloat16").rms  # type: ignore[union-attr]
    columns = candidates([0.1 + rms, 0.1])
    found = inclusion_probabilities(TopCount(1), columns, "bfloat16", n_draws=4000, seed=1)
    assert found.inclusion[0] == pytest.approx(phi(1 / math.sqrt(2)), abs=0.03)
    assert found.inclusion.sum() == pytest.approx(1.0)


def test_inclusion_is_the_share_of_replicates_that_select_a_sample() -> None:
    columns = candidates([0.5, 0.4, 0.1, 0.3, Status.TEXT_ONLY])
    others = [
        other([0.5, 0.1, 0.2, 0.6, 9.0], name="second"),
        other([0.9, 0.8, 0.0, 0.1, NAN], name="third"),
        other([1.0, NAN, NAN, NAN, NAN], name="small"),  # scores one of the four
    ]
    found = inclusion_probabilities(TopCount(2), columns, None, others, n_draws=8)
    # Selected: rows 0 and 1 here and by the third run, 3 and 0 by the second.
    assert found.inclusion[:4].tolist() == pytest.approx([1, 2 / 3, 0, 1 / 3])
    assert [(one.run_id, one.coverage, one.overlap) for one in found.replicates] == [
        ("second", 1.0, 1 / 3),
        ("third", 1.0, 1.0),
        ("small", 0.25, None),
    ]
    assert (found.n_used, found.n_firm, found.n_open) == (2, 1, 2)
    assert format_basis(found) == ("2 other sets of scores and no noise, as the dtype is unknown")


def test_a_sample_without_a_replicate_score_uses_the_others() -> None:
    scores = [0.1 * row for row in range(10)]
    columns = candidates(scores)
    lacking = [*scores[:9], NAN]
    found = inclusion_probabilities(TopCount(2), columns, None, [other(lacking)])
    # The other scores lack row 9 and select 7 and 8.
    assert found.inclusion[7:].tolist() == [0.5, 1.0, 1.0]
    assert found.replicates[0].coverage == 0.9
    assert found.replicates[0].overlap == 0.5


def test_float32_scores_are_certain_and_draws_replay() -> None:
    columns = candidates([0.1, 0.5, 0.9, 0.4], [0, 0, 1, 1])
    found = inclusion_probabilities(PaperTopShare(0.5), columns, "float32", n_draws=20)
    assert found.inclusion.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert (found.overlap, found.n_open, found.n_firm) == (1.0, 0, 2)
    table = found.by_source()  # scenes are rows 0 and 2, charts 1 and 3
    assert table.loc["charts"].to_dict() == {
        "scored": 2,
        "taken": 1,
        "expected": 1.0,
        "firm": 1,
        "open": 0,
    }
    close = candidates([0.1, 0.105, 0.11, 0.104])
    drawn = [
        inclusion_probabilities(TopCount(2), close, "bfloat16", n_draws=50, seed=s)
        for s in (3, 3, 4)
    ]
    assert drawn[0].inclusion.tolist() == drawn[1].inclusion.tolist()
    assert drawn[0].inclusion.tolist() != drawn[2].inclusion.tolist()


def test_stability_needs_a_replicate_or_a_dtype() -> None:
    for others in ([], [other([0.5, NAN])]):
        with pytest.raises(RuleError, match="Cannot estimate stability"):
            inclusion_probabilities(TopCount(1), candidates([0.1, 0.2]), None, others)


@pytest.mark.parametrize(
    "rule",
    [RandomShare(0.5), RelativeShare(0.5), Ablation("text-loss"), Control(TopCount(1)), Weights()],
    ids=str,
)
def test_rules_that_do_not_select_by_score_are_refused(rule: Rule) -> None:
    with pytest.raises(RuleError, match="by the score alone"):
        inclusion_probabilities(rule, candidates([0.1, 0.2]), "float32")


def test_replicates_are_the_other_baselines_and_runs(tmp_path: Path) -> None:
    workspace = make_workspace(
        tmp_path / "ws", visnec=[0.5, None, 0.25], baselines=("none", "gray"), with_images=False
    )
    second = [typed_row(score, place) for place, score in enumerate((0.75, 1.0, None))]
    write_run(workspace, second, "x", run_id="second", created_at="2026-01-03T00:00:00Z")
    build_database(workspace)
    dtype, others = read_replicates(Store(workspace), Scope(RUN_ID, "none"))
    assert dtype == "float32"
    assert [(one.run_id, one.baseline, one.dtype) for one in others] == [
        (RUN_ID, "gray", "float32"),
        ("second", "none", "float32"),
    ]
    np.testing.assert_array_equal(others[1].read(), [0.75, 1.0, NAN])


def test_two_subsets_are_compared() -> None:
    columns = candidates([0.1, 0.9, 0.5, 0.7, 0.3, Status.TEXT_ONLY])  # scenes and charts alternate
    a = select(TopCount(3), columns)  # 1, 2, 3
    b = select(Threshold(max=0.6), columns, text_only="keep")  # 0, 2, 4, 5
    diff = compare_subsets(a, b, columns)
    assert (diff.n_a, diff.n_b) == (3, 4)
    assert diff.both.tolist() == [2]
    assert diff.only_a.tolist() == [1, 3]
    assert diff.only_b.tolist() == [0, 4, 5]
    assert diff.jaccard == 1 / 6
    assert diff.by_source.loc["charts"].to_dict() == {
        "samples": 3,
        "a": 2,
        "b": 1,
        "both": 0,
        "only_a": 2,
        "only_b": 1,
        "jaccard": 0.0,
    }
    assert diff.by_source.loc["scenes", "jaccard"] == 1 / 3
    table = overlap_table({"a": a, "b": b, "none": select(Threshold(min=9.0), columns)})
    assert list(zip(table["a"], table["b"], strict=True)) == [
        ("a", "a"),
        ("a", "b"),
        ("a", "none"),
        ("b", "b"),
        ("b", "none"),
        ("none", "none"),
    ]
    assert table["jaccard"].tolist() == [1.0, 1 / 6, 0.0, 1.0, 0.0, 1.0]


def test_subsets_of_other_datasets_are_not_compared() -> None:
    columns, others = candidates([0.1, 0.2]), candidates([0.1, 0.2, 0.3])
    a, b = select(TopCount(1), columns), select(TopCount(1), others)
    with pytest.raises(RuleError, match="subsets of different datasets"):
        compare_subsets(a, b, columns)
    with pytest.raises(RuleError, match="subsets of different datasets"):
        overlap_table({"a": a, "b": b})


def test_inclusion_by_score_and_the_most_open_samples() -> None:
    columns = candidates([0.0, 0.1, 0.9, 1.0, 1.0, Status.TEXT_ONLY])
    inclusion = np.array([0.0, 0.4, 0.6, 0.94, 1.0, np.nan])
    one = Stability(columns, inclusion >= 0.6, inclusion, 100)
    frame = one.by_score(n_bins=2)
    assert frame["visnec"].tolist() == [0.25, 0.75]
    assert frame["samples"].tolist() == [2, 3]
    assert frame["inclusion"].tolist() == pytest.approx([0.2, 2.54 / 3])
    assert frame["low"].tolist() == [0.0, 0.6]
    assert frame["high"].tolist() == [0.4, 1.0]
    assert one.by_score(n_bins=40)["samples"].sum() == 5
    assert one.most_open(2) == [1, 2]
    assert one.most_open(9) == [1, 2, 3]
    nothing = candidates([Status.TEXT_ONLY])
    empty = Stability(nothing, np.zeros(1, np.bool_), np.full(1, np.nan), 10)
    assert empty.by_score().empty
    assert empty.most_open(3) == []


def test_scores_within_the_noise_of_a_threshold_are_counted() -> None:
    noise = Noise("bfloat16", 0.005, 0.01)
    columns = candidates(
        [0.25, 0.255, 0.2401, 0.239, 0.9, 0.895, Status.TEXT_ONLY],
        clusters=[0, 0, 1, 1, 1, 1, 0],
        kinds=["text"] * 5 + ["choice"] * 2,
    )
    expected: list[tuple[Rule, int | None]] = [
        (Threshold(min=0.25), 3),
        (Threshold(min=0.25, max=0.9), 5),
        (AnswerThresholds(0.25, limits=(("choice", 0.89, None),)), 4),
        (TopCount(2), 2),  # threshold 0.895
        (TopCount(3), 2),  # threshold 0.255
        (ClusterShare(0.5), 4),  # one of two above 0.255, two of four above 0.895
        (LengthCorrected(0.5), None),
        (DropMisaligned(0.25), 3),
        (Band(0.25, count=1), 3),
        (RelativeShare(0.5), None),
        (RandomShare(0.5), None),
    ]
    assert [count_near_threshold(rule, columns, noise) for rule, _ in expected] == [
        n for _, n in expected
    ]
    assert format_near_threshold(TopCount(2), columns, noise) == (
        "2 scores are within the noise of the threshold (± 0.01 in bfloat16)"
    )
    assert format_near_threshold(Threshold(max=0.909), columns, noise) == (
        "1 score is within the noise of the threshold (± 0.01 in bfloat16)"
    )
    assert format_near_threshold(RandomShare(0.5), columns, noise) is None
    assert format_near_threshold(Threshold(min=50.0), columns, noise) is None  # none is near
    assert format_near_threshold(TopCount(2), columns, None) == (
        "Noise of the scores: unknown, as these scores came without their dtype"
    )
