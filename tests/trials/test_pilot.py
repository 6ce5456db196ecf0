"""What the first units of a trial predict: the precision that it reaches and its time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scoring.trials.pilot import describe_pilot, estimate_seconds, pilot_spread
from scoring.trials.results import SetResult, UnitResult
from scoring.trials.statistics import half_width
from tests.trials.plans import PLAN, RECORDED_PLAN


def unit(arm: str, seed: int, accuracy: float, **values: Any) -> UnitResult:
    return UnitResult(
        PLAN.digest, arm, seed, {"image": SetResult(200, {"accuracy": accuracy})}, **values
    )


def test_the_pilot_is_two_seeds_of_random_and_runs_first() -> None:
    assert PLAN.units[:3] == [("keep15-random", 1), ("keep15-random", 2), ("keep15", 1)]
    assert sorted(PLAN.units) == sorted((a.name, seed) for a in PLAN.arms for seed in PLAN.seeds)
    without = replace(PLAN, arms=(PLAN.arms[0], PLAN.arms[2]))
    assert without.units[:2] == [("keep15", 1), ("all", 1)]


def test_the_spread_of_one_arm_counts_as_that_of_two() -> None:
    assert pilot_spread(PLAN, []) is None
    assert pilot_spread(PLAN, [unit("keep15-random", 1, 26.0)]) is None
    pilot = [unit("keep15-random", 1, 26.0), unit("keep15-random", 2, 28.0)]
    assert pilot_spread(PLAN, pilot) == pytest.approx(np.sqrt(2) * np.std([26, 28], ddof=1))


def test_the_spread_of_paired_differences_replaces_it() -> None:
    results = [
        *(unit("keep15-random", seed, value) for seed, value in ((1, 26.0), (2, 28.0))),
        *(unit("all", seed, value) for seed, value in ((1, 44.0), (2, 47.0), (3, 40.0))),
    ]
    assert pilot_spread(PLAN, results) == pytest.approx(np.std([-18, -19], ddof=1))
    results += [unit("keep15", 1, 30.0), unit("keep15", 2, 36.0)]
    variances = [np.var(each, ddof=1) for each in ([-18, -19], [4, 8], [-14, -11])]
    assert pilot_spread(PLAN, results) == pytest.approx(np.sqrt(np.mean(variances)))


def test_the_pilot_says_what_the_planned_seeds_can_see() -> None:
    results = [unit("keep15-random", 1, 26.0), unit("keep15-random", 2, 28.0)]
    results += [unit("all", 1, 44.0), unit("all", 2, 49.1)]
    plan = replace(PLAN, seeds=(1, 2, 3, 4, 5))
    text = describe_pilot(plan, results)
    assert text is not None
    width = half_width(np.std([-18, -21.1], ddof=1), 5)
    assert text.startswith(f"5 seeds: ± {width:.1f} points; for 1 point about ")
    assert describe_pilot(plan, []) is None
    same = [unit(arm, seed, 30.0) for arm in ("all", "keep15-random") for seed in (1, 2)]
    assert describe_pilot(plan, same) is None


def test_time_is_estimated_from_finished_units() -> None:
    assert estimate_seconds(PLAN, []) is None
    assert estimate_seconds(PLAN, [unit("keep15", 1, 30.0)]) is None  # not measured
    first = unit("keep15-random", 1, 26.0, n_steps=1, training_seconds=2.0, evaluation_seconds=3.0)
    # One step for 15 samples and seven for 100, at a batch size of 16.
    left = 5 * (2.0 + 3.0) + 3 * (7 * 2.0 + 3.0)
    assert estimate_seconds(PLAN, [first]) == pytest.approx(left)
    assert estimate_seconds(RECORDED_PLAN, [first]) is None
    assert PLAN.training is not None
    by_steps = replace(PLAN, training=replace(PLAN.training, epochs=None, steps=10))
    assert estimate_seconds(by_steps, [first]) == pytest.approx(8 * (10 * 2.0 + 3.0))
    everything = [replace(first, arm=arm, seed=seed) for arm, seed in PLAN.units]
    assert estimate_seconds(PLAN, everything) == 0
