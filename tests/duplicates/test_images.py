"""Perceptual hashes and near-duplicate images, from files to the column."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from scoring.columns.parts import list_columns
from scoring.dataset.image_index import index_images
from scoring.dataset.importing import import_dataset
from scoring.duplicates.find import find_duplicates
from scoring.duplicates.near_images import find_near, group_pictures
from scoring.images.digests import read_hashes
from scoring.images.perceptual import PictureHashes, are_near, hash_picture
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.columns.test_import_columns import values
from tests.test_cli import visnec


def picture(seed: int) -> Image.Image:
    draw = np.random.default_rng(seed)
    image = Image.new("RGB", (320, 240), tuple(draw.integers(0, 255, 3).tolist()))
    canvas = ImageDraw.Draw(image)
    for _ in range(12):
        x, y, width, height = draw.integers((-40, -40, 20, 20), (300, 220, 160, 160)).tolist()
        canvas.ellipse((x, y, x + width, y + height), tuple(draw.integers(0, 255, 3).tolist()))
    return image


def is_near(a: Image.Image, b: Image.Image, distance: int = 3) -> bool:
    hashes = [hash_picture(each) for each in (a, b)]
    ours, theirs = (PictureHashes.collect([each]) for each in hashes if each is not None)
    zero = np.array([0])
    return bool(are_near(ours, zero, theirs, zero, distance)[0])


def test_hashes_survive_edits_and_differ_between_pictures() -> None:
    for seed in range(20):
        image = picture(seed)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=40)
        for edited in (Image.open(buffer), image.resize((160, 120)), image.convert("P")):
            assert is_near(image, edited)
        hashed, mirrored = hash_picture(image), hash_picture(ImageOps.mirror(image))
        assert hashed is not None
        assert mirrored is not None
        both = PictureHashes.collect([hashed]).add_mirrored()
        expected = PictureHashes.collect([hashed, mirrored])
        assert np.bitwise_count(both.bits ^ expected.bits).max() <= 3
        assert np.abs(both.colours.astype(int) - expected.colours).max() <= 3
    assert not any(is_near(picture(a), picture(b), 8) for a in range(20) for b in range(a))


def test_other_colours_are_another_picture() -> None:
    image = picture(1)
    red, green, blue = image.split()
    assert is_near(image, image)
    assert not is_near(image, Image.merge("RGB", (green, blue, red)), 64)


def test_a_picture_of_one_colour_has_no_hash() -> None:
    assert hash_picture(Image.new("RGB", (64, 64), "white")) is None


def hashes_of(bits: Any, *, colour: int = 0) -> PictureHashes:
    colours = np.full((len(bits), 48), colour, np.uint8)
    return PictureHashes(np.array(bits, np.uint64), colours)


@pytest.mark.parametrize("distance", [0, 2, 3, 5, 8])
def test_the_index_finds_all_pairs(distance: int) -> None:
    draw = np.random.default_rng(1)
    hashes = draw.integers(0, 2**63, 200, np.uint64)
    edited = hashes.copy()
    for _ in range(9):  # up to 9 bits
        edited ^= np.uint64(1) << draw.integers(0, 64, 200).astype(np.uint64)
    pairs = {
        pair
        for i, j in find_near(hashes_of(edited), hashes_of(hashes, colour=10), distance)
        for pair in zip(i.tolist(), j.tolist(), strict=True)
    }
    others = find_near(hashes_of(edited), hashes_of(hashes, colour=11), distance)
    assert sum(len(i) for i, _ in others) == 0
    distances = np.bitwise_count(edited[:, None] ^ hashes[None])
    near = np.nonzero(distances <= distance)
    assert pairs == {*zip(*(each.tolist() for each in near), strict=True)}


def test_groups_chain_near_and_mirrored_hashes() -> None:
    base = 0x0123456789ABCDEF
    mirrored = int(hashes_of([base ^ 0b111]).add_mirrored().bits[1])
    bits = [base, base ^ 0xFF, base ^ 0xFFFF, 0xFEDCBA9876543210, mirrored, base]
    groups = group_pictures(hashes_of(bits), 8)
    assert len({groups[0], groups[1], groups[2], groups[4], groups[5]}) == 1
    assert groups[3] != groups[0]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "images"
    folder.mkdir()
    first, second = picture(1), picture(2)
    first.save(folder / "a.png")
    first.resize((200, 150)).save(folder / "small.jpg", quality=60)
    ImageOps.mirror(first).save(folder / "flipped.png")
    second.save(folder / "b.png")
    Image.new("RGB", (40, 40), "white").save(folder / "white.png")
    Image.new("RGB", (41, 40), "white").save(folder / "white2.png")
    (folder / "copy.png").write_bytes((folder / "white.png").read_bytes())
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:300])
    images: list[object] = ["a.png", "b.png", "small.jpg", "flipped.png", "white.png"]
    images += ["copy.png", "white2.png", "gone.png", ["a.png", "b.png"], ["small.jpg", "b.png"]]
    images += [["b.png", "a.png"], "broken.png", None]
    records = []
    for n, image in enumerate(images):
        names = image if isinstance(image, list) else [image] * (image is not None)
        names = [f"images/{name}" for name in names]
        text = "<image>" * len(names) + f"What {n}?"
        turns = [{"from": "human", "value": text}, {"from": "gpt", "value": "this"}]
        records.append({"id": str(n), "conversations": turns} | ({"image": names} if names else {}))
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def test_samples_by_images(workspace: Workspace) -> None:
    (result,) = find_duplicates(workspace, ("images",))
    # Row 10 has the images of row 8 in another order; white2.png is not white.png.
    assert values(workspace, "image_group") == {0: 0, 2: 0, 3: 0, 4: 1, 5: 1, 8: 2, 9: 2}
    assert (result.n_groups, result.n_samples, result.largest) == (3, 7, 3)
    assert result.n_without == 2  # gone.png and the sample without an image
    assert result.n_exact == 3  # white.png, white2.png, broken.png
    assert result.column.settings["distance"] == 8


def test_the_pass_hashes_each_content_once(workspace: Workspace) -> None:
    assert index_images(workspace).n_read == 8
    keys, _, hashes = read_hashes(workspace)
    assert len(keys) == len(hashes) == 0
    assert index_images(workspace, hashes=True).n_read == 7  # copy.png is white.png
    keys, has_hash, hashes = read_hashes(workspace)
    assert (len(keys), has_hash.sum(), len(hashes)) == (7, 4, 4)
    assert index_images(workspace, hashes=True).n_read == 0


def test_equal_content_is_the_same_image_of_samples(workspace: Workspace) -> None:
    find_duplicates(workspace, ("samples",))
    assert list_columns(workspace)[0].n_values == 0


def test_the_command(workspace: Workspace) -> None:
    done = visnec("find-duplicates", "-w", workspace.root, "--images", "--distance", "4", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["column"]["settings"]["distance"] == 4
    assert "compared by their exact content" in done.stderr
