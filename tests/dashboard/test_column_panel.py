"""The threshold on an imported column and its plane, from the page and from the route."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboard.data.column_stats import column_stats, read_column_histogram, resolve_threshold
from dashboard.data.context import WORKSPACE_VARIABLE, Context, open_view_context
from dashboard.data.threshold_stats import InvalidRequest
from dashboard.pages.overview.column_panel import (
    count_digits,
    filter_by_range,
    read_box_filter,
    read_number,
)
from dashboard.pages.overview.groups_panel import clear_group, toggle_row
from dashboard.server.guard import guard_middleware
from dashboard.server.routes import ROUTES
from dashboard.view import links
from dashboard.view.state import Group, View, read_view, write_view
from scoring.database.filters import Filter, parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.exchange.imported_columns import import_columns
from scoring.samples import Status
from tests.dashboard.conftest import Draw, data_of, written
from tests.synthetic import make_workspace

SCORES = [-1.0, 0.0, 0.5, 1.0, None, Status.TEXT_ONLY]
CLIP = [0.25, 0.75, 0.5, 1.0, 0.5, None]
ORIGIN = ["web", "web", "coco", "coco", None, "coco"]


@pytest.fixture
def columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Four scored samples with a value, one with a value only, and one with neither."""
    workspace = make_workspace(tmp_path / "ws", visnec=SCORES, with_images=False)
    records = [
        {"row_idx": n, "clip": clip, "big": 1e9 + n, "origin": ORIGIN[n]}
        for n, clip in enumerate(CLIP)
    ]
    path = tmp_path / "columns.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    import_columns(workspace, path)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    context = open_view_context(View()).context
    assert context is not None
    return context


def test_counts_of_a_threshold(columns: Context) -> None:
    stats = column_stats(View(column="clip", column_cut=0.5))
    assert (stats["cut"], stats["kept"], stats["scored"]) == (0.5, 4, 5)
    # Kept: scores 0.0, 0.5, 1.0 and none; dropped: -1.0.
    assert stats["parts"] == [
        ["misaligned", 0, 1],
        ["redundant", 1, 0],
        ["vision-critical", 2, 0],
        ["no score", 1, 0],
    ]
    shown = {figure["name"]: (figure["value"], figure["note"]) for figure in stats["figures"]}
    assert shown == {
        "Without a value": ("1", "16.7 %, on neither side"),
        "Median VisNec, kept": ("+0.500", "3 scored"),
        "Median VisNec, dropped": ("−1.000", "1 scored"),
    }
    assert column_stats(View(column="clip"))["cut"] == 0.5  # the median
    where = parse_filter("visnec:0.25..")
    assert column_stats(View(column="clip", column_cut=0.5, filter=where))["scored"] == 2


def test_thresholds_by_share_and_number(columns: Context) -> None:
    for request, threshold in (
        ({"share": "0.4"}, 0.75),
        ({"samples": "3"}, 0.5),
        ({"cut": "0.6"}, 0.6),
        ({"samples": "0"}, math.nextafter(1.0, math.inf)),
    ):
        assert resolve_threshold(columns, "clip", request) == threshold
    for wrong in ({"share": "2"}, {"samples": "-1"}, {"cut": "nan"}, {"cut": "1e20"}, {}):
        with pytest.raises(InvalidRequest):
            resolve_threshold(columns, "clip", wrong)


def test_the_route_and_the_page_show_the_same(columns: Context, draw: Draw) -> None:
    app = draw("overview", {"column": "big", "column_cut": "1000000002.0"})
    assert not app.exception
    editors = [
        json.loads(each.proto.json)
        for each in app.get("bidi_component")
        if each.proto.component_name.endswith("threshold_editor")
    ]
    assert [editor.get("column") for editor in editors] == [None, "big"]
    editor = editors[1]
    assert sum(editor["counts"]) == 6
    assert (editor["step"], editor["digits"]) == (1.0, 0)  # whole numbers
    assert editor["counts"] == read_column_histogram(columns, "big")[1]
    assert editor["facts"] == column_stats(View(column="big", column_cut=1e9 + 2))
    assert "VisNec score against big" in "".join(each.value for each in app.subheader)
    server = Starlette(routes=ROUTES, middleware=guard_middleware("127.0.0.1"))
    with TestClient(server, base_url="http://127.0.0.1:8501") as client:
        answer = client.get(f"{editor['address']}&cut=1000000004")
        assert answer.json() == column_stats(View(column="big", column_cut=1e9 + 4))
        assert answer.json()["kept"] == 2
        refused = client.get(f"{editor['address']}&share=2")
        assert (refused.status_code, "a value, a share" in refused.text) == (400, True)


