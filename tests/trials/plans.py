"""A small plan and its results, without any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scoring.trials.plan import EvaluationSet, PlannedArm, TrainingSettings, TrialPlan
from scoring.trials.results import SetResult, UnitResult

PLAN = TrialPlan(
    name="first",
    run_id="run",
    baseline="gray",
    dataset_fingerprint="d" * 64,
    arms=(
        PlannedArm("keep15", 15, 60, definition={"name": "keep15"}),
        PlannedArm("keep15-random", 15, 61, control="random", of="keep15"),
        PlannedArm("all", 100, 400, control="all"),
    ),
    arms_digest="a" * 64,
    evaluation=(
        EvaluationSet("image", "image.json", 200, "e" * 64),
        EvaluationSet("text", "text.json", 100, "f" * 64),
    ),
    primary="image",
    measure="accuracy",
    margin=1.0,
    seeds=(1, 2, 3),
    training=TrainingSettings("small-vlm", "b" * 64, adapter="lora"),
    created_at="2026-01-01T00:00:00Z",
)
RECORDED_PLAN = replace(PLAN, training=None)

IMAGE = {"keep15": (40.0, 41.0, 43.0), "keep15-random": (26, 27.5, 28), "all": (40.2, 41.0, 43.3)}
TEXT = {"keep15": (26.0, 27.0, 28.0), "keep15-random": (70.0, 71.5, 72.0), "all": (88.0, 87.0, 88)}


def make_results(
    sets: Mapping[str, Mapping[str, Sequence[float]]], plan: TrialPlan = PLAN
) -> list[UnitResult]:
    """Results of all arms; ``sets`` has the values of the seeds by evaluation set and arm."""
    return [
        UnitResult(
            plan.digest,
            arm.name,
            seed,
            {
                name: SetResult(100, {plan.measure: values[arm.name][number]})
                for name, values in sets.items()
                if number < len(values[arm.name])
            },
        )
        for number, seed in enumerate(plan.seeds)
        for arm in plan.arms
    ]
