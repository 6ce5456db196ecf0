"""The report of ``benchmarks.proof``: tables and conclusions from the raw results."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks._proof_arms import ARMS, PAIRS, TOLERANCE
from benchmarks._proof_plan import Stage
from benchmarks._proof_student import ANSWER_GROUPS, MANY_VALUES
from benchmarks._proof_world import MADE
from scoring.trials.statistics import (
    Comparison,
    Conclusion,
    PairedDifference,
    compare_pairs,
    describe_conclusion,
    draw_conclusions,
    format_difference,
)

INTRODUCTION = Path(__file__).with_name("_proof_introduction.md")
Result = dict[str, Any]
IMAGE, REDUNDANT, TEXT_ONLY = "vision_critical", "redundant", "text_only"
UNSCORED = ("all", "random", "random-per-cluster")
MARGIN = 1.0
"""Points of accuracy by which an arm may be below all data and still count as equally good."""
GROUPS = (*ANSWER_GROUPS, MANY_VALUES)


@dataclass(frozen=True)
class Results:
    """The trainings, by (stage, arm) and then by seed."""

    units: Mapping[tuple[str, str], Mapping[int, Result]]

    @classmethod
    def collect(cls, raw: Iterable[Result]) -> Results:
        """Group raw results; lines that are not trainings are left out."""
        units: dict[tuple[str, str], dict[int, Result]] = defaultdict(dict)
        for result in raw:
            if "arm" in result:
                units[result["stage"], result["arm"]][result["seed"]] = result
        return cls(units)

    def find(self, stage: Stage, arm: str) -> Mapping[int, Result]:
        """Return the results of an arm by seed, from the reference if the stage lacks the arm."""
        return self.units.get((stage.name if arm in stage.arms else stage.reference, arm), {})

    def values(
        self, stage: Stage, arm: str, made: str, measure: str = "accuracy"
    ) -> dict[int, Any]:
        """Return a measure by seed."""
        units = self.find(stage, arm)
        return {seed: unit["test"][made][measure] for seed, unit in units.items()}

    def compare(self, stage: Stage, comparison: Comparison, made: str = IMAGE) -> PairedDifference:
        """Compare two arms on one kind of test questions."""
        arm, control = (self.values(stage, name, made) for name in comparison)
        return compare_pairs(arm, control)

    def conclude(self, stage: Stage) -> dict[Comparison, tuple[PairedDifference, Conclusion]]:
        """Return what the declared comparisons of a stage show."""
        differences = {each: self.compare(stage, each) for each in stage.comparisons}
        n_planned = len(stage.seeds)
        conclusions = draw_conclusions(differences, margin=MARGIN, n_planned=n_planned)
        return {each: (differences[each], conclusions[each]) for each in differences}


def write_report(raw: Sequence[Result], stages: Sequence[Stage]) -> str:
    """Return the report as Markdown."""
    results = Results.collect(raw)
    sections = [INTRODUCTION.read_text("utf-8").strip(), describe_run(raw), format_scorers(raw)]
    for stage in stages:
        arms = [arm for arm in stage.arms if results.find(stage, arm)]
        if arms:
            sections += [f"## {stage.title}", format_arms(results, stage, arms)]
            sections.append(format_conclusions(results, stage))
        if arms and stage.is_primary:
            sections += ["### By the number of possible answers", format_groups(results, stage)]
    return "\n\n".join(filter(None, sections)) + "\n"


def describe_run(raw: Sequence[Result]) -> str:
    """Return the machine, the versions, the load and the price."""
    units = [result for result in raw if "arm" in result]
    about = next((result for result in raw if result["stage"] == "run"), {})
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    return (
        f"{len(units)} trainings, {sum(unit['cpu_seconds'] for unit in units) / 60:.0f} minutes of "
        f"CPU time with selection, export and measurement; {about.get('machine', 'unknown')}, one "
        f"thread each, median load {median(unit['load'] for unit in units):.1f}; {versions}."
    )


def format_arms(results: Results, stage: Stage, arms: Sequence[str]) -> str:
    """Return the table of a stage's arms, means over seeds."""
    header = (
        "arm", "scorer", "seeds", "n", "vc/red/mis/txt %", "steps", "image questions", "redundant",
        "text-only", "loss, image", "minus random", "minus all",
    )  # fmt: skip
    rows = []
    for arm in sorted(arms, key=lambda arm: -_mean(results.values(stage, arm, IMAGE))):
        units = list(results.find(stage, arm).values())
        n = mean(unit["n"] for unit in units)
        made = [mean(unit["made"].get(kind, 0) for unit in units) / n for kind in MADE]
        image = results.values(stage, arm, IMAGE)
        rows.append(
            (
                ARMS[arm].about,
                name_scorer(arm),
                str(len(units)),
                f"{n:.0f}",
                "/".join(f"{100 * share:.0f}" for share in made),
                f"{mean(unit['steps'] for unit in units):.0f}",
                f"**{_mean(image):.1f}**"
                + (f" ± {stdev(image.values()):.1f}" if len(image) > 1 else ""),
                f"{_mean(results.values(stage, arm, REDUNDANT)):.1f}",
                f"{_mean(results.values(stage, arm, TEXT_ONLY)):.1f}",
                f"{_mean(results.values(stage, arm, IMAGE, 'loss')):.2f}",
                _format_difference(results, stage, arm, "random"),
                _format_difference(results, stage, arm, "all"),
            )
        )
    return format_table(header, rows)


