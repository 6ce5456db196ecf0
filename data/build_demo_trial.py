"""Trains the finished trial that comes with the demo and writes its plan and results.

    python -m data.build_demo_trial [--out data/demo/trial]

The bundled model knows the demo's world, so training it would show nothing. The trial starts from
its weights with a new, untrained projector: the model has to learn from the demo to use the image.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlavaForConditionalGeneration

from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.database.connection import Store
from scoring.demo.build import DEMO_RUN, DEMO_TRIAL, build_demo
from scoring.rules import Band, DropMisaligned, Rule, TopShare
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.trials.options import Budget, EvaluationSource, PlanOptions
from scoring.trials.plan import TrialPlan, save_plan, trial_folder
from scoring.trials.planning import plan_trial
from scoring.trials.progress import TrialProgress
from scoring.trials.run import run_trial
from scoring.workspace import Workspace

HERE = Path(__file__).parent
MODEL, PROJECTOR_SEED = "tiny-vlm-new-projector", 7
SUBSETS: dict[str, Rule] = {
    "aligned": DropMisaligned(),
    "top30": TopShare(0.3),
    "critical30": Band(min=0.25, share=0.3),
}
EVALUATION = {"image": "data/held-out/image.json", "text": "data/held-out/text.json"}
NOTICE = (
    "These results come with the demo and were not computed here: data/build_demo_trial.py trained "
    "the demonstration model with a new projector, so that it had to learn to use the image."
)


def write_model(folder: Path) -> None:
    """Write the bundled model with a new projector."""
    shutil.copytree(bundled_folder(BUNDLED_MODEL), folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(PROJECTOR_SEED)
    for layer in model.model.multi_modal_projector.children():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    model.save_pretrained(folder)


def plan_demo_trial(workspace: Workspace, seeds: int = 5) -> TrialPlan:
    """Save the subsets and plan the trial, with no path of this machine in the plan."""
    for name, rule in SUBSETS.items():
        save_subset(workspace, SubsetDefinition(name, rule, DEMO_RUN))
    options = PlanOptions(
        subsets=tuple(SUBSETS),
        seeds=seeds,
        evaluation=tuple(
            EvaluationSource(name, HERE.parent / path) for name, path in EVALUATION.items()
        ),
        primary="image",
        model=MODEL,
        budget=Budget(epochs=8),
        learning_rate=2e-3,
    )
    plan = plan_trial(workspace, Store(workspace), DEMO_TRIAL, options, warn=print)
    assert plan.training is not None
    sets = tuple(replace(each, path=EVALUATION[each.name]) for each in plan.evaluation)
    neutral = replace(
        plan, notice=NOTICE, evaluation=sets, training=replace(plan.training, model=MODEL)
    )
    (trial_folder(workspace, DEMO_TRIAL) / "plan.json").unlink()
    save_plan(workspace, neutral)
    return neutral


def print_progress(progress: TrialProgress) -> None:
    """Print how many trainings are done."""
    print(progress)


def main() -> None:
    """Build the demo, train its trial, and write the plan, the arms and the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE / "demo" / "trial")
    out = parser.parse_args().out.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        workspace = build_demo(Path("workspace").resolve())
        write_model(Path(MODEL))
        plan_demo_trial(workspace)
        run_trial(workspace, DEMO_TRIAL, device="cpu", on_progress=print_progress)
        shutil.rmtree(out, ignore_errors=True)
        folder = trial_folder(workspace, DEMO_TRIAL)
        shutil.copytree(folder / "results", out / "results")
        for name in ("plan.json", "arms.parquet"):
            shutil.copy(folder / name, out / name)


if __name__ == "__main__":
    main()
