"""Evaluation of written-out correctness and scores: every figure can be checked on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scoring.errors import InputError
from scoring.evaluation.accuracy import (
    Accuracy,
    ContingencyTable,
    cross_tabulate,
    measure_accuracy,
    measure_gain,
    measure_leakage,
)
from scoring.evaluation.evaluate import (
    Benchmark,
    Evaluation,
    ModelCorrectness,
    evaluate_models,
    rank_models,
    split_into_bands,
)
from scoring.necessity import Bands

NAN = math.nan
BENCHMARK = Benchmark(
    row_idx=np.arange(8),
    visnec=np.array([1.0, 0.5, 0.25, 0.2, 0.0, -0.5, -1.0, NAN]),
    source=np.array([0, 1, 0, 1, 0, 1, 0, 1], np.int32),
    sources=("charts", "scenes"),
    kind=np.array([1, 1, 2, 2, 2, 2, 2, 2], np.int8),
)


def correctness(text: str) -> np.ndarray:
    """``r`` right, ``w`` wrong, ``-`` not judged."""
    return np.array([{"r": 1, "w": 0, "-": -1}[one] for one in text], np.int8)


def evaluated(*models: ModelCorrectness, threshold: float = 0.25, n_bands: int = 3) -> Evaluation:
    return evaluate_models(BENCHMARK, models, threshold, Bands(), n_bands)


#                          row  01234567
ONE = ModelCorrectness(
    "one", correctness("rrwrrwr-"), correctness("wwrrwwrr"), correctness("wwwrww-r")
)


def test_all_samples_the_necessary_part_and_the_rest() -> None:
    found = evaluated(ONE)
    assert (found.n_samples, found.n_scored, found.n_necessary) == (8, 7, 3)
    (one,) = found.models
    assert one.all.seen == Accuracy(5, 7)  # row 7 has no prediction with the image
    assert one.all.blind == Accuracy(4, 8)
    assert one.necessary.seen == Accuracy(2, 3)  # rows 0, 1, 2
    assert one.necessary.blind == Accuracy(1, 3)
    assert one.rest.seen == Accuracy(3, 4)  # rows 3 to 6; row 7 has no score
    assert [part.seen for part in one.by_category] == [
        Accuracy(1, 2),  # misaligned: 5, 6
        Accuracy(2, 2),  # redundant: 3, 4
        Accuracy(2, 3),  # vision-critical: 0, 1, 2
    ]
    assert [(part.name, part.seen) for part in one.by_source] == [
        ("charts", Accuracy(3, 4)),  # 0, 2, 4, 6
        ("scenes", Accuracy(2, 3)),  # 1, 3, 5
    ]
    assert [(part.name, part.n_samples) for part in one.by_kind] == [("choice", 2), ("number", 6)]


def test_gain_and_leakage_use_samples_that_both_sides_have() -> None:
    (one,) = evaluated(ONE).models
    assert one.all.gain is not None
    assert one.all.gain.seen == Accuracy(5, 7)
    assert one.all.gain.blind == Accuracy(3, 7)  # without row 7
    assert one.all.gain.value == pytest.approx(2 / 7)
    assert one.all.leakage is not None
    assert one.all.leakage.blind == Accuracy(
        3, 7
    )  # without row 6, which the text model did not answer
    assert one.all.leakage.text_model == Accuracy(2, 7)
    assert one.all.leakage.value == pytest.approx(1 / 7)


def test_the_worked_example_of_mmstar() -> None:
    """LLaVA-Next-34B: 52.1 with images, 22.7 without, 20.3 by its language model."""
    n = 1000
    seen, blind, text = (np.repeat(np.array([1, 0], np.int8), [k, n - k]) for k in (521, 227, 203))
    gain = measure_gain(cross_tabulate(blind, seen))
    leak = measure_leakage(blind, text)
    assert gain is not None
    assert leak is not None
    assert gain.value == pytest.approx(0.294)
    assert leak.value == pytest.approx(0.024)
    reverse = measure_leakage(text, blind)
    assert reverse is not None
    assert reverse.value == 0.0  # never below


def test_the_interval_of_a_gain() -> None:
    gain = measure_gain(ContingencyTable(40, 10, 30, 20))
    assert gain is not None
    assert gain.value == pytest.approx(0.2)
    # (30.5 - 10.5) / 102 = 0.196; sqrt(41 - 400 / 102) / 102 = 0.0597
    assert (gain.low, gain.high) == pytest.approx((0.079, 0.313), abs=0.001)
    sure = measure_gain(ContingencyTable(5, 0, 0, 5))
    assert sure is not None
    assert sure.low < 0 < sure.high  # ten samples that all agree prove no zero


def test_the_four_cells() -> None:
    (one,) = evaluated(ONE).models
    #              blind right, seen right: 3, 6; blind right, seen wrong: 2;
    assert one.all.cells == ContingencyTable(
        2, 1, 3, 1
    )  # blind wrong, seen right: 0, 1, 4; neither: 5
    assert one.necessary.cells == ContingencyTable(0, 1, 2, 0)
    assert one.all.cells.count("right", "wrong") == 1
    assert one.all.cells.count("wrong", "right") == 3
    assert one.all.cells.n == 7


def test_wilsons_interval() -> None:
    """8 of 10: 0.490 to 0.943, as in Wilson's tables."""
    assert Accuracy(8, 10).interval == pytest.approx((0.490, 0.943), abs=0.001)
    assert Accuracy(0, 0).value is None
    assert Accuracy(0, 0).interval is None
    assert measure_accuracy(correctness("rw-")) == Accuracy(1, 2)


