"""Evaluate, on a small benchmark with the run's own predictions and an imported model."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.pages.evaluate.page import limit_to_part
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.filters import Range, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.values import Scope
from scoring.engine.pipeline import predict_dataset
from scoring.predictions.files import Sight
from scoring.predictions.imported import import_predictions
from scoring.workspace import Workspace
from tests.dashboard.conftest import Draw, written
from tests.evaluation.conftest import benchmark_rows, write_lines
from tests.evaluation.test_evaluate_turns import Parrot, make_conversations
from tests.synthetic import RUN_ID, make_workspace

HOSTILE = "<img src=x onerror=alert(1)>*b*"


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = make_workspace(tmp_path / "ws", rows=benchmark_rows(), with_images=False)
    seen = ["B", "A", "two", "4", "red", "blue"]
    blind = ["A", "A", "3", "9", "green", "blue", "yes"]
    for sight, answers in ((Sight.SEEN, seen), (Sight.BLIND, blind)):
        records = [{"row_idx": i, "prediction": one} for i, one in enumerate(answers)]
        path = write_lines(tmp_path / f"{sight}.jsonl", [*records, {"id": "who", "prediction": ""}])
        import_predictions(workspace, path, model=HOSTILE, sight=sight)
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    return workspace


def test_the_runs_own_predictions_come_first(benchmark: Workspace, draw: Draw) -> None:
    app = draw("evaluate")
    assert not app.exception
    page = written(app)
    assert app.selectbox(key="evaluate.model").value == RUN_ID
    assert "100.0 %" in page  # all six right with the image
    assert "The necessary part contains 3 of 7 samples (1 have no score)" in page
    assert "6 samples that all models answered with the image, 3 of them" in page


def test_an_imported_model_is_chosen_by_the_filter(benchmark: Workspace, draw: Draw) -> None:
    app = draw("evaluate")
    app.selectbox(key="evaluate.model").select(HOSTILE).run()
    assert not app.exception
    assert app.query_params["filter"] == f'model:"{HOSTILE}"'
    page = written(app)
    assert "66.7 %" in page  # rows 0, 1, 3 and 5 of six
    assert HOSTILE not in page  # only escaped
    assert "unknown id: 1" in page


def test_cells_open_the_number_of_samples_they_show(benchmark: Workspace, draw: Draw) -> None:
    page = written(draw("evaluate", {"filter": f'model:"{HOSTILE}"', "cut": "0.5"}))
    links = re.findall(r'<a href="(explore[^"]*)" target="_self">(\d+)</a>', page)
    assert [int(n) for _, n in links] == [2, 1, 2, 1, 1, 1]  # all: 1 5, 2, 0 3, 4; then 1, 0
    store, counted = Store(benchmark), []
    for link, _ in links:
        (text,) = parse_qs(urlsplit(unescape(link)).query)["filter"]
        counted.append(len(matching_rows(store.selection(Scope(RUN_ID), parse_filter(text)))))
    assert counted == [int(n) for _, n in links]


def test_measure_and_threshold_come_from_the_link(benchmark: Workspace, draw: Draw) -> None:
    app = draw("evaluate", {"filter": f'model:"{HOSTILE}" measure:letter', "cut": "1"})
    assert app.selectbox(key="evaluate.measure").value == "letter"
    assert "The necessary part contains 1 of 7 samples" in written(app)
    app.selectbox(key="evaluate.measure").select("auto").run()
    assert app.query_params["filter"] == f'model:"{HOSTILE}"'


def test_a_model_whose_scores_choose_the_necessary_part_is_marked(
    benchmark: Workspace, draw: Draw
) -> None:
    assert f"{RUN_ID}: its own losses choose" in written(draw("evaluate"))
    other = written(draw("evaluate", {"filter": f'model:"{HOSTILE}"'}))
    assert f"{RUN_ID}: its own losses" not in other
    assert f"{RUN_ID} *" in other  # in the model ranking


def test_a_filter_that_leaves_nothing_is_drawn(benchmark: Workspace, draw: Draw) -> None:
    app = draw("evaluate", {"filter": "status:missing_image model:unknown"})
    assert not app.exception
    assert "No sample under this filter has a score." in written(app)


def test_without_predictions_the_page_shows_how_to_add_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    workspace = make_workspace(tmp_path / "ws", n=20)
    shutil.rmtree(workspace.run_dir(RUN_ID) / "predictions")
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    page = written(draw("evaluate"))
    assert "No predictions yet" in page
    assert "visnec evaluate NAME=PREDICTIONS.jsonl" in page


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (None, Range(0.25, None)),
        (Range(None, 1.0), Range(0.25, 1.0)),
        (Range(0.5, 1.0), Range(0.5, 1.0)),
        (Range(-1.0, 0.0), Range(0.25, 0.25)),  # none of it is in the necessary part
    ],
)
def test_a_range_is_limited_to_the_necessary_part(limits: Range | None, expected: Range) -> None:
    assert limit_to_part(limits, 0.25) == expected


def test_an_open_sample_shows_the_predictions_of_imported_models(
    benchmark: Workspace, draw: Draw
) -> None:
    page = written(draw("explore", {"sample": "4"}))
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page)
    said = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    mine = [row[1:] for row in said if row and row[0].startswith("&lt;img")]
    assert mine == [
        ["with the image", "red", "token F1 0.67"],
        ["without the image", "green", "token F1 0.00"],
    ]


def test_answers_of_all_turns_are_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    workspace = make_conversations(tmp_path)
    predict_dataset(workspace, Parrot(), "mine")
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    assert not any("Turns" in each.label for each in draw("evaluate").selectbox)
    predict_dataset(workspace, Parrot(), "mine", turns="all")
    app = draw("evaluate")
    (turns,) = (each for each in app.selectbox if each.label == "Turns of conversations")
    assert turns.value == "first"
    turns.select("all").run()
    assert not app.exception
    assert app.query_params["turns"] == "all"
    page = written(app)
    assert "83.3 %" in page  # five of six answers with the image
    assert "of 4 samples (1 have no score)" in page
    assert "Accuracies count the answers of all turns that were predicted." in page
    assert "blind%3A" not in page  # filters are about first answers, so nothing is linked
