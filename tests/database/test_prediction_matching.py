"""Matches in the database: those of the parts, or recomputed from the texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.build import prediction_matching
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.detail import sample_detail
from scoring.database.values import Scope
from scoring.predictions.answer_match import MATCH_VERSION
from scoring.predictions.records import match_prediction, to_prediction_row
from scoring.schemas import PREDICTIONS
from scoring.workspace import Workspace
from tests.synthetic import RUN_ID, make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three scored samples with the answers "answer 0" and so on, no predictions."""
    return make_workspace(
        tmp_path / "ws", visnec=[0.5, 0.25, 1.0], with_images=False, with_predictions=False
    )


def write(workspace: Workspace, rows: list[dict[str, Any]], schema: pa.Schema, name: str) -> None:
    folder = workspace.run_dir(RUN_ID) / "predictions"
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / f"part-{name}.parquet")


def predictions(workspace: Workspace) -> list[tuple[Any, ...]]:
    build_database(workspace)
    with duckdb.connect(str(workspace.database), read_only=True) as con:
        return con.execute(
            "SELECT row_idx, exact_text, f1_text, exact_multimodal, letter_multimodal, matched_by, "
            "max_new_tokens FROM predictions ORDER BY row_idx"
        ).fetchall()


def test_current_matches_come_from_the_parts(workspace: Workspace) -> None:
    row = to_prediction_row(match_prediction(1, "answer 1", "no", "answer 1", ""), 16)
    write(workspace, [row | {"f1_text": 0.75}], PREDICTIONS, "0")  # not what would be derived
    assert predictions(workspace) == [(1, True, 0.75, False, None, MATCH_VERSION, 16)]


def test_older_matches_are_recomputed_from_the_texts(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_matching, "_BLOCK_ROWS", 1)
    texts = pa.schema([PREDICTIONS.field(at) for at in range(3)])
    old = [{"row_idx": 0, "prediction_text": "Answer 0.", "prediction_multimodal": None}]
    write(workspace, old, texts, "0")
    row = to_prediction_row(match_prediction(2, "x", "the answer", "answer 2", ""), 32)
    write(workspace, [row | {"matched_by": MATCH_VERSION - 1, "f1_text": 0.75}], PREDICTIONS, "1")
    assert predictions(workspace) == [
        (0, True, 1.0, None, None, MATCH_VERSION, None),
        (2, False, 0.0, False, None, MATCH_VERSION, 32),
    ]
    detail = sample_detail(Store(workspace), Scope(RUN_ID), 2)
    assert [one["f1_multimodal"] for one in detail.predictions] == [pytest.approx(2 / 3)]