def test_a_row_of_a_column_is_toggled_in_the_filter() -> None:
    where = parse_filter("source:scenes col:clip>0.5")
    one = toggle_row(where, Group.COLUMN, "my set", "origin")
    assert one == parse_filter('source:scenes col:clip>0.5 col:origin="my set"')
    two = toggle_row(one, Group.COLUMN, "web", "origin")
    assert two == parse_filter('source:scenes col:clip>0.5 col:origin="my set",web')
    assert toggle_row(two, Group.COLUMN, "my set", "origin") == toggle_row(
        where, Group.COLUMN, "web", "origin"
    )
    assert toggle_row(one, Group.COLUMN, "my set", "origin") == where
    assert clear_group(two, Group.COLUMN, "origin") == where


def test_groups_by_a_column(columns: Context, draw: Draw) -> None:
    app = draw("overview", {"group": "column", "filter": "col:origin=web"})
    assert not app.exception
    table = data_of(app, "breakdown")
    assert table["label"] == "Scores by origin"
    assert table["chosen"] == ["web"]
    rows = [(row["name"], row["n"], row.get("opens", True)) for row in table["rows"]]
    assert rows == [("coco", 3, True), ("web", 2, True), ("no value", 1, False)]
    assert all(sum(row["histogram"]) == row["n_scored"] for row in table["rows"][:2])


def test_without_columns_there_is_no_panel(root: Path, draw: Draw) -> None:
    app = draw("overview", {"column": "clip", "column_cut": "0.5"})
    assert not app.exception
    assert "column" not in data_of(app, "threshold_editor")
    assert "Values of a column" not in written(app)
    app = draw("overview", {"group": "column"})
    assert "No columns to group by" in written(app)


def test_the_link_keeps_column_and_threshold() -> None:
    view = View(column="rating.min", column_cut=-1234567.5)
    assert read_view(write_view(view)) == (view, [])
    assert read_view({"column_cut": "1e16"})[1] != []
    assert links.PREFIX in links.column_threshold_url(
        links.Scope("run"), Filter(), links.Bands(0, 1), "g", "clip"
    )


def test_a_range_replaces_the_range_of_the_same_column(columns: Context) -> None:
    where = filter_by_range(parse_filter("col:clip>=0.1 col:big>5 source:scenes"), "clip", 0.5, 1.0)
    assert where == parse_filter("col:clip>=0.5 col:clip<1 col:big>5 source:scenes")
    where = filter_by_range(Filter(), "clip", 0.5, None)
    assert str(where) == "col:clip>=0.5"
    rows = matching_rows(columns.store.selection(columns.scope, where))
    assert rows.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ({"x": [0.1, 0.9], "y": [0.21234, 0.4]}, "visnec:0.1..0.9 col:clip>=0.2123 col:clip<0.4"),
        ({"x": [-2, 0.9], "y": [0.0, 0.4]}, "visnec:..0.9 col:clip<0.4"),  # from an edge: open
        ({"x": [-2, 2], "y": [0.3, 1.0]}, "col:clip>=0.3"),
        ({"x": [0.1, 0.9], "y": [0.3, 0.3]}, None),
    ],
)
def test_a_box_of_scores_and_values_is_a_filter(
    box: dict[str, list[float]], expected: str | None
) -> None:
    edges = [-2.0, 0.0, 2.0], [0.0, 0.5, 1.0]
    found = read_box_filter({"selection": {"box": [box]}}, Filter(), "clip", *edges, 4)
    assert found == (None if expected is None else parse_filter(expected))


def test_a_box_inside_a_bin_of_whole_numbers_takes_the_bin() -> None:
    state = {"selection": {"box": [{"x": [-1.0, 1.0], "y": [2.1, 2.4]}]}}
    found = read_box_filter(state, Filter(), "stars", [-2.0, 0.0, 2.0], [1.0, 2.0, 3.0, 4.0], 0)
    assert found == parse_filter("visnec:-1..1 col:stars>=2 col:stars<3")


def test_decimals_and_numbers_from_the_browser() -> None:
    assert [count_digits(step) for step in (0.001, 0.01, 0.1, 1.0, 100.0)] == [4, 3, 2, 0, 0]
    assert read_number({"cut": 1e9}, "cut") == 1e9
    for wrong in ({"cut": True}, {"cut": "1"}, {"cut": 1e300}, {}, None):
        assert read_number(wrong, "cut") is None
