"""Inclusion probabilities against formulas, the overlap of subsets against counting on fingers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring import schemas
from scoring.curation.comparison import compare_subsets, overlap_table
from scoring.curation.selection import (
    Ablation,
    Control,
    PaperTopShare,
    RandomShare,
    Threshold,
    TopCount,
    Weights,
    select,
)
from scoring.curation.stability import Stability, inclusion_probabilities, standard_errors
from scoring.curation.token_values import TokenDeltas, read_token_deltas
from scoring.errors import RuleError
from scoring.rules import Rule
from scoring.samples import Status
from scoring.workspace import create_workspace
from tests.curate.columns import NAN, candidates


def phi(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def test_a_threshold_includes_with_the_probability_of_a_normal_tail() -> None:
    scores: list[float | Status] = [0.25, 0.35, 0.05, 5.0, -5.0, Status.TEXT_ONLY]
    columns = candidates(scores, stderr=[0.1, 0.1, 0.2, 0.1, 0.1, NAN])
    found = inclusion_probabilities(Threshold(min=0.25), columns, n_draws=4000)
    expected = [0.5, phi(1.0), phi(-1.0), 1.0, 0.0]
    np.testing.assert_allclose(found.inclusion[:5], expected, atol=0.03)
    assert math.isnan(found.inclusion[5])
    assert found.taken.tolist() == [True, True, False, True, False, False]
    assert (found.n_firm, found.n_open, found.n_from_tokens) == (1, 3, 0)
    p = found.inclusion
    assert found.overlap == pytest.approx((p[0] + p[1] + p[3]) / (3 + p[2] + p[4]))


def test_the_better_of_two_wins_with_the_probability_of_their_difference() -> None:
    columns = candidates([0.4, 0.1], stderr=[0.3, 0.4])
    found = inclusion_probabilities(TopCount(1), columns, n_draws=4000, seed=1)
    assert found.inclusion[0] == pytest.approx(phi(0.3 / 0.5), abs=0.03)
    assert found.inclusion.sum() == pytest.approx(1.0)


def test_exact_scores_are_certain_and_draws_replay() -> None:
    columns = candidates([0.1, 0.5, 0.9, 0.4], [0, 0, 1, 1], stderr=[0.0] * 4)
    found = inclusion_probabilities(PaperTopShare(0.5), columns, n_draws=20)
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
    wide = candidates([0.1, 0.5, 0.9, 0.4], stderr=[0.3] * 4)
    drawn = [inclusion_probabilities(TopCount(2), wide, n_draws=50, seed=s) for s in (3, 3, 4)]
    assert drawn[0].inclusion.tolist() == drawn[1].inclusion.tolist()
    assert drawn[0].inclusion.tolist() != drawn[2].inclusion.tolist()


def test_a_single_token_gets_the_variance_of_all_others() -> None:
    # Variances per token: 0.1^2 * 4 = 0.04 with 3 degrees, 0.2^2 * 2 = 0.08 with 1: 0.05 together.
    columns = candidates([0.1, 0.2, 0.3], tokens=[4, 2, 1], stderr=[0.1, 0.2, NAN])
    np.testing.assert_allclose(standard_errors(columns), [0.1, 0.2, math.sqrt(0.05)])
    with pytest.raises(RuleError, match="no score of this run has a standard error"):
        standard_errors(candidates([0.1, 0.2]))


@pytest.mark.parametrize(
    "rule", [RandomShare(0.5), Ablation("text-loss"), Control(TopCount(1)), Weights()], ids=str
)
def test_rules_that_go_by_something_else_are_refused(rule: Rule) -> None:
    with pytest.raises(RuleError, match="by their scores"):
        inclusion_probabilities(rule, candidates([0.1, 0.2], stderr=[0.1, 0.1]))


def test_token_values_are_drawn_with_replacement() -> None:
    # Row 0 has tokens 0 and 1: means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4. Row 1 has one
    # token and row 2 none on record: both stay with the normal distribution.
    columns = candidates([0.5, 0.5, 0.5], tokens=[2, 1, 3], stderr=[0.5, NAN, 1e-9])
    tokens = TokenDeltas(
        np.array([0, 1, 9]), np.array([0, 2, 3, 4]), np.array([0, 1, 0.5, 7], np.float32)
    )
    found = inclusion_probabilities(Threshold(min=0.75), columns, tokens, n_draws=4000)
    assert found.n_from_tokens == 1
    assert found.inclusion[0] == pytest.approx(0.25, abs=0.03)
    assert found.inclusion[2] == 0.0
    at_half = inclusion_probabilities(Threshold(min=0.5), columns, tokens, n_draws=4000)
    assert at_half.inclusion[0] == pytest.approx(0.75, abs=0.03)


def test_token_values_agree_with_the_normal_distribution_for_long_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scoring.curation.stability._TOKENS_AT_A_TIME", 500)
    values = np.random.default_rng(8).normal(0.3, 1.0, (20, 200)).astype(np.float32)
    stderr = values.std(1, ddof=1) / math.sqrt(200)
    columns = candidates(values.mean(1).tolist(), tokens=[200] * 20, stderr=stderr.tolist())
    tokens = TokenDeltas(np.arange(20), np.arange(21) * 200, values.ravel())
    both = [
        inclusion_probabilities(Threshold(min=0.3), columns, some, n_draws=1000).inclusion
        for some in (tokens, None)
    ]
    np.testing.assert_allclose(both[0], both[1], atol=0.08)


def test_token_values_are_read_from_the_parts_of_a_run(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws")
    folder = workspace.run_dir("r") / "scores"
    folder.mkdir(parents=True)

    def write(name: str, rows: list[tuple[int, str, list[float] | None]]) -> None:
        table = pa.Table.from_pylist(
            [
                {
                    "row_idx": row,
                    "baseline": baseline,
                    "status": "scored",
                    "token_loss_text": text,
                    "token_loss_multimodal": None if text is None else [1.0] * len(text),
                }
                for row, baseline, text in rows
            ],
            schemas.SCORES,
        )
        pq.write_table(table, folder / name)

    write("part-b.parquet", [(2, "none", [9.0]), (1, "none", [1.5])])
    write("part-a.parquet", [(2, "none", [2.0, 3.0]), (0, "gray", [4.0]), (5, "none", None)])
    found = read_token_deltas(workspace, "r", "none")
    assert found.row_idx.tolist() == [1, 2]
    assert found.offsets.tolist() == [0, 1, 3]
    assert found.values.tolist() == [0.5, 1.0, 2.0]
    assert read_token_deltas(workspace, "r", "blur").row_idx.tolist() == []


def test_two_subsets_side_by_side() -> None:
    columns = candidates([0.1, 0.9, 0.5, 0.7, 0.3, Status.TEXT_ONLY])  # scenes, charts by turns
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
    with pytest.raises(RuleError, match="not of one dataset"):
        compare_subsets(a, b, columns)
    with pytest.raises(RuleError, match="not of one dataset"):
        overlap_table({"a": a, "b": b})


def test_inclusion_by_score_and_the_most_open_samples() -> None:
    columns = candidates([0.0, 0.1, 0.9, 1.0, 1.0, Status.TEXT_ONLY])
    inclusion = np.array([0.0, 0.4, 0.6, 0.94, 1.0, np.nan])
    one = Stability(columns, inclusion >= 0.6, inclusion, 100, 0)
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
    empty = Stability(nothing, np.zeros(1, np.bool_), np.full(1, np.nan), 10, 0)
    assert empty.by_score().empty
    assert empty.most_open(3) == []
