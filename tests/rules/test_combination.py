"""Ranking by a weighted sum: grammar, scales and a dozen samples that are worked out here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scoring.errors import RuleError
from scoring.rules import (
    Budget,
    ClusterShare,
    Control,
    LengthCorrected,
    RankingRule,
    SourceShare,
    TopCount,
    TopShare,
    TopTokens,
    rule_from_dict,
    rule_options,
)
from scoring.rules.candidates import Candidates
from scoring.rules.combination import format_combination, parse_combination
from scoring.rules.shortfall import describe_shortfall
from scoring.samples import Status
from tests.rules.columns import NAN, candidates

# Of rows 0 to 7, which have all values, each column has a mean of 0 and a standard deviation of 1.
SCORES = [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -2.0]
CLIP = [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]
LENGTH = [0.0, 0.0, 2.0, -2.0, 0.0, 0.0, 0.0, 0.0]
TABLE = replace(
    candidates(
        [*SCORES, 5.0, Status.TEXT_ONLY, 6.0, 0.5],  # row 9 has no score
        clusters=[0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1],
        sources=["a", "b"] * 6,
    ),
    columns={
        "clip": np.array([*CLIP, NAN, 1.0, NAN, NAN]),  # rows 8, 10 and 11 have no value
        "length": np.array([*LENGTH, 1.0, 1.0, 1.0, 1.0]),
        "same": np.full(12, 3.0),
    },
)


def selected(rule: RankingRule, table: Candidates = TABLE) -> list[int]:
    return [int(row) for row in table.row_idx[rule.select_mask(table)]]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("visnec + 0.5*col:clip - col:length", "visnec + 0.5*col:clip - col:length"),
        (" - 2.0 * col:a-b.min  -  1e-7*visnec ", "-2*col:a-b.min - 1e-07*visnec"),
        ("+.5*loss_text -col:x", "0.5*loss_text - col:x"),
        ("col:x", "col:x"),
    ],
)
def test_a_sum_has_one_written_form(text: str, written: str) -> None:
    assert format_combination(parse_combination(text)) == written
    assert format_combination(parse_combination(written)) == written


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Write a sum of"),
        ("visnec+col:clip", "spaces around"),
        ("visnec col:clip", "at 'col:clip'"),
        ("clip", "at 'clip'"),
        ("visnec + 0*col:clip", "weight of col:clip .* must not be 0"),
        ("1e999*visnec", "must not be 0 or infinite"),
        ("visnec + col:clip - visnec", "has visnec twice"),
        ("visnec * 2", r"at '\* 2'"),
    ],
)
def test_what_is_not_a_sum(text: str, problem: str) -> None:
    with pytest.raises(RuleError, match=problem):
        TopCount(3, rank_by=text)


@pytest.mark.parametrize(
    ("rank_by", "normalise", "values"),
    [
        ("visnec + col:clip", None, [1, 1, -1, 1, -1, 1, -1, -1]),
        ("visnec + 2*col:clip", "z", [0, 2, -2, 2, -2, 2, -2, 0]),
        ("col:clip - col:length - col:same", "z", [-1, 1, -3, 3, -1, 1, -1, 1]),
        # The ranks of the scores are 8, six times 4.5, and 1; those of the column 2.5 and 6.5.
        ("visnec", "rank", [0.9375, *[0.5] * 6, 0.0625]),
        ("visnec + col:clip", "rank", [1.1875, 1.25, 0.75, 1.25, 0.75, 1.25, 0.75, 0.8125]),
    ],
)
def test_the_values_to_rank_by(rank_by: str, normalise: Any, values: list[float]) -> None:
    table = TABLE if "col:clip" in rank_by else replace(TABLE, inside=np.arange(12) < 8)
    ranking = TopCount(1, rank_by=rank_by, normalise=normalise).rank(table)
    assert ranking.eligible.tolist() == [True] * 8 + [False] * 4
    assert ranking.visnec[:8].tolist() == values


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        (TopCount(4, rank_by="visnec + 2*col:clip"), [0, 1, 3, 5]),
        (TopCount(3, rank_by="visnec - col:clip"), [0, 2, 4]),  # 3, then 1 three times
        (TopCount(3, rank_by="visnec + col:clip"), [0, 1, 3]),
        (TopCount(3, rank_by="visnec + col:clip", normalise="rank"), [1, 3, 5]),
        (TopShare(0.5, rank_by="visnec + 2*col:clip"), [0, 1, 3, 5]),  # int(0.5 * 8 ranked)
        (TopShare(0.2, rank_by="-visnec"), [1, 7]),  # int(0.2 * 11): all scored are ranked
        (TopTokens(9, rank_by="visnec + 2*col:clip"), [1, 3]),  # 4 each
        (ClusterShare(0.5, rank_by="visnec + 2*col:clip"), [1, 3, 5, 7]),
        (SourceShare(0.25, rank_by="visnec + 2*col:clip"), [0, 1]),
        (Budget(3, ceiling=2, rank_by="visnec + 2*col:clip"), [0, 1, 3]),
        (LengthCorrected(0.5, rank_by="visnec + 2*col:clip"), [0, 1, 3, 5]),
        (TopCount(99, rank_by="col:clip"), list(range(8))),
    ],
    ids=str,
)
def test_rules_that_rank(rule: RankingRule, rows: list[int]) -> None:
    assert selected(rule) == rows
    assert rule_from_dict(rule.to_dict()) == rule


def test_a_sample_without_a_value_is_not_ranked() -> None:
    unranked = TopCount(1, rank_by="visnec + col:clip").find_unranked(TABLE)
    assert unranked is not None
    assert unranked.nonzero()[0].tolist() == [8, 10, 11]
    assert TopCount(1).find_unranked(TABLE) is None
    assert describe_shortfall(TopCount(9, rank_by="col:clip"), TABLE) == (
        "--count 9 asks for 9 samples; the rule can select only 8"
    )
    shortfall = describe_shortfall(TopTokens(50, rank_by="col:clip"), TABLE)
    assert shortfall == "--tokens 50 asks for 50 answer tokens; the rule can select only 32"


def test_nothing_to_rank() -> None:
    table = replace(TABLE, columns={"clip": np.full(12, NAN)})
    assert selected(TopShare(1.0, rank_by="visnec + col:clip"), table) == []


def test_scales_do_not_depend_on_the_order_of_the_samples() -> None:
    numbers = np.random.default_rng(5)
    scores, clip = numbers.normal(size=999), numbers.normal(size=999) * 1e5
    order = numbers.permutation(999)
    rule = TopCount(1, rank_by="0.3*visnec + col:clip")
    plain, shuffled = (
        rule.rank(replace(candidates(values.tolist()), columns={"clip": column})).visnec
        for values, column in ((scores, clip), (scores[order], clip[order]))
    )
    assert plain[order].tolist() == shuffled.tolist()


def test_the_options_are_saved_only_if_they_are_used() -> None:
    assert TopShare(0.5).to_dict() == {"rule": "top-share", "share": 0.5}
    assert str(TopShare(0.5)) == "top-share share=0.5"
    rule = TopShare(0.5, rank_by="visnec +  col:clip")
    assert rule.to_dict() == {
        "rule": "top-share",
        "share": 0.5,
        "rank_by": "visnec + col:clip",
        "normalise": "z",
    }
    assert str(rule) == "top-share share=0.5 rank_by=visnec + col:clip normalise=z"
    assert rule_options("top-share") == ("share", "rank_by", "normalise")


def test_a_control_reads_the_columns_of_its_rule() -> None:
    control = Control(TopCount(2, rank_by="visnec + col:clip - col:rating.min"))
    assert control.list_columns() == ("clip", "rating.min")
    control = Control(TopCount(2, rank_by="visnec + col:clip"))
    assert int(control.select_mask(TABLE).sum()) == 2
    assert rule_from_dict(control.to_dict()) == control


def test_what_is_refused() -> None:
    with pytest.raises(RuleError, match="--normalise needs --rank-by"):
        TopShare(0.5, normalise="rank")
    with pytest.raises(RuleError, match="Invalid --normalise 'log'"):
        TopShare(0.5, rank_by="visnec", normalise="log")  # type: ignore[arg-type]
    for name in ("paper", "relative", "band", "random", "weights", "threshold"):
        assert "rank_by" not in rule_options(name)
    with pytest.raises(RuleError, match="Rule paper has no option --rank-by"):
        rule_from_dict({"rule": "paper", "rank_by": "visnec"})
    with pytest.raises(RuleError, match="'other' was not read"):
        selected(TopCount(1, rank_by="col:other"))
