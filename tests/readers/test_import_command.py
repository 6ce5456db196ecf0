"""``visnec import`` as a user runs it: messages, questions, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from scoring.cli import app
from scoring.dataset import importing
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.workspace import create_workspace
from tests.readers.test_files import png
from tests.readers.test_import import interrupted_after


def visnec_import(*arguments: str | Path) -> Result:
    environment = {"COLUMNS": "200", "TERM": "dumb"}
    return CliRunner().invoke(app, ["import", *map(str, arguments)], env=environment)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    turns = [{"from": "human", "value": "Look <image>\n**q**"}, {"from": "gpt", "value": "[red]a"}]
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": "7", "image": "1.png", "conversations": turns}) + "\n{cut")
    return path


def test_a_dry_run_shows_the_first_record_and_stops(data: Path, tmp_path: Path) -> None:
    done = visnec_import(data, "-w", tmp_path / "ws", "--keep-going", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    (file,) = json.loads(done.stdout)
    assert (file["format"], file["container"]) == ("llava", "lines")
    assert file["first_record"]["turns"][0]["image_offsets"] == [5]
    for line in (
        "because each line is an object",
        "id 7, source x, status pending",
        "image 1: 1.png",
        "keys, for --columns: id, image, conversations",
        "human: Look [image 1]\\n**q**",
        "assistant: [red]a",
    ):
        assert line in " ".join(done.stderr.split())
    assert not (tmp_path / "ws").exists()


def test_the_summary_reports_statuses_and_reasons(data: Path, tmp_path: Path) -> None:
    refused = visnec_import(data, "-w", tmp_path / "ws")
    assert isinstance(refused.exception, RecordError)
    assert "line 2, column 2: Expecting property name" in str(refused.exception)
    assert "Pass --keep-going to import what can be read" in str(refused.exception)
    done = visnec_import(data, "-w", tmp_path / "ws", "--keep-going", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["statuses"] == {"to score": 1, "bad_record": 1}
    assert "bad_record (1): line 2, column 2: Expecting property name" in done.stderr
    assert "None was found: name the folder" in done.stderr


@pytest.mark.parametrize(
    ("n_samples", "told"),
    [
        (1, "Nothing was imported; run the same command to start again"),
        (5, "Files that were read completely are saved"),
    ],
)
def test_ctrl_c_reports_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_samples: int, told: str
) -> None:
    monkeypatch.setattr(importing, "_CHECKPOINT_ROWS", 2)
    for name in "abc":
        lines = json.dumps({"question": "q", "answer": "a"}) + "\n"
        (tmp_path / f"{name}.jsonl").write_text(lines * 2)
    interrupted_after(n_samples, monkeypatch)
    done = visnec_import(tmp_path / "*.jsonl", "-w", tmp_path / "ws")
    assert done.exit_code == 130
    assert f"Stopped. {told}" in done.stderr


def test_an_unknown_record_format_asks_for_an_option(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"q": "what", "a": "that", "pic": "1.png"}\n')
    done = visnec_import(path, "-w", tmp_path / "ws")
    assert isinstance(done.exception, InputError)
    assert "The first record has the keys q, a, pic. Pass --format" in str(done.exception)
    columns = [f"--column={what}" for what in ("question=q", "answer=a", "image=pic")]
    done = visnec_import(path, "-w", tmp_path / "ws", *columns, "--json")
    assert json.loads(done.stdout)["statuses"] == {"to score": 1}
    done = visnec_import(path, "-w", tmp_path / "ws", "--column", "question")
    assert "--column 'question' is not of the form WHAT=NAME" in str(done.exception)


def test_columns_with_unread_images_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    records = [{"input_image": "a.png", "conversations": turns} for _ in range(3)]
    records += [{"image": "b.png", "image_b": "c.png", "conversations": turns}]
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    done = visnec_import(path, "-w", tmp_path / "ws", "--json")
    (file,) = json.loads(done.stdout)["files"]
    assert file["unread"] == {"input_image": 3, "image_b": 1}
    for line in (
        "3 records seem to hold an image under 'input_image', which was not read; to read it: "
        "--column image=input_image",
        "1 records seem to hold an image under 'image_b', which was not read",
        "text_only (3): the record has no image, but its text contains <image>; 'input_image' may "
        "contain it: --column image=input_image",
    ):
        assert line in " ".join(done.stderr.split())
    named = visnec_import(path, "-w", tmp_path / "b", "--column", "image=input_image", "--json")
    assert json.loads(named.stdout)["statuses"] == {"to score": 3, "text_only": 1}


def test_a_statement_with_a_numeric_label_is_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "vsr.jsonl"
    record = {"image": "1.jpg", "caption": "The cat is under the bench.", "label": 1, "subj": "cat"}
    path.write_text(json.dumps(record) + "\n")
    done = visnec_import(path, "-w", tmp_path / "ws")
    assert isinstance(done.exception, InputError)
    assert "The first record has the keys image, caption, label, subj. Pass" in str(done.exception)
    columns = ["--column", "question=caption", "--column", "answer=label"]
    done = visnec_import(path, "-w", tmp_path / "ws", *columns, "--dry-run", "--json")
    (file,) = json.loads(done.stdout)
    assert file["format"] == "qa"
    assert [turn["text"] for turn in file["first_record"]["turns"]] == [
        "\nThe cat is under the bench.",
        "1",
    ]


def test_the_encoding_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    record = {"question": "这是什么？", "answer": "一只红色的猫"}
    path.write_bytes(json.dumps(record, ensure_ascii=False).encode("gbk"))
    refused = visnec_import(path, "-w", tmp_path / "ws")
    assert isinstance(refused.exception, RecordError)
    assert "is not UTF-8" in str(refused.exception)
    done = visnec_import(path, "-w", tmp_path / "ws", "--encoding", "gbk", "--json")
    assert json.loads(done.stdout)["files"][0]["encoding"] == "gbk"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--format x", "Unknown format 'x'. Choose one of: auto, llava, messages, qa, caption"),
        ("--column x=y", "Unknown column 'x'. Choose one of: id, source"),
        (
            "--role x=robot",
            "Role 'x' is mapped to 'robot'. Choose one of: system, human, assistant",
        ),
        ("--encoding klingon", "Unknown text encoding 'klingon'"),
        ("--encoding base64", "Unknown text encoding 'base64'"),
    ],
)
def test_unknown_options_are_reported(
    data: Path, tmp_path: Path, option: str, message: str
) -> None:
    failed = visnec_import(data, "-w", tmp_path / "ws", *option.split())
    assert isinstance(failed.exception, InputError)
    assert message in str(failed.exception)
    assert not (tmp_path / "ws").exists()


def test_a_failed_first_import_leaves_nothing(data: Path, tmp_path: Path) -> None:
    workspace, empty = tmp_path / "ws", tmp_path / "empty"
    empty.mkdir()
    for folder in (workspace, empty):
        refused = visnec_import(data, "-w", folder)
        assert isinstance(refused.exception, RecordError)
    assert not workspace.exists() and not list(empty.iterdir())
    done = visnec_import(data, "-w", workspace, "--keep-going")
    assert done.exit_code == 0, done.output
    refused = visnec_import(tmp_path / "gone.json", "-w", workspace)
    assert isinstance(refused.exception, InputError)
    assert (workspace / "workspace.json").exists() and (workspace / "dataset").is_dir()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["select", "--name", "a", "--rule", "threshold", "--min", "0"],
        ["cluster"],
        ["predict"],
        ["export-scores"],
        ["diff", "a", "b"],
    ],
)
def test_a_workspace_without_a_dataset_asks_for_an_import(
    tmp_path: Path, command: list[str]
) -> None:
    create_workspace(tmp_path)
    done = CliRunner().invoke(app, [*command, "-w", str(tmp_path)])
    assert isinstance(done.exception, WorkspaceError)
    assert "has no dataset yet. Import one with: visnec import DATA" in str(done.exception)


def test_files_with_images_are_no_image_folders(data: Path, tmp_path: Path) -> None:
    table = pa.table({"image": [png("red")], "text": ["red"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    done = visnec_import(tmp_path / "rows.parquet", "-w", tmp_path / "a")
    assert "Image folders: none; images inside files are read there" in done.stderr
    done = visnec_import(data, "-w", tmp_path / "b", "--keep-going")
    assert f"Image folders: {tmp_path}" in done.stderr.replace("\n", "")