def format_conclusions(results: Results, stage: Stage) -> str:
    """Return the declared comparisons, with the differences on the other test questions."""
    header = ("comparison", "image questions", "redundant", "text-only")
    rows = []
    for comparison, (difference, conclusion) in results.conclude(stage).items():
        arm, control = comparison
        text = describe_conclusion(
            conclusion, difference, control=control, margin=MARGIN, n_planned=len(stage.seeds)
        )
        others = (results.compare(stage, comparison, made) for made in (REDUNDANT, TEXT_ONLY))
        if difference.n_seeds:
            rows.append((f"{arm} - {control}", text, *map(format_difference, others)))
    return format_table(header, rows)


def format_groups(results: Results, stage: Stage) -> str:
    """Return accuracy on image questions, and the samples trained on, by possible answers."""
    rows = []
    for arm in stage.arms:
        units = list(results.find(stage, arm).values())
        cells = []
        for group in GROUPS:
            counts = [unit["test"][IMAGE]["groups"].get(group, (0, 0)) for unit in units]
            n, n_right = (sum(count[place] for count in counts) for place in (0, 1))
            trained = mean(unit["groups"].get(group, 0) for unit in units) if units else 0
            cells.append(f"{100 * n_right / n:.0f} ({trained:.0f})" if n else "")
        if units:
            rows.append((ARMS[arm].about, name_scorer(arm), *cells))
    return format_table(("arm", "scorer", *GROUPS), rows) + (
        "\n\nAccuracy in per cent; in parentheses the samples trained on whose first question is "
        "of that type, redundant and misaligned ones included."
    )


def format_scorers(raw: Sequence[Result]) -> str:
    """Return how well the scores of each scorer separate the kinds."""
    scores: dict[tuple[str, float], list[Mapping[str, float]]] = defaultdict(list)
    for result in raw:
        if result["stage"] == "scores":
            scores[result["scorer"], result["misaligned"]].append(result["values"])
    limits = ("0", f"{TOLERANCE:g}")
    columns = [f"{high} > {low}" for high, low in PAIRS] + ["negative"]
    columns += [f"{what} below {limit}" for limit in limits for what in ("precision", "recall")]
    rows = [
        (
            scorer,
            f"{100 * misaligned:g} %",
            str(len(values)),
            *(_average(values, c) for c in columns),
        )
        for (scorer, misaligned), values in sorted(scores.items())
    ]
    tested = [
        f"{each['scorer']} {each['test'][IMAGE]['accuracy']:.0f} / "
        f"{each['test'][REDUNDANT]['accuracy']:.0f} / {each['test'][TEXT_ONLY]['accuracy']:.0f}"
        for each in raw
        if each["stage"] == "scorer"
    ]
    header = ("scorer", "misaligned", "pools", *(column.replace("_", "-") for column in columns))
    return (
        "## Scorers\n\nAUC of VisNec by pair of kinds, share of negative scores, and precision and "
        f"recall of misaligned samples below two limits:\n\n{format_table(header, rows)}\n\n"
        f"Accuracy on image / redundant / text-only questions: {'; '.join(tested)}."
    )


def format_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def name_scorer(arm: str) -> str:
    """Return whose scores an arm depends on; empty if it depends on none."""
    return "" if arm in UNSCORED else ARMS[arm].run


def _average(values: Sequence[Mapping[str, float]], column: str) -> str:
    known = [each[column] for each in values if column in each]
    return f"{mean(known):.2f}" if known else ""


def _mean(values: Mapping[int, float]) -> float:
    return mean(values.values()) if values else float("nan")


def _format_difference(results: Results, stage: Stage, arm: str, control: str) -> str:
    if arm == control or not results.find(stage, control):
        return ""
    return format_difference(results.compare(stage, (arm, control)))
