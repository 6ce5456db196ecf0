"""Detecting the image folder: subfolders, links that lead outside, and the messages."""

from __future__ import annotations

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.dataset.image_root_detection import (
    RootDetection,
    parse_detection,
    read_root_detections,
)
from scoring.dataset.records import read_samples
from scoring.images.decode import ImageProblem, open_reference, resolve_image
from scoring.images.thumbnails import load_thumbnail
from scoring.samples import Status
from scoring.workspace import Workspace, open_workspace

RED, BLUE = (255, 0, 0), (0, 0, 255)


def done(*arguments: str | Path) -> str:
    """Run a command and return its messages on one line."""
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "400"})
    assert result.exit_code == 0, (result.output, result.exception)
    return " ".join(result.stderr.split())


def write_records(path: Path, *images: str) -> Path:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A colour."}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"image": one, "conversations": turns} for one in images]))
    return path


def write_picture(path: Path, colour: tuple[int, int, int] = RED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)


def colours(workspace: Workspace) -> list[object]:
    roots = workspace.image_roots
    return [
        open_reference(one.images[0], roots).getpixel((0, 0)) for one in read_samples(workspace)
    ]


def run_remedy(said: str) -> None:
    """Run the command that a message names."""
    found = re.search(r"run visnec (relocate -w \S+( --images \S+)+)", said)
    assert found is not None, said
    done(*shlex.split(found[1]))


@pytest.mark.parametrize(
    ("folder", "others"),
    [("images", ["masks", "a"]), ("img", ["thumbnails"]), ("train2017", [])],
    ids=["images", "img", "any"],
)
def test_images_in_a_subfolder_are_found(tmp_path: Path, folder: str, others: list[str]) -> None:
    write_picture(tmp_path / "d" / folder / "1.png")
    for other in others:
        write_picture(tmp_path / "d" / other / "1.png", BLUE)
    data = write_records(tmp_path / "d" / "x.json", "1.png", "1.png", "gone.png")
    said = done("import", data, "-w", tmp_path / "ws")
    assert f"2 of the first 3 images are in {tmp_path / 'd' / folder}" in said
    workspace = open_workspace(tmp_path / "ws")
    assert workspace.image_roots == (tmp_path / "d" / folder,)
    with pytest.raises(ImageProblem) as problem:
        colours(workspace)
    assert problem.value.reason == "'gone.png' is in none of the image folders"


def test_finds_the_image_folder_next_to_the_annotation_folder(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "1.png")
    write_picture(tmp_path / "other" / "1.png", BLUE)
    data = write_records(tmp_path / "annotations" / "x.json", "1.png")
    done("import", data, "-w", tmp_path / "ws")
    assert colours(open_workspace(tmp_path / "ws")) == [RED]


def test_subfolders_of_a_declared_folder_are_tried(tmp_path: Path) -> None:
    write_picture(tmp_path / "disk" / "img" / "1.png")
    write_picture(tmp_path / "d" / "img" / "1.png", BLUE)
    data = write_records(tmp_path / "d" / "x.json", "1.png")
    done("import", data, "-w", tmp_path / "ws", "--images", tmp_path / "disk")
    assert colours(open_workspace(tmp_path / "ws")) == [RED]


def test_the_same_names_in_several_subfolders_are_ambiguous(tmp_path: Path) -> None:
    write_picture(tmp_path / "d" / "train" / "1.png")
    write_picture(tmp_path / "d" / "val" / "1.png", BLUE)
    data = write_records(tmp_path / "d" / "x.json", "1.png")
    said = done("import", data, "-w", tmp_path / "ws")
    both = f"{tmp_path / 'd' / 'train'}, {tmp_path / 'd' / 'val'}"
    assert f"Images of these names are in each of {both}: name the right folder" in said
    with pytest.raises(ImageProblem) as problem:
        colours(open_workspace(tmp_path / "ws"))
    assert problem.value.status is Status.MISSING_IMAGE
    done("relocate", "-w", tmp_path / "ws", "--images", tmp_path / "d" / "val")
    assert colours(open_workspace(tmp_path / "ws")) == [BLUE]


def test_the_nearest_folder_comes_before_subfolders(tmp_path: Path) -> None:
    write_picture(tmp_path / "d" / "1.png")
    write_picture(tmp_path / "d" / "images" / "1.png", BLUE)
    write_picture(tmp_path / "d" / "images" / "2.png", BLUE)
    data = write_records(tmp_path / "d" / "x.json", "1.png", "2.png")
    done("import", data, "-w", tmp_path / "ws")
    assert open_workspace(tmp_path / "ws").image_roots == (tmp_path / "d",)


def linked(tmp_path: Path) -> tuple[str, ...]:
    """The folder of images is a link to another disk."""
    write_picture(tmp_path / "disk" / "pictures" / "a" / "1.png")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "images").symlink_to(tmp_path / "disk" / "pictures")
    return ("images/a/1.png",)


def linked_unnamed(tmp_path: Path) -> tuple[str, ...]:
    """The same, and the records do not name the link."""
    linked(tmp_path)
    return ("a/1.png",)


