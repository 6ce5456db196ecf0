"""The view in the URL: it reads back, and invalid parameters are ignored and reported."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard.view.navigation import PageName, page_link
from dashboard.view.parameters import format_cursor
from dashboard.view.state import (
    Queue,
    QueueScope,
    RuleKind,
    View,
    read_view,
    write_view,
)
from scoring.database.filters import Filter, Range
from scoring.database.values import ColumnSort, Cursor, Order, Sort
from scoring.necessity import Bands, Category
from scoring.samples import Status

numbers = st.floats(-1e6, 1e6, allow_nan=False)
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=40)
rows = st.integers(0, 2**53)
filters = st.builds(
    Filter,
    source=st.lists(names, max_size=3).map(tuple),
    cluster=st.lists(st.integers(0, 2**31 - 1), max_size=3).map(tuple),
    category=st.lists(st.sampled_from(Category), max_size=2).map(tuple),
    status=st.lists(st.sampled_from(Status), max_size=2).map(tuple),
    decision=st.lists(st.sampled_from(["keep", "drop", "none"]), max_size=2).map(tuple),
    visnec=st.none() | numbers.map(lambda low: Range(min=low)),
    text=st.none() | names,
)
bands = st.tuples(numbers, numbers).map(sorted)


@given(
    filters,
    bands,
    st.none() | numbers,
    st.builds(Cursor, st.none() | numbers, rows, st.booleans()),
    st.sampled_from(Sort) | st.builds(ColumnSort, st.from_regex(r"[A-Z][a-z_.-]+", fullmatch=True)),
    st.sampled_from(Queue),
    st.sampled_from(RuleKind),
    st.booleans(),
    rows,
)
def test_a_view_reads_back_from_its_url(
    which: Filter,
    limits: list[float],
    cut: float | None,
    page: Cursor,
    sort: Order,
    queue: Queue,
    rule: RuleKind,
    flag: bool,
    row: int,
) -> None:
    view = View(
        run="run-1",
        filter=which,
        low=limits[0],
        high=limits[1],
        cut=cut,
        page=page,
        sort=sort,
        queue=queue,
        rule=rule,
        who=QueueScope.ALL if flag else QueueScope.UNDECIDED,
        hand=not flag,
        sample=row,
        row=row,
    )
    assert read_view(write_view(view)) == (view, [])


def test_defaults_are_not_written_into_the_url() -> None:
    assert write_view(View()) == {}
    assert read_view({}) == (View(), [])


def test_a_cursor_in_a_url() -> None:
    assert format_cursor(Cursor(0.25, 17)) == ">0.25,17"
    assert format_cursor(Cursor(None, 3, backward=True)) == "<-,3"
    assert read_view({"page": "<-,3"})[0].page == Cursor(None, 3, backward=True)


HOSTILE = [
    ("cut", "nan"),
    ("cut", "inf"),
    ("cut", "1e400"),
    ("cut", "0x10"),
    ("low", "<script>alert(1)</script>"),
    ("sample", "-1"),
    ("sample", "1.5"),
    ("sample", "9" * 5000),
    ("sample", str(2**70)),
    ("row", "٣x"),
    ("page", ">0.5"),
    ("page", "0.5,3"),
    ("page", ">,,,"),
    ("sort", "visnec; DROP TABLE scores"),
    ("sort", "col:"),
    ("sort", "--col:a"),
    ("sort", "col:a'b"),
    ("queue", "random\x00"),
    ("share", "0"),
    ("share", "15"),
    ("count", "many"),
    ("who", "nobody"),
    ("reviewer", "\x00\x01"),
    ("reviewer", "a" * 300),
    ("run", "\n"),
    ("filter", "colour:red"),
    ("filter", 'source:"'),
    ("filter", "cluster:99999999999999999999"),
    ("filter", "visnec:1..0"),
    ("filter", "text:" + "x" * 5000),
    ("rule", "eval"),
    ("size", "7"),
    ("size", "48.0"),
]


@pytest.mark.parametrize(("name", "value"), HOSTILE)
def test_invalid_parameters_are_ignored_and_reported(name: str, value: str) -> None:
    view, problems = read_view({name: value})
    assert view == View()
    assert len(problems) == 1
    assert name in problems[0]
    assert len(problems[0]) < 600


@given(st.dictionaries(st.sampled_from([one for one, _ in HOSTILE]), st.text(max_size=60)))
def test_no_url_fails(parameters: dict[str, str]) -> None:
    view, _ = read_view(parameters)
    assert read_view(write_view(view))[0] == view


def test_unknown_parameters_are_ignored_silently() -> None:
    assert read_view({"utm_source": "mail", "newer": "1"}) == (View(), [])


def test_band_limits_of_a_link_in_reverse_order() -> None:
    view, problems = read_view({"low": "0.5", "high": "0.1"})
    assert (view.low, view.high) == (None, None)
    assert len(problems) == 1


def test_a_band_limit_of_a_link_beyond_the_other_of_the_workspace() -> None:
    default = Bands(0.0, 0.25)
    assert View(low=0.5).bands(default) == default
    assert View(low=-0.5).bands(default) == Bands(-0.5, 0.25)
    assert View(high=0.4).threshold(default) == 0.4
    assert View(cut=1.5).threshold(default) == 1.5
    assert math.isclose(View().threshold(default), 0.25)


def test_a_request_sent_before_the_new_url_arrived_keeps_the_view() -> None:
    app = AppTest.from_string(
        """
import streamlit as st
from dashboard.view.state import change_view, current_view, open_view

open_view()
st.button("Group", on_click=lambda: change_view(group="kind"))
st.button("Threshold", on_click=lambda: change_view(cut=0.5))
st.text(current_view().group)
"""
    ).run()
    app.button[0].click().run()
    assert app.query_params == {"group": "kind"}
    app.query_params = {}  # type: ignore[assignment]  # what the browser shows until then
    app.button[1].click().run()
    assert app.query_params == {"group": "kind", "cut": "0.5"}
    assert app.text[0].value == "kind"
    app.query_params = {"group": "turn"}  # type: ignore[assignment]  # the browser's back button
    assert app.run().text[0].value == "turn"


def test_the_overview_is_linked_without_a_path_of_its_own() -> None:
    """Streamlit serves its default page at the root only."""
    assert page_link(PageName.OVERVIEW, View(run="first")) == "./?run=first"
    assert page_link(PageName.OVERVIEW, View()) == "./"
    assert page_link(PageName.RUNS, View(run="first")) == "runs?run=first"
