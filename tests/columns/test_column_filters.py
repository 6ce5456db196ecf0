"""Conditions on columns in the filter: one written form, and hand-checked samples."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboard.widgets.filter_bar import read_chips, remove_chip
from scoring import cli
from scoring.database.connection import Store
from scoring.database.filters import Filter, Range, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.review_labels import is_within
from scoring.errors import FilterError
from scoring.exchange.imported_columns import import_columns
from tests.database.conftest import SCOPE
from tests.synthetic import Row, make_workspace

_TURN = ("What?", "Red", 4, 0.5, 0.25)
ROWS = [
    Row(turns=(_TURN, _TURN), image="one.png"),
    *(Row(turns=(_TURN,), image=f"{n}.png") for n in range(3)),
]
RECORDS: list[dict[str, Any]] = [
    {"row_idx": 0, "clip": 0.25, "rating": [1, 5], "origin": "web", "ok": True, "tags": ["a", "b"]},
    {"row_idx": 1, "clip": 0.5, "rating": [3], "origin": "my set", "ok": False, "tags": ["a"]},
    {"row_idx": 2, "clip": 0.75, "rating": [4], "tags": ["c"]},
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("columns")
    workspace = make_workspace(root / "ws", rows=ROWS, with_images=False)
    path = root / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), "utf-8")
    import_columns(workspace, path)
    return Store(workspace)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("col:clip>0.25", [1, 2]),
        ("col:clip>=0.25 col:clip<0.75", [0, 1]),
        ("col:clip<=0.5", [0, 1]),
        ("col:clip=0.25,0.75", [0, 2]),
        ("col:clip!=0.25", [1, 2]),
        ('col:origin=web,"my set"', [0, 1]),
        ("col:origin!=web", [1]),
        ("col:ok=true", [0]),
        ("col:rating.min>=3", [1, 2]),
        ("col:rating.max=5", [0]),
        ("col:rating.mean<=3", [0, 1]),
        ("col:tags=a", [0, 1]),
        ("col:tags!=a", [2]),
        ("images:>=1", [0, 1, 2, 3]),
        ("images:>1", []),
    ],
)
def test_hand_checked_rows(store: Store, text: str, rows: list[int]) -> None:
    where = parse_filter(text)
    assert sorted(matching_rows(store.selection(SCOPE, where)).tolist()) == rows
    assert parse_filter(str(where)) == where


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("col:other>1", "No column 'other'. Columns: clip, ok, origin, rating, tags"),
        ("col:rating>1", "Compare rating.min, rating.max or rating.mean"),
        ("col:origin>1", "Compare them with = or !="),
        ("col:clip=web", "'web' is not a number"),
        ("col:ok=1", "true or false"),
        ("col:clip.min>1", "No column 'clip.min'"),
        ("col:tags.min>1", "has no numbers"),
    ],
)
def test_conditions_that_a_column_does_not_have(store: Store, text: str, problem: str) -> None:
    with pytest.raises(FilterError) as caught:
        matching_rows(store.selection(SCOPE, parse_filter(text)))
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["col:clip", "col:clip>a", "col:clip>1,2", "col:>1", "col:x>nan"])
def test_other_texts_are_not_conditions(text: str) -> None:
    with pytest.raises(FilterError, match="col:"):
        parse_filter(text)


def test_comparisons_of_counts_are_ranges() -> None:
    for text, limits in {
        "images:>1": Range(2, None),
        "tokens:<=3": Range(None, 4),
        "turns:=1": Range(1, 2),
        "visnec:>=0.25": Range(0.25, None),
        "visnec:<0": Range(None, 0),
    }.items():
        assert getattr(parse_filter(text), text.partition(":")[0]) == limits
    for text in ("visnec:>0.25", "images:>1.5", "images:>x"):
        with pytest.raises(FilterError, match="is not a range"):
            parse_filter(text)


def test_disagreements_are_printed(store: Store) -> None:
    root = str(store.workspace.root)
    command = ["disagreements", "rating.mean", "-w", root, "--high", "column", "--json"]
    printed = CliRunner().invoke(cli.app, command)
    # All scores are equal: ranks 1, 1, 1; means 3, 3, 4: ranks 0.5, 0.5, 2, in thirds.
    assert json.loads(printed.stdout) == [
        {"row_idx": 2, "visnec": 0.25, "value": 4.0, "score_rank": 1 / 3, "column_rank": 2 / 3}
    ]
    assert "low score, high rating.mean" in printed.stderr


def test_conditions_are_sorted_and_joined_by_and() -> None:
    where = parse_filter("col:b=z,a col:a>01 col:b=a,z")
    assert str(where) == "col:a>1 col:b=a,z"
    assert where == Filter(col=("b=a,z", "a>1"))  # type: ignore[arg-type]
    assert is_within(where, parse_filter("col:a>1"))
    assert not is_within(parse_filter("col:a>1"), where)


def test_each_condition_is_a_chip() -> None:
    where = parse_filter("col:a>1 col:b=x,y")
    chips = read_chips(where, {})
    assert [(chip.name, chip.value) for chip in chips] == [("column", "a>1"), ("column", "b=x,y")]
    assert remove_chip(where, chips[1].key) == parse_filter("col:a>1")
