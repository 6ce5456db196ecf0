"""Thumbnails: their size, what is refused, and that the cache is never outdated."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from scoring.images import thumbnails
from scoring.images.decode import ImageProblem, open_image, resolve_image
from scoring.images.thumbnails import (
    PackedCache,
    encode_image,
    load_thumbnail,
    thumbnail_writer,
)
from scoring.samples import Status
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


def test_a_thumbnail_keeps_the_aspect_ratio(workspace: Workspace, tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "wide.png", (800, 400), "#ff0000")
    with Image.open(io.BytesIO(load_thumbnail(workspace, "wide.png", 200))) as image:
        assert image.format == "JPEG"
        assert image.size == (200, 100)


def test_small_images_are_not_enlarged_and_stay_lossless() -> None:
    picture = Image.new("RGB", (8, 8), "#123456")
    with Image.open(io.BytesIO(encode_image(picture, 512))) as image:
        assert (image.format, image.size, image.getpixel((3, 3))) == ("PNG", (8, 8), (18, 52, 86))


def test_a_new_process_reads_thumbnails_from_the_pack(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "images" / "a.png", (300, 300), "#00ff00")
    first = load_thumbnail(workspace, "a.png", 64)
    assert len(list(workspace.thumbnails_dir.glob("pack-*.bin"))) == 1
    thumbnails.open_thumbnail_cache.cache_clear()
    monkeypatch.setattr(thumbnails, "open_image", None)
    assert load_thumbnail(workspace, "a.png", 64) == first


def test_a_changed_file_gets_a_new_thumbnail(workspace: Workspace, tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "a.png", (300, 300), "#00ff00")
    green = load_thumbnail(workspace, "a.png", 64)
    write_png(tmp_path / "images" / "a.png", (310, 300), "#ff0000")
    assert load_thumbnail(workspace, "a.png", 64) != green


def test_copies_share_one_thumbnail(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, colour in (("a", "red"), ("b", "red"), ("c", "blue")):
        write_png(tmp_path / "images" / f"{name}.png", (300, 300), colour)
    first, other = load_thumbnail(workspace, "a.png", 64), load_thumbnail(workspace, "c.png", 64)
    (pack,) = workspace.thumbnails_dir.glob("pack-*.bin")
    n_bytes = pack.stat().st_size
    monkeypatch.setattr(thumbnails, "open_image", None)
    assert load_thumbnail(workspace, "b.png", 64) == first != other
    assert pack.stat().st_size - n_bytes < 100
    assert load_thumbnail(workspace, "b.png", 64) == first
    write_png(tmp_path / "images" / "b.png", (300, 300), "green")
    monkeypatch.undo()
    assert load_thumbnail(workspace, "b.png", 64) not in (first, other)


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
        load_thumbnail(workspace, reference)
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


def test_the_oldest_pack_is_dropped_at_the_limit(tmp_path: Path) -> None:
    cache = PackedCache(tmp_path, cap_bytes=3000, pack_bytes=1000, memory_bytes=0)
    for n in range(12):
        cache.write(key(n), bytes([n]) * 1000)
    assert sum(pack.stat().st_size for pack in tmp_path.glob("pack-*.bin")) <= 3000 + 1036
    assert cache.read(key(0)) is None
    assert cache.read(key(11)) == bytes([11]) * 1000


def test_an_unwritable_cache_works_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = PackedCache(tmp_path / "file" / "thumbnails")
    cache.write(key(1), b"content")
    assert cache.read(key(1)) == b"content"


def test_entries_of_another_process_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "LOOK_SECONDS", 0.0)
    here, there = PackedCache(tmp_path, memory_bytes=0), PackedCache(tmp_path, memory_bytes=0)
    for n in range(3):  # a new pack, and then more in the same one
        there.write(key(n), bytes([n]) * 30)
        assert here.read(key(n)) == bytes([n]) * 30
    with next(tmp_path.glob("pack-*.bin")).open("ab") as file:
        file.write(b"torn")
    assert here.read(key(9)) is None
    there.write(key(9), b"behind what is torn")  # is lost, as the cache may be
    assert here.read(key(2)) == bytes([2]) * 30


def test_scoring_caches_thumbnails_for_the_pages(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(tmp_path / "images" / "a.png", (500, 300), "#00ff00")
    place = resolve_image("a.png", workspace.image_roots)
    keep = thumbnail_writer(workspace)
    for _ in range(2):
        keep(place, open_image(place))
    (pack,) = workspace.thumbnails_dir.glob("pack-*.bin")
    size = pack.stat().st_size
    monkeypatch.setattr(thumbnails, "open_image", None)  # it is not opened again
    content = load_thumbnail(workspace, "a.png")
    assert size == len(content) + thumbnails._HEADER.size
    with Image.open(io.BytesIO(content)) as image:
        assert image.size == (thumbnails.SIZE, thumbnails.SIZE * 3 // 5)


def test_scoring_does_not_evict_cached_thumbnails(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = PackedCache(workspace.thumbnails_dir, cap_bytes=3000, pack_bytes=1000)
    monkeypatch.setattr(thumbnails, "open_thumbnail_cache", lambda _: full)
    for n in range(2):
        full.write(key(n), bytes(1000))
    write_png(tmp_path / "images" / "a.png", (500, 300), "#00ff00")
    place = resolve_image("a.png", workspace.image_roots)
    before = {path: path.stat().st_size for path in workspace.thumbnails_dir.iterdir()}
    thumbnail_writer(workspace)(place, open_image(place))
    assert {path: path.stat().st_size for path in workspace.thumbnails_dir.iterdir()} == before


def test_entries_of_other_processes_count_towards_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "LOOK_SECONDS", 0.0)
    here, there = (PackedCache(tmp_path, cap_bytes=3000, pack_bytes=1000) for _ in range(2))
    assert not here.is_full()
    for n in range(2):
        there.write(key(n), bytes(1000))
    assert here.is_full()
    for pack in tmp_path.glob("pack-*.bin"):
        pack.unlink()
    assert not here.is_full()


def test_a_thumbnail_problem_does_not_fail_a_run(workspace: Workspace, tmp_path: Path) -> None:
    write_png(tmp_path / "images" / "a.png", (500, 300), "#00ff00")
    place = resolve_image("a.png", workspace.image_roots)
    (tmp_path / "images" / "a.png").unlink()
    with pytest.raises(ImageProblem):
        place.cache_key()
    thumbnail_writer(workspace)(place, Image.new("RGB", (4, 4)))
    assert not workspace.thumbnails_dir.exists()
