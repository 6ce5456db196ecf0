"""Trains the finished trial that comes with the demo and writes its plan and results.

    python -m data.build_demo_trial [--out data/demo/trial]

The bundled model answers the demo's questions already, so training it would show nothing. The trial
starts from its weights with noise added to the projector: the model has to learn to use the image
again.
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
from scoring.rules import Band, DropMisaligned, Rule
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.trials.options import Budget, EvaluationSource, PlanOptions
from scoring.trials.plan import save_plan, trial_folder
from scoring.trials.planning import plan_trial
from scoring.trials.run import run_trial
from scoring.workspace import Workspace

ROOT = Path(__file__).parent.parent
MODEL, NOISE_SEED = "tiny-vlm-noisy-projector", 7
SUBSETS: dict[str, Rule] = {  # none depends on clusters, whose embedder may differ elsewhere
    "clean": DropMisaligned(-0.05),
    "critical30": Band(min=0.25, share=0.3),
}
EVALUATION = {"image": "data/held-out/image.json", "text": "data/held-out/text.json"}
SEEDS = 5
EPOCHS, LEARNING_RATE = 4, 5e-4  # chosen with single trainings of seed 1
NOTICE = (
    "These results come with the demo. They were computed once, with the demonstration model after "
    "noise was added to its projector."
)


def write_model(folder: Path) -> None:
    """Write the bundled model with noise of the size of the weights on those of its projector."""
    shutil.copytree(bundled_folder(BUNDLED_MODEL), folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    torch.manual_seed(NOISE_SEED)
    projector = model.model.multi_modal_projector
    with torch.no_grad():
        for weight in (projector.linear_1.weight, projector.linear_2.weight):
            weight.add_(weight.std() * torch.randn_like(weight))
    model.save_pretrained(folder)


def plan_demo_trial(workspace: Workspace) -> None:
    """Save the subsets and plan the trial, with paths that do not depend on this machine."""
    for name, rule in SUBSETS.items():
        save_subset(workspace, SubsetDefinition(name, rule, DEMO_RUN, text_only="keep"))
    options = PlanOptions(
        subsets=tuple(SUBSETS),
        seeds=SEEDS,
        evaluation=tuple(EvaluationSource(name, ROOT / path) for name, path in EVALUATION.items()),
        primary="image",
        model=MODEL,
        budget=Budget(epochs=EPOCHS),
        learning_rate=LEARNING_RATE,
    )
    plan = plan_trial(workspace, Store(workspace), DEMO_TRIAL, options, warn=print)
    assert plan.training is not None  # noqa: S101
    (trial_folder(workspace, DEMO_TRIAL) / "plan.json").unlink()
    evaluation = tuple(replace(each, path=EVALUATION[each.name]) for each in plan.evaluation)
    training = replace(plan.training, model=MODEL)
    save_plan(workspace, replace(plan, evaluation=evaluation, training=training, notice=NOTICE))


def main() -> None:
    """Build the demo, train its trial, and write its plan, arms and results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "demo" / "trial")
    out = parser.parse_args().out.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, chdir(temporary):
        workspace = build_demo(Path("workspace"), with_trial=False)
        write_model(Path(MODEL))
        plan_demo_trial(workspace)
        run_trial(
            workspace,
            DEMO_TRIAL,
            device="cpu",
            on_progress=lambda seen: print(f"{seen.done} of {seen.total} trainings"),
        )
        folder = trial_folder(workspace, DEMO_TRIAL)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "results", out / "results")
        for name in ("plan.json", "arms.parquet"):
            shutil.copy(folder / name, out / name)


if __name__ == "__main__":
    main()
