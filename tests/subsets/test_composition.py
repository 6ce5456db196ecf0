"""The groups of samples before and after a selection, and the warning where one vanishes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scoring.necessity import Bands
from scoring.rules import Rule, Threshold, TopShare, Weights
from scoring.rules.candidates import Candidates
from scoring.subsets.composition import compare_composition, describe_vanishing
from scoring.subsets.definitions import ResolvedSubset, SubsetDefinition
from scoring.subsets.selection import select
from tests.rules.columns import candidates


def resolve(rule: Rule, columns: Candidates) -> ResolvedSubset:
    return ResolvedSubset(SubsetDefinition("it", rule, "run"), columns, select(rule, columns))


def test_shares_before_and_after() -> None:
    codes = np.array([0, 0, 0, 1, 1, 3])
    kept = np.array([True, False, True, False, False, True])
    frame = compare_composition(codes, 4, kept)
    assert frame["samples"].tolist() == [3, 2, 0, 1]
    assert frame["share_before"].tolist() == [3 / 6, 2 / 6, 0.0, 1 / 6]
    assert frame["kept"].tolist() == [2, 0, 0, 1]
    assert frame["share_after"].tolist() == [2 / 3, 0.0, 0.0, 1 / 3]
    weighted = compare_composition(codes, 4, kept, np.array([1.0, 0, 0.5, 0, 0, 4.5]))
    assert weighted["share_after"].tolist() == [0.25, 0.0, 0.0, 0.75]
    assert weighted["mean_weight"].tolist()[0] == 0.75
    empty = compare_composition(codes, 4, np.zeros(6, np.bool_))
    assert empty["share_after"].isna().all()
    assert describe_vanishing("source", empty) == []


@pytest.mark.parametrize(
    ("before", "after", "n_kept", "vanishes"),
    [
        (0.20, 0.03, 1000, True),
        (0.20, 0.05, 1000, True),  # a quarter of the share
        (0.20, 0.06, 1000, False),
        (0.02, 0.0, 1000, True),
        (0.019, 0.0, 1000, False),  # too small a part of the data
        (0.20, 0.0, 24, False),  # a random subset would have fewer than 5
        (0.20, 0.0, 25, True),
    ],
)
def test_a_group_vanishes(before: float, after: float, n_kept: int, vanishes: bool) -> None:
    frame = pd.DataFrame(
        {
            "samples": [1000, 4000],
            "share_before": [before, 1 - before],
            "kept": [round(after * n_kept), n_kept - round(after * n_kept)],
            "share_after": [after, 1 - after],
        },
        index=["yes/no", "word"],
    )
    lines = describe_vanishing("answer type", frame)
    assert bool(lines) == vanishes
    if vanishes and after == 0.03:
        assert lines == [
            "Answer type yes/no nearly vanishes: 20.0 % of the data, 3.0 % of the subset"
        ]


def test_the_top_of_the_scores_loses_an_answer_type() -> None:
    # 100 samples: 20 yes/no with low scores, 80 words with higher ones; every second is a chart
    scores = [0.1] * 20 + [1.0 + row / 100 for row in range(80)]
    columns = candidates(scores, kinds=["yes/no"] * 20 + ["word"] * 80)
    top = resolve(TopShare(0.5), columns)
    assert top.find_vanishing() == [
        "Answer type yes/no nearly vanishes: 20.0 % of the data, 0.0 % of the subset"
    ]
    kinds = top.composition("answer type")
    assert kinds.index.name == "answer_type"
    assert kinds.loc["word", ["samples", "kept"]].tolist() == [80, 50]
    categories = top.composition("category", Bands(0.0, 0.25))
    assert categories["kept"].to_dict() == {
        "misaligned": 0,
        "redundant": 0,
        "vision-critical": 50,
        "no score": 0,
    }
    assert top.composition("cluster")["kept"].to_dict() == {0: 50}
    assert resolve(Threshold(min=0.0), columns).find_vanishing() == []
    # weights keep every sample, and nearly all weight is on the words
    weighted = resolve(Weights(temperature=0.1, max_weight=None), columns)
    assert weighted.find_vanishing() == [
        "Answer type yes/no nearly vanishes: 20.0 % of the data, 0.0 % of the subset"
    ]
