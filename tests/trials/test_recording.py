"""Record results of other programs: what is read, what is refused, and that it comes back equal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.rules import RandomShare, Rule, Threshold
from scoring.subsets.definitions import SubsetDefinition, read_outcome
from scoring.trials.arms import digest_arms, write_arms
from scoring.trials.controls import ArmRows
from scoring.trials.options import RecordOptions
from scoring.trials.plan import TrialPlan, save_plan
from scoring.trials.recording import record_results
from scoring.trials.report import trial_report
from scoring.trials.result_files import read_result_file
from scoring.trials.results import SetResult, UnitResult, read_results, write_result
from scoring.workspace import Workspace, create_workspace
from tests.synthetic import RUN_ID, make_workspace
from tests.trials.plans import IMAGE, RECORDED_PLAN, TEXT, make_results

ARM = RecordOptions(arm="keep15", seed=1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "work")
    save_plan(made, RECORDED_PLAN)
    return made


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n", "utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    else:
        path.write_text(json.dumps(rows), "utf-8")
    return path


def all_rows() -> list[dict[str, Any]]:
    return [
        {"arm": arm, "seed": seed, "benchmark": name, "value": value}
        for name, values in (("image", IMAGE), ("text", TEXT))
        for arm, numbers in values.items()
        for seed, value in enumerate(numbers, 1)
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_recorded_results_come_back_equal(
    workspace: Workspace, tmp_path: Path, ending: str
) -> None:
    file = write_rows(tmp_path / f"results.{ending}", all_rows())
    recorded = record_results(workspace, "first", [file])
    assert len(recorded.units) == 9 and recorded.notes == ()
    results = read_results(workspace, RECORDED_PLAN)
    assert sorted(map(str, results)) == sorted(map(str, recorded.units))
    values = {
        (unit.arm, unit.seed, name): each.values["accuracy"]
        for unit in results
        for name, each in unit.sets.items()
    }
    rows = all_rows()
    assert values == {(row["arm"], row["seed"], row["benchmark"]): row["value"] for row in rows}
    report = trial_report(workspace, "first")
    assert [each.conclusion.kind for each in report.comparisons] == ["better", "as_good"]
    expected = trial_report_of(make_results({"image": IMAGE, "text": TEXT}, RECORDED_PLAN))
    assert report.to_dict() == expected
    assert report.applies_to.startswith("For the model and the budget of the recorded trainings")


def trial_report_of(results: list[UnitResult]) -> dict[str, Any]:
    from scoring.trials.report import build_report

    return build_report(RECORDED_PLAN, results).to_dict()


def test_recording_twice_is_refused_unless_replaced(workspace: Workspace, tmp_path: Path) -> None:
    row = {"arm": "keep15", "seed": 1, "benchmark": "image", "value": 40}
    both = write_rows(tmp_path / "both.json", [row, row | {"benchmark": "text", "value": 30}])
    record_results(workspace, "first", [both])
    for file in (both, write_rows(tmp_path / "other.json", [row | {"value": 41}])):
        with pytest.raises(InputError, match=r"keep15 seed 1 on image \(accuracy\).*--replace"):
            record_results(workspace, "first", [file])
    record_results(workspace, "first", [file], RecordOptions(replace=True))
    sets = {
        name: each.values["accuracy"]
        for unit in read_results(workspace, RECORDED_PLAN)
        for name, each in unit.sets.items()
    }
    assert sets == {"image": 41, "text": 30}
    record_results(workspace, "first", [both], RecordOptions(replace=True))
    (unit,) = read_results(workspace, RECORDED_PLAN)
    assert {name: each.values["accuracy"] for name, each in unit.sets.items()} == {
        "image": 40,
        "text": 30,
    }


def test_results_of_trainings_here_are_not_replaced(workspace: Workspace, tmp_path: Path) -> None:
    trained = UnitResult(
        RECORDED_PLAN.digest, "keep15", 1, {"image": SetResult(9, {"accuracy": 40.0})}
    )
    write_result(workspace, RECORDED_PLAN, trained)
    file = write_rows(tmp_path / "r.json", [{"benchmark": "image", "value": 41}])
    with pytest.raises(InputError, match="Trained here, and not replaced: keep15 seed 1 on image"):
        record_results(workspace, "first", [file], replace(ARM, replace=True))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"arm": "kept15"}, "has no arm 'kept15'. Its arms: keep15, keep15-random, all"),
        ({"seed": 4}, "seed 4 is not planned. Seeds of first: 1, 2, 3"),
        ({"seed": 1.5}, "row 1: its seed 1.5 is not a whole number"),
        ({"value": 101}, "101 on image is not an accuracy in per cent"),
        ({"value": -1}, "-1 on image is not an accuracy"),
        ({"value": "nan"}, "nan on image is not an accuracy"),
        ({"value": "high"}, "row 1: its value 'high' is not a number"),
        ({"measure": "loss", "value": -0.1}, "-0.1 on image is not a loss"),
        ({"measure": "f1"}, "unknown measure 'f1'"),
        ({"arm": None}, "does not name the arm. Pass it with --arm"),
        ({"seed": None}, "does not name the seed. Pass it with --seed"),
    ],
)
def test_rows_that_are_not_clear_are_refused(
    workspace: Workspace, tmp_path: Path, row: dict[str, Any], message: str
) -> None:
    good = {"arm": "keep15", "seed": 1, "benchmark": "image", "value": 40}
    file = write_rows(tmp_path / "r.json", [good | row, good | {"seed": 2}])
    with pytest.raises(InputError) as error:
        record_results(workspace, "first", [file])
    assert message in str(error.value)
    assert read_results(workspace, RECORDED_PLAN) == []


def test_arm_and_seed_must_agree_with_the_file(workspace: Workspace, tmp_path: Path) -> None:
    row = {"arm": "keep15", "seed": 1, "benchmark": "image", "value": 40}
    file = write_rows(tmp_path / "r.json", [row])
    with pytest.raises(InputError, match="names the seed 1, but --seed is 2"):
        record_results(workspace, "first", [file], RecordOptions(seed=2))
    with pytest.raises(InputError, match="two values of accuracy of keep15 seed 1 on image"):
        record_results(workspace, "first", [write_rows(tmp_path / "two.json", [row, row])])
    with pytest.raises(InputError, match="both have keep15 seed 1 on image"):
        record_results(workspace, "first", [file, write_rows(tmp_path / "b.jsonl", [row])])


def test_shares_become_per_cent_and_losses_stay(workspace: Workspace, tmp_path: Path) -> None:
    rows = [
        {"benchmark": "image", "value": 0.4},
        {"benchmark": "image", "value": 0.75, "measure": "loss"},
        {"benchmark": "text", "value": 1.0},
    ]
    file = write_rows(tmp_path / "r.json", rows)
    recorded = record_results(workspace, "first", [file], ARM)
    (unit,) = recorded.units
    assert unit.sets["image"].values == {"accuracy": 40.0, "loss": 0.75}
    assert unit.sets["text"].values == {"accuracy": 100.0}
    assert recorded.notes == ("r.json: 2 values are at most 1 and read as a share, so times 100",)
    kept = record_results(
        workspace, "first", [file], replace(ARM, unit="percent", replace=True)
    ).units[0]
    assert kept.sets["image"].values["accuracy"] == 0.4


def test_shares_mixed_with_per_cent_are_refused(workspace: Workspace, tmp_path: Path) -> None:
    rows = [{"benchmark": "image", "value": 0.61}, {"benchmark": "text", "value": 63}]
    file = write_rows(tmp_path / "r.csv", rows)
    with pytest.raises(InputError, match="1 of 2 values are at most 1, the largest is 63: state"):
        record_results(workspace, "first", [file], ARM)
    with pytest.raises(InputError, match="6300 on text is not an accuracy"):
        record_results(workspace, "first", [file], replace(ARM, unit="share"))
    (unit,) = record_results(workspace, "first", [file], replace(ARM, unit="percent")).units
    assert unit.sets["image"].values == {"accuracy": 0.61}


LMMS_EVAL: dict[str, Any] = {
    "results": {
        "all_tasks": {" ": " ", "alias": "all_tasks"},
        "image": {
            "alias": "image",
            "exact_match,none": 0.615,
            "exact_match_stderr,none": 0.01,
            "exact_match_stderr_clt,none": 0.01,
            "exact_match_stderr_clustered,none": "N/A",
        },
        "pope": {
            "alias": "pope",
            "pope_accuracy,none": 0.875,
            "pope_precision,none": 0.9,
            "pope_f1_score,none": 0.86,
        },
        "chart": {"alias": "chart", "relaxed_overall,none": 0.5, "relaxed_human,none": 0.4},
        "mme": {"alias": "mme", "mme_perception_score,none": 1420.5},
        "bench_en": {"alias": "bench_en", "gpt_eval_score,none": 71.25},
    },
    "configs": {},
    "higher_is_better": {"image": {"exact_match": True}},
    "n-samples": {"image": {"original": 200, "effective": 200},
                  "pope": {"original": 9000, "effective": 8}},
    "git_hash": "abc1234",
}  # fmt: skip


def test_lmms_eval(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "20260101_000000_results.json"
    file.write_text(json.dumps(LMMS_EVAL), "utf-8")
    recorded = record_results(workspace, "first", [file], ARM)
    (unit,) = recorded.units
    assert {name: each.values["accuracy"] for name, each in unit.sets.items()} == {
        "image": 61.5,
        "pope": 87.5,
        "bench_en": 71.25,
    }
    assert unit.sets["image"].metric == "exact_match,none"
    assert unit.sets["image"].n_samples == 200
    assert unit.versions == {"lmms-eval": "abc1234"}
    notes = "\n".join(recorded.notes)
    assert "pope was evaluated on 8 of 9000 questions" in notes
    assert (
        "chart is left out, its accuracy is not clear. Choose with --metric chart=NAME, NAME one "
        "of: relaxed_overall,none, relaxed_human,none" in notes
    )
    assert "mme is left out, mme_perception_score,none is not in per cent" in notes
    assert "Not declared in the plan, so without a conclusion: bench_en, pope" in notes
    with pytest.raises(InputError, match=r"is already recorded as keep15 seed 1\. If"):
        record_results(workspace, "first", [file], RecordOptions(arm="all", seed=1))
    options = replace(ARM, metrics={"chart": "relaxed_overall"}, replace=True)
    (again,) = record_results(workspace, "first", [file], options).units
    assert again.sets["chart"].values["accuracy"] == 50
    assert read_results(workspace, RECORDED_PLAN) == [again]


def test_metrics_may_not_differ(workspace: Workspace, tmp_path: Path) -> None:
    for number, metric in enumerate(("exact_match,none", "exact_match,flexible"), 1):
        file = tmp_path / f"{number}_results.json"
        file.write_text(json.dumps({"results": {"image": {metric: 0.5}}}), "utf-8")
        options = replace(ARM, seed=number)
        if number == 1:
            record_results(workspace, "first", [file], options)
    with pytest.raises(InputError, match="different metrics: exact_match,none and exact_match,fl"):
        record_results(workspace, "first", [file], options)


@pytest.mark.parametrize(
    ("name", "content", "benchmark", "value", "metric"),
    [
        ("small_vlm_Bench_DEV_EN_acc.csv", '"split","Overall","AR"\n"dev","0.64","0.5"\n',
         "Bench_DEV_EN", 64, "Overall"),
        ("small_vlm_Chart_acc.csv", '"test_human","test_augmented","Overall"\n"40.5","60","50.25"',
         "Chart", 50.25, "Overall"),
        ("small_vlm_Pope_score.csv",
         "split,Overall,acc\nOverall,86.5,87.5\nrandom,90,91\n", "Pope", 86.5,
         "split=Overall|Overall"),
        ("small_vlm_Math_score.csv", "Task,tot,acc\nOverall,1000,41.5\nalgebra,10,30\n",
         "Math", 41.5, "Task=Overall|acc"),
        ("small_vlm_OCR_score.json", '{"Text": 300, "Final Score": 600, "Final Score Norm": 60.0}',
         "OCR", 60, "Final Score Norm"),
    ],
)  # fmt: skip
def test_vlmevalkit(
    workspace: Workspace,
    tmp_path: Path,
    name: str,
    content: str,
    benchmark: str,
    value: float,
    metric: str,
) -> None:
    folder = tmp_path / "outputs" / "small_vlm" / "T20260101_Gabc1234"
    folder.mkdir(parents=True)
    (folder / name).write_text(content, "utf-8")
    (unit,) = record_results(workspace, "first", [folder / name], ARM).units
    result = unit.sets[benchmark]
    assert list(unit.sets) == [benchmark]
    assert (result.values["accuracy"], result.metric) == (value, metric)


def test_vlmevalkit_files_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m_Bench_acc.csv"
    file.write_text("split,Overall\ndev,0.6\ntest,0.5\n", "utf-8")
    with pytest.raises(InputError, match=r"benchmark is not clear.*--benchmark"):
        read_result_file(file)
    with pytest.raises(InputError, match=r"--metric Bench=NAME, NAME one of: split=dev\|Overall"):
        read_result_file(file, known_sets=["Bench"])
    with pytest.raises(InputError, match="Choose one of: split=dev"):
        read_result_file(file, benchmark="Bench", metrics={"Bench": "acc"})
    (value,) = read_result_file(
        file, benchmark="Bench", metrics={"Bench": "split=test|Overall"}
    ).values
    assert value.value == 50
    file.write_text("count,Overall\n100,0.6\n", "utf-8")
    with pytest.raises(InputError, match="may be a share or per cent"):
        read_result_file(file, benchmark="Bench")
    assert read_result_file(file, benchmark="Bench", unit="percent").values[0].value == 0.6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "", "results are read from .csv, .json and .jsonl"),
        ("a.json", "{", "a.json cannot be read"),
        ("a.json", '{"accuracy": 3}', "is not a table of results"),
        ("a.csv", "name,score\na,1\n", "has no benchmark and value in row 1"),
        ("a.csv", "arm,seed,value\na,1,2\n", "has no benchmark in row 1"),
        ("a.csv", "seed,benchmark,value\nx,b,2\n", "row 1: its seed 'x' is not a whole number"),
        ("a.csv", "seed,benchmark,value\n1,b,much\n", "row 1: its value 'much' is not a number"),
        ("a.csv", "seed,benchmark,value\n1,b,\n", "row 1 has no value"),
        ("a.jsonl", '{"benchmark": "b", "value": 2}\n{bad\n', "a.jsonl, line 2 is not JSON"),
        ("a.csv", "benchmark,value\n", "has no value to record"),
        ("a.json", '{"results": {}}', "has no value to record"),
        ("a.json", '{"results": {"image": 0.5}}', "has no value to record"),
        ("a.json", "[" * 100_000, "a.json cannot be read"),
        ("a.csv", 'benchmark,value\n"image,1\n', "a.csv cannot be read"),
        ("m_Bench_acc.json", '[{"split": "dev", "acc": 1}, {"acc": 2}]', "rows that do not differ"),
        ("m_Bench_acc.json", "[{}, {}]", "rows that do not differ in their first column"),
        ("m_Bench_acc.csv", "split,acc\ndev,1\ndev,2\n", "rows that do not differ in their first"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        read_result_file(tmp_path / name, known_sets=["Bench"])
    with pytest.raises(InputError, match="does not exist"):
        read_result_file(tmp_path / "missing.json")


def export_arm(workspace: Workspace, name: str, rule: Rule) -> tuple[SubsetDefinition, list[int]]:
    definition = SubsetDefinition(name, rule, RUN_ID)
    store = Store(workspace)
    export_subset(workspace, store, definition)
    return definition, read_outcome(workspace, store, definition).subset.selected.tolist()


@pytest.fixture
def exporting(tmp_path: Path) -> tuple[Workspace, TrialPlan]:
    """A workspace with an export of each arm, and a plan that pins their samples."""
    workspace = make_workspace(tmp_path / "ws", 120, with_images=False)
    build_database(workspace)
    definition, rows = export_arm(workspace, "keep15", Threshold(min=0.25))
    _, random_rows = export_arm(workspace, "random", RandomShare(share=0.2, seed=5))
    arms = {
        ("keep15", None): rows[1:],  # the first one cannot be trained on
        ("keep15-random", 1): random_rows,
        ("keep15-random", 2): random_rows[1:],
        ("all", None): range(100),
    }
    pinned = {key: ArmRows(np.array(each), np.ones(len(each))) for key, each in arms.items()}
    subset, control, everything = RECORDED_PLAN.arms
    plan = replace(
        RECORDED_PLAN,
        dataset_fingerprint=read_dataset_info(workspace).fingerprint,
        arms=(replace(subset, definition=definition.to_dict()), control, everything),
        arms_digest=digest_arms(pinned),
    )
    save_plan(workspace, plan)
    write_arms(workspace, "first", pinned)
    return workspace, plan


def digest_of(workspace: Workspace, export: str) -> str:
    path = workspace.exports_dir / export / "manifest.json"
    return str(json.loads(path.read_text("utf-8"))["manifest_sha256"])


def test_results_are_tied_to_the_export_of_their_arm(
    exporting: tuple[Workspace, TrialPlan], tmp_path: Path
) -> None:
    workspace, plan = exporting
    file = write_rows(tmp_path / "r.json", [{"benchmark": "image", "value": 40}])
    options = replace(ARM, exports=("keep15",), replace=True)
    recorded = record_results(workspace, "first", [file], options)
    assert recorded.units[0].manifest_digest == digest_of(workspace, "keep15")
    n = read_manifest(workspace.exports_dir / "keep15").counts["selected"]
    assert recorded.notes == (
        f"keep15 is an export of keep15 with {n} samples; the plan has {n - 1} that can be "
        "trained on",
    )
    drawn = RecordOptions("keep15-random", 1, exports=(str(workspace.exports_dir / "random"),))
    other = write_rows(tmp_path / "o.json", [{"benchmark": "image", "value": 41}])
    recorded = record_results(workspace, "first", [other], drawn)
    assert recorded.units[0].manifest_digest == digest_of(workspace, "random")
    assert recorded.notes == ()
    assert {unit.manifest_digest for unit in read_results(workspace, plan)} == {
        digest_of(workspace, "keep15"),
        digest_of(workspace, "random"),
    }
    for wrong in (
        replace(drawn, seed=2),
        replace(drawn, arm="all"),
        replace(ARM, exports=drawn.exports),
    ):
        with pytest.raises(InputError, match=r"No export has the samples of .* which are not the"):
            record_results(workspace, "first", [other], replace(wrong, replace=True))


def test_an_export_of_the_whole_dataset_has_every_arm(
    exporting: tuple[Workspace, TrialPlan], tmp_path: Path
) -> None:
    workspace, _ = exporting
    whole = SubsetDefinition(
        "whole", Threshold(min=-100), RUN_ID, text_only="keep", unscored="keep", hand_wins=False
    )
    export_subset(workspace, Store(workspace), whole, format="parquet")
    file = write_rows(tmp_path / "r.json", [{"benchmark": "image", "value": 40}])
    options = RecordOptions("keep15-random", 2, exports=("whole",))
    assert record_results(workspace, "first", [file], options).notes == (
        "whole has the whole dataset; which of it keep15-random used was not checked",
    )


def test_digests_in_the_file_are_checked(
    exporting: tuple[Workspace, TrialPlan], tmp_path: Path
) -> None:
    workspace, _ = exporting
    row = {"arm": "keep15-random", "seed": 1, "benchmark": "image", "value": 40}
    digest = digest_of(workspace, "random")
    good = write_rows(tmp_path / "good.csv", [row | {"manifest_digest": digest}])
    assert record_results(workspace, "first", [good]).notes == ()
    unknown = write_rows(tmp_path / "u.csv", [row | {"manifest_digest": "f" * 64}])
    replacing = RecordOptions(replace=True)
    (note,) = record_results(workspace, "first", [unknown], replacing).notes
    assert note.endswith("is not in this workspace, so not checked")
    with pytest.raises(InputError, match="which is not a given one"):
        record_results(workspace, "first", [unknown], replace(replacing, exports=("random",)))
    wrong = write_rows(
        tmp_path / "w.csv", [row | {"manifest_digest": digest_of(workspace, "keep15")}]
    )
    with pytest.raises(InputError, match="No export has the samples of keep15-random seed 1"):
        record_results(workspace, "first", [wrong], replacing)


def test_changed_manifests_are_refused(
    exporting: tuple[Workspace, TrialPlan], tmp_path: Path
) -> None:
    workspace, _ = exporting
    file = write_rows(tmp_path / "r.json", [{"benchmark": "image", "value": 40}])
    path = workspace.exports_dir / "keep15" / "manifest.json"
    value = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(value | {"selected_sha256": "0" * 64}), "utf-8")
    with pytest.raises(InputError, match="was changed after it was written"):
        record_results(workspace, "first", [file], replace(ARM, exports=("keep15",)))
    with pytest.raises(InputError, match="does not exist"):
        record_results(workspace, "first", [file], replace(ARM, exports=("kept",)))
