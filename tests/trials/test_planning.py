"""Plans: what they pin, what they refuse, and the command that writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import scoring
from scoring import cli
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError, VisnecError, WorkspaceError
from scoring.rules import TopCount, Weights
from scoring.subsets.definitions import SubsetDefinition
from scoring.trials.arms import arm_rows, read_arms
from scoring.trials.evaluation_sets import open_evaluation_set, read_evaluation_samples
from scoring.trials.options import Budget, PlanOptions, parse_budget, parse_controls
from scoring.trials.options import parse_evaluation as sources
from scoring.trials.plan import TrialPlan, read_plan, trial_folder
from scoring.trials.planning import plan_trial
from scoring.trials.results import SetResult, UnitResult, write_result
from scoring.workspace import Workspace
from tests.synthetic import make_workspace
from tests.trials.conftest import WriteSet

Save = Callable[..., SubsetDefinition]


@pytest.fixture
def make_plan(workspace: Workspace, save: Save, write_set: WriteSet) -> Callable[..., TrialPlan]:
    save("top", TopCount(12))
    save("often", Weights(temperature=0.5))
    held_out = write_set("held-out")

    def make(name: str = "first", **options: Any) -> TrialPlan:
        options = {"subsets": ("top",), "evaluation": sources([str(held_out)])} | options
        return plan_trial(workspace, Store(workspace), name, PlanOptions(**options))

    return make


def test_a_plan_pins_arms_and_evaluation_sets(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    plan = make_plan(subsets=("top", "often"), seeds=3)
    assert [arm.name for arm in plan.arms] == [
        *("top", "top-random", "top-band", "often", "often-random", "all"),
    ]
    assert [arm.n_samples for arm in plan.arms] == [12, 12, 12, 60, 60, 64]
    assert plan.arm("often").is_weighted
    assert plan.arm("top").n_answer_tokens == 4 * (2 + 4 + 8)
    assert ("often", "all") in plan.comparisons
    assert len(plan.units) == 18
    assert (plan.primary, plan.margin, plan.training) == ("held-out", 1.0, None)
    assert read_plan(workspace, "first") == plan
    arms = read_arms(workspace, plan)
    assert len(arms) == 3 + 3 * 3
    assert arm_rows(arms, "top", 2).row_idx.tolist() == list(range(48, 60))
    draws = [arm_rows(arms, "top-random", seed).row_idx.tolist() for seed in (1, 2, 3)]
    assert len({tuple(draw) for draw in draws}) == 3
    opened = open_evaluation_set(workspace, plan, "held-out")
    (sample,) = read_evaluation_samples(opened)
    assert (sample.question, sample.answer) == ("Which colour is this?", "blue")


def test_arms_of_subsets_with_a_filter_and_a_combined_ranking(
    workspace: Workspace, save: Save, make_plan: Callable[..., TrialPlan]
) -> None:
    save("long", TopCount(6), where="tokens:>2 visnec:..1")  # every third row has 2 tokens
    save("sum", TopCount(6, rank_by="visnec - loss_text"), where="tokens:>2")
    plan = make_plan(subsets=("long", "sum"), controls=("random", "band"), seeds=9)
    arms = read_arms(workspace, plan)
    scored = [row for row in range(60) if row % 3]
    assert arm_rows(arms, "long", 1).row_idx.tolist() == [47, 49, 50, 52, 53, 55]
    drawn = np.concatenate([arm_rows(arms, "long-band", seed).row_idx for seed in range(1, 10)])
    assert set(drawn) <= {row for row in scored if 32 <= row < 56}  # 0.25 <= visnec < 1
    drawn = np.concatenate([arm_rows(arms, "sum-band", seed).row_idx for seed in range(1, 10)])
    assert set(drawn) <= set(scored)
    assert plan.arm("long").definition is not None
    assert plan.arm("long").definition["rule"]["where"] == "visnec:..1 tokens:3.."


def test_planning_again_changes_nothing_and_other_settings_are_refused(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    plan = make_plan()
    before = (trial_folder(workspace, "first") / "plan.json").read_bytes()
    assert make_plan() == plan
    with pytest.raises(InputError, match=r"other settings \(margin\)"):
        make_plan(margin=2.0)
    with pytest.raises(InputError, match="other settings"):
        make_plan(controls=("random",))
    assert (trial_folder(workspace, "first") / "plan.json").read_bytes() == before
    read_arms(workspace, plan)
    assert make_plan("second").digest == plan.digest


def test_another_evaluation_file_is_another_trial(
    workspace: Workspace, make_plan: Callable[..., TrialPlan], write_set: WriteSet
) -> None:
    plan = make_plan()
    other = write_set("other", [("Is it new?", "yes", None)])
    with pytest.raises(InputError, match="already planned with other records"):
        make_plan(evaluation=sources([f"{other}:held-out"]))
    open_evaluation_set(workspace, plan, "held-out")


def test_changed_arms_are_noticed(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    plan = make_plan()
    make_plan("other", seeds=3)
    folder = trial_folder(workspace, "first")
    (trial_folder(workspace, "other") / "arms.parquet").rename(folder / "arms.parquet")
    with pytest.raises(WorkspaceError, match="changed after the trial was planned"):
        read_arms(workspace, plan)


def test_controls_that_make_no_sense_are_left_out_by_default_and_refused_by_name(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    notes: list[str] = []
    path = trial_folder(workspace, make_plan().name) / "evaluation" / "held-out"
    options = PlanOptions(subsets=("often",), evaluation=sources([str(path)]))
    plan = plan_trial(workspace, Store(workspace), "weighted", options, warn=notes.append)
    assert [arm.name for arm in plan.arms] == ["often", "often-random", "all"]
    assert any("no control 'band'" in note for note in notes)
    with pytest.raises(InputError, match="no control 'band'"):
        make_plan("refused", subsets=("often",), controls=("random", "band"))
    assert not trial_folder(workspace, "refused").exists()


def test_a_workspace_is_an_evaluation_set_and_is_pinned_by_its_records(
    workspace: Workspace,
    make_plan: Callable[..., TrialPlan],
    write_set: WriteSet,
    tmp_path: Path,
) -> None:
    other = scoring.create_workspace(tmp_path / "bench")
    scoring.import_dataset(other, [write_set("bench", [("Is it new?", "yes", None)])])
    plan = make_plan(evaluation=sources([str(other.root)]))
    assert (plan.evaluation[0].name, plan.evaluation[0].n_samples) == ("bench", 1)
    assert not (trial_folder(workspace, "first") / "evaluation").exists()
    more = write_set("more", [("And this?", "yes", None)])
    scoring.import_dataset(other, [more], append=True)
    with pytest.raises(InputError, match="are not those that trial 'first' was planned with"):
        open_evaluation_set(workspace, plan, "bench")


def test_a_refused_plan_leaves_no_records_of_its_sets(
    workspace: Workspace,
    make_plan: Callable[..., TrialPlan],
    write_set: WriteSet,
    tmp_path: Path,
) -> None:
    other = scoring.create_workspace(tmp_path / "bench")
    scoring.import_dataset(other, [write_set("bench", [("Is it new?", "yes", None)])])
    plan = make_plan(evaluation=sources([str(other.root)]))
    file = write_set("file", [("And this?", "no", None)])
    with pytest.raises(InputError, match="already planned"):
        make_plan(evaluation=sources([f"{file}:bench"]))
    with pytest.raises(InputError, match="already planned"):
        make_plan(evaluation=sources([str(file)]))
    (sample,) = read_evaluation_samples(open_evaluation_set(workspace, plan, "bench"))
    assert sample.question == "Is it new?"
    assert not (trial_folder(workspace, "first") / "evaluation").exists()


def test_a_training_pins_the_weights_of_its_model(make_plan: Callable[..., TrialPlan]) -> None:
    plan = make_plan(model="tiny-vlm", budget=Budget(None, 20), adapter="lora", lora_rank=4)
    assert plan.training is not None
    assert plan.training.model == "tiny-vlm"
    assert len(plan.training.model_fingerprint) == 64
    assert (plan.training.epochs, plan.training.steps) == (None, 20)
    with pytest.raises(VisnecError, match="no-such-model"):
        make_plan("other", model="./no-such-model")


def test_a_missing_image_is_found_before_the_first_training(
    workspace: Workspace, make_plan: Callable[..., TrialPlan]
) -> None:
    image = next((workspace.root / "images").rglob("*.png"))
    image.unlink()
    with pytest.raises(InputError, match="1 images of the samples are not readable"):
        make_plan(model="tiny-vlm")
    make_plan()  # of trainings elsewhere, it can only be noted


def test_samples_that_cannot_be_trained_on_are_left_out(
    tmp_path: Path, write_set: WriteSet
) -> None:
    workspace = make_workspace(tmp_path / "ws")
    build_database(workspace)
    scoring.create_subsets(
        workspace,
        Store(workspace),
        scoring.SelectOptions("top", "top-share", share=0.3, unscored="keep"),
    )
    notes: list[str] = []
    options = PlanOptions(subsets=("top",), evaluation=sources([str(write_set("held-out"))]))
    plan = plan_trial(workspace, Store(workspace), "t", options, warn=notes.append)
    (note,) = (note for note in notes if "cannot be trained on" in note)
    resolved = scoring.read_outcome(
        workspace, Store(workspace), scoring.SubsetDefinition(**_fields(plan))
    )
    n_left_out = int(note.split()[0])
    assert any("samples of all are pending" in each for each in notes)
    assert plan.arm("top").n_samples == len(resolved.subset.selected) - n_left_out
    rows = arm_rows(read_arms(workspace, plan), "all", 1).row_idx
    kept = resolved.candidates.status[rows]
    assert set(np.unique(kept)) <= {0, 1, 2}  # scored, pending, text_only


def _fields(plan: TrialPlan) -> dict[str, Any]:
    definition = plan.arms[0].definition
    assert definition is not None
    return {**definition, "rule": scoring.rule_from_dict(definition["rule"])}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsets": ()}, "--subset"),
        ({"evaluation": ()}, "--eval"),
        ({"primary": "other"}, "Choose one of: held-out"),
        ({"margin": -1.0}, "margin"),
        ({"learning_rate": 0.0}, "learning rate"),
        ({"subsets": ("nothing",)}, "No subset 'nothing'"),
    ],
)
def test_wrong_options_are_explained(
    make_plan: Callable[..., TrialPlan], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(**options)


def test_texts_of_options_are_parsed(tmp_path: Path) -> None:
    assert parse_budget("epochs=0.5") == Budget(0.5, None)
    assert parse_budget("steps=500") == Budget(None, 500)
    for text in ("epochs=0", "epochs=inf", "steps=1.5", "days=2", "steps=-1", "epochs=nan"):
        with pytest.raises(InputError, match="neither of the form"):
            parse_budget(text)
    assert parse_controls("random, all,random") == ("random", "all")
    for text in ("", "nothing"):
        with pytest.raises(InputError):
            parse_controls(text)
    for name in ("a.json", "b:c.json"):
        (tmp_path / name).touch()
    parsed = sources([str(tmp_path / "a.json"), f"{tmp_path / 'a.json'}:other"])
    assert [source.name for source in parsed] == ["a", "other"]
    with pytest.raises(InputError, match="Two evaluation sets"):
        sources([str(tmp_path / "a.json")] * 2)
    with pytest.raises(InputError, match="does not exist"):
        sources([str(tmp_path / "gone.json")])
    with pytest.raises(InputError, match="--primary: a, other"):
        PlanOptions(subsets=("x",), evaluation=parsed)


def test_the_command_prints_the_plan(workspace: Workspace, save: Save, write_set: WriteSet) -> None:
    save("top", TopCount(12))
    arguments = ["trial", "plan", "t", "-w", str(workspace.root), "--subset", "top", "--eval"]
    arguments += [f"{write_set('held-out')}:image", "--controls", "random,tokens,all", "--json"]
    done = CliRunner().invoke(cli.app, [*arguments, "--seeds", "2"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["digest"] == read_plan(workspace, "t").digest
    assert [arm["name"] for arm in printed["arms"]] == ["top", "top-random", "top-tokens", "all"]
    assert "Comparisons by accuracy: top - top-random; top - top-tokens; top - all" in done.stderr
    assert "8 trainings: 4 arms x 2 seeds" in done.stderr
    assert f"Next: visnec trial record t -w {workspace.root} RESULTS" in done.stderr
    assert "No conclusion is drawn from fewer than 3 seeds" in done.stderr


def test_the_command_tells_time_and_precision_from_results(
    workspace: Workspace, save: Save, write_set: WriteSet
) -> None:
    save("top", TopCount(12))
    arguments = ["trial", "plan", "t", "-w", str(workspace.root), "--subset", "top", "--eval"]
    arguments += [f"{write_set('held-out')}:image", "--model", "tiny-vlm"]
    first = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    assert "unknown before the first training" in first.stderr
    assert "Margin 1. For this model and this budget only: tiny-vlm, 1 epoch of 16" in first.stderr
    assert f"Next: visnec trial run t -w {workspace.root}" in first.stderr
    assert "unknown before an arm has two seeds" in first.stderr
    plan = read_plan(workspace, "t")
    for seed, accuracy in ((1, 40.0), (2, 43.0)):
        sets = {"image": SetResult(1, {"accuracy": accuracy})}
        seconds: dict[str, Any] = {"training_seconds": 60.0, "evaluation_seconds": 0.0}
        write_result(
            workspace, plan, UnitResult(plan.digest, "top-random", seed, sets, n_steps=1, **seconds)
        )
    again = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    assert "The trainings left take about 33.0 min" in again.stderr  # 13 of 1 step, 5 of 4
    assert "By the spread so far: 5 seeds: ± 3.7 points; for 1 point about" in again.stderr


def test_results_that_do_not_differ_show_no_spread(
    workspace: Workspace, save: Save, write_set: WriteSet
) -> None:
    save("top", TopCount(12))
    arguments = ["trial", "plan", "t", "-w", str(workspace.root), "--subset", "top", "--eval"]
    arguments += [f"{write_set('held-out')}:image", "--model", "tiny-vlm"]
    CliRunner().invoke(cli.app, arguments)
    plan = read_plan(workspace, "t")
    for seed in (1, 2):
        sets = {"image": SetResult(1, {"accuracy": 100.0})}
        write_result(workspace, plan, UnitResult(plan.digest, "top-random", seed, sets))
    again = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})
    assert "the results so far do not differ" in again.stderr
    status = CliRunner().invoke(cli.app, ["status", "-w", str(workspace.root)])
    assert f"Trials: t (2 of {len(plan.units)} trainings)" in status.stdout


def test_a_file_of_unknown_format_is_to_be_imported_first(
    make_plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    path = tmp_path / "odd.json"
    path.write_text('[{"colour": "red"}]', "utf-8")
    with pytest.raises(InputError, match="visnec import, and the imported workspace to --eval"):
        make_plan(evaluation=sources([str(path)]))


def test_benchmarks_of_other_programs_are_declared_by_name(
    workspace: Workspace, make_plan: Callable[..., TrialPlan], tmp_path: Path
) -> None:
    plan = make_plan(benchmarks=("gqa",), primary="gqa", seeds=3, controls=("all",))
    assert [each.name for each in plan.evaluation] == ["held-out", "gqa"]
    assert plan.primary == "gqa"
    values = [(arm, seed) for arm in ("top", "all") for seed in (1, 2, 3)]
    rows = [f"{arm},{seed},gqa,{50 + seed + seed % 2 / 2}" for arm, seed in values[:3]]
    rows += [f"{arm},{seed},gqa,{60 + seed}" for arm, seed in values[3:]]
    file = tmp_path / "results.csv"
    file.write_text("\n".join(["arm,seed,benchmark,value", *rows]), "utf-8")
    assert scoring.record_results(workspace, "first", [file]).notes == ()
    (comparison,) = scoring.trial_report(workspace, "first").comparisons
    assert comparison.text == "worse -9.7 (-10.4 to -8.9) on gqa"
    only = make_plan("only", evaluation=(), benchmarks=("gqa",))
    assert only.primary == "gqa"


def test_benchmarks_are_for_trainings_elsewhere(make_plan: Callable[..., TrialPlan]) -> None:
    with pytest.raises(InputError, match="--benchmark is for trainings done elsewhere"):
        make_plan(benchmarks=("gqa",), primary="gqa", model="tiny-vlm")
    with pytest.raises(InputError, match="Evaluation sets with the same name: held-out, held-out"):
        make_plan(benchmarks=("held-out",), primary="held-out")
    with pytest.raises(InputError, match="at least one evaluation set"):
        make_plan(evaluation=())