def test_bands_separate_no_equal_scores_and_cover_every_score() -> None:
    scores = np.array([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])
    assert split_into_bands(scores, 3) == [(None, 2.0), (2.0, None)]
    assert split_into_bands(scores, 1) == [(None, None)]
    assert split_into_bands(np.array([]), 3) == []
    assert split_into_bands(np.array([1.0, 1.0]), 5) == [(None, None)]
    (one,) = evaluated(ONE).models
    assert sum(part.n_samples for part in one.by_band) == 7
    assert [part.n_samples for part in one.by_band] == [2, 2, 3]


def test_missing_predictions_are_none_and_never_zero() -> None:
    (one,) = evaluated(ModelCorrectness("seen only", correctness("rrwrrwr-"))).models
    assert one.all.blind is None
    assert one.all.gain is None
    assert one.all.leakage is None
    assert one.all.cells is None
    (empty,) = evaluated(ONE, threshold=9.0).models
    assert empty.necessary.seen == Accuracy(0, 0)
    assert empty.necessary.gain is None
    assert empty.to_dict()["necessary"]["seen"]["value"] is None


def test_models_are_ranked_over_the_samples_that_all_answered() -> None:
    a = ModelCorrectness("a", correctness("wwwrrrr-"))  # 4 of 7; 0 of 3 on the necessary part
    b = ModelCorrectness("b", correctness("rrrwwwwr"))  # 3 of 7; 3 of 3
    c = ModelCorrectness("c", correctness("rrwwwwwr"))  # 2 of 7; 2 of 3
    blind_only = ModelCorrectness("d", None, correctness("rrrrrrrr"))
    found = evaluated(c, b, a, blind_only).ranking
    assert found is not None
    assert (found.n_common, found.n_necessary) == (7, 3)
    assert [one.model for one in found.models] == ["a", "b", "c"]
    assert [one.on_all for one in found.models] == [Accuracy(4, 7), Accuracy(3, 7), Accuracy(2, 7)]
    assert [one.rank_necessary for one in found.models] == [3, 1, 2]
    assert found.spearman == pytest.approx(-0.5)  # 1 - 6 * (4 + 1 + 1) / 24
    assert found.kendall == pytest.approx(-1 / 3)  # one pair agrees, two do not


def test_rankings_need_two_models_and_common_samples() -> None:
    necessary = np.array([True, False])
    assert rank_models({"one": correctness("rr")}, necessary) is None
    assert rank_models({"one": correctness("rr"), "two": correctness("-r")}, necessary) is None
    equal = rank_models({"one": correctness("rr"), "two": correctness("rr")}, necessary)
    assert equal is not None
    assert (equal.spearman, equal.kendall) == (None, None)
    assert [one.rank_all for one in equal.models] == [1.5, 1.5]


def test_correlations_of_ranks_with_ties() -> None:
    necessary = np.array([False, False, True, True, True])
    models = {
        "best": correctness("rrrrr"),  # 5 right; 3 on the necessary part
        "b": correctness("wrrwr"),  # 3; 2
        "c": correctness("rrrww"),  # 3; 1
        "worst": correctness("rwwww"),  # 1; 0
    }
    ranking = rank_models(models, necessary)
    assert ranking is not None
    assert [ranked.rank_all for ranked in ranking.models] == [1.0, 2.5, 2.5, 4.0]
    assert [ranked.rank_necessary for ranked in ranking.models] == [1.0, 2.0, 3.0, 4.0]
    assert ranking.spearman == pytest.approx(0.9486833)  # 4.5 / sqrt(4.5 * 5)
    assert ranking.kendall == pytest.approx(0.9128709)  # 5 / sqrt(5 * 6)
    two = {"a": correctness("rrr"), "b": correctness("rww")}
    agreeing = rank_models(two, np.array([False, True, True]))
    assert agreeing is not None
    assert (agreeing.spearman, agreeing.kendall) == (1.0, 1.0)


def test_invalid_input_is_refused() -> None:
    with pytest.raises(InputError, match="finite number"):
        evaluated(ONE, threshold=NAN)
    with pytest.raises(InputError, match="at least 1, got 0"):
        evaluated(ONE, n_bands=0)
    with pytest.raises(InputError, match="has 1 predictions for a benchmark of 8 samples"):
        evaluated(ModelCorrectness("short", correctness("r")))
