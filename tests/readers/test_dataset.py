"""Importing: streamed, byte for byte, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scoring.dataset import records
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_dataset_info, read_samples
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.readers.options import ReadOptions
from scoring.samples import Status
from scoring.workspace import create_workspace, open_workspace

RECORDS = [
    '{"id": "a",  "image": "1.png", "conversations": [{"from":"human","value":"<image>\\nq"},'
    '{"from":"gpt","value":"x"}], "n": 1e-7}',
    '{"conversations": [], "id": 7, "odd": "\\u00e9 é \\ud800"}',
    '{"id": "a", "conversations": [{"from": "human", "value": "q"}, {"from":"gpt","value":"y"}]}',
]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    Image.new("RGB", (2, 2)).save(tmp_path / "1.png")
    (tmp_path / "a.json").write_text("[\n" + ",\n".join(RECORDS) + "\n]")
    (tmp_path / "b.jsonl").write_text("\n".join([*RECORDS, "{broken", ""]))
    (tmp_path / "c.jsonl").write_text("\n".join([*RECORDS, ""]))
    return [tmp_path / "a.json", tmp_path / "b.jsonl"]


def test_records_keep_their_bytes_order_and_row(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "GROUP_ROWS", 2)
    monkeypatch.setattr(records, "PART_ROWS", 4)
    workspace = create_workspace(tmp_path / "ws")
    with pytest.raises(RecordError, match=r"b\.jsonl: line 4, column 2: Expecting property name"):
        import_dataset(workspace, files)
    info = import_dataset(workspace, files, options=ReadOptions(keep_going=True))
    assert [file.n_records for file in info.files] == [3, 4]
    assert len(list(workspace.dataset_dir.glob("part-*.parquet"))) == 2
    samples = list(read_samples(workspace))
    assert [sample.original.decode() for sample in samples] == [*RECORDS, *RECORDS, "{broken"]
    assert [sample.row_idx for sample in samples] == list(range(7))
    assert [sample.id for sample in samples] == ["a", "7", "a", "a", "7", "a", None]
    assert [sample.status for sample in samples] == [
        Status.PENDING, Status.BAD_RECORD, Status.TEXT_ONLY,
        Status.PENDING, Status.BAD_RECORD, Status.TEXT_ONLY, Status.BAD_RECORD,
    ]  # fmt: skip
    assert list(read_samples(workspace, [3])) == [samples[3]]
    assert [one.row_idx for one in read_samples(workspace, [5, 0, 5])] == [0, 5]
    assert list(read_samples(workspace, [7])) == []


def test_the_folder_with_the_images_is_found(files: list[Path], tmp_path: Path) -> None:
    import_dataset(create_workspace(tmp_path / "ws"), files[:1])
    assert open_workspace(tmp_path / "ws").image_roots == (tmp_path.resolve(),)
    nested = tmp_path / "ann"
    nested.mkdir()
    (nested / "c.json").write_text("[" + RECORDS[0] + "]")
    import_dataset(create_workspace(tmp_path / "ws2"), [nested / "c.json"])
    assert open_workspace(tmp_path / "ws2").image_roots == (tmp_path.resolve(),)


def test_importing_again_changes_nothing_and_other_files_are_refused(
    files: list[Path], tmp_path: Path
) -> None:
    workspace = create_workspace(tmp_path / "ws")
    files = [files[0], tmp_path / "c.jsonl"]
    first = import_dataset(workspace, files)
    assert import_dataset(workspace, files) == first
    with pytest.raises(WorkspaceError, match="already contains another dataset"):
        import_dataset(workspace, files[:1])
    assert read_dataset_info(workspace) == first


def test_a_broken_array_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text("[" + RECORDS[0] + ',{"id": "x')
    workspace = create_workspace(tmp_path / "ws")
    with pytest.raises(RecordError, match=r"cut\.json: line 1, column"):
        import_dataset(workspace, [tmp_path / "cut.json"])
    assert [path.name for path in workspace.root.iterdir()] == ["workspace.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("id,image\n", "starts with b'id,image"), ("[]", "No records found")],
)
def test_invalid_datasets_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=message):
        import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "x.json"])


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws")
    with pytest.raises(InputError, match="does not exist"):
        import_dataset(workspace, [tmp_path / "nowhere.json"])
    with pytest.raises(InputError, match="contains no dataset file"):
        import_dataset(workspace, [workspace.root])


def test_a_folder_with_other_files_is_not_made_a_workspace(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(WorkspaceError, match="is not a workspace"):
        create_workspace(tmp_path)


def test_a_workspace_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "ws")
    path = workspace.root / "workspace.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(WorkspaceError, match="newer VisNec Studio"):
        open_workspace(workspace.root)
