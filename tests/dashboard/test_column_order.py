"""Explore in the order of a column: the choice, the list, an open sample, and an outdated link."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.data.context import Context, open_view_context
from dashboard.data.reviews import queue_order, read_queue
from dashboard.view.state import Key, Queue, View
from scoring.exchange.imported_columns import import_columns
from tests.dashboard.conftest import Draw, data_of, written


@pytest.fixture
def with_column(root: Path, context: Context) -> None:
    values = root.parent / "made.csv"
    values.write_text("row_idx,made,name\n4,5,bee\n1,7,cow\n2,6,ant\n")
    import_columns(context.workspace, values)


@pytest.mark.usefixtures("with_column")
def test_samples_are_listed_in_the_order_of_a_column(draw: Draw) -> None:
    app = draw("explore", {"sort": "-col:made"})
    assert not app.exception, app.exception
    (order,) = (box for box in app.selectbox if box.label == "Sort by")
    assert order.options[-4:-2] == ["Highest made", "Lowest made"]
    assert order.options[-2:] == ["name, Z to A", "name, A to Z"]
    assert [tile["row_idx"] for tile in data_of(app, "gallery")["tiles"]][:4] == [1, 2, 4, 0]
    opened = draw("explore", {"sort": "-col:made", "sample": "2"})
    assert not opened.exception, opened.exception
    assert (data_of(opened, "sample_view")["previous"], data_of(opened, "sample_view")["next"]) == (
        True,
        True,
    )


@pytest.mark.usefixtures("with_column")
def test_samples_are_listed_in_the_order_of_a_column_of_texts(draw: Draw) -> None:
    app = draw("explore", {"sort": "col:name", "sample": "4"})
    assert not app.exception, app.exception
    app = draw("explore", {"sort": "col:name", "page": ">1,4"})  # after the second text
    assert [tile["row_idx"] for tile in data_of(app, "gallery")["tiles"]][:2] == [1, 0]


@pytest.mark.usefixtures("with_column")
def test_a_link_in_the_order_of_a_column_that_is_gone(draw: Draw) -> None:
    app = draw("explore", {"sort": "-col:gone"})
    assert not app.exception, app.exception
    assert "No column 'gone'. Columns: made, name" in written(app).replace("&#x27;", "'")


@pytest.mark.usefixtures("with_column")
def test_a_review_queue_in_the_order_of_a_column(draw: Draw) -> None:
    view = View(queue=Queue.HIGHEST_VALUE, column="made")
    context = open_view_context(view).context
    assert context is not None
    assert queue_order(context, view) == "-col:made"
    assert read_queue(context, view, "ada").rows == [1, 2, 4]
    app = draw("review", {"queue": "col"}, {Key.REVIEWER: "ada"})
    assert not app.exception, app.exception
    (column,) = (box for box in app.selectbox if box.label == "Column")
    assert (column.options, column.value) == (["made", "name"], "made")
    texts = View(queue=Queue.LOWEST_VALUE, column="name")
    assert read_queue(context, texts, "ada").rows == [2, 4, 1]
    assert queue_order(context, View(queue=Queue.ABOVE_COLUMN, column="name")) == "above:made"
