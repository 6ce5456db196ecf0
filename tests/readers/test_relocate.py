"""``visnec relocate``: images that moved, and an ``--images`` that was forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from scoring.cli import app
from scoring.dataset.importing import import_dataset
from scoring.errors import InputError, WorkspaceError
from scoring.workspace import open_workspace
from tests.readers.test_image_bases import BLUE, RED, colours, imported, write
from tests.readers.test_listed import png


def relocate(workspace: Path, *images: object) -> Result:
    options = [f"--images={one}" for one in images]
    return CliRunner().invoke(app, ["relocate", "-w", str(workspace), "--json", *options])


def outcome(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.exception
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_forgotten_folder_can_be_declared_later(tmp_path: Path) -> None:
    write(tmp_path / "pictures", {"1": "red"})
    path = write(tmp_path / "d", {}, names=["1"])
    workspace = imported(tmp_path, [path])
    with pytest.raises(WorkspaceError, match=r"visnec relocate -w .+ws --images .+pictures"):
        import_dataset(workspace, [path], [tmp_path / "pictures"])
    told = outcome(relocate(workspace.root, tmp_path / "pictures"))
    assert (told["n_tried"], told["n_before"], told["n_after"]) == (1, 0, 1)
    assert told["roots"] == [str((tmp_path / "pictures").resolve())]
    workspace = open_workspace(workspace.root)
    assert colours(workspace) == {"d1": RED}
    import_dataset(workspace, [path], [tmp_path / "pictures"])  # the same again changes nothing


def test_moved_folders_and_bases_are_replaced(tmp_path: Path) -> None:
    files = [write(tmp_path / "old" / one, {"1": c}) for one, c in (("a", "red"), ("b", "blue"))]
    workspace = imported(tmp_path, files)
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(
        InputError, match=r"have different image folders\. Give the new location of each"
    ):
        raise relocate(workspace.root, tmp_path / "new").exception or AssertionError
    told = outcome(relocate(workspace.root, f"{tmp_path / 'old'}={tmp_path / 'new'}"))
    assert (told["n_tried"], told["n_before"], told["n_after"]) == (2, 0, 2)
    assert colours(open_workspace(workspace.root)) == {"a1": RED, "b1": BLUE}


def test_a_container_file_is_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    row = {"image": {"bytes": png("red"), "path": None}, "question": "What?", "answer": "Red."}
    pq.write_table(pa.Table.from_pylist([{"id": "t", **row}]), tmp_path / "old" / "t.parquet")
    workspace = imported(tmp_path, [tmp_path / "old" / "t.parquet"])
    (tmp_path / "old" / "t.parquet").rename(tmp_path / "new" / "t.parquet")
    told = outcome(relocate(workspace.root, tmp_path / "new"))
    assert (told["n_before"], told["n_after"]) == (0, 1)
    assert colours(open_workspace(workspace.root)) == {"t": RED}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("gone", "gone does not exist. Name the folder"),
        ("elsewhere=d", "elsewhere contains none of the image folders"),
        (
            "empty",
            r"None of the first 1 images would be found \('images/1\.png' is in none of the image",
        ),
        ("d/d.json", r"has no image file named 'd\.json'"),
    ],
)
def test_a_useless_relocation_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, says: str
) -> None:
    workspace = imported(tmp_path, [write(tmp_path / "d", {"1": "red"})])
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    before = (workspace.root / "workspace.json").read_bytes()
    with pytest.raises(InputError, match=says):
        raise relocate(workspace.root, given).exception or AssertionError
    assert (workspace.root / "workspace.json").read_bytes() == before