def linked_files(tmp_path: Path) -> tuple[str, ...]:
    """Each image is a link of its own."""
    (tmp_path / "d").mkdir()
    for number in range(9):
        write_picture(tmp_path / "disk" / str(number) / "blob.png")
        (tmp_path / "d" / f"{number}.png").symlink_to(tmp_path / "disk" / str(number) / "blob.png")
    return tuple(f"{number}.png" for number in range(9))


def linked_twice(tmp_path: Path) -> tuple[str, ...]:
    """Two sources on two disks, and a third in its place."""
    (tmp_path / "d").mkdir()
    for name in ("coco", "gqa"):
        write_picture(tmp_path / f"disk-{name}" / "1.png")
        (tmp_path / "d" / name).symlink_to(tmp_path / f"disk-{name}")
    write_picture(tmp_path / "d" / "vg" / "1.png")
    return "coco/1.png", "gqa/1.png", "vg/1.png"


def climbing(tmp_path: Path) -> tuple[str, ...]:
    """Paths with ``..``, relative to the folder of the records."""
    write_picture(tmp_path / "disk" / "a" / "1.png")
    write_picture(tmp_path / "disk" / "b" / "1.png")
    return "../disk/a/1.png", "../disk/b/1.png"


def absolute(tmp_path: Path) -> tuple[str, ...]:
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-disk")
    write_picture(elsewhere / "1.png")
    return (str(elsewhere / "1.png"),)


@pytest.mark.parametrize(
    "make", [linked, linked_unnamed, linked_files, linked_twice, climbing, absolute]
)
def test_images_that_are_refused_are_named_with_the_remedy(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    images = make(tmp_path)
    data = write_records(tmp_path / "d" / "x.json", *images)
    root = tmp_path / "elsewhere" / "ws"
    said = done("import", data, "-w", root)
    n_refused = len([one for one in images if one != "vg/1.png"])
    assert f"{n_refused} of them are refused: a link or '..' in their path leads out" in said
    disk = tmp_path / "disk"
    assert not [one for one in open_workspace(root).image_roots if one.is_relative_to(disk)]
    run_remedy(said)
    assert colours(open_workspace(root)) == [RED] * len(images)

    (trial,) = read_root_detections(open_workspace(root))
    again = done("import", data, "-w", tmp_path / "elsewhere" / "again", *named(trial))
    assert f"{len(images)} of the first {len(images)} images are in" in again
    assert "of them are refused" not in again


def named(trial: RootDetection) -> list[str]:
    return [f"--images={one}" for one in trial.remedy]


def test_declaring_only_the_link_target_suggests_both_folders(tmp_path: Path) -> None:
    (image,) = linked(tmp_path)
    data = write_records(tmp_path / "d" / "x.json", image)
    disk = tmp_path / "disk" / "pictures"
    said = done("import", data, "-w", tmp_path / "ws", "--images", disk)
    assert f"--images {disk} --images {tmp_path / 'd'}" in said
    run_remedy(said)
    assert colours(open_workspace(tmp_path / "ws")) == [RED]


def test_a_refused_path_names_its_target(tmp_path: Path) -> None:
    (image,) = linked(tmp_path)
    with pytest.raises(ImageProblem) as problem:
        resolve_image(image, [tmp_path / "d"])
    assert problem.value.status is Status.REFUSED_PATH
    assert problem.value.reason == (
        f"'images/a/1.png' leads outside the image folders, to '{tmp_path}/disk/pictures/a'; if "
        "your images are there, add that folder: visnec relocate --images"
    )


def test_relocating_to_a_folder_with_links_outside_explains_the_refusal(tmp_path: Path) -> None:
    (image,) = linked(tmp_path)
    data = write_records(tmp_path / "d" / "x.json", image)
    done("import", data, "-w", tmp_path / "ws")
    result = CliRunner().invoke(
        app, ["relocate", "-w", str(tmp_path / "ws"), "--images", str(tmp_path / "d")]
    )
    assert "('images/a/1.png' leads outside the image folders" in str(result.exception)


def test_greys_of_more_than_8_bits_are_reported(tmp_path: Path) -> None:
    write_picture(tmp_path / "d" / "1.png")
    deep = Image.fromarray(np.full((4, 4), 40_000, np.uint16))
    deep.save(tmp_path / "d" / "2.png")
    data = write_records(tmp_path / "d" / "x.json", "1.png", "2.png", "2.png")
    said = done("import", data, "-w", tmp_path / "ws")
    assert "2 of them are greys of more than 8 bits or floats." in said
    workspace = open_workspace(tmp_path / "ws")
    assert colours(workspace) == [RED, (156, 156, 156), (156, 156, 156)]
    shown = Image.open(io.BytesIO(load_thumbnail(workspace, "2.png")))
    assert shown.convert("RGB").getpixel((0, 0)) == (156, 156, 156)


def test_a_detection_of_an_earlier_version_is_read() -> None:
    raw = {"file": "x.json", "candidates": ["/d", "/"], "n_found": [0, 1], "n_tried": 2}
    assert parse_detection(raw) == RootDetection("x.json", ("/d", "/"), (0, 1), 2)
