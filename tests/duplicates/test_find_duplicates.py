"""Groups of near-duplicates: from command and Python, as columns with their origin."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import scoring
from scoring.columns.parts import list_columns
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.duplicates.find import find_duplicates, number_groups
from scoring.errors import InputError
from scoring.exchange.imported_columns import import_columns
from scoring.workspace import Workspace
from tests.columns.test_import_columns import values
from tests.database.conftest import SCOPE
from tests.synthetic import Row, make_workspace
from tests.test_cli import visnec

LONG = "Which of the two buildings on the left side of the street is the taller one"


def row(question: str, answer: str = "yes", image: str | None = None) -> Row:
    return Row(turns=((question, answer, 4, 0.5, 0.25),), image=image)


ROWS = [
    row("Where?"),
    row(LONG + "?", image="a.png"),
    row("WHERE ?", "no"),
    row("Look. " + LONG, image="a.png"),
    row(LONG, image="b.png"),
    row(""),
    row("How many?", image="b.png"),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "ws", rows=ROWS, with_images=False)


def test_questions_and_samples(workspace: Workspace) -> None:
    questions, samples = find_duplicates(workspace, ("questions", "samples"))
    assert values(workspace, "question_group") == {0: 0, 1: 1, 2: 0, 3: 1, 4: 1}
    assert (questions.n_groups, questions.n_samples, questions.largest) == (2, 5, 3)
    assert questions.n_without == 1
    # Row 4 asks about another image; the answers of rows 0 and 2 differ.
    assert values(workspace, "sample_group") == {1: 0, 3: 0}
    assert samples.column.settings == {
        "jaccard": 0.8,
        "library": "rensa 0.5.0",
        "bands": 20,
        "shingle_words": 3,
    }
    selection = Store(workspace).selection(SCOPE, parse_filter("col:question_group=1"))
    assert matching_rows(selection).tolist() == [1, 3, 4]


def test_numbers_are_by_the_first_row() -> None:
    groups = np.array([7, -1, 3, 9, 3, 7, -1, 7])
    assert number_groups(groups).tolist() == [0, -1, 1, -1, 1, 0, -1, 0]


def test_again_replaces_and_an_imported_column_is_kept(
    workspace: Workspace, tmp_path: Path
) -> None:
    first = find_duplicates(workspace)[0].column
    again = find_duplicates(workspace)[0].column
    other = find_duplicates(workspace, threshold=1)[0].column
    assert first.sha256 == again.sha256 != other.sha256
    assert [column.part for column in list_columns(workspace)] == [other.part]
    path = tmp_path / "x.csv"
    path.write_text("row_idx,sample_group\n0,4\n", "utf-8")
    import_columns(workspace, path)
    with pytest.raises(InputError, match=r"imported from x\.csv"):
        find_duplicates(workspace, ("samples",))
    assert values(workspace, "sample_group") == {0: 4}


def test_invalid_requests(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"Choose from: questions, samples"):
        scoring.find_duplicates(workspace, ("answers",))
    with pytest.raises(InputError, match=r"from 0\.3 to 1, got 80"):
        scoring.find_duplicates(workspace, threshold=80)


def test_the_command(workspace: Workspace) -> None:
    done = visnec("find-duplicates", "-w", str(workspace.root), "--questions", "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert (result["n_groups"], result["column"]["name"]) == (2, "question_group")
    assert "question_group" in done.stderr
    assert visnec("find-duplicates", "-w", str(workspace.root)).returncode == 2
