"""The alarm for a run that ignores the images, with tiny real models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.image_use import (
    ImageUse,
    describe_image_use,
    find_image_problem,
    read_image_use,
)
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import score_dataset
from scoring.models import load_model
from scoring.models.hf import HfModel
from scoring.samples import Status
from scoring.workspace import Workspace, create_workspace, open_workspace
from scoring.workspace_summary import read_status
from tests.database.conftest import built
from tests.families import family_folder
from tests.synthetic import Row

ALARM = "This run seems to ignore the image"


@pytest.fixture
def model() -> HfModel:
    """A model of its own, as a test zeroes its projector."""
    return load_model(str(family_folder("llava")), device="cpu")


def zero_projector(model: HfModel) -> None:
    names = [name for name, _ in model.network.named_parameters() if "projector" in name]
    assert names
    with torch.no_grad():
        for name in names:
            model.network.get_parameter(name).zero_()


def import_pictures(folder: Path, questions: Iterator[str], n: int) -> Workspace:
    """Import ``n`` samples with different pictures."""
    records = []
    for row, question in zip(range(n), questions, strict=False):
        Image.new("RGB", (56, 56), (10 * row % 256, 90, 255 - 7 * row)).save(folder / f"{row}.png")
        turns = [{"from": "human", "value": f"<image>\n{question}"}]
        turns.append({"from": "gpt", "value": "the red square"})
        records.append({"conversations": turns, "image": f"{row}.png"})
    (folder / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(folder / "ws"), [folder / "data.json"])
    return open_workspace(folder / "ws")


def same_question() -> Iterator[str]:
    while True:
        yield "what shape is in this picture"


def use_of_run(workspace: Workspace, model: HfModel, *baselines: str) -> ImageUse:
    run_id = "-".join(baselines)
    summary = score_dataset(workspace, model, baselines=baselines, run_id=run_id)
    assert summary.n_succeeded == summary.total
    return read_image_use(Store(workspace), run_id)


def test_a_zeroed_projector_raises_the_alarm(tmp_path: Path, model: HfModel) -> None:
    workspace = import_pictures(tmp_path, same_question(), 24)
    zero_projector(model)
    blind = use_of_run(workspace, model, "none")
    # Image tokens that carry nothing still change the loss, by more than the noise.
    assert not blind.baselines["none"].is_equal
    assert (blind.same_text.n, blind.same_text.n_equal) == (24, 24)
    problem = str(find_image_problem(blind))
    assert problem.startswith(f"{ALARM}: 24 of 24 samples with the same question and answer")
    assert "projector was not trained or not loaded" in problem
    gray = use_of_run(workspace, model, "none", "gray")
    assert (gray.baselines["gray"].n, gray.baselines["gray"].n_equal) == (24, 24)
    assert "24 of 24 losses are the same with the image and under baseline gray" in str(
        find_image_problem(gray)
    )
    [run, _] = read_status(workspace)["runs"]
    assert run["image_use"]["problem"] == problem


def test_gray_shows_it_without_repeated_questions(tmp_path: Path, model: HfModel) -> None:
    workspace = import_pictures(tmp_path, (f"what is {row}" for row in range(24)), 24)
    zero_projector(model)
    blind = use_of_run(workspace, model, "none")
    assert blind.same_text.n == 0
    assert find_image_problem(blind) is None
    assert "a run with --baseline gray compares all" in describe_image_use(blind)
    assert ALARM in str(find_image_problem(use_of_run(workspace, model, "gray")))


def test_a_model_that_sees_raises_no_alarm(tmp_path: Path, model: HfModel) -> None:
    workspace = import_pictures(tmp_path, same_question(), 24)
    use = use_of_run(workspace, model, "none", "gray")
    assert (use.same_text.n, use.baselines["gray"].n) == (24, 24)
    assert find_image_problem(use) is None
    assert describe_image_use(use).startswith("Use of the images: 24 of 24 losses differ")


def test_few_samples_are_not_judged(tmp_path: Path, model: HfModel) -> None:
    workspace = import_pictures(tmp_path, same_question(), 19)
    zero_projector(model)
    use = use_of_run(workspace, model, "none", "gray")
    assert use.same_text.n_equal == use.same_text.n == 19
    assert find_image_problem(use) is None
    assert describe_image_use(use) == (
        "Use of the images: not checked, as 19 losses can be compared and 20 are needed"
    )


def test_the_demo_raises_no_alarm(demo_built: Path) -> None:
    use = read_image_use(Store(open_workspace(demo_built)), "demo")
    assert use.same_text.n >= 20
    assert find_image_problem(use) is None


def scored_rows(losses: tuple[float, float], answers: tuple[str, str] | None = None) -> list[Row]:
    return [
        Row(
            image=f"{row}.png",
            id=str(row),
            turns=((f"Question {row}?", "an answer", 4, *losses),),
            predictions=answers,
        )
        for row in range(30)
    ]


def test_equal_losses_need_equal_predictions(tmp_path: Path) -> None:
    _, store = built(tmp_path / "a", rows=scored_rows((0.5, 0.5), ("a dog", " a dog ")))
    problem = str(find_image_problem(read_image_use(store, "tiny-run")))
    assert "30 of 30 losses are the same" in problem
    assert "30 of 30 predictions with it and without it" in problem
    _, store = built(tmp_path / "b", rows=scored_rows((0.5, 0.5), ("a dog", "a cat")))
    assert find_image_problem(read_image_use(store, "tiny-run")) is None


def test_losses_near_zero_show_nothing(tmp_path: Path) -> None:
    _, store = built(tmp_path, rows=scored_rows((1e-6, 1e-6), ("a dog", "a dog")))
    use = read_image_use(store, "tiny-run")
    assert find_image_problem(use) is None
    assert "not checked, as 0 losses can be compared" in describe_image_use(use)


def test_copies_of_a_sample_are_no_evidence(tmp_path: Path) -> None:
    row = scored_rows((0.9, 0.5))[0]
    _, store = built(tmp_path, rows=[row] * 30)
    assert read_image_use(store, "tiny-run").same_text.n == 0


def test_a_run_without_scores_or_dtype_is_not_judged(tmp_path: Path) -> None:
    workspace, store = built(tmp_path, visnec=[Status.MISSING_IMAGE] * 30)
    assert find_image_problem(read_image_use(store, "tiny-run")) is None
    path = workspace.run_dir("tiny-run") / "run.json"
    path.write_text(path.read_text("utf-8").replace('"float32"', '""'))
    build_database(workspace)
    use = read_image_use(store, "tiny-run")
    assert use.noise is None
    assert find_image_problem(use) is None
    assert "without their dtype" in describe_image_use(use)
