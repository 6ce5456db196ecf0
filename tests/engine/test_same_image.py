"""Equal images under different references: scored once, never mistaken, with the same losses."""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring.dataset.image_index import index_images
from scoring.dataset.importing import import_dataset
from scoring.engine.baselines import BaselineSettings, ShuffledImages
from scoring.engine.pipeline import score_dataset
from scoring.engine.plan import open_plan
from scoring.engine.preparation import ImageLoader, Problem
from scoring.images.decode import ImageLocation, open_image
from scoring.models import load_model
from scoring.runs.record import read_run
from scoring.samples import Status
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel
from tests.image_records import import_embedded, import_files, png, write_embedded

COLOURS = ["red", "blue", "red", "green", "red", "blue"]
BY_COLOUR = {(255, 0, 0): 0.25, (0, 0, 255): 0.5, (0, 128, 0): 0.75, (255, 255, 0): 0.125}
COST = {"red": 0.25, "blue": 0.5, "green": 0.75, "yellow": 0.125}
EVERY = BaselineSettings(("none", "gray", "blur", "shuffled"))


def read_scores(workspace: Workspace, run_id: str = "run") -> dict[tuple[int, str], Any]:
    """Return the rows of the parts by row and baseline; each must be there once."""
    parts = sorted((workspace.run_dir(run_id) / "scores").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    assert max(Counter((row["row_idx"], row["baseline"]) for row in rows).values()) == 1
    return {(row["row_idx"], row["baseline"]): row for row in rows}


def losses(workspace: Workspace, run_id: str = "run") -> dict[tuple[int, str], list[float]]:
    """Return (text, multimodal) loss per token by row and baseline."""
    return {
        key: [
            turn[name] / turn["n_answer_tokens"]
            for turn in row["turns"]
            for name in ("loss_text_sum", "loss_multimodal_sum")
        ]
        for key, row in read_scores(workspace, run_id).items()
    }


def forget_digests(workspace: Workspace) -> None:
    shutil.rmtree(workspace.dataset_dir / "image-digests", ignore_errors=True)
    shutil.rmtree(workspace.dataset_dir / "plan", ignore_errors=True)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that preparation decodes."""
    names: list[str] = []

    def count_opened(location: ImageLocation) -> Image.Image:
        names.append(location.name)
        return open_image(location)

    monkeypatch.setattr("scoring.engine.preparation.open_image", count_opened)
    return names


def test_the_plan_puts_rows_with_equal_images_together(tmp_path: Path) -> None:
    workspace = import_embedded(tmp_path, COLOURS)
    assert open_plan(workspace).rows.tolist() == [0, 2, 4, 1, 5, 3]
    assert open_plan(workspace).leaders.tolist() == [0, 0, 0, 1, 1, 3]
    forget_digests(workspace)
    assert open_plan(workspace).rows.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("make", [import_embedded, import_files])
def test_an_image_is_decoded_once_and_each_score_is_about_its_own(
    tmp_path: Path, opened: list[str], make: Callable[..., Workspace]
) -> None:
    workspace = make(tmp_path, COLOURS)
    index_images(workspace)
    model = FakeModel(by_colour=BY_COLOUR)
    score_dataset(workspace, model, run_id="run", build=False)
    assert len(opened) == 3
    assert {row: both[1] for (row, _), both in losses(workspace).items()} == {
        row: COST[colour] for row, colour in enumerate(COLOURS)
    }


@pytest.mark.parametrize("make", [import_embedded, import_files])
def test_losses_with_and_without_digests_are_equal(
    tmp_path: Path, make: Callable[..., Workspace]
) -> None:
    workspace = make(tmp_path, COLOURS)
    model = load_model("tiny-vlm", device="cpu")
    baselines = BaselineSettings(("none", "reference", "gray", "blur"))
    found = {}
    for name in ("with", "without"):
        if name == "with":
            index_images(workspace)
        else:
            forget_digests(workspace)
        score_dataset(workspace, model, run_id=name, baselines=baselines, build=False)
        found[name] = losses(workspace, name)
    assert found["with"].keys() == found["without"].keys()
    assert len(found["with"]) == 6 * 4
    for key, both in found["with"].items():
        assert both == pytest.approx(found["without"][key], abs=1e-5)
    reds = [found["with"][row, "none"][1] for row in (0, 3)]
    assert abs(reds[0] - reds[1]) > 1e-4  # the model sees the colours


def test_a_file_that_changed_after_indexing_is_scored_by_its_new_content(tmp_path: Path) -> None:
    workspace = import_files(tmp_path, COLOURS)
    index_images(workspace)
    for n, colour in ((0, "yellow"), (4, "green")):
        path = tmp_path / f"{n}.png"
        stat = path.stat()
        path.write_bytes(png(colour).ljust(stat.st_size, b"\0")[: stat.st_size])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # not even the time differs
    score_dataset(workspace, FakeModel(by_colour=BY_COLOUR), run_id="run", build=False)
    expected = ["yellow", "blue", "red", "green", "green", "blue"]
    assert {row: both[1] for (row, _), both in losses(workspace).items()} == {
        row: COST[colour] for row, colour in enumerate(expected)
    }


def test_a_copy_that_is_gone_or_damaged_has_its_own_status(tmp_path: Path) -> None:
    workspace = import_files(tmp_path, ["red"] * 5)
    index_images(workspace)
    (tmp_path / "0.png").unlink()
    (tmp_path / "2.png").write_bytes(png("red")[:40])
    (tmp_path / "3.png").write_bytes(b"")
    score_dataset(workspace, FakeModel(by_colour=BY_COLOUR), run_id="run", build=False)
    scores = read_scores(workspace)
    statuses = [scores[row, "none"]["status"] for row in range(5)]
    assert statuses == ["missing_image", "scored", "bad_image", "bad_image", "scored"]
    assert "'0.png'" in scores[0, "none"]["reason"]
    assert scores[2, "none"]["reason"].startswith("2.png")
    assert scores[3, "none"]["reason"] == "3.png is empty"


def test_a_container_that_fails_oddly_gives_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = import_embedded(tmp_path, ["red", "blue"])

    def fail(path: Path, member: str) -> bytes:
        raise OverflowError("odd")

    monkeypatch.setattr("scoring.images.decode.read_embedded", fail)
    score_dataset(workspace, FakeModel(), run_id="run", build=False)
    rows = read_scores(workspace)
    assert [rows[row, "none"]["status"] for row in range(2)] == ["bad_image"] * 2
    assert rows[1, "none"]["reason"] == "train.parquet#row=1&at=/image/bytes: odd"


def test_images_of_one_size_and_equal_starts_are_compared_whole(tmp_path: Path) -> None:
    for n, end in enumerate((b"a", b"b", b"a")):
        (tmp_path / f"{n}.png").write_bytes(png("red") + end)
    loader = ImageLoader([tmp_path])
    images = []
    for n in range(3):
        loaded = loader.load_images([f"{n}.png"])
        assert not isinstance(loaded, Problem)
        images += loaded
    assert images[0] is not images[1]
    assert images[1] is not images[2]  # only the last sample's images are kept


def test_the_first_problem_in_the_order_of_the_images_counts(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    loader = ImageLoader([tmp_path])
    problem = loader.load_images(["bad.png", "gone.png"])
    assert isinstance(problem, Problem)
    assert problem.status is Status.BAD_IMAGE
    problem = loader.load_images(["gone.png", "bad.png"])
    assert isinstance(problem, Problem)
    assert problem.status is Status.MISSING_IMAGE


def test_several_images_share_what_is_equal(tmp_path: Path) -> None:
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "red"), ("d", "blue")):
        (tmp_path / f"{name}.png").write_bytes(png(colour))
    loader = ImageLoader([tmp_path])
    first = loader.load_images(["a.png", "b.png"])
    second = loader.load_images(["c.png", "d.png", "a.png", "c.png###[0, 0, 2, 2]"])
    assert not isinstance(first, Problem)
    assert not isinstance(second, Problem)
    assert [image is other for image, other in zip(first, second[:2], strict=True)] == [True] * 2
    assert second[2] is first[0]
    assert second[3].size == (2, 2)


@pytest.mark.parametrize("make", [import_embedded, import_files])
def test_shuffled_shows_other_contents_and_the_same_to_copies(
    tmp_path: Path, make: Callable[..., Workspace]
) -> None:
    workspace = make(tmp_path, COLOURS)
    index_images(workspace)
    model = FakeModel(by_colour=BY_COLOUR)
    score_dataset(workspace, model, run_id="run", baselines=EVERY, build=False)
    shown = {row: both[0] for (row, name), both in losses(workspace).items() if name == "shuffled"}
    assert all(cost != COST[COLOURS[row]] for row, cost in shown.items())
    assert shown[0] == shown[2] == shown[4]
    assert shown[1] == shown[5]
    images = ShuffledImages(workspace.run_dir("run") / "images.arrow", 42)
    references = {image for sample in range(6) for image in _images(workspace, sample)}
    for image in references:
        others = list(images.images_after(image))
        assert len(others) == 2
        assert len({images.key_of(other) for other in (image, *others)}) == 3


def _images(workspace: Workspace, row: int) -> tuple[str, ...]:
    plan = open_plan(workspace)
    return plan.read_samples(plan.position_of[np.array([row])])[0].images


def test_the_shuffled_order_without_copies_is_the_one_of_the_paths(tmp_path: Path) -> None:
    workspace = import_files(tmp_path, ["red", "blue", "green", "yellow"])
    model, orders = FakeModel(), []
    for name in ("before", "after"):
        score_dataset(workspace, model, run_id=name, baselines=EVERY, build=False)
        images = ShuffledImages(workspace.run_dir(name) / "images.arrow", 42)
        orders.append([list(images.images_after(f"{n}.png")) for n in range(4)])
        index_images(workspace)
    assert orders[0] == orders[1]


def test_a_run_keeps_its_order_when_the_images_are_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 2)
    monkeypatch.setattr("scoring.engine.runner.FLUSH_SECONDS", 0.0)
    workspace = import_files(tmp_path, COLOURS * 4)
    stop = threading.Event()
    model = FakeModel(by_colour=BY_COLOUR)

    def stop_soon(progress: Any) -> None:
        if progress.done >= 6:
            stop.set()

    monkeypatch.setattr("scoring.engine.runner._REPORT_SECONDS", 0.0)
    score_dataset(workspace, model, run_id="run", on_progress=stop_soon, stop=stop, build=False)
    n_before = len(read_scores(workspace))
    assert 0 < n_before < 24
    index_images(workspace)
    assert open_plan(workspace).rows[:4].tolist() == [0, 2, 4, 6]
    assert open_plan(workspace, read_run(workspace, "run").image_index).rows.tolist() == list(
        range(24)
    )
    score_dataset(workspace, model, run_id="run", build=False)
    scores = losses(workspace)
    assert {row: both[1] for (row, _), both in scores.items()} == {
        row: COST[colour] for row, colour in enumerate(COLOURS * 4)
    }
    score_dataset(workspace, model, run_id="new", build=False)
    assert read_run(workspace, "new").image_index.startswith("part-index-")
    assert losses(workspace, "new") == scores


def test_an_addition_groups_with_earlier_images(tmp_path: Path) -> None:
    workspace = import_embedded(tmp_path, ["red", "blue"])
    model = FakeModel(by_colour=BY_COLOUR)
    score_dataset(workspace, model, run_id="run", build=False)
    more = write_embedded(tmp_path / "more.parquet", list(map(png, ("blue", "red", "green"))))
    import_dataset(create_workspace(workspace.root), [more], append=True)
    workspace = open_workspace(workspace.root)
    score_dataset(workspace, model, run_id="run", build=False)
    plan = open_plan(workspace, read_run(workspace, "run").image_index)
    assert plan.rows.tolist() == [0, 3, 1, 2, 4]
    expected = {0: 0.25, 1: 0.5, 2: 0.5, 3: 0.25, 4: 0.75}
    assert {row: both[1] for (row, _), both in losses(workspace).items()} == expected
