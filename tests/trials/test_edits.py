"""Trials and trainings with reviewers' edits: pinned by the plan, applied once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scoring.database.connection import Store
from scoring.dataset.edited_samples import read_edited_samples
from scoring.dataset.records import read_sample
from scoring.errors import InputError
from scoring.exports.export import export_subset
from scoring.exports.options import ExportOptions
from scoring.image_references import ImageRoots
from scoring.readers.options import ReadOptions
from scoring.reviews.edits import RemoveImage, SetText
from scoring.reviews.pinned_edits import find_pinned_edits
from scoring.rules import Threshold, TopCount
from scoring.subsets.definitions import SubsetDefinition, save_subset
from scoring.training.records import RecordReader
from scoring.training.samples import WorkspaceSamples
from scoring.trials.arms import read_arms
from scoring.trials.options import EvaluationSource, PlanOptions, RecordOptions
from scoring.trials.options import parse_evaluation as sources
from scoring.trials.plan import TrialPlan, read_plan, trial_folder
from scoring.trials.planning import plan_trial
from scoring.trials.recording import record_results
from scoring.trials.results import read_results
from scoring.workspace import Workspace, open_workspace
from tests.edited_workspace import edit
from tests.trials.conftest import WriteSet

HELD_OUT = Path(__file__).parents[2] / "data" / "held-out" / "text.json"
TOP = 59  # the row with the highest score, in every arm that is drawn from the top
TEXT_ONLY = 60


@pytest.fixture
def make_plan(
    workspace: Workspace, save: Callable[..., SubsetDefinition], write_set: WriteSet
) -> Callable[..., TrialPlan]:
    save("top", TopCount(12))
    held_out = write_set("held-out")

    def make(name: str = "first", **options: Any) -> TrialPlan:
        options = {"subsets": ("top",), "evaluation": sources([str(held_out)])} | options
        return plan_trial(workspace, Store(workspace), name, PlanOptions(**options))

    return make


def test_a_plan_pins_the_edits_of_its_samples(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    bare = make_plan("bare", controls=("random",))
    edit(workspace, TOP, SetText(1, "Blue"), event_id="e1")
    edit(workspace, TEXT_ONLY, SetText(1, "Red"))  # in no arm
    plan = make_plan(controls=("random",))
    assert [pin.event_id for pin in plan.edits] == ["e1"]
    assert plan.digest != bare.digest
    assert make_plan("ignoring", controls=("random",), edits="ignore").digest == bare.digest
    edit(workspace, TOP, SetText(1, "Green"))
    assert read_plan(workspace, "first") == plan
    [after] = read_edited_samples(workspace, find_pinned_edits(workspace, plan.edits)).values()
    assert after.answer == "Blue"
    with pytest.raises(InputError, match=r"already planned with other settings \(edits\)"):
        make_plan(controls=("random",))


def test_plans_without_edits_are_those_of_earlier_versions(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    plan = make_plan()
    path = trial_folder(workspace, "first") / "plan.json"
    raw = json.loads(path.read_text("utf-8"))
    del raw["edits"]
    path.write_text(json.dumps(raw), "utf-8")
    assert read_plan(workspace, "first") == plan


def test_an_edit_may_not_leak_a_question_or_take_the_answers(
    workspace: Workspace, make_plan: Callable[..., TrialPlan], write_set: WriteSet
) -> None:
    texts = write_set("texts", [("What is two and two?", "four", None)])
    options: dict[str, Any] = {"controls": ("all",), "evaluation": sources([str(texts)])}
    edit(workspace, TEXT_ONLY, SetText(0, "What is two and two?"), SetText(1, "four"))
    with pytest.raises(InputError, match="its row 0 = row 60 of the dataset"):
        make_plan(**options)
    assert make_plan(**options, edits="ignore").edits == ()
    edit(workspace, TEXT_ONLY, SetText(0, "What is two?"), SetText(1, "two"))
    assert len(make_plan("second", **options).edits) == 1


def test_samples_of_a_workspace_have_their_edits(workspace: Workspace) -> None:
    before = read_sample(workspace, TOP)
    edit(workspace, TOP, SetText(1, "Blue"), RemoveImage(0))
    samples = WorkspaceSamples(workspace, [TOP, 3])
    assert [sample.row_idx for sample in (samples[0], samples[1])] == [3, TOP]
    assert (samples[1].answer, samples[1].images) == ("Blue", ())
    assert samples[0].turns == read_sample(workspace, 3).turns
    ignoring = WorkspaceSamples(workspace, [TOP], "ignore")
    assert (ignoring[0].turns, ignoring[0].images) == (before.turns, before.images)
    with pytest.raises(InputError, match="1 samples are not in the dataset"):
        WorkspaceSamples(workspace, np.array([TOP, 1_000_000]))


def test_an_export_with_edits_is_trained_as_the_workspace_is(workspace: Workspace) -> None:
    edit(workspace, TOP, SetText(1, "Blue"))
    store = Store(workspace)
    definition = SubsetDefinition("top", TopCount(3), store.snapshot().scopes[0][0], "none")
    result = export_subset(workspace, store, definition, format=ExportOptions("messages"))
    lines = (result.folder / "samples.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    reader = RecordReader(ImageRoots(workspace.image_roots), ReadOptions())
    samples = WorkspaceSamples(workspace, result.outcome.subset.selected)
    from_export = [reader.read(record) for record in records]
    from_workspace = [reader.read(samples[index]) for index in range(len(samples))]
    assert [each.turns for each in from_export] == [each.turns for each in from_workspace]
    assert [each.trained for each in from_export] == [each.trained for each in from_workspace]
    assert from_export[-1].turns[1].text == "Blue"


def test_recorded_trainings_used_the_edits_of_the_plan(
    workspace: Workspace, make_plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    edit(workspace, TOP, SetText(1, "Blue"))
    plan = make_plan(controls=("random",))
    results = tmp_path / "results.csv"
    results.write_text("benchmark,value\nheld-out,50\n", "utf-8")
    store, definition = Store(workspace), plan.arms[0].definition
    assert definition is not None
    options = RecordOptions("top", 1, exports=("top",), replace=True)
    saved = SubsetDefinition("top", TopCount(12), plan.run_id, "none", definition["clustering_id"])
    export_subset(workspace, store, saved, format=ExportOptions("messages"))
    record_results(workspace, "first", [results], options)
    ignoring = ExportOptions("messages", edits="ignore")
    export_subset(workspace, store, saved, format=ignoring, overwrite=True)
    with pytest.raises(InputError, match=r"has other edits of samples \(0\) than the plan \(1\)"):
        record_results(workspace, "first", [results], options)
    assert replace(plan, edits=()).digest != plan.digest


def test_trainings_use_the_edits_of_the_plan(demo_workspace: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("peft")
    from scoring.trials.run import TrialRunner

    workspace = open_workspace(demo_workspace)
    save_subset(workspace, SubsetDefinition("best", Threshold(min=1.5), "demo", "none", None))
    questions = tmp_path / "questions.json"
    questions.write_text(json.dumps(json.loads(HELD_OUT.read_text("utf-8"))[:2]), "utf-8")
    options = PlanOptions(
        subsets=("best",),
        controls=("random",),
        seeds=1,
        evaluation=(EvaluationSource("text", questions),),
        model="tiny-vlm",
        adapter="lora",
    )
    plan_trial(workspace, Store(workspace), "before", options)
    row_idx = int(read_arms(workspace, read_plan(workspace, "before"))["best", None].row_idx[0])
    edit(workspace, row_idx, SetText(1, "a much longer answer " * 5))
    plan_trial(workspace, Store(workspace), "after", options)
    edit(workspace, row_idx, SetText(1, "short"))
    tokens = {}
    for name in ("before", "after"):
        plan = read_plan(workspace, name)
        TrialRunner(workspace, plan, device="cpu").run([plan.units.index(("best", 1))])
        [result] = read_results(workspace, plan)
        tokens[name] = result.n_answer_tokens
    assert tokens["after"] > (tokens["before"] or 0) + 15
