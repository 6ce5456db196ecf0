"""Evaluation sets that share images or texts with the arms are refused, and others are not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scoring.database.connection import Store
from scoring.dataset.records import read_samples
from scoring.errors import InputError
from scoring.rules import TopCount
from scoring.subsets.definitions import SubsetDefinition
from scoring.trials.options import PlanOptions, parse_evaluation
from scoring.trials.plan import TrialPlan, trial_folder
from scoring.trials.planning import plan_trial
from scoring.workspace import Workspace
from tests.trials.conftest import WriteSet

Record = tuple[str, str, Path | None]
Check = Callable[..., tuple[TrialPlan, list[str]]]


@pytest.fixture
def check(
    workspace: Workspace, save: Callable[..., SubsetDefinition], write_set: WriteSet
) -> Check:
    save("top", TopCount(12), text_only="keep")

    def plan(*records: Record, **options: object) -> tuple[TrialPlan, list[str]]:
        notes: list[str] = []
        evaluation = parse_evaluation([str(write_set("bench", records))])
        settings = PlanOptions(subsets=("top",), evaluation=evaluation, **options)  # type: ignore[arg-type]
        return plan_trial(
            workspace, Store(workspace), "t", settings, warn=notes.append, note=notes.append
        ), notes

    return plan


def image_of(workspace: Workspace, row: int) -> Path:
    (sample,) = read_samples(workspace, [row])
    return workspace.root / "images" / sample.images[0]


def test_a_shared_image_is_refused_under_any_name(
    workspace: Workspace, check: Check, tmp_path: Path
) -> None:
    copy = tmp_path / "renamed.png"
    copy.write_bytes(image_of(workspace, 55).read_bytes())
    with pytest.raises(InputError, match=r"'bench' shares 1 images .*its row 1 = row 55 of the"):
        check(("Is this new?", "yes", None), ("What is it?", "a square", copy))
    assert not trial_folder(workspace, "t").exists()


def test_an_image_of_a_sample_that_no_arm_has_is_no_leak(
    workspace: Workspace, check: Check
) -> None:
    unused = image_of(workspace, 0)
    plan, _ = check(("What is it?", "a square", unused), controls=("band",))
    assert plan.evaluation[0].n_samples == 1


def test_an_embedded_image_is_compared_by_its_bytes(
    workspace: Workspace,
    save: Callable[..., SubsetDefinition],
    tmp_path: Path,
) -> None:
    save("top", TopCount(12))
    content = base64.b64encode(image_of(workspace, 50).read_bytes()).decode()
    record = {
        "image": f"data:image/png;base64,{content}",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat is it?"},
            {"from": "gpt", "value": "a square"},
        ],
    }
    path = tmp_path / "embedded.json"
    path.write_text(json.dumps([record]), "utf-8")
    options = PlanOptions(subsets=("top",), evaluation=parse_evaluation([str(path)]))
    with pytest.raises(InputError, match="its row 0 = row 50 of the dataset"):
        plan_trial(workspace, Store(workspace), "t", options)


def test_a_text_only_question_with_its_answer_is_refused(check: Check) -> None:
    with pytest.raises(InputError, match=r"shares 1 text-only questions .*its row 0 = row 61"):
        check(("  question 61? ", "ANSWER  61", None))


def test_common_questions_are_counted_and_not_refused(check: Check, tmp_path: Path) -> None:
    from PIL import Image

    image = tmp_path / "new.png"
    Image.new("RGB", (40, 40), (9, 9, 9)).save(image)
    _, notes = check(
        ("Question 55?", "answer 55", image),  # the same question about another image
        ("Question 61?", "another answer", None),
        ("Question 55?", "answer 55", None),  # about an image there, for text alone here
    )
    assert any("1 questions of bench are also asked about other images" in note for note in notes)


def test_images_that_cannot_be_compared_are_noted(workspace: Workspace, check: Check) -> None:
    image_of(workspace, 55).unlink()
    _, notes = check(("Is this new?", "yes", None))
    (note,) = (note for note in notes if "not compared" in note)
    assert "row 55" in note


def test_progress_ends_with_all_samples(
    workspace: Workspace, save: Callable[..., SubsetDefinition], write_set: WriteSet
) -> None:
    save("top", TopCount(12))
    seen: list[tuple[int, int]] = []
    options = PlanOptions(subsets=("top",), evaluation=parse_evaluation([str(write_set("a"))]))
    plan_trial(workspace, Store(workspace), "t", options, progress=lambda *done: seen.append(done))
    assert seen[-1] == (64, 64)
