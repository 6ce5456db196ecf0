"""Differences between the arms of a trial, their intervals, and what may be concluded from them.

Arms are compared within each seed, which fixes the order of training and the draws of the
controls; the interval is a t-interval over seeds. It holds for other seeds of the same training on
the same questions, not for other models, budgets or questions.

Three rules keep the error rates, and make the printed interval agree with the conclusion:

* ``better`` and ``worse``: the two-sided t-test of each declared comparison, corrected by Holm's
  method over all of them. The chance that any of them is wrong is at most 5 %.
* ``as good as``: the one-sided test of a difference below -margin at 2.5 %, corrected by Holm over
  the comparisons with a control that is named for it (all data). The chance that any of them is
  wrong is at most 2.5 %. Without other such comparisons it is the same as a 95 % interval above
  -margin. ``better`` goes before it, and it goes before ``worse``: a significant loss that is
  surely within the margin counts as equally good, as the plan declared.
* The interval is always the plain 95 % one. A corrected conclusion is stricter than it, so
  ``better`` has an interval above zero, and ``as good as`` one above -margin. An interval above
  zero may be ``not significant`` after correction; its text then has the corrected p-value.

The two rates hold for a finished plan. A comparison that waits for results counts in the
correction, and conclusions before the last planned seed are marked ``so far``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from scoring.trials.plan import Measure

MIN_SEEDS = 3
"""Fewer seeds give no conclusion: with two, the 95 % interval is nine times the spread."""

ConclusionKind = Literal["better", "worse", "as_good", "not_significant", "none"]
Comparison = tuple[str, str]
"""A subset and the control that it is compared with."""

DIFFERENCE_UNITS: Final[Mapping[Measure, str]] = {"accuracy": "points", "loss": "nats"}
_ALPHA = 0.05
_MAX_SEEDS = 10_000
_GAIN_SIGN: Mapping[Measure, int] = {"accuracy": 1, "loss": -1}
_DIGITS: Mapping[Measure, int] = {"accuracy": 1, "loss": 3}


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The mean of an arm minus its control over the seeds that both have.

    ``low`` and ``high`` are the 95 % t-interval, ``p_value`` is two-sided and not corrected. With
    fewer seeds than they need, values are NaN.
    """

    n_seeds: int
    mean: float
    sd: float
    low: float
    high: float
    p_value: float

    @property
    def is_constant(self) -> bool:
        """Whether the difference is the same in every seed, which leaves no spread to judge by."""
        return self.n_seeds > 1 and self.sd <= 1e-9 * max(1.0, abs(self.mean))


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a comparison shows, by the rules of the module.

    ``adjusted_p`` is the two-sided p-value after Holm's correction, None without a conclusion.
    ``is_final``: all planned seeds are there.
    """

    kind: ConclusionKind
    adjusted_p: float | None
    is_final: bool


def compare_pairs(
    values: Mapping[int, float], control_values: Mapping[int, float]
) -> PairedDifference:
    """Compare an arm with a control, both by seed; seeds that one of them lacks are left out."""
    seeds = sorted(values.keys() & control_values.keys())
    differences = np.array([values[seed] - control_values[seed] for seed in seeds], float)
    n_seeds = len(seeds)
    mean = float(differences.mean()) if n_seeds else math.nan
    sd = float(differences.std(ddof=1)) if n_seeds > 1 else math.nan
    width = half_width(sd, n_seeds)
    low, high = mean - width, mean + width
    return PairedDifference(n_seeds, mean, sd, low, high, _p_value(abs(mean), sd, n_seeds) * 2)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values after Holm's correction. NaN, for a test not done yet, counts as 1."""
    known = [1.0 if math.isnan(p) else p for p in p_values]
    adjusted = [1.0] * len(known)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(known)), key=known.__getitem__)):
        largest = max(largest, min(1.0, (len(known) - rank) * known[index]))
        adjusted[index] = largest
    return adjusted


def draw_conclusions(
    differences: Mapping[Comparison, PairedDifference],
    measure: Measure = "accuracy",
    *,
    margin: float = 0.0,
    as_good_as: Collection[str] = ("all",),
    n_planned: int = MIN_SEEDS,
) -> dict[Comparison, Conclusion]:
    """Conclude from all declared comparisons on the primary evaluation set.

    Args:
        differences: By subset and control. Pass every declared comparison, also those without
            results: the correction is over all of them.
        measure: Decides whether more is better.
        margin: How much worse counts as equally good, in points or nats; 0: nothing does.
        as_good_as: The controls that a subset can be as good as. A control of the same size costs
            the same, so being as good as that is not a result.
        n_planned: Seeds of the plan.
    """
    gain_sign = _GAIN_SIGN[measure]
    testable = {key: each for key, each in differences.items() if _is_testable(each)}
    different = _adjust(differences, {key: each.p_value for key, each in testable.items()})
    with_margin = [key for key in differences if margin > 0 and key[1] in as_good_as]
    not_inferior = _adjust(
        with_margin,
        {
            key: _p_value(gain_sign * each.mean + margin, each.sd, each.n_seeds)
            for key, each in testable.items()
        },
    )
    conclusions = {}
    for key, each in differences.items():
        kind: ConclusionKind = "not_significant"
        if key not in testable:
            kind = "none"
        elif different[key] <= _ALPHA and gain_sign * each.mean > 0:
            kind = "better"
        elif not_inferior.get(key, 1.0) <= _ALPHA / 2:
            kind = "as_good"
        elif different[key] <= _ALPHA:
            kind = "worse"
        conclusions[key] = Conclusion(
            kind,
            different[key] if key in testable else None,
            each.n_seeds >= max(n_planned, MIN_SEEDS),
        )
    return conclusions


