"""Predictions in the database: correctness by measure, filters on it, and the evaluation."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.evaluation import evaluate_predictions
from scoring.database.queries.prediction_correctness import _CONDITIONS, fetch_models
from scoring.database.values import Scope
from scoring.errors import FilterError, InputError
from scoring.evaluation.accuracy import MEASURES, Accuracy
from scoring.predictions.files import Sight
from scoring.predictions.imported import import_predictions, list_prediction_files
from scoring.workspace import Workspace
from tests.evaluation.conftest import write_lines
from tests.synthetic import RUN_ID

SCOPE = Scope(RUN_ID)


@pytest.fixture
def both(workspace: Workspace, seen_file: Path, blind_file: Path) -> Store:
    """The benchmark with an imported model, "big", and the run's own predictions."""
    import_predictions(workspace, seen_file, model="big")
    import_predictions(workspace, blind_file, model="big", sight=Sight.BLIND)
    build_database(workspace)
    return Store(workspace)


def rows(store: Store, text: str) -> list[int]:
    return matching_rows(store.selection(SCOPE, parse_filter(text))).tolist()


def test_the_runs_own_predictions_are_evaluated(store: Store) -> None:
    found = evaluate_predictions(store, SCOPE)
    assert (found.n_samples, found.n_scored, found.n_necessary) == (7, 6, 3)
    (own,) = found.models
    assert own.model == RUN_ID
    assert own.all.seen == Accuracy(6, 6)
    assert own.all.blind == Accuracy(2, 6)  # rows 0 and 5
    assert own.necessary.blind == Accuracy(1, 3)
    assert found.ranking is None


def test_imported_predictions_are_evaluated_too(both: Store) -> None:
    assert [(one.name, one.own, one.seen, one.blind) for one in fetch_models(both)] == [
        (RUN_ID, True, 6, 6),
        ("big", False, 6, 7),
    ]
    found = evaluate_predictions(both, SCOPE, threshold=0.5)
    big = found.models[1]
    assert big.all.seen == Accuracy(4, 6)
    assert big.all.blind == Accuracy(3, 7)
    assert big.necessary.seen == Accuracy(2, 2)  # rows 0 and 1
    assert big.necessary.blind == Accuracy(1, 2)
    assert big.all.cells is not None
    assert big.all.cells.to_dict() == {
        "blind_right_seen_right": 2,  # 1, 5
        "blind_right_seen_wrong": 1,  # 2
        "blind_wrong_seen_right": 2,  # 0, 3
        "blind_wrong_seen_wrong": 1,  # 4
    }
    assert found.ranking is not None
    assert [one.model for one in found.ranking.models] == [RUN_ID, "big"]


def test_filters_select_the_samples_of_each_cell(both: Store) -> None:
    cells = {
        (blind, seen): rows(both, f"model:big blind:{blind} seen:{seen}")
        for blind in ("right", "wrong", "none")
        for seen in ("right", "wrong", "none")
    }
    assert {cell: found for cell, found in cells.items() if found} == {
        ("right", "right"): [1, 5],
        ("right", "wrong"): [2],
        ("wrong", "right"): [0, 3],
        ("wrong", "wrong"): [4],
        ("wrong", "none"): [6],
    }
    assert rows(both, "seen:right") == [0, 1, 2, 3, 4, 5]  # of the run in view
    assert rows(both, "blind:right,none visnec:0..") == [0]
    assert rows(both, "model:big") == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("measure", "right", "n"),
    [
        ("auto", 4, 6),
        ("exact", 3, 6),  # 1, 3 and 5
        ("letter", 2, 2),  # only rows 0 and 1 are choices
        ("f1", 5, 6),  # all but 2: "answer is b" has 1/2 with "b", "red" 2/3 with "dark red"
        ("contains", 3, 6),  # 0, 1 and 5; "four" does not contain "4"
        ("strict", 0, 6),
    ],
)
def test_measures(both: Store, measure: str, right: int, n: int) -> None:
    (big,) = evaluate_predictions(both, SCOPE, models=["big"], measure=measure).models
    assert big.all.seen == Accuracy(right, n)
    assert len(rows(both, f"model:big measure:{measure} seen:right")) == right


def test_a_filter_narrows_the_benchmark(both: Store) -> None:
    found = evaluate_predictions(both, SCOPE, parse_filter("source:quiz"), models=["big"])
    assert (found.n_samples, found.models[0].all.seen) == (2, Accuracy(2, 2))
    nothing = evaluate_predictions(both, SCOPE, parse_filter("source:nowhere"), models=["big"])
    assert nothing.models[0].all.seen == Accuracy(0, 0)
    assert nothing.models[0].by_band == ()


def test_leakage_needs_the_text_only_model(
    workspace: Workspace, blind_file: Path, tmp_path: Path
) -> None:
    import_predictions(workspace, blind_file, model="big", sight=Sight.BLIND)
    text = write_lines(
        tmp_path / "llm.jsonl", [{"row_idx": i, "prediction": "A"} for i in range(7)]
    )
    import_predictions(workspace, text, model="big", sight=Sight.TEXT_MODEL)
    build_database(workspace)
    (big,) = evaluate_predictions(Store(workspace), SCOPE, models=["big"]).models
    assert big.all.seen is None
    assert big.all.leakage is not None
    assert big.all.leakage.value == pytest.approx(3 / 7 - 1 / 7)  # A is right for row 1 alone


def test_unknown_names_are_reported(both: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"Available: {RUN_ID}, big"):
        evaluate_predictions(both, SCOPE, models=["none"])
    with pytest.raises(InputError, match="no predictions of 'none'"):
        rows(both, "model:none seen:right")
    with pytest.raises(InputError, match="Unknown measure 'taste'"):
        evaluate_predictions(both, SCOPE, measure="taste")
    with pytest.raises(FilterError, match="measure: does not accept 'taste'"):
        parse_filter("measure:taste")
    with pytest.raises(FilterError, match="blind: does not accept 'maybe'"):
        parse_filter("blind:maybe")


def test_filters_on_correctness_print_as_they_parse() -> None:
    text = 'blind:right seen:wrong,none model:"org/model 7B" measure:f1'
    assert str(parse_filter(text)) == text
    assert parse_filter(text) == Filter(
        blind=("right",), seen=("none", "wrong"), model="org/model 7B", measure="f1"
    )


def test_every_measure_has_its_condition() -> None:
    assert list(_CONDITIONS) == list(MEASURES)


def test_a_database_without_imported_predictions_is_read(workspace: Workspace) -> None:
    with duckdb.connect(str(workspace.database)) as con:
        con.execute("DROP TABLE imported_predictions")
    assert [one.name for one in fetch_models(Store(workspace))] == [RUN_ID]


def test_no_predictions_at_all_is_an_error(workspace: Workspace) -> None:
    shutil.rmtree(workspace.run_dir(RUN_ID) / "predictions")
    build_database(workspace)
    assert list_prediction_files(workspace) == ()
    with pytest.raises(InputError, match="no predictions to evaluate"):
        evaluate_predictions(Store(workspace), SCOPE)
