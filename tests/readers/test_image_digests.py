"""Digests of image contents: those that an import reads, and the pass of index-images."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.dataset import image_index
from scoring.dataset.image_index import index_images
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.image_references import digest_content
from scoring.images.decode import ImageLocation, read_content, resolve_image
from scoring.images.digests import digest_parts, read_digests
from scoring.workspace import Workspace, create_workspace, open_workspace


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, "PNG")
    return buffer.getvalue()


RED, BLUE = png("red"), png("blue")


def talk(image: Any, n: int) -> dict[str, Any]:
    turns = [{"from": "human", "value": f"<image>\nwhat {n}?"}, {"from": "gpt", "value": f"a {n}"}]
    return {"id": str(n), "image": image, "conversations": turns}


def imported(root: Path, *files: Path, append: bool = False) -> Workspace:
    import_dataset(create_workspace(root / "ws"), files, append=append)
    return open_workspace(root / "ws")


def digests(workspace: Workspace) -> dict[str, bytes]:
    rows = [row for table in read_digests(workspace) for row in table.to_pylist()]
    return {row["reference"]: row["digest"] for row in rows}


def expected(workspace: Workspace) -> dict[str, bytes]:
    references = [image for sample in read_samples(workspace) for image in sample.images]
    roots = workspace.image_roots
    return {r: digest_content(read_content(resolve_image(r, roots))) for r in references}


def parquet(path: Path, *contents: bytes) -> Path:
    rows = [talk({"bytes": content, "path": None}, n) for n, content in enumerate(contents)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def tar(path: Path, *contents: bytes) -> Path:
    with tarfile.open(path, "w") as archive:
        for n, content in enumerate(contents):
            text = json.dumps(talk("x.png", n)).encode()
            for name, data in ((f"{n}.png", content), (f"{n}.json", text)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def inline(path: Path, *contents: bytes) -> Path:
    urls = [f"data:image/png;base64,{base64.b64encode(content).decode()}" for content in contents]
    path.write_text(json.dumps([talk(url, n) for n, url in enumerate(urls)]))
    return path


def table(path: Path, *contents: bytes) -> Path:
    lines = ["index\timage\tquestion\tanswer"]
    encoded = [base64.b64encode(content).decode() for content in contents]
    lines += [f"{n}\t{image}\tq {n}\ta {n}" for n, image in enumerate(encoded)]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("make", "name"),
    [(parquet, "a.parquet"), (tar, "a.tar")],
)
def test_an_import_stores_the_digests_of_the_images_that_it_reads(
    tmp_path: Path, make: Any, name: str
) -> None:
    workspace = imported(tmp_path, make(tmp_path / name, RED, BLUE, RED))
    stored = digests(workspace)
    assert stored == expected(workspace)
    assert len(stored) == 3
    assert len(set(stored.values())) == 2
    index = index_images(workspace)
    assert (index.n_known, index.n_read) == (3, 0)


@pytest.mark.parametrize(("make", "name"), [(inline, "a.json"), (table, "a.tsv")])
def test_images_in_base64_are_read_by_the_pass(tmp_path: Path, make: Any, name: str) -> None:
    workspace = imported(tmp_path, make(tmp_path / name, RED, BLUE, RED))
    assert not digest_parts(workspace)
    index = index_images(workspace)
    assert (index.n_known, index.n_read) == (0, 3)
    assert digests(workspace) == expected(workspace)
    assert index_images(workspace).n_read == 0


def test_images_of_messages_and_shared_rows_are_included(tmp_path: Path) -> None:
    content = [{"type": "image", "image": {"bytes": RED}}, {"type": "text", "text": "q"}]
    answer = [{"type": "text", "text": "a"}]
    rows = [
        {
            "messages": [
                {"role": "user", "content": content},
                {"role": "assistant", "content": answer},
            ]
        }
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    workspace = imported(tmp_path, tmp_path / "m.parquet")
    assert digests(workspace) == expected(workspace)
    assert len(digests(workspace)) == 1


@pytest.fixture
def files(tmp_path: Path) -> Workspace:
    (tmp_path / "images").mkdir()
    for n, content in enumerate((RED, BLUE, RED)):
        (tmp_path / "images" / f"{n}.png").write_bytes(content)
    names = ["images/0.png", "images/1.png", "images/2.png", "images/0.png", "images/no.png"]
    (tmp_path / "a.json").write_text(json.dumps([talk(name, n) for n, name in enumerate(names)]))
    return imported(tmp_path, tmp_path / "a.json")


def test_plain_files_are_read_by_the_pass_and_not_by_the_import(files: Workspace) -> None:
    assert not digest_parts(files)
    calls: list[tuple[int, int]] = []
    index = index_images(files, lambda *counts: calls.append(counts))
    assert (index.n_images, index.n_read, index.n_unreadable) == (4, 3, 1)
    assert index.issues[0]["what"] == "missing_image"
    assert "no.png" in index.issues[0]["examples"][0]
    assert calls[-1] == (4, 4)
    assert digests(files) == {
        "images/0.png": digest_content(RED),
        "images/1.png": digest_content(BLUE),
        "images/2.png": digest_content(RED),
    }


def test_a_changed_file_is_read_again_and_its_last_digest_counts(files: Workspace) -> None:
    index_images(files)
    path = files.root.parent / "images" / "1.png"
    path.write_bytes(png("green"))
    os.utime(path, ns=(1, 1))
    index = index_images(files)
    assert (index.n_known, index.n_read) == (2, 1)
    assert digests(files)["images/1.png"] == digest_content(png("green"))
    assert index_images(files).n_read == 0


def test_a_stopped_pass_resumes(files: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_index, "_THREADS", 1)
    monkeypatch.setattr(image_index, "_WAITING", 1)
    stop = threading.Event()
    first = index_images(files, lambda *_: stop.set(), stop)
    assert (first.n_read, first.is_complete) == (1, False)
    (files.dataset_dir / "image-digests" / ".part-index-1.parquet.dead.tmp").touch()  # of a kill
    second = index_images(files)
    assert (second.n_known, second.n_read, second.is_complete) == (1, 2, True)
    assert not list((files.dataset_dir / "image-digests").glob(".*"))


SLOW_INDEX = """
import sys, time
from pathlib import Path
from scoring.dataset import image_index
from scoring.workspace import open_workspace

