"""Parquet and Arrow datasets are exported unchanged: every column and value, in order."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.dataset.records import read_samples
from scoring.engine.pipeline import score_dataset
from scoring.errors import InputError, VerificationError, WorkspaceError
from scoring.exports.export import ExportResult, export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.options import ExportOptions
from scoring.exports.verify import verify_manifest
from scoring.reviews.decisions import open_review_log
from scoring.rules import TopShare, Weights
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel
from tests.readers.test_files import png

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("z_unknown", pa.list_(pa.float32())),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("messages", pa.list_(TURN)),
        pa.field("when", pa.timestamp("us", tz="UTC")),
        pa.field("price", pa.decimal128(10, 2)),
        pa.field("kind", pa.dictionary(pa.int32(), pa.string())),
        pa.field("note", pa.large_string()),
        pa.field("nested", pa.struct([("a", pa.list_(pa.struct([("b", pa.int8())])))])),
        pa.field("empty", pa.null()),
        pa.field("flag", pa.bool_()),
    ],
    metadata={"huggingface": '{"info": {"features": {"image": {"_type": "Image"}}}}', "own": "x"},
)
COLOURS = ("red", "lime", "blue", "red", "blue")


def row(number: int) -> dict[str, Any]:
    said = [{"role": "user", "content": f"<image>q{number}"}, {"role": "assistant", "content": "a"}]
    odd = number % 2
    return {
        "z_unknown": None if odd else [0.5, float("nan"), None],
        "image": {"bytes": png(COLOURS[number]), "path": None if odd else f"{number}.png"},
        "messages": said,
        "when": datetime.datetime(2024, 1, number + 1, tzinfo=datetime.UTC),
        "price": None if odd else decimal.Decimal("1.50"),
        "kind": "x" if odd else "y",
        "note": None if odd else "né\n",
        "nested": {"a": [{"b": number}, {"b": None}]} if odd else None,
        "empty": None,
        "flag": bool(odd),
    }


TABLE = pa.Table.from_pylist([row(number) for number in range(5)], SCHEMA)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Five rows in two files, with and without images, scored."""
    pq.write_table(TABLE.slice(0, 3), tmp_path / "0.parquet", row_group_size=2)
    pq.write_table(TABLE.slice(3), tmp_path / "1.parquet")
    return scored(tmp_path, tmp_path / "0.parquet", tmp_path / "1.parquet")


def scored(tmp_path: Path, *files: Path) -> Workspace:
    import_dataset(create_workspace(tmp_path / "ws"), files)
    workspace = open_workspace(tmp_path / "ws")
    score_dataset(workspace, FakeModel(), run_id="run")
    return workspace


def export(workspace: Workspace, **options: Any) -> ExportResult:
    rule = Weights() if "weights" in options else TopShare(1.0)
    subset = SubsetDefinition("all", rule, "run")
    to = workspace.exports_dir / "out"
    chosen = ExportOptions("parquet", **options)
    return export_subset(workspace, Store(workspace), subset, to, chosen, overwrite=True)


def test_every_column_is_exported_unchanged(workspace: Workspace, tmp_path: Path) -> None:
    done = export(workspace, card=True)
    found = pq.read_table(done.folder / "samples.parquet")
    of_source = pq.read_schema(tmp_path / "0.parquet")
    assert found.schema.equals(of_source, check_metadata=True)
    assert repr(found.to_pylist()) == repr(TABLE.to_pylist())  # NaN does not equal itself
    assert read_manifest(done.folder / "manifest.json").options.columns == "source"
    assert done.manifest.derived == ()
    verify_manifest(done.folder / "manifest.json", workspace)
    import_dataset(create_workspace(tmp_path / "again"), [done.folder / "samples.parquet"])
    again = list(read_samples(open_workspace(tmp_path / "again")))
    before = list(read_samples(workspace))
    assert [(one.turns, one.status) for one in again] == [(o.turns, o.status) for o in before]


def test_a_subset_exports_its_rows(workspace: Workspace) -> None:
    open_review_log(workspace, "ann").append_bulk([0, 2], "drop")
    build_database(workspace)
    done = export(workspace)
    found = pq.read_table(done.folder / "samples.parquet")
    assert repr(found.to_pylist()) == repr(TABLE.take([1, 3, 4]).to_pylist())
    table = found.set_column(8, "empty", pa.array(["x", None, None]))
    pq.write_table(table, done.folder / "samples.parquet")
    with pytest.raises(VerificationError, match=r"samples\.parquet"):
        verify_manifest(done.folder / "manifest.json", workspace)


def test_weights_become_a_column_or_repeat_rows(workspace: Workspace) -> None:
    done = export(workspace, weights="column", weight_key="w")
    found = pq.read_table(done.folder / "samples.parquet")
    assert found.column_names == [*SCHEMA.names, "w"]
    assert found["w"].to_pylist() == pytest.approx([1.0] * 5)
    assert b'"w": {"_type": "Value"' in found.schema.metadata[b"huggingface"]
    assert done.manifest.derived == ("weights",)
    verify_manifest(done.folder / "manifest.json", workspace)
    done = export(workspace, weights="repeat", epoch_size=10)
    found = pq.read_table(done.folder / "samples.parquet")
    doubled = TABLE.take([i // 2 for i in range(10)])
    assert repr(found.to_pylist()) == repr(doubled.to_pylist())
    with pytest.raises(InputError, match="has a column 'flag' already"):
        export(workspace, weights="column", weight_key="flag")


def test_an_arrow_dataset_is_exported_unchanged(tmp_path: Path) -> None:
    with pa.OSFile(str(tmp_path / "d.arrow"), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as to:
        for start in range(0, 5, 2):
            to.write_table(TABLE.slice(start, 2))
    done = export(scored(tmp_path, tmp_path / "d.arrow"))
    found = pq.read_table(done.folder / "samples.parquet")
    assert repr(found.to_pylist()) == repr(TABLE.to_pylist())


def test_understood_columns_are_exported_on_request_and_when_needed(
    workspace: Workspace,
) -> None:
    for options in ({"columns": "understood"}, {"images": "embed"}):
        done = export(workspace, **options)
        found = pq.read_table(done.folder / "samples.parquet")
        assert "visnec" in found.column_names and "z_unknown" not in found.column_names
        verify_manifest(done.folder / "manifest.json", workspace)


def test_a_manifest_without_columns_replays_the_understood_ones(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.exports.export.resolve_columns", lambda _, options: options)
    done = export(workspace)
    assert done.manifest.options.columns is None
    assert "visnec" in pq.read_schema(done.folder / "samples.parquet").names
    verify_manifest(done.folder / "manifest.json", workspace)


def test_source_columns_are_refused_if_there_are_none(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embed images or"):
        ExportOptions("parquet", columns="source", images="embed")
    with pytest.raises(InputError, match="for the format parquet, not llava"):
        ExportOptions("llava", columns="source")
    (tmp_path / "t.csv").write_text("question,answer\nq,a\n")
    (tmp_path / "other").mkdir()
    table = scored(tmp_path / "other", tmp_path / "t.csv")
    with pytest.raises(InputError, match=r"t\.csv is not a Parquet or Arrow file"):
        export(table, columns="source")
    (tmp_path / "1.parquet").unlink()
    with pytest.raises(WorkspaceError, match=r"1\.parquet is gone, .+visnec relocate"):
        export(workspace, columns="source")
    pq.write_table(TABLE, tmp_path / "1.parquet")
    with pytest.raises(WorkspaceError, match="is not the file that was imported"):
        export(workspace, columns="source")
