"""Samples in the order of a column: hand-checked pages, those without a value last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import fetch_page, read_column_value
from scoring.database.queries.review_queues import review_queue
from scoring.database.values import ColumnSort, Order, Sort, parse_order
from scoring.errors import FilterError, InputError
from scoring.exchange.imported_columns import import_columns
from tests.database.conftest import SCOPE, row_indices
from tests.synthetic import Row, make_workspace

_TURN = ("What?", "Red", 4, 0.5, 0.25)
CLIP = [0.5, None, -1e9, 0.5, 3.0, None]
RATINGS = [[5, 2], [3], [4], None, [1], [3]]
# means of the ratings by row: 3.5, 3, 4, none, 1, 3
NAMES = ["pear", "Apple", None, "pear", "été", "apple"]  # Apple, apple, pear, été
FLAGS = [True, False, None, True, None, False]
LABELS = [["b", "a"], ["b"], ["c"], None, ["a"], ["b"]]  # a; b; b, a; c
CHECKS = [[False, True], [True], [False], None, [None], [False]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("sorted")
    rows = [
        Row(turns=(_TURN,) * len(ratings or [0]), image=f"{n}.png", source="odd" if n % 2 else "a")
        for n, ratings in enumerate(RATINGS)
    ]
    workspace = make_workspace(root / "ws", rows=rows, with_images=False)
    records: list[dict[str, Any]] = [
        {"row_idx": row, "clip": CLIP[row], "rating": RATINGS[row], "name": NAMES[row]}
        | {"flag": FLAGS[row], "labels": LABELS[row], "checks": CHECKS[row]}
        for row in range(len(RATINGS))
    ]
    path = root / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    import_columns(workspace, path)
    return Store(workspace)


def all_rows(store: Store, order: str, limit: int, where: str = "") -> list[int]:
    """The rows of all pages; reading back from the end must give the same."""
    selection, cursor, rows, before = store.selection(SCOPE, parse_filter(where)), None, [], []
    while True:
        page = fetch_page(selection, order, cursor, limit)
        rows += row_indices(page)
        if page.previous is not None:
            before.append((page.previous, len(row_indices(page))))
        if page.next is None:
            break
        cursor = page.next
    end = len(rows)
    for previous, n in reversed(before):
        end -= n
        page = fetch_page(selection, order, previous, limit)
        assert row_indices(page) == rows[max(end - limit, 0) : end]
    return rows


@pytest.mark.parametrize("limit", [1, 2, 4, 10])
@pytest.mark.parametrize(
    ("order", "where", "rows"),
    [
        ("col:clip", "", [2, 0, 3, 4, 1, 5]),
        ("-col:clip", "", [4, 0, 3, 2, 1, 5]),
        ("-col:clip", "source:odd", [3, 1, 5]),
        ("-col:clip", "col:clip>=0.5", [4, 0, 3]),
        ("col:rating", "", [4, 1, 5, 0, 2, 3]),
        ("col:rating.min", "", [4, 0, 1, 5, 2, 3]),
        ("-col:rating.max", "", [0, 2, 1, 5, 4, 3]),
        ("col:name", "", [1, 5, 0, 3, 4, 2]),
        ("-col:name", "", [4, 0, 3, 5, 1, 2]),
        ("-col:name", "source:odd", [3, 5, 1]),
        ("col:flag", "", [1, 5, 0, 3, 2, 4]),
        ("-col:flag", "", [0, 3, 1, 5, 2, 4]),
        ("col:labels", "", [4, 1, 5, 0, 2, 3]),
        ("-col:checks", "", [1, 0, 2, 5, 3, 4]),
        ("-loss_text", "", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_hand_checked_orders(
    store: Store, order: str, where: str, rows: list[int], limit: int
) -> None:
    assert all_rows(store, order, limit, where) == rows


def test_the_value_of_a_sample(store: Store) -> None:
    assert read_column_value(store, "rating", 0) == 3.5
    assert read_column_value(store, "clip", 2) == -1e9
    assert read_column_value(store, "clip", 1) is None
    assert read_column_value(store, "name", 3) == 2.0  # its position among the texts


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("-visnec", Sort.VISNEC_DESC),
        ("col:clip", ColumnSort("clip", is_descending=False)),
        ("-col:rating.min", ColumnSort("rating.min")),
    ],
)
def test_orders_read_back_from_their_written_form(text: str, order: Order) -> None:
    assert parse_order(text) == order
    assert str(order) == text


def test_orders_that_there_are_not(store: Store) -> None:
    with pytest.raises(InputError, match=r"Unknown order 'clip'\. Choose one of: visnec"):
        fetch_page(store.selection(SCOPE), "clip")
    with pytest.raises(FilterError, match=r"No column 'clop'\. Columns: checks, clip, flag, label"):
        fetch_page(store.selection(SCOPE), "col:clop")
    with pytest.raises(FilterError, match="The column 'labels' has no numbers"):
        fetch_page(store.selection(SCOPE), "col:labels.min")


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        ("col:clip", [2, 0, 3, 4]),
        ("-col:clip", [4, 0, 3, 2]),
        ("-col:rating", [2, 0, 1, 5, 4]),
        ("col:name", [1, 5, 0, 3, 4]),
    ],
)
def test_review_queues_contain_the_samples_with_a_value(
    store: Store, order: str, rows: list[int]
) -> None:
    queue = review_queue(store.selection(SCOPE), order, 10)
    assert (queue.rows, queue.n_eligible, queue.name) == (rows, len(rows), order)
    first = review_queue(store.selection(SCOPE, parse_filter("source:a")), order, 1)
    assert first.rows == [row for row in rows if row % 2 == 0][:1]