read = image_index.index_image

def read_slowly(*arguments):
    time.sleep(0.02)
    return read(*arguments)

image_index.index_image, image_index._FLUSH_SECONDS = read_slowly, 0.05
image_index.index_images(open_workspace(Path(sys.argv[1])))
"""


def test_a_killed_pass_keeps_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(RED)
    names = [f"0.png###[0, 0, {n % 8 + 1}, {n // 8 + 1}]" for n in range(40)]
    for n in range(400):
        (tmp_path / f"{n}.png").write_bytes(RED + bytes([n % 7]))
        names.append(f"{n}.png")
    (tmp_path / "a.json").write_text(json.dumps([talk(name, n) for n, name in enumerate(names)]))
    workspace = imported(tmp_path, tmp_path / "a.json")
    command = [sys.executable, "-c", SLOW_INDEX, str(workspace.root)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while process.poll() is None and len(digest_parts(workspace)) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    n_known = len(digests(workspace))
    assert 0 < n_known < 440
    index = index_images(workspace)
    assert (index.n_known, index.n_read, index.n_unreadable) == (n_known, 440 - n_known, 0)
    assert len(digests(workspace)) == 440
    assert len(set(digests(workspace).values())) == 47


def test_an_image_that_fails_oddly_does_not_end_the_pass(
    files: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(location: ImageLocation) -> bytes:
        if location.name == "1.png":
            raise OverflowError("odd")
        return read_content(location)

    monkeypatch.setattr(image_index, "read_content", fail)
    index = index_images(files)
    assert (index.n_read, index.n_unreadable) == (2, 2)
    assert {"what": "bad_image", "n": 1, "examples": ["OverflowError: odd"]} in index.issues


def test_parts_of_an_image_are_other_images(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(RED)
    names = ["0.png", "0.png###[0, 0, 4, 4]", "0.png###[1, 1, 5, 5]", "0.png###[0,0,4,4]"]
    (tmp_path / "a.json").write_text(json.dumps([talk(name, n) for n, name in enumerate(names)]))
    workspace = imported(tmp_path, tmp_path / "a.json")
    index_images(workspace)
    stored = digests(workspace)
    assert len(set(stored.values())) == 3
    assert stored[names[1]] == stored[names[3]]


def test_an_addition_brings_its_digests(tmp_path: Path) -> None:
    workspace = imported(tmp_path, parquet(tmp_path / "a.parquet", RED, BLUE))
    workspace = imported(tmp_path, tar(tmp_path / "b.tar", RED), append=True)
    assert digests(workspace) == expected(workspace)
    assert len(digests(workspace)) == 3


def test_the_command_reports_what_it_read(files: Workspace) -> None:
    result = CliRunner().invoke(app, ["index-images", "-w", str(files.root), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["n_read"] == 3
    assert "4 images: 3 read now, 0 known before, 1 could not be read" in result.stderr
