"""Intervals and corrections against manual calculations, error rates and power by simulation."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from scoring.trials.plan import Measure
from scoring.trials.statistics import (
    Conclusion,
    ConclusionKind,
    PairedDifference,
    adjust_holm,
    compare_pairs,
    describe_conclusion,
    describe_precision,
    draw_conclusions,
    find_power,
    format_difference,
    half_width,
    seeds_needed,
)

REPETITIONS = 1_000


def test_compare_pairs_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, sd 1, t with 2 degrees of freedom 4.3027 (any table)."""
    pair = compare_pairs({1: 11, 2: 22, 3: 33, 9: 0}, {3: 30, 2: 20, 1: 10, 8: 0})
    assert (pair.n_seeds, pair.mean, pair.sd) == (3, 2.0, 1.0)
    assert pair.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-5)
    assert pair.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)
    # With 2 degrees, p = 1 - t / sqrt(2 + t²), here with t = 2 * sqrt(3).
    assert pair.p_value == pytest.approx(1 - math.sqrt(12 / 14), abs=1e-12)
    assert format_difference(pair) == "+2.0 (-0.5 to 4.5)"


def test_compare_pairs_of_few_seeds_has_no_interval() -> None:
    none, single = compare_pairs({1: 5}, {2: 5}), compare_pairs({1: 5}, {1: 3})
    assert none.n_seeds == 0 and math.isnan(none.mean)
    assert single.mean == 2 and math.isnan(single.low) and math.isnan(single.p_value)
    assert format_difference(single) == "+2.0"


