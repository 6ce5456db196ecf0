"""What a trial can see and how long it takes, estimated from its first units.

The first two seeds of a random control are the pilot: they are the first units that are trained,
and they count like all others. A spread over so few values is uncertain; the estimate pools every
comparison that has two seeds or more, and looks at no mean.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, variance

from scoring.trials.plan import PlannedArm, TrainingSettings, TrialPlan
from scoring.trials.results import UnitResult
from scoring.trials.statistics import describe_precision

_ValuesByArm = Mapping[str, Mapping[int, float]]


def pilot_spread(plan: TrialPlan, results: Sequence[UnitResult]) -> float | None:
    """Return the spread over seeds of a paired difference, in the unit of the primary measure.

    Pooled over the comparisons of the plan and those of random controls with ``all``. Without any,
    that of single arms times the square root of 2. None before an arm has two seeds.
    """
    values = _primary_values(plan, results)
    controls = {arm.name for arm in plan.arms if arm.control == "random"}
    pairs = [*plan.comparisons, *((name, "all") for name in sorted(controls))]
    variances = [
        variance(differences)
        for first, second in pairs
        if len(differences := list(_differences(values, first, second))) > 1
    ]
    if variances:
        return math.sqrt(fmean(variances))
    of_arms = [variance(by_seed.values()) for by_seed in values.values() if len(by_seed) > 1]
    return math.sqrt(2 * fmean(of_arms)) if of_arms else None


def describe_pilot(plan: TrialPlan, results: Sequence[UnitResult]) -> str | None:
    """Return what the plan can see, such as ``5 seeds: ± 2.7 points; ...``; None before the pilot.

    Also None if the results so far do not differ at all, which does not show a spread.
    """
    spread = pilot_spread(plan, results)
    return describe_precision(spread, len(plan.seeds), plan.measure) if spread else None


def estimate_seconds(plan: TrialPlan, results: Sequence[UnitResult]) -> float | None:
    """Return how long the units without a result take one after another; None if unknown.

    From the seconds per step and of the evaluations that were measured so far.
    """
    timed = [each for each in results if each.training_seconds is not None]
    if plan.training is None or not timed:
        return None
    steps_of = {arm.name: _count_steps(arm, plan.training) for arm in plan.arms}
    n_steps = sum(each.n_steps or steps_of[each.arm] for each in timed)
    per_step = sum(each.training_seconds or 0 for each in timed) / n_steps
    evaluation = fmean(each.evaluation_seconds or 0 for each in timed)
    done = {(each.arm, each.seed) for each in results}
    missing = [unit for unit in plan.units if unit not in done]
    return sum(per_step * steps_of[arm] + evaluation for arm, _ in missing)


def _primary_values(plan: TrialPlan, results: Sequence[UnitResult]) -> _ValuesByArm:
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for result in results:
        measured = result.sets.get(plan.primary)
        if measured is not None and plan.measure in measured.values:
            values[result.arm].setdefault(result.seed, measured.values[plan.measure])
    return values


def _differences(values: _ValuesByArm, first: str, second: str) -> Iterator[float]:
    ours, theirs = values.get(first, {}), values.get(second, {})
    yield from (ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys()))


def _count_steps(arm: PlannedArm, training: TrainingSettings) -> int:
    if training.steps is not None:
        return training.steps
    return max(1, math.ceil((training.epochs or 1) * arm.n_samples / training.batch_size))
