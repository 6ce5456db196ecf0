"""Files of one dataset whose image paths are relative to folders of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scoring.database.connection import Store
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.pipeline import score_dataset
from scoring.errors import InputError
from scoring.exchange.score_export import export_scores
from scoring.exports.export import export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.images.decode import ImageProblem, open_reference, resolve_image
from scoring.images.thumbnails import load_thumbnail
from scoring.rules import TopShare
from scoring.samples import Status
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

RED, BLUE = (255, 0, 0), (0, 0, 255)


def write(folder: Path, colours: dict[str, str], *, names: list[str] | None = None) -> Path:
    """A file of records that name ``images/NAME.png``, and the images that are there."""
    (folder / "images").mkdir(parents=True)
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(folder / "images" / f"{name}.png")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A colour."}]
    records = [
        {"id": f"{folder.name}{name}", "image": f"images/{name}.png", "conversations": turns}
        for name in names or colours
    ]
    path = folder / f"{folder.name}.json"
    path.write_text(json.dumps(records))
    return path


def imported(tmp_path: Path, files: list[Path], *roots: Path) -> Workspace:
    import_dataset(create_workspace(tmp_path / "ws"), files, roots)
    return open_workspace(tmp_path / "ws")


def colours(workspace: Workspace) -> dict[str, object]:
    roots = workspace.image_roots
    return {
        str(sample.id): open_reference(sample.images[0], roots).getpixel((0, 0))
        for sample in read_samples(workspace)
    }


@pytest.fixture
def two(tmp_path: Path) -> Workspace:
    files = [write(tmp_path / "a", {"1": "red"}), write(tmp_path / "b", {"1": "blue", "2": "blue"})]
    return imported(tmp_path, files)


def test_each_file_uses_its_own_image_folder(two: Workspace) -> None:
    assert colours(two) == {"a1": RED, "b1": BLUE, "b2": BLUE}
    assert [one.images for one in read_samples(two)] == [
        ("images/1.png",), ("base=0#images/1.png",), ("base=0#images/2.png",),
    ]  # fmt: skip
    assert [one.source for one in read_samples(two)] == ["images"] * 3
    red, blue, _ = (load_thumbnail(two, one.images[0]) for one in read_samples(two))
    assert red != blue


def test_an_image_that_is_missing_is_not_looked_for_in_the_folder_of_another_file(
    tmp_path: Path,
) -> None:
    first = write(tmp_path / "a", {"1": "red"}, names=["1", "2"])
    second = write(tmp_path / "b", {"1": "blue", "2": "blue"}, names=["1", "2", "3"])
    workspace = imported(tmp_path, [first, second])
    missing = [sample.images[0] for sample in read_samples(workspace)][1::3]
    assert missing == ["images/2.png", "base=0#images/3.png"]
    for reference in missing:
        with pytest.raises(ImageProblem, match="in none of the image folders") as found:
            resolve_image(reference, workspace.image_roots)
        assert found.value.status is Status.MISSING_IMAGE


def test_a_file_without_any_of_its_images_does_not_borrow_those_of_another(
    tmp_path: Path,
) -> None:
    files = [write(tmp_path / "a", {"1": "red"}), write(tmp_path / "b", {}, names=["1"])]
    workspace = imported(tmp_path, files)
    references = [sample.images[0] for sample in read_samples(workspace)]
    assert references == ["images/1.png", "base=0#images/1.png"]
    with pytest.raises(ImageProblem, match="in none of the image folders"):
        resolve_image(references[1], workspace.image_roots)


def test_a_file_that_is_added_may_use_the_folder_of_the_dataset(tmp_path: Path) -> None:
    write(tmp_path / "pictures", {"1": "red"})
    first = write(tmp_path / "a", {}, names=["1"])
    workspace = imported(tmp_path, [first], tmp_path / "pictures")
    import_dataset(workspace, [write(tmp_path / "b", {}, names=["1"])], append=True)
    assert colours(open_workspace(workspace.root)) == {"a1": RED, "b1": RED}


def test_of_several_named_folders_the_one_with_most_images_is_tried_first(tmp_path: Path) -> None:
    write(tmp_path / "r1", {"1": "red", "4": "red"})
    write(tmp_path / "r2", {"1": "blue", "2": "blue", "3": "blue"})
    path = write(tmp_path / "d", {}, names=["1", "2", "3", "4"])
    workspace = imported(tmp_path, [path], tmp_path / "r1", tmp_path / "r2")
    assert colours(workspace) == {"d1": BLUE, "d2": BLUE, "d3": BLUE, "d4": RED}
    assert workspace.image_roots == ((tmp_path / "r2").resolve(), (tmp_path / "r1").resolve())


def test_a_base_cannot_leave_its_folders(two: Workspace) -> None:
    (two.root / "secret.png").write_bytes((two.root.parent / "a/images/1.png").read_bytes())
    for reference in ("base=0#../ws/secret.png", f"base=0#{two.root}/secret.png"):
        with pytest.raises(ImageProblem, match="leads out"):
            resolve_image(reference, two.image_roots)
    with pytest.raises(ImageProblem, match="image folders unknown to this workspace"):
        resolve_image("base=7#images/1.png", two.image_roots)
    for reference in ("base=0#https://example.org/1.png", "base=0#original#row=0&at=/image"):
        with pytest.raises(ImageProblem):
            resolve_image(reference, two.image_roots)


def test_exports_use_the_paths_of_the_records_and_never_mix_images_up(
    two: Workspace, tmp_path: Path
) -> None:
    run = score_dataset(two, FakeModel()).run_id
    subset = SubsetDefinition("all", TopShare(1.0), run)
    store = Store(two)
    with pytest.raises(InputError, match=r"two different images 'images/1\.png'"):
        export_subset(two, store, subset, format=ExportOptions(images="copy"))
    done = export_subset(two, store, subset, format="webdataset")
    listed = (done.folder / "images.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in listed] == [
        "images/1.png", "images/1.png", "images/2.png",
    ]  # fmt: skip
    assert verify_manifest(done.folder / "manifest.json", two).n_samples == 3
    with (tmp_path / "scores.csv").open("w", newline="") as file:
        export_scores(store, Scope(run), file)
    paths = [line.split(",")[2] for line in (tmp_path / "scores.csv").read_text().splitlines()]
    assert paths == ["image_path", "images/1.png", "images/1.png", "images/2.png"]


def test_older_versions_refuse_a_workspace_with_bases(two: Workspace) -> None:
    assert json.loads((two.root / "workspace.json").read_text())["schema_version"] == 2
