"""Imported columns in exported records: aligned, marked as derived, and verified."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scoring.database.connection import Store
from scoring.errors import InputError, RecordError, VerificationError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import ExportResult, export_subset
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.rules import Threshold
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, Row, make_workspace

GOOD, BAD = ("What?", "Red", 4, 1.5, 0.5), ("Where?", "Left", 4, 0.25, 0.5)
ROWS = [
    Row(turns=(GOOD, BAD), image="one.png", id="a"),
    Row(turns=(BAD,), image="two.png", id="b"),
    Row(turns=(GOOD,), image="three.png", id="c"),
]
VALUES: list[dict[str, Any]] = [
    {"row_idx": 0, "clip": 0.5, "rating": [1, 5], "origin": "wéb", "ok": True},
    {"row_idx": 1, "clip": 0.25, "rating": [2]},
]
NAMES = ("clip", "rating", "origin", "ok")
FIRST = {"col:clip": 0.5, "col:rating": [1, 5], "col:origin": "wéb", "col:ok": True}
NONE = dict.fromkeys(FIRST)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / "ws", rows=ROWS)
    path = tmp_path / "values.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in VALUES), "utf-8")
    import_columns(made, path)
    return made


def export(workspace: Workspace, **options: Any) -> ExportResult:
    definition = SubsetDefinition("good", Threshold(0.0), RUN_ID)
    format_ = ExportOptions(**({"add_columns": NAMES} | options))
    return export_subset(workspace, Store(workspace), definition, format=format_, overwrite=True)


def added(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name.startswith("col:")}


@pytest.mark.parametrize("format_", ["llava", "jsonl", "messages", "parquet", "webdataset"])
def test_records_have_the_values_and_are_verified(workspace: Workspace, format_: str) -> None:
    result = export(workspace, format=format_)
    if format_ == "llava":
        records = json.loads((result.folder / "samples.json").read_text("utf-8"))
    elif format_ == "parquet":
        records = pq.read_table(result.folder / "samples.parquet").to_pylist()
        assert b"col:" not in records[0]["record"]
    elif format_ == "webdataset":
        with tarfile.open(result.folder / "samples-000000.tar") as tar:
            members = [each for each in tar if each.name.endswith(".json")]
            records = [json.load(tar.extractfile(each) or pytest.fail()) for each in members]
    else:
        lines = (result.folder / "samples.jsonl").read_text("utf-8").splitlines()
        records = list(map(json.loads, lines))
    assert list(map(added, records)) == [FIRST, NONE]
    assert "columns" in result.manifest.derived
    assert "`col:clip`" in (result.folder / "README.md").read_text("utf-8")
    columns = [part for part in result.manifest.inputs.parts if part.name.startswith("columns/")]
    assert len(columns) == len(NAMES)
    assert verify_manifest(result.folder).n_samples == 2


def test_values_of_dropped_answers_are_left_out(workspace: Workspace) -> None:
    options = {"turns": "drop", "turn_min": 0.0}
    for format_ in ("jsonl", "parquet"):
        result = export(workspace, format=format_, add_columns=("rating",), **options)
        if format_ == "jsonl":
            record = json.loads((result.folder / "samples.jsonl").read_text().splitlines()[0])
        else:
            record = pq.read_table(result.folder / "samples.parquet").to_pylist()[0]
        assert len(record["conversations"]) == 2
        assert record["col:rating"] == [1]


def test_a_replaced_column_is_reported(workspace: Workspace, tmp_path: Path) -> None:
    result = export(workspace, add_columns=["clip"])
    path = tmp_path / "other.jsonl"
    path.write_text('{"row_idx": 0, "clip": 9}\n')
    import_columns(workspace, path, replace_existing=True)
    with pytest.raises(VerificationError, match=r"columns/clip/values-\w+\.parquet is gone"):
        verify_manifest(result.folder)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"format": "ids"}, "not to ids"),
        ({"format": "parquet", "columns": "source"}, "not to the columns of the source"),
        ({"add_columns": ("clap",)}, "No column 'clap'. Columns: clip, ok, origin, rating"),
    ],
)
def test_refused(workspace: Workspace, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        export(workspace, **options)


def test_a_record_with_the_same_key_is_refused(tmp_path: Path) -> None:
    rows = [Row(turns=(GOOD,), image="one.png", extra={"col:clip": 1})]
    workspace = make_workspace(tmp_path / "ws", rows=rows, with_images=False)
    path = tmp_path / "values.jsonl"
    path.write_text('{"row_idx": 0, "clip": 9}\n')
    import_columns(workspace, path)
    with pytest.raises(RecordError, match="it has a key 'col:clip' of its own"):
        export(workspace, add_columns=("clip",))
