"""Imported predictions of later answers: numbered from 1, matched with the answer of their turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.queries.prediction_correctness import imported_answers
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.predictions.files import Sight, read_prediction_lines
from scoring.predictions.imported import import_predictions, list_prediction_files
from scoring.schemas import EVALUATION
from scoring.workspace import Workspace
from tests.evaluation.conftest import write_lines
from tests.synthetic import RUN_ID, Row, make_workspace

COLOUR, SHAPE, COUNT = ("colour?", "red", 2, 2.0, 1.0), ("shape?", "A", 2, 2.0, 1.0), (
    *("how many?", "3", 2, 2.0, 1.0),
)  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Samples with three answers, one and two, without predictions of their run."""
    rows = [
        Row(image=f"{row}.png", id=f"s{row}", turns=turns, predictions=None)
        for row, turns in enumerate([(COLOUR, SHAPE, COUNT), (COLOUR,), (COLOUR, COUNT)])
    ]
    made = make_workspace(tmp_path / "ws", rows=rows, with_images=False, with_predictions=False)
    build_database(made)
    return made


def load(workspace: Workspace, records: list[dict[str, Any]], **named: Any) -> Any:
    path = write_lines(workspace.root.parent / f"{named.get('model', 'm')}.jsonl", records)
    (imported,) = import_predictions(workspace, path, **named).sets
    build_database(workspace)
    return imported


ANSWERS = [
    {"row_idx": 0, "prediction": "red"},
    {"row_idx": 0, "turn_number": 2, "prediction": "B"},
    {"id": "s0", "turn_number": "3", "prediction": "3."},
    {"row_idx": 2, "turn_number": 1, "prediction": "blue"},
    {"row_idx": 2, "turn_number": 2, "prediction": "3"},
]


def test_predictions_are_matched_with_the_answer_of_their_turn(workspace: Workspace) -> None:
    imported = load(workspace, ANSWERS)
    assert (imported.n_taken, imported.n_later, imported.findings) == (2, 3, [])
    snapshot = Store(workspace).snapshot()
    first = "SELECT row_idx, prediction, exact FROM imported_predictions ORDER BY row_idx"
    assert snapshot.fetch_rows(first) == [(0, "red", True), (2, "blue", False)]
    later = (
        "SELECT row_idx, turn, question, answer, prediction, exact FROM imported_turn_predictions "
        "ORDER BY row_idx, turn"
    )
    assert snapshot.fetch_rows(later) == [
        (0, 1, "shape?", "A", "B", False),
        (0, 2, "how many?", "3", "3.", True),
        (2, 1, "how many?", "3", "3", True),
    ]
    shown = imported_answers(Store(workspace), 0)
    assert shown[["turn", "prediction"]].values.tolist() == [[0, "red"], [1, "B"], [2, "3."]]


def test_unusable_turn_numbers_are_findings(workspace: Workspace) -> None:
    numbers = [0, -1, 1.5, True, "two", 4, 3]
    records = [{"row_idx": 0, "turn_number": n, "prediction": "x"} for n in numbers]
    records += [{"row_idx": 0, "turn_number": 3, "prediction": "y"}]
    records += [{"row_idx": 1, "turn_number": 2, "prediction": "x"}]
    records += [{"row_idx": 1, "turn": 1, "prediction": "x"}]
    imported = load(workspace, records)
    assert (imported.n_taken, imported.n_later) == (1, 1)
    assert {issue["what"]: (issue["n"], issue["examples"]) for issue in imported.findings} == {
        "turn_number is not 1, 2, ...": (5, ["0", "-1", "1.5", "True", "'two'"]),
        "turn_number above the answers of the sample": (2, ["row 0: 4 of 3", "row 1: 2 of 1"]),
        "second, different prediction (the first is kept)": (1, ["row 0, turn 3"]),
        "turn without turn_number, which counts from 1": (1, ["record 10"]),
    }
    assert list_prediction_files(workspace)
    with pytest.raises(InputError, match=r"No record of .* matches .* turn_number is not 1"):
        load(workspace, records[:1], model="other")


def test_tables_have_the_key_too(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("row_idx,turn_number,prediction\n3,2,x\n3,,y\n")
    assert [(line.row_idx, line.turn) for line in read_prediction_lines(path)] == [(3, 1), (3, 0)]


def test_evaluation_of_other_turns_counts_them(workspace: Workspace) -> None:
    load(workspace, ANSWERS)
    load(workspace, [ANSWERS[1]], model="m", sight=Sight.BLIND)
    store, scope = Store(workspace), Scope(RUN_ID)

    def counts(turns: str) -> tuple[Any, ...]:
        (model,) = evaluate_predictions(store, scope, turns=turns).models
        return tuple(
            None if each is None else (each.right, each.n)
            for each in (model.all.seen, model.all.blind, model.all.text_model)
        )

    assert counts("first") == ((1, 2), (0, 0), None)
    assert counts("last") == ((2, 2), (0, 0), None)
    assert counts("all") == ((3, 5), (0, 1), None)


def test_matches_by_older_measures_are_recomputed(workspace: Workspace) -> None:
    load(workspace, ANSWERS)
    (path,) = list_prediction_files(workspace)
    rows = pq.read_table(path).to_pylist()
    wrong = [row | {"exact": False, "matched_by": 0} for row in rows]
    pq.write_table(pa.Table.from_pylist(wrong, EVALUATION), path)
    build_database(workspace)
    fetch = Store(workspace).snapshot().fetch_value
    assert fetch("SELECT count(*) FROM imported_turn_predictions WHERE exact") == 2
    assert fetch("SELECT count(*) FROM imported_predictions WHERE exact") == 1


def test_files_of_earlier_versions_are_about_first_answers(workspace: Workspace) -> None:
    load(workspace, ANSWERS[:1])
    (path,) = list_prediction_files(workspace)
    pq.write_table(pq.read_table(path).drop_columns(["turn"]), path)
    build_database(workspace)
    fetch = Store(workspace).snapshot().fetch_value
    assert fetch("SELECT count(*) FROM imported_predictions") == 1
