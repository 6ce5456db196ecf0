"""The demo as an instrument: what the bundled model measures on the bundled data.

Remake the golden values after the model or the data changed: python -m tests.test_demo
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from scoring import cli
from scoring.bundled import BUNDLED_MODEL, bundled_folder
from scoring.database.connection import Store
from scoring.database.queries.browse import read_candidates
from scoring.database.queries.detail import sample_detail
from scoring.database.queries.overview import status_counts
from scoring.database.values import Scope
from scoring.dataset.records import read_dataset_info
from scoring.demo.build import DEMO_RUN, DEMO_TRIAL, build_demo
from scoring.rules import DropMisaligned
from scoring.subsets.definitions import (
    delete_subset,
    list_subsets,
    read_outcome,
    read_subset,
    save_subset,
)
from scoring.trials.arms import arm_rows, read_arms
from scoring.trials.controls import draw_control, select_all, subset_rows
from scoring.trials.plan import read_plan
from scoring.trials.results import read_results
from scoring.workspace import Workspace, open_workspace

GOLDEN = Path(__file__).parent / "golden" / "demo_scores.json"
README = Path(__file__).parent.parent / "data" / "README.md"
KINDS = (
    ("vision_critical", "redundant"),
    ("redundant", "misaligned"),
    ("vision_critical", "misaligned"),
)
EVERY = 40  # golden values are kept of each 40th sample


def made(row: dict[str, object]) -> str:
    return "broken" if "broken" in row else str(row["made"])


def records() -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(
        (bundled_folder("demo") / "records.json").read_text("utf-8")
    )
    return found


def scores(workspace: Workspace) -> dict[int, float]:
    found = read_candidates(Store(workspace), Scope(DEMO_RUN))
    scored = found.scored
    rows, visnec = found.row_idx[scored].tolist(), found.visnec[scored].tolist()
    return dict(zip(rows, visnec, strict=True))


def auc(workspace: Workspace, higher: str, lower: str) -> float:
    """Probability that a sample of kind ``higher`` scores above one of kind ``lower``."""
    kinds = [made(record) for record in records()]
    pairs = [(kinds[row], score) for row, score in scores(workspace).items()]
    chosen = [(kind == higher, score) for kind, score in pairs if kind in (higher, lower)]
    return float(roc_auc_score([one[0] for one in chosen], [one[1] for one in chosen]))


@pytest.mark.parametrize(
    ("higher", "lower", "at_least"),
    [
        ("vision_critical", "redundant", 0.95),
        ("redundant", "misaligned", 0.95),
        ("vision_critical", "misaligned", 0.98),
    ],
)
def test_score_separates_the_kinds_as_stated_in_the_readme(
    demo_built: Path, higher: str, lower: str, at_least: float
) -> None:
    measured = auc(open_workspace(demo_built), higher, lower)
    assert measured >= at_least
    assert f"{measured:.3f}" in README.read_text("utf-8")


def test_every_record_gets_its_intended_status(demo_built: Path) -> None:
    store = Store(open_workspace(demo_built))
    frame = status_counts(store.selection(Scope(DEMO_RUN)))
    found = {status: n for status, n in zip(frame["status"], frame["n"], strict=True) if n}
    expected: dict[str, int] = {}
    for record in records():
        status = str(record.get("broken", "scored" if "image" in record else "text_only"))
        expected[status] = expected.get(status, 0) + 1
    assert found == expected


def test_scores_match_the_golden_file(demo_built: Path) -> None:
    workspace = open_workspace(demo_built)
    golden = json.loads(GOLDEN.read_text("utf-8"))
    assert len(golden) >= 10
    for row, values in golden.items():
        detail = detail_of(workspace, int(row))
        assert detail == pytest.approx(values, abs=1e-3), f"row {row}"


def test_predictions_with_the_image_are_correct_where_it_is_needed(demo_built: Path) -> None:
    """A model that guessed would answer few of these; without the image it does."""
    store, scope = Store(open_workspace(demo_built)), Scope(DEMO_RUN)
    right_with = right_without = n = 0
    for row, record in enumerate(records()):
        if made(record) == "vision_critical" and row % 5 == 0:
            found = sample_detail(store, scope, row)
            answer = record["conversations"][1]["value"]  # type: ignore[index]
            predicted = found.predictions[0]
            right_with += predicted["prediction_multimodal"] == answer
            right_without += predicted["prediction_text"] == answer
            n += 1
    assert right_with / n > 0.75
    assert right_without / n < 0.5


def test_model_is_small_and_described_by_a_notice(demo_built: Path) -> None:
    size = sum(path.stat().st_size for path in bundled_folder(BUNDLED_MODEL).glob("*.safetensors"))
    assert 0 < size < 10_000_000
    notice = open_workspace(demo_built).settings.notice
    assert notice is not None
    assert "demonstration model" in notice


def test_building_the_demo_again_changes_nothing(demo_workspace: Path) -> None:
    messages: list[str] = []
    before = (demo_workspace / "visnec.duckdb").stat().st_mtime_ns
    build_demo(demo_workspace, on_message=messages.append)
    assert messages == []
    assert (demo_workspace / "visnec.duckdb").stat().st_mtime_ns == before


def test_the_demo_has_a_finished_trial_that_says_where_it_was_computed(demo_built: Path) -> None:
    workspace = open_workspace(demo_built)
    plan = read_plan(workspace, DEMO_TRIAL)
    assert plan.run_id == DEMO_RUN
    assert plan.dataset_fingerprint == read_dataset_info(workspace).fingerprint
    assert plan.notice is not None
    assert "come with the demo" in plan.notice
    units = [(result.arm, result.seed) for result in read_results(workspace, plan)]
    assert sorted(units) == sorted(plan.units)
    result = CliRunner().invoke(cli.app, ["trial", "report", DEMO_TRIAL, "-w", str(demo_built)])
    assert result.exit_code == 0, result.output
    for subset, control in plan.comparisons:
        assert f"{subset} - {control}: " in result.stdout
    assert "no conclusion" not in result.stdout
    assert plan.notice in " ".join(result.stderr.split())


def test_the_plan_of_the_trial_names_no_path_of_the_machine_that_computed_it() -> None:
    text = (bundled_folder("demo") / "trial" / "plan.json").read_text("utf-8")
    plan = json.loads(text)
    paths = [plan["training"]["model"], *(each["path"] for each in plan["evaluation"])]
    assert paths == [
        "tiny-vlm-noisy-projector",
        "data/held-out/image.json",
        "data/held-out/text.json",
    ]
    assert '"/' not in text


def test_the_saved_subsets_and_the_controls_select_the_samples_of_the_trial(
    demo_built: Path,
) -> None:
    workspace = open_workspace(demo_built)
    store, plan = Store(workspace), read_plan(workspace, DEMO_TRIAL)
    arms = read_arms(workspace, plan)
    resolved = {
        subset.name: read_outcome(workspace, store, subset) for subset in list_subsets(workspace)
    }
    for arm in plan.arms:
        for seed in plan.seeds:
            if arm.control is None:
                expected = subset_rows(resolved[arm.name])
            elif arm.control == "all":
                expected = select_all(resolved["clean"].candidates)
            else:
                assert arm.of is not None
                expected = draw_control(resolved[arm.of], arm.control, workspace.bands, seed)
            assert arm_rows(arms, arm.name, seed).row_idx.tolist() == expected.row_idx.tolist()


def test_a_demo_of_an_earlier_version_gets_the_trial_and_keeps_its_subsets(
    demo_workspace: Path,
) -> None:
    workspace = open_workspace(demo_workspace)
    shutil.rmtree(workspace.trials_dir)
    delete_subset(workspace, "clean")
    build_demo(demo_workspace)
    assert read_subset(workspace, "clean").rule == DropMisaligned()
    shutil.rmtree(workspace.trials_dir)
    own = replace(read_subset(workspace, "clean"), rule=DropMisaligned(0.1))
    save_subset(workspace, own, overwrite=True)
    build_demo(demo_workspace)
    assert read_plan(workspace, DEMO_TRIAL).name == DEMO_TRIAL
    assert read_subset(workspace, "clean") == own
    assert not list(demo_workspace.glob(".trial.*"))


def detail_of(workspace: Workspace, row: int) -> dict[str, float]:
    found = read_candidates(Store(workspace), Scope(DEMO_RUN))
    place = found.row_idx.tolist().index(row)
    return {
        "loss_text": round(float(found.loss_text[place]), 6),
        "loss_multimodal": round(float(found.loss_multimodal[place]), 6),
        "visnec": round(float(found.visnec[place]), 6),
    }


def remake() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = build_demo(Path(folder) / "demo")
        rows = [row for row in sorted(scores(workspace)) if row % EVERY == 0]
        values = {str(row): detail_of(workspace, row) for row in rows}
        GOLDEN.write_text(json.dumps(values, indent=1) + "\n")
        for higher, lower in KINDS:
            sys.stdout.write(f"{higher} > {lower}: {auc(workspace, higher, lower):.4f}\n")


if __name__ == "__main__":
    remake()
