"""Report what the results of a trial show: means, paired differences and conclusions."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scoring.trials.differing_trainings import describe_questions, describe_versions
from scoring.trials.plan import Measure, TrainingSettings, TrialPlan, read_plan
from scoring.trials.results import SetResult, UnitResult, read_results
from scoring.trials.statistics import (
    Conclusion,
    PairedDifference,
    compare_pairs,
    describe_conclusion,
    draw_conclusions,
    format_difference,
    format_value,
    half_width,
)
from scoring.workspace import Workspace

_MEASURES: tuple[Measure, ...] = ("accuracy", "loss")
UNITS: Mapping[Measure, str] = {"accuracy": "%", "loss": "nats per answer token"}
"""How values are printed, by measure."""

_Values = Mapping[tuple[str, str, Measure], Mapping[int, float]]
"""By arm, evaluation set and measure: the value of each seed."""


@dataclass(frozen=True, slots=True)
class ArmValue:
    """The mean of an arm on an evaluation set over its seeds, with its own 95 % t-interval.

    Intervals of two arms may overlap although their paired difference is significant. ``sd``,
    ``low`` and ``high`` are NaN for a single seed.
    """

    arm: str
    evaluation_set: str
    measure: Measure
    n_seeds: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SetDifference:
    """The paired difference of a comparison on one evaluation set."""

    evaluation_set: str
    measure: Measure
    difference: PairedDifference

    @property
    def text(self) -> str:
        """The difference with its interval and set, such as ``-44.0 (-46.1 to -41.9) on text``."""
        return f"{format_difference(self.difference, self.measure)} on {self.evaluation_set}"


@dataclass(frozen=True, slots=True)
class ComparisonReport:
    """A declared comparison: its conclusion, and the differences on all evaluation sets.

    ``summary`` is the conclusion in words, ``text`` also names the primary set and has every
    difference on another one.
    """

    subset: str
    control: str
    primary: SetDifference
    others: tuple[SetDifference, ...]
    conclusion: Conclusion
    summary: str
    text: str


@dataclass(frozen=True, slots=True)
class MissingUnit:
    """A planned training without a result on some of the declared evaluation sets."""

    arm: str
    seed: int
    evaluation_sets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What the results of a trial show so far.

    ``undeclared`` are evaluation sets of recorded results that the plan does not name; no
    conclusion is about them. ``applies_to`` names the model and budget that the report
    holds for; ``notice`` is that of the plan.
    """

    trial: str
    plan_digest: str
    primary: str
    measure: Measure
    margin: float
    seeds: tuple[int, ...]
    applies_to: str
    notice: str | None
    evaluation_sets: tuple[str, ...]
    undeclared: tuple[str, ...]
    arms: tuple[ArmValue, ...]
    comparisons: tuple[ComparisonReport, ...]
    missing: tuple[MissingUnit, ...]
    notes: tuple[str, ...]

    def arm_value(self, arm: str, evaluation_set: str, measure: Measure) -> ArmValue | None:
        """Return the value of an arm on an evaluation set, None if there is no result."""
        wanted = (arm, evaluation_set, measure)
        return next((v for v in self.arms if (v.arm, v.evaluation_set, v.measure) == wanted), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; what is not known is null."""
        value: dict[str, Any] = json.loads(json.dumps(asdict(self)), parse_constant=lambda _: None)
        return value

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return columns and rows of the means: arms down, evaluation sets across."""
        measures = [
            (name, measure)
            for name in (*self.evaluation_sets, *self.undeclared)
            for measure in _MEASURES
            if any((v.evaluation_set, v.measure) == (name, measure) for v in self.arms)
        ]
        columns = [f"{name} ({UNITS[measure]})" for name, measure in measures]
        rows = []
        for arm in dict.fromkeys(value.arm for value in self.arms):
            cells = [self.arm_value(arm, *each) for each in measures]
            rows.append([arm, *(_format_cell(each) for each in cells)])
        return ["arm", *columns], rows

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        columns, rows = self.table()
        conclusions = [f"{each.subset} - {each.control}: {each.text}" for each in self.comparisons]
        remarks = [*describe_missing(self), *self.notes]
        lines = [f"# Trial {self.trial}", "", _escape(self.applies_to), ""]
        if self.notice:
            lines += [_escape(self.notice), ""]
        lines += ["## Conclusions", ""]
        lines += [f"- {_escape(conclusion)}" for conclusion in conclusions]
        lines += ["", *_explain(self), "", "## Results", ""]
        lines += ["Mean ± standard deviation over seeds (number of seeds):", ""]
        lines += ["| " + " | ".join(map(_escape, columns)) + " |", "|---" * len(columns) + "|"]
        lines += ["| " + " | ".join(map(_escape, row)) + " |" for row in rows]
        if remarks:
            lines += ["", "## Remarks", "", *(f"- {_escape(remark)}" for remark in remarks)]
        return "\n".join(lines) + "\n"


def trial_report(workspace: Workspace, name: str) -> Report:
    """Report the results of a trial in a workspace. Raises InputError if there is no such trial."""
    plan = read_plan(workspace, name)
    return build_report(plan, read_results(workspace, plan))


def build_report(plan: TrialPlan, results: Sequence[UnitResult]) -> Report:
    """Report what results show about the comparisons of a plan."""
    values, notes = _collect_values(plan, results)
    declared = tuple(each.name for each in plan.evaluation)
    named = {evaluation_set for _, evaluation_set, _ in values}
    undeclared = tuple(sorted(named - set(declared)))
    if undeclared:
        notes.append(f"Not declared in the plan, so without a conclusion: {', '.join(undeclared)}")
    arms = tuple(
        _summarise(arm.name, name, measure, values[arm.name, name, measure])
        for arm in plan.arms
        for name in (*declared, *undeclared)
        for measure in _MEASURES
        if (arm.name, name, measure) in values
    )
    return Report(
        trial=plan.name,
        plan_digest=plan.digest,
        primary=plan.primary,
        measure=plan.measure,
        margin=plan.margin,
        seeds=plan.seeds,
        applies_to=describe_training(plan.training),
        notice=plan.notice,
        evaluation_sets=declared,
        undeclared=undeclared,
        arms=arms,
        comparisons=_compare_arms(
            plan,
            values,
            (*declared, *undeclared),
            is_recorded=plan.training is None or any(each.recorded_from for each in results),
        ),
        missing=_find_missing(plan, values),
        notes=tuple(notes),
    )


def describe_missing(report: Report) -> list[str]:
    """Return sentences about trainings without results, one per evaluation set."""
    by_set = defaultdict(list)
    for unit in report.missing:
        for name in unit.evaluation_sets:
            by_set[name].append(f"{unit.arm} seed {unit.seed}")
    return [
        f"No result on {name}: {', '.join(units[:10])}"
        + (f" and {len(units) - 10:,} more" if len(units) > 10 else "")
        for name, units in by_set.items()
    ]


def _collect_values(plan: TrialPlan, results: Sequence[UnitResult]) -> tuple[_Values, list[str]]:
    """Return all values, and notes about results that were not used or are not quite alike."""
    values: defaultdict[tuple[str, str, Measure], dict[int, float]] = defaultdict(dict)
    used: defaultdict[str, dict[str, SetResult]] = defaultdict(dict)  # by set and training
    notes = []
    for result in results:
        if result.seed not in plan.seeds:
            notes.append(f"Not used: {result.arm} seed {result.seed}, a seed that was not planned")
            continue
        for name, each in result.sets.items():
            for measure in _MEASURES:
                if measure not in each.values:
                    continue
                value = each.values[measure]
                unit = f"{measure} of {result.arm} seed {result.seed} on {name}"
                if not math.isfinite(value):
                    notes.append(f"Not used: {unit} is {value}")
                    continue
                by_seed = values[result.arm, name, measure]
                if result.seed in by_seed:
                    origin = result.recorded_from or "a training here"
                    notes.append(f"Not used: a second {unit}, from {origin}")
                    continue
                by_seed[result.seed] = value
                used[name][f"{result.arm} seed {result.seed}"] = each
    return values, [*notes, *describe_questions(used), *describe_versions(results)]


def _compare_arms(
    plan: TrialPlan, values: _Values, evaluation_sets: Sequence[str], is_recorded: bool
) -> tuple[ComparisonReport, ...]:
    measures = {name: _choose_measure(plan, values, name) for name in evaluation_sets}
    differences = {
        name: {
            pair: compare_pairs(*(values.get((arm, name, measure), {}) for arm in pair))
            for pair in plan.comparisons
        }
        for name, measure in measures.items()
    }
    primary = differences[plan.primary]
    conclusions = draw_conclusions(
        primary,
        plan.measure,
        margin=plan.margin,
        as_good_as={arm.name for arm in plan.arms if arm.control == "all"},
        n_planned=len(plan.seeds),
    )
    reports = []
    for pair, conclusion in conclusions.items():
        others = tuple(
            SetDifference(name, measures[name], pairs[pair])
            for name, pairs in differences.items()
            if name != plan.primary and pairs[pair].n_seeds
        )
        summary = text = describe_conclusion(
            conclusion,
            primary[pair],
            plan.measure,
            control=pair[1],
            margin=plan.margin,
            n_planned=len(plan.seeds),
            advice=_advise_constant(plan, values, pair, is_recorded),
        )
        if conclusion.kind != "none":
            text += f" on {plan.primary}"
        if others:
            text += ". Other sets: " if conclusion.kind == "none" else ", and "
            text += ", ".join(each.text for each in others)
        difference = SetDifference(plan.primary, plan.measure, primary[pair])
        reports.append(ComparisonReport(*pair, difference, others, conclusion, summary, text))
    return tuple(reports)


def _advise_constant(
    plan: TrialPlan, values: _Values, pair: tuple[str, str], is_recorded: bool
) -> str:
    """Return what to do about a difference that is the same in every seed."""
    if is_recorded:
        return "Check that the seeds are separate trainings"
    by_arm = [values.get((arm, plan.primary, plan.measure), {}) for arm in pair]
    is_equal = len({value for by_seed in by_arm for value in by_seed.values()}) == 1
    advice = "measure the loss or train longer" if plan.measure == "accuracy" else "train longer"
    if is_equal:
        return f"All trainings gave the same {plan.measure}; {advice}"
    return advice.capitalize()


def _choose_measure(plan: TrialPlan, values: _Values, evaluation_set: str) -> Measure:
    """Return the plan's measure, or the other one where only that is known of another set."""
    known = {measure for _, name, measure in values if name == evaluation_set}
    if evaluation_set == plan.primary or plan.measure in known or not known:
        return plan.measure
    return known.pop()


def _summarise(
    arm: str, evaluation_set: str, measure: Measure, by_seed: Mapping[int, float]
) -> ArmValue:
    numbers = np.array(list(by_seed.values()), float)
    mean, n_seeds = float(numbers.mean()), len(numbers)
    sd = float(numbers.std(ddof=1)) if n_seeds > 1 else math.nan
    width = half_width(sd, n_seeds)
    return ArmValue(arm, evaluation_set, measure, n_seeds, mean, sd, mean - width, mean + width)


def _find_missing(plan: TrialPlan, values: _Values) -> tuple[MissingUnit, ...]:
    missing = []
    for arm, seed in plan.units:
        names = tuple(
            each.name
            for each in plan.evaluation
            if seed not in values.get((arm, each.name, plan.measure), {})
        )
        if names:
            missing.append(MissingUnit(arm, seed, names))
    return tuple(missing)


def describe_training(training: TrainingSettings | None) -> str:
    """Return the model and the budget that the conclusions of a trial apply to."""
    if training is None:
        return "For the model and the budget of the recorded trainings only."
    if training.steps is not None:
        budget = f"{training.steps:,} steps"
    else:
        budget = f"{training.epochs:g} epoch" + ("" if training.epochs == 1 else "s")
    weights = f"LoRA of rank {training.lora_rank}" if training.adapter else "all weights"
    return (
        f"For this model and this budget only: {training.model}, {budget} of {training.batch_size} "
        f"samples per step, learning rate {training.learning_rate:g}, {weights}."
    )


def describe_unused(plan: TrialPlan) -> str | None:
    """Return a sentence about arms whose training would end before each sample was seen once."""
    if plan.training is None:
        return None
    if plan.training.steps is not None:
        n_seen = plan.training.steps * plan.training.batch_size
        cut = [arm for arm in plan.arms if arm.n_samples > n_seen]
        reach = f"{plan.training.steps:,} steps see {n_seen:,} samples"
    else:
        cut = list(plan.arms) if (plan.training.epochs or 0) < 1 else []
        reach = f"{plan.training.epochs:g} epochs see a part of the samples"
    if not cut:
        return None
    sizes = ", ".join(f"{arm.name} ({arm.n_samples:,})" for arm in cut)
    return f"{reach}, so a part of these arms is never trained on: {sizes}"


def _explain(report: Report) -> list[str]:
    unit = "points" if report.measure == "accuracy" else "nats per answer token; lower is better"
    return [
        f"Differences of {report.measure} ({unit}) paired by seed, with 95 % t-intervals over "
        f"seeds. Conclusions are about {report.primary} and corrected (Holm) for all "
        f"{len(report.comparisons)} comparisons."
    ]


def _format_cell(value: ArmValue | None) -> str:
    if value is None:
        return ""
    spread = "" if math.isnan(value.sd) else f" ± {format_value(value.sd, value.measure)}"
    return f"{format_value(value.mean, value.measure)}{spread} ({value.n_seeds})"


def _escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\|*_`<\[])", r"\\\1", " ".join(text.split()))
