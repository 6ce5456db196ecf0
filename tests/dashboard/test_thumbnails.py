"""Thumbnails: what comes out, what is refused, and that the cache never lies."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from scoring.samples import Status
from scoring.thumbnails import ImageProblem, PackedCache, encode_image, thumbnail
from scoring.workspace import Workspace, create_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "ws")
    (tmp_path / "images").mkdir()
    settings = replace(made.settings, image_roots=(str(tmp_path / "images"),))
    return replace(made, settings=settings)


def write_png(path: Path, size: tuple[int, int], colour: str) -> None:
    Image.new("RGB", size, colour).save(path)


def key(n: int) -> bytes:
    return n.to_bytes(16, "big")


def test_fits_and_keeps_the_aspect(workspace: Workspace, tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "wide.png", (800, 400), "#ff0000")
    with Image.open(io.BytesIO(thumbnail(workspace, "wide.png", 200))) as image:
        assert image.format == "JPEG"
        assert image.size == (200, 100)


def test_small_pictures_are_not_enlarged_and_stay_lossless() -> None:
    picture = Image.new("RGB", (8, 8), "#123456")
    with Image.open(io.BytesIO(encode_image(picture, 512))) as image:
        assert (image.format, image.size, image.getpixel((3, 3))) == ("PNG", (8, 8), (18, 52, 86))


def test_second_look_comes_from_the_pack(workspace: Workspace, tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "a.png", (300, 300), "#00ff00")
    first = thumbnail(workspace, "a.png", 64)
    assert len(list(workspace.thumbnails_dir.glob("pack-*.bin"))) == 1
    other = PackedCache(workspace.thumbnails_dir)
    assert next(iter(other._places.values()))[2] == len(first)


def test_a_changed_file_is_made_anew(workspace: Workspace, tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "a.png", (300, 300), "#00ff00")
    green = thumbnail(workspace, "a.png", 64)
    write_png(tmp_path / "images" / "a.png", (310, 300), "#ff0000")
    assert thumbnail(workspace, "a.png", 64) != green


@pytest.mark.parametrize(
    ("reference", "status"),
    [
        ("../outside.png", Status.REFUSED_PATH),
        ("/etc/hostname", Status.REFUSED_PATH),
        ("http://example.invalid/a.png", Status.REFUSED_PATH),
        ("absent.png", Status.MISSING_IMAGE),
        ("text.png", Status.BAD_IMAGE),
    ],
)
def test_refuses_with_a_status(
    workspace: Workspace, tmp_path: Path, reference: str, status: Status
) -> None:
    write_png(tmp_path / "outside.png", (4, 4), "#ffffff")
    (tmp_path / "images" / "text.png").write_text("no picture")
    with pytest.raises(ImageProblem) as caught:
        thumbnail(workspace, reference)
    assert caught.value.status is status


def test_torn_and_damaged_entries_are_misses(tmp_path: Path) -> None:
    cache = PackedCache(tmp_path, memory_bytes=0)
    cache.write(key(1), b"one" * 10)
    cache.write(key(2), b"two" * 10)
    pack = next(tmp_path.glob("pack-*.bin"))
    content = bytearray(pack.read_bytes())
    content[40] ^= 0xFF  # inside the first entry
    pack.write_bytes(bytes(content[:-5]))  # the last one is torn
    again = PackedCache(tmp_path)
    assert again.read(key(1)) is None
    assert again.read(key(2)) is None
    again.write(key(1), b"new")
    assert again.read(key(1)) == b"new"


def test_oldest_pack_goes_at_the_cap(tmp_path: Path) -> None:
    cache = PackedCache(tmp_path, cap_bytes=3000, pack_bytes=1000, memory_bytes=0)
    for n in range(12):
        cache.write(key(n), bytes([n]) * 1000)
    assert sum(pack.stat().st_size for pack in tmp_path.glob("pack-*.bin")) <= 3000 + 1036
    assert cache.read(key(0)) is None
    assert cache.read(key(11)) == bytes([11]) * 1000


def test_a_cache_that_cannot_be_written_goes_on_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = PackedCache(tmp_path / "file" / "thumbnails")
    cache.write(key(1), b"content")
    assert cache.read(key(1)) == b"content"