def test_adjust_holm_by_hand() -> None:
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 (not below 0.06) and 0.5; an unknown one counts as 1."""
    assert adjust_holm([0.03, 0.5, 0.01, 0.02]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert adjust_holm([math.nan, 0.02]) == pytest.approx([1.0, 0.04])
    assert adjust_holm([]) == []


def test_precision_of_the_experiment() -> None:
    """Five seeds with an interval of ± 2.7 points have a spread of 2.7 * sqrt(5) / 2.7764."""
    sd = 2.7 * math.sqrt(5) / 2.776445
    assert half_width(sd, 5) == pytest.approx(2.7, abs=1e-5)
    assert half_width(sd, 20) > 1 >= half_width(sd, 21)
    assert seeds_needed(sd, 1.0) == 21
    assert describe_precision(sd, 5) == "5 seeds: ± 2.7 points; for 1 point about 21 seeds"
    assert describe_precision(0.1, 5) == "5 seeds: ± 0.1 points"
    assert describe_precision(0.02, 5, "loss") == (
        "5 seeds: ± 0.025 nats; for 0.01 nats about 18 seeds"
    )
    assert seeds_needed(sd, 0.0) is None
    assert math.isnan(half_width(sd, 1)) and find_power(3, sd, 2) == 0


def pair_of(*differences: float) -> PairedDifference:
    return compare_pairs(dict(enumerate(differences)), dict.fromkeys(range(9), 0.0))


def conclude(
    pair: PairedDifference,
    measure: Measure = "accuracy",
    margin: float = 0.0,
    control: str = "all",
    n_planned: int = 3,
) -> tuple[Conclusion, str]:
    key = ("keep15", control)
    conclusion = draw_conclusions({key: pair}, measure, margin=margin, n_planned=n_planned)[key]
    text = describe_conclusion(
        conclusion, pair, measure, control=control, margin=margin, n_planned=n_planned
    )
    return conclusion, text


@pytest.mark.parametrize(
    ("differences", "options", "kind", "text"),
    [
        ((13, 14, 15), {}, "better", "better +14.0 (11.5 to 16.5)"),
        ((-13, -14, -15), {}, "worse", "worse -14.0 (-16.5 to -11.5)"),
        ((1, 2, 3), {}, "not_significant", "not significant: +2.0 (-0.5 to 4.5)"),
        ((0.2, 0, -0.2), {"margin": 1}, "as_good",
         "as good as all (margin 1.0): +0.0 (-0.5 to 0.5)"),
        ((-0.7, -0.6, -0.5), {"margin": 1}, "as_good",
         "as good as all (margin 1.0): -0.6 (-0.8 to -0.4)"),
        ((-0.7, -0.6, -0.5), {"margin": 0.75}, "worse", "worse -0.6 (-0.8 to -0.4)"),
        ((-0.7, -0.6, -0.5), {}, "worse", "worse -0.6 (-0.8 to -0.4)"),
        ((0.2, 0, -0.2), {"margin": 1, "control": "random"}, "not_significant",
         "not significant: +0.0 (-0.5 to 0.5)"),
        ((-0.35, -0.36, -0.34), {"measure": "loss"}, "better",
         "better -0.350 (-0.375 to -0.325)"),
        ((0.35, 0.36, 0.34), {"measure": "loss"}, "worse", "worse +0.350 (0.325 to 0.375)"),
        ((0.03, 0.04, 0.05), {"measure": "loss", "margin": 0.1}, "as_good",
         "as good as all (margin 0.1): +0.040 (0.015 to 0.065)"),
        ((13, 14), {}, "none", "2 of 3 seeds: no conclusion yet"),
        ((13, 14), {"n_planned": 5}, "none", "2 of 5 seeds: no conclusion yet"),
        ((), {"n_planned": 1}, "none", "0 of 3 seeds: no conclusion yet"),
        ((13, 14, 15), {"n_planned": 5}, "better",
         "so far, 3 of 5 seeds: better +14.0 (11.5 to 16.5)"),
        ((5, 5, 5), {}, "none",
         "no conclusion: +5.0 in each of 3 seeds. Check that the seeds are separate trainings"),
    ],
)  # fmt: skip
def test_conclusions(
    differences: tuple[float, ...], options: dict[str, object], kind: str, text: str
) -> None:
    conclusion, printed = conclude(pair_of(*differences), **options)  # type: ignore[arg-type]
    assert (conclusion.kind, printed) == (kind, text)
    assert conclusion.is_final == (
        len(differences) >= max(3, int(str(options.get("n_planned", 3))))
    )


def test_correction_counts_comparisons_without_results() -> None:
    """t = 3.4641 * sqrt(2) has p 0.039; with one more comparison, also a missing one, 0.078."""
    pair, missing = pair_of(1.5, 2.1, 2.9), pair_of(1.0)
    assert 0.025 < pair.p_value < 0.05
    alone = draw_conclusions({("a", "all"): pair})
    both = draw_conclusions({("a", "all"): pair, ("a", "random"): missing})
    assert alone["a", "all"].kind == "better"
    conclusion = both["a", "all"]
    assert conclusion.kind == "not_significant"
    assert conclusion.adjusted_p == pytest.approx(2 * pair.p_value)
    assert f"p {2 * pair.p_value:.3f} after correction" in describe_conclusion(conclusion, pair)
    assert both["a", "random"] == Conclusion("none", None, False)


def test_conclusions_agree_with_the_printed_interval() -> None:
    """The interval of better is above zero, that of as good as above -margin."""
    random, margin = np.random.default_rng(2), 1.0
    n_each = Counter[str]()
    for _ in range(300):
        pairs = {
            (arm, "all"): pair_of(*random.normal(random.normal(0, 1), 0.4, 4)) for arm in "abcd"
        }
        for key, conclusion in draw_conclusions(pairs, margin=margin, n_planned=4).items():
            n_each[conclusion.kind] += 1
            low, high = pairs[key].low, pairs[key].high
            assert conclusion.kind != "better" or low > 0
            assert conclusion.kind != "worse" or high < 0
            assert conclusion.kind != "as_good" or low > -margin
    assert min(n_each[kind] for kind in ("better", "worse", "as_good", "not_significant")) > 20


def simulate(
    true_differences: dict[str, float], seed: int, n_seeds: int = 5, margin: float = 0.0
) -> list[dict[str, ConclusionKind]]:
    """Conclusions of many trials of a subset against controls, by control.

    Each value is an arm's own mean, a part common to the seed and noise of the training (sd 1.5).
    """
    random = np.random.default_rng(seed)
    shape = (REPETITIONS, n_seeds)
    common = random.normal(40, 3, shape)
    subset = common + random.normal(0, 1.5, shape)
    controls = {
        name: common - true + random.normal(0, 1.5, shape)
        for name, true in true_differences.items()
    }
    trials = []
    for number in range(REPETITIONS):
        values = dict(enumerate(subset[number].tolist()))
        pairs = {
            ("subset", name): compare_pairs(values, dict(enumerate(control[number].tolist())))
            for name, control in controls.items()
        }
        conclusions = draw_conclusions(pairs, margin=margin, n_planned=n_seeds)
        trials.append({key[1]: each.kind for key, each in conclusions.items()})
    return trials


SD = 1.5 * math.sqrt(2)  # of the difference of two arms in the simulation


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_equal_arms_are_not_significant(n_seeds: int) -> None:
    """In at least 95 % of the trials, and in about 95 % none of three is significant."""
    trials = simulate({"random": 0, "band": 0, "all": 0}, 15, n_seeds)
    for control in ("random", "band", "all"):
        assert sum(trial[control] == "not_significant" for trial in trials) >= 0.95 * REPETITIONS
    n_silent = sum(set(trial.values()) == {"not_significant"} for trial in trials)
    standard_error = math.sqrt(0.05 * 0.95 * REPETITIONS)
    assert n_silent >= 0.95 * REPETITIONS - 2 * standard_error


def test_a_true_difference_does_not_raise_the_rate_of_false_ones() -> None:
    """Of two equal comparisons next to a large difference, none is significant in about 95 %."""
    trials = simulate({"random": 30, "band": 0, "all": 0}, 22)
    n_false = sum({trial["band"], trial["all"]} != {"not_significant"} for trial in trials)
    assert all(trial["random"] == "better" for trial in trials)
    assert n_false <= 0.05 * REPETITIONS + 2 * math.sqrt(0.05 * 0.95 * REPETITIONS)


def test_two_equal_arms_are_shown_as_often_as_the_interval_promises() -> None:
    """A single comparison uses the whole 5 %; 1,000 trials have a standard error of 0.7 %."""
    trials = simulate({"random": 0}, 16)
    rate = sum(trial["random"] != "not_significant" for trial in trials) / REPETITIONS
    assert 0.03 < rate < 0.07


def test_as_good_as_keeps_its_error_rate_at_the_margin() -> None:
    """A subset that is worse by exactly the margin is called as good in at most 5 %."""
    margin = 2.0
    alone = simulate({"all": -margin}, 17, margin=margin)
    wrong = sum(trial["all"] in ("as_good", "better") for trial in alone) / REPETITIONS
    assert 0.01 < wrong <= 0.05
    among_others = simulate({"random": 3, "band": 0, "all": -margin}, 18, margin=margin)
    wrong = sum(trial["all"] in ("as_good", "better") for trial in among_others) / REPETITIONS
    assert wrong <= 0.05


def test_as_good_as_is_found_for_equal_arms() -> None:
    """Equal arms and a margin that five seeds can resolve: nearly always as good, or better."""
    trials = simulate({"all": 0}, 19, margin=3 * SD)
    assert sum(trial["all"] in ("as_good", "better") for trial in trials) >= 0.95 * REPETITIONS


@pytest.mark.parametrize(("n_seeds", "power"), [(5, 0.8), (3, 0.8), (8, 0.5)])
def test_a_true_difference_is_found_with_the_promised_power(n_seeds: int, power: float) -> None:
    sizes = np.arange(0.1, 30, 0.01)
    difference = next(each for each in sizes.tolist() if find_power(each, SD, n_seeds) >= power)
    trials = simulate({"random": difference}, 20 + n_seeds, n_seeds)
    rate = sum(trial["random"] == "better" for trial in trials) / REPETITIONS
    assert abs(rate - power) < 0.04


def test_power_after_correction_is_a_lower_bound() -> None:
    """Of three comparisons, one true: found at least as often as the first step promises."""
    difference = 5.0
    promised = find_power(difference, SD, 5, n_comparisons=3)
    trials = simulate({"random": difference, "band": 0, "all": 0}, 21)
    rate = sum(trial["random"] == "better" for trial in trials) / REPETITIONS
    assert rate > promised - 0.04
    assert promised < find_power(difference, SD, 5)
