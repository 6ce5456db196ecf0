"""Columns next to the scores: a FineVision-shaped Parquet file goes from ratings to an export."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.errors import InputError
from scoring.exchange.imported_columns import import_columns
from scoring.exchange.score_export import export_scores
from tests.database.conftest import SCOPE
from tests.synthetic import Row, make_workspace

_TURN = ("What?", "Red", 4, 0.5, 0.25)
RATINGS = [[1, 4], [5], [3]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three samples, with the columns that FineVision ships and a key to match them by."""
    rows = [Row(turns=(_TURN,) * len(each), image="one.png") for each in RATINGS]
    workspace = make_workspace(tmp_path / "ws", rows=rows, with_images=False)
    table = {
        "row_idx": [0, 1, 2],
        "images": [[{"bytes": b"x", "path": None}]] * 3,
        "texts": [[{"user": "What?", "assistant": "Red"}] * len(each) for each in RATINGS],
        "source": ["chartqa", "chartqa", "vqav2"],
        "visual_dependency_ratings": pa.array(RATINGS, pa.list_(pa.int64())),
        "visual_dependency_min": pa.array(list(map(min, RATINGS)), pa.int64()),
    }
    path = tmp_path / "finevision.parquet"
    pq.write_table(pa.table(table), path)
    result = import_columns(workspace, path)
    assert [column.name for column in result.columns] == [
        "source",
        "visual_dependency_ratings",
        "visual_dependency_min",
    ]
    return Store(workspace)


def test_ratings_go_from_filter_to_export(store: Store, tmp_path: Path) -> None:
    where = parse_filter("col:visual_dependency_min>=3 col:source=chartqa")
    assert matching_rows(store.selection(SCOPE, where)).tolist() == [1]
    names = ["visual_dependency_ratings", "visual_dependency_min", "source"]
    with (tmp_path / "scores.parquet").open("wb") as file:
        export_scores(store, SCOPE, file, file_format="parquet", columns=names)
    table = pq.read_table(tmp_path / "scores.parquet").to_pydict()
    assert table["col:visual_dependency_ratings"] == RATINGS
    assert table["col:visual_dependency_min"] == [1, 5, 3]
    assert table["col:source"] == ["chartqa", "chartqa", "vqav2"]
    assert table["visnec"] == [0.25] * 3


def test_rows_per_answer_have_the_value_of_the_answer(store: Store) -> None:
    text = io.StringIO()
    names = ["visual_dependency_ratings", "source"]
    export_scores(store, SCOPE, text, file_format="jsonl", per="turn", columns=names)
    rows = [json.loads(line) for line in text.getvalue().splitlines()]
    shown = [(row["row_idx"], row["turn"], row["col:visual_dependency_ratings"]) for row in rows]
    assert shown == [(0, 0, 1), (0, 1, 4), (1, 0, 5), (2, 0, 3)]
    assert [row["col:source"] for row in rows] == ["chartqa", "chartqa", "chartqa", "vqav2"]


@pytest.mark.parametrize(
    ("file_format", "name", "problem"),
    [
        ("visnec-csv", "source", "the paper's columns only"),
        ("csv", "visual_dependency_ratings", "CSV has no lists"),
        ("csv", "other", "No column 'other'"),
    ],
)
def test_refused(store: Store, file_format: str, name: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        export_scores(store, SCOPE, io.StringIO(), file_format=file_format, columns=[name])
