"""Columns from files: matched, typed, stored whole, in the database and in the status."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import scoring
from scoring.columns.parts import list_columns, part_path, remove_column
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import InputError
from scoring.exchange.imported_columns import ColumnImport, import_columns
from scoring.workspace import Workspace
from tests.synthetic import Row, make_workspace
from tests.test_cli import visnec

_TWO = (("What?", "Red", 4, 0.5, 0.25), ("Where?", "Left", 4, 0.5, 0.25))
ROWS = [
    Row(turns=_TWO, image="one.png", id="a"),
    Row(turns=_TWO[:1], image="one.png", id="b"),
    Row(turns=_TWO[:1], image="two.png", id="c"),
    Row(turns=_TWO[:1], image="three.png", id="d"),
    Row(turns=_TWO[:1], image="four.png", id="d"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "ws", rows=ROWS, with_images=False)


def values(workspace: Workspace, name: str) -> dict[int, Any]:
    """The values of a column by row_idx, from its part."""
    (column,) = (column for column in list_columns(workspace) if column.name == name)
    table = pq.read_table(part_path(workspace, column)).to_pydict()
    return dict(zip(table["row_idx"], table["value"], strict=True))


def in_database(workspace: Workspace, name: str) -> list[tuple[Any, ...]]:
    """The values of a column, as any DuckDB client reads them."""
    with duckdb.connect(str(workspace.database), read_only=True) as con:
        return con.execute(
            "SELECT row_idx, turn, number, text, flag FROM column_values WHERE name = ? "
            "ORDER BY row_idx, turn",
            [name],
        ).fetchall()


def kinds(result: ColumnImport) -> dict[str, tuple[str, str, int]]:
    return {item.name: (item.type, item.per, item.n_values) for item in result.columns}


def issues(result: ColumnImport) -> dict[str, tuple[int, list[str]]]:
    return {item["what"]: (item["n"], item["examples"]) for item in result.findings}


def write_lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def test_json_lines_by_id(workspace: Workspace, tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "x.jsonl",
        {"id": "b", "clip": 0.5, "stars": 4, "kind": "web", "ok": True, "per": [3], "meta": {}},
        {"id": "a", "clip": 1, "stars": None, "kind": "ünï", "per": [1, 2]},
        {"id": "zz", "clip": 2, "per": [1]},
        {"id": "d", "clip": 3},
        {"id": "c", "per": [1, 2]},
    )
    result = import_columns(workspace, path, on="id")
    assert kinds(result) == {
        "clip": ("number", "sample", 2),
        "kind": ("text", "sample", 2),
        "ok": ("boolean", "sample", 1),
        "per": ("integer", "turn", 2),
        "stars": ("integer", "sample", 1),
    }
    assert issues(result) == {
        "unknown id": (1, ["zz"]),
        "id of several samples; give row_idx": (1, ["row 3: d"]),
        "column of objects or lists ignored": (1, ["meta"]),
        "per: number of values is not the number of answers": (1, ["row 2: 2 instead of 1"]),
    }
    assert values(workspace, "clip") == {0: 1.0, 1: 0.5}
    assert values(workspace, "per") == {0: [1, 2], 1: [3]}
    assert in_database(workspace, "per") == [
        (0, 0, 1.0, None, None),
        (0, 1, 2.0, None, None),
        (1, 0, 3.0, None, None),
    ]
    assert in_database(workspace, "kind")[0] == (0, None, None, "ünï", None)
    assert in_database(workspace, "ok") == [(1, None, None, None, True)]
    column = result.columns[0]
    assert column.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (column.file, column.key, column.on) == ("x.jsonl", "clip", "id")
    assert Store(workspace).build_state().n_new_parts == 0


def test_csv_by_row_idx_and_the_id_is_compared(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "x.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write('row_idx,id,score,name,flag,per turn\n0,a,0.25,"a, b",TRUE,"[1,null]"\n')
        file.write("1,x,1,c,false,\n2,c,nan,,,[2]\n3.0,d,3,d,,[2]\n9,,1,e,,[2]\n,,1,e,,\n")
    result = scoring.import_columns(workspace, path, prefix="my-")
    assert kinds(result) == {
        "my-score": ("number", "sample", 2),
        "my-name": ("text", "sample", 2),
        "my-flag": ("boolean", "sample", 1),
        "my-per_turn": ("integer", "turn", 3),
    }
    assert issues(result) == {
        "unknown row_idx": (2, ["9", "empty"]),
        "id of another sample": (1, ["row 1: 1"]),
        "score: not a finite number, left empty": (1, ["row 2"]),
    }
    assert values(workspace, "my-score") == {0: 0.25, 3: 3.0}
    assert values(workspace, "my-per_turn") == {0: [1, None], 2: [2], 3: [2]}


def test_parquet_by_image(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = {
        "image": ["one.png", "two.png", "elsewhere.png"],
        "clip": pa.array([0.1, 0.2, 0.3], pa.float32()),
        "raw": [b"1", b"2", b"3"],
    }
    pq.write_table(pa.table(table), path)
    result = import_columns(workspace, path, on="image")
    assert values(workspace, "clip") == pytest.approx({0: 0.1, 1: 0.1, 2: 0.2})
    assert issues(result)["unknown image"] == (1, ["elsewhere.png"])
    assert issues(result)["column of another type ignored"] == (1, ["raw (BLOB)"])


@pytest.mark.parametrize(
    ("records", "on", "problem"),
    [
        ([{"row_idx": 0, "x": 1}, {"row_idx": 1, "x": "abc"}], "row_idx", 'text "abc" in row 2'),
        ([{"row_idx": 0, "x": [1]}, {"row_idx": 1, "x": 2}], "row_idx", "several types"),
        ([{"row_idx": 0, "x": [1, True]}], "row_idx", "boolean true in row 1"),
        ([{"row_idx": 1, "x": 1}, {"row_idx": 1, "x": 1}], "row_idx", "such as row_idx 1"),
        ([{"image": "one.png", "x": 1}] * 2, "image", "such as one.png"),
        ([{"id": "no", "x": 1}, {"id": "nor", "x": 1}], "id", "unknown id: 2 (such as no)"),
        ([{"row_idx": 0, "x": 2**53 + 2}], "row_idx", "above 2**53"),
        ([{"row_idx": 0, "x": None}], "row_idx", "no columns to import"),
        ([{"id": "a", "x": 1}], "row_idx", "has no column row_idx"),
        ([{"row_idx": 0, "a b": 1, "a_b": 2}], "row_idx", "same name: a_b"),
        ([{"row_idx": 0, "x": 1}], "name", "Choose one of: row_idx, id, image"),
    ],
)
def test_refused_files_leave_nothing(
    workspace: Workspace, tmp_path: Path, records: list[dict[str, Any]], on: str, problem: str
) -> None:
    path = write_lines(tmp_path / "x.jsonl", *({"fine": 1} | record for record in records))
    if "no columns" in problem:
        path = write_lines(tmp_path / "x.jsonl", *records)
    with pytest.raises(InputError) as caught:
        import_columns(workspace, path, on=on)
    assert problem in str(caught.value)
    assert list_columns(workspace) == []
    assert not list(workspace.root.glob("columns/*"))
    assert not list(workspace.root.glob(".import-columns*"))


def test_a_nested_key_is_named_with_dots(workspace: Workspace, tmp_path: Path) -> None:
    record = {"qa_uid": "c", "data_quality_metrics": {"vds": 0.75, "ppl": 3}}
    path = write_lines(tmp_path / "gdo.jsonl", record)
    result = import_columns(workspace, path, on="id", columns=["data_quality_metrics.vds"])
    assert kinds(result) == {"data_quality_metrics.vds": ("number", "sample", 1)}
    with pytest.raises(InputError, match="no column 'other'"):
        import_columns(workspace, path, on="id", columns=["other"])


def test_columns_are_replaced_whole_and_removed(workspace: Workspace, tmp_path: Path) -> None:
    first = write_lines(tmp_path / "x.jsonl", {"row_idx": 0, "x": 1}, {"row_idx": 1, "x": 2})
    import_columns(workspace, first)
    assert import_columns(workspace, first).already
    second = write_lines(tmp_path / "y.jsonl", {"row_idx": 2, "x": 0.5})
    with pytest.raises(InputError, match=r"column 'x' already, imported from x\.jsonl"):
        import_columns(workspace, second)
    assert import_columns(workspace, second, replace_existing=True).columns[0].type == "number"
    assert values(workspace, "x") == {2: 0.5}
    assert [row[0] for row in in_database(workspace, "x")] == [2]
    assert len(list((workspace.columns_dir / "x").glob("values-*"))) == 1
    workspace.database.unlink()
    build_database(workspace)
    assert [row[0] for row in in_database(workspace, "x")] == [2]
    remove_column(workspace, "x")
    build_database(workspace)
    assert in_database(workspace, "x") == []
    with pytest.raises(InputError, match=r"No column 'x'\. Columns: none"):
        remove_column(workspace, "x")


def test_the_command_and_the_status(demo_workspace: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "x.jsonl", {"row_idx": 3, "x": 1}, {"row_idx": 4, "x": 2})
    ws = ["-w", demo_workspace]
    done = visnec("import-columns", path, *ws, "--prefix", "my_", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["columns"][0]["name"] == "my_x"
    assert "my_x" in visnec("status", *ws).stdout
    assert json.loads(visnec("status", *ws, "--json").stdout)["columns"][0]["n_values"] == 2
    removed = visnec("import-columns", *ws, "--remove", "my_x")
    assert removed.returncode == 0, removed.stderr
    assert "my_x" not in visnec("status", *ws).stdout
    assert visnec("import-columns", *ws).returncode == 2