def describe_conclusion(
    conclusion: Conclusion,
    difference: PairedDifference,
    measure: Measure = "accuracy",
    *,
    control: str = "all",
    margin: float = 0.0,
    n_planned: int = MIN_SEEDS,
    advice: str = "Check that the seeds are separate trainings",
) -> str:
    """Return a conclusion as it is printed, such as ``not significant: +1.9 (-0.8 to 4.6)``.

    ``advice`` follows a difference that is the same in every seed.
    """
    n_planned = max(n_planned, MIN_SEEDS)
    interval = format_difference(difference, measure)
    if conclusion.kind == "none" and difference.n_seeds < MIN_SEEDS:
        return f"{difference.n_seeds} of {n_planned} seeds: no conclusion yet"
    if conclusion.kind == "none":
        return (
            f"no conclusion: {format_value(difference.mean, measure, '+')} in each of "
            f"{difference.n_seeds} seeds. {advice}"
        )
    text = {
        "better": f"better {interval}",
        "worse": f"worse {interval}",
        "as_good": f"as good as {control} (margin {float(margin)}): {interval}",
        "not_significant": f"not significant: {interval}",
    }[conclusion.kind]
    if conclusion.kind == "not_significant" and difference.p_value <= _ALPHA:
        text += f", p {conclusion.adjusted_p:.3f} after correction"
    prefix = "" if conclusion.is_final else f"so far, {difference.n_seeds} of {n_planned} seeds: "
    return prefix + text


def format_difference(difference: PairedDifference, measure: Measure = "accuracy") -> str:
    """Return a difference with its interval, such as ``+1.9 (-0.8 to 4.6)``."""
    mean = format_value(difference.mean, measure, "+")
    if math.isnan(difference.low):
        return mean
    low, high = (format_value(value, measure) for value in (difference.low, difference.high))
    return f"{mean} ({low} to {high})"


def format_value(value: float, measure: Measure, sign: str = "-") -> str:
    """Return a value with the digits of its measure; sign ``+`` also marks gains."""
    digits = _DIGITS[measure]
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def half_width(sd: float, n_seeds: int) -> float:
    """Return half the width of the 95 % interval of a difference whose spread over seeds is sd."""
    from scipy.special import stdtrit

    if n_seeds < 2:
        return math.nan
    return float(stdtrit(n_seeds - 1, 1 - _ALPHA / 2)) * sd / math.sqrt(n_seeds)


def seeds_needed(sd: float, half_width_wanted: float) -> int | None:
    """Return the fewest seeds whose 95 % interval is that narrow; None: more than 10,000."""
    return next(
        (n for n in range(2, _MAX_SEEDS + 1) if half_width(sd, n) <= half_width_wanted), None
    )


def find_power(difference: float, sd: float, n_seeds: int, n_comparisons: int = 1) -> float:
    """Return the chance that a true difference is found, from 0 to 1.

    ``sd`` is the spread of the paired difference over seeds. With several comparisons this is the
    chance at the first step of Holm's correction, and therefore a lower bound. With the margin as
    ``difference`` it is the chance that a subset equal to all data is shown to be as good.
    """
    from scipy.special import nctdtr, stdtrit

    if n_seeds < MIN_SEEDS:
        return 0.0
    freedom = n_seeds - 1
    limit = stdtrit(freedom, 1 - _ALPHA / 2 / n_comparisons)
    shift = abs(difference) * math.sqrt(n_seeds) / sd
    return float(1 - nctdtr(freedom, shift, limit))


def describe_precision(sd: float, n_seeds: int, measure: Measure = "accuracy") -> str:
    """Return what a plan can see, such as ``5 seeds: ± 2.7 points; for 1 point about 21 seeds``.

    ``sd`` is the spread of the paired difference over seeds. Of a single arm, pass its own spread
    times the square root of 2, which is what two independent arms would have.
    """
    unit = DIFFERENCE_UNITS[measure]
    wanted, one_unit = {"accuracy": (1.0, "1 point"), "loss": (0.01, "0.01 nats")}[measure]
    width = half_width(sd, n_seeds)
    reach = f"{n_seeds} seeds: ± {format_value(width, measure)} {unit}"
    if n_seeds < 2:
        reach = "1 seed: no interval"
    elif width <= wanted:
        return reach
    needed = seeds_needed(sd, wanted)
    return f"{reach}; for {one_unit} " + (f"about {needed} seeds" if needed else "too many seeds")


def _is_testable(difference: PairedDifference) -> bool:
    return difference.n_seeds >= MIN_SEEDS and not difference.is_constant


def _p_value(gain: float, sd: float, n_seeds: int) -> float:
    """The one-sided p-value of a mean gain being above zero."""
    from scipy.special import stdtr

    if n_seeds < 2:
        return math.nan
    if sd == 0:
        return 0.0 if gain > 0 else 0.5 if gain == 0 else 1.0
    return float(stdtr(n_seeds - 1, -gain * math.sqrt(n_seeds) / sd))


def _adjust(
    family: Collection[Comparison], p_values: Mapping[Comparison, float]
) -> dict[Comparison, float]:
    adjusted = adjust_holm([p_values.get(key, math.nan) for key in family])
    return dict(zip(family, adjusted, strict=True))
