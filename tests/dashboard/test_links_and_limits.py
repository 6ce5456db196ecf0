"""Outdated links, broken workspaces and the limits of the Overview, without a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.data.context import WORKSPACE_VARIABLE, Context
from dashboard.data.samples import read_page, read_page_at
from dashboard.server.serve import APP
from dashboard.view.state import Group, Key, View, read_view
from scoring.database.filters import Filter
from scoring.database.queries.browse import matching_rows
from scoring.database.score_index.thresholds import count_kept
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions
from scoring.samples import Status
from scoring.workspace import open_workspace
from tests.dashboard.conftest import Draw, data_of, written
from tests.database.conftest import row_indices

PAGES = ("overview", "explore", "review", "subset", "runs")
STALE = {
    "run": "gone",
    "baseline": "blur",
    "clustering": "of-yesterday",
    "sample": "999999999",
    "row": "999999999",
    "page": ">99999.0,999999999",
    "filter": 'source:"no such source" cluster:4711 text:"nowhere"',
    "cut": "1000000.0",
    "low": "-1000000.0",
    "high": "1000000.0",
    "minimum": "5.0",
    "maximum": "-5.0",
    "rule": "paper",
    "share": "0.000001",
    "reviewer": "Ada <b>",
}


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label == label)


def number(app: AppTest, label: str) -> Any:
    return next(one for one in app.number_input if one.label.startswith(label))


def parameter(app: AppTest, name: str) -> str | None:
    value = app.query_params.get(name)
    return value[0] if isinstance(value, list) else value


def view_of(app: AppTest) -> View:
    return read_view({name: str(parameter(app, name)) for name in app.query_params})[0]


# ---- links and workspaces ------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("left_out", ["", "sample", "filter", "rule"])
def test_an_outdated_link_shows_what_exists(
    root: Path, draw: Draw, page: str, left_out: str
) -> None:
    parameters = {name: value for name, value in STALE.items() if name != left_out}
    app = draw(page, parameters, session={str(Key.REVIEWER): "ada"})
    assert not app.exception
    assert "There is no run gone here" in written(app)


def test_a_missing_workspace_is_reported_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "nothing"))
    app = AppTest.from_file(APP, default_timeout=60).run()
    assert not app.exception
    assert "is not a workspace" in written(app)


def test_streamlit_finds_no_pages_of_its_own() -> None:
    """With a folder of that name next to the script, links open with "Page not found"."""
    assert not (APP.parent / "pages").exists()


def test_a_missing_database_is_built(root: Path, draw: Draw) -> None:
    (root / "visnec.duckdb").unlink()
    assert not draw("overview").exception
    assert (root / "visnec.duckdb").exists()


def test_a_damaged_database_is_rebuilt(root: Path, draw: Draw) -> None:
    (root / "visnec.duckdb").write_bytes(b"no database")
    assert not draw("overview").exception
    assert (root / "visnec.duckdb").stat().st_size > 100_000


@pytest.mark.parametrize(
    "status",
    [Status.SCORED, Status.TEXT_ONLY, Status.MISSING_IMAGE, Status.BAD_IMAGE, Status.NO_ANSWER],
)
def test_samples_of_every_status_open(
    root: Path, draw: Draw, context: Context, status: Status
) -> None:
    row = int(matching_rows(context.store.selection(context.scope, Filter(status=(status,))))[0])
    assert not draw("explore", {"sample": str(row)}).exception
    session = {str(Key.REVIEWER): "ada"}
    plain = {"row": str(row), "buttons": "1", "queue": "row_idx"}
    assert not draw("review", plain, session=session).exception


# ---- the limits of the overview ------------------------------------------------------------------


def test_the_overview_follows_the_filter(root: Path, draw: Draw, context: Context) -> None:
    which = Filter(source=("words",), kind=("word",))
    for group in Group:
        app = draw("overview", {"filter": str(which), "group": str(group)})
        kept = count_kept(context.store.selection(context.scope, which), 0.25, None)
        assert data_of(app, "threshold_editor")["facts"]["kept"] == kept.n_kept


# ---- moving through samples ----------------------------------------------------------------------


def test_every_sample_is_on_exactly_one_page(root: Path, draw: Draw, context: Context) -> None:
    seen: list[int] = []
    app = draw("explore")
    while True:
        seen += row_indices(read_page(context, view_of(app)))
        if button(app, "Next").disabled:
            break
        button(app, "Next").click().run()
    assert sorted(seen) == list(range(120))


@pytest.mark.parametrize("sort", ["-visnec", "visnec", "row_idx", "-loss_text", "-tokens"])
def test_previous_and_next_follow_the_order_of_the_list(
    root: Path, draw: Draw, context: Context, sort: str
) -> None:
    view = read_view({"sort": sort})[0]
    order = row_indices(read_page(context, view))
    app = draw("explore", {"sort": sort, "sample": str(order[3])})
    button(app, "Next").click().run()
    assert parameter(app, "sample") == str(order[4])
    button(app, "Previous").click().run()
    button(app, "Previous").click().run()
    assert parameter(app, "sample") == str(order[2])
    button(app, "Back to the list").click().run()
    assert parameter(app, "sample") is None


def test_going_back_from_a_linked_sample_opens_its_page(
    root: Path, draw: Draw, context: Context
) -> None:
    everything = read_page_at(context, View().sort, None, 120)
    last = row_indices(everything)[-1]
    app = draw("explore", {"sample": str(last)})
    button(app, "Back to the list").click().run()
    assert last in row_indices(read_page(context, view_of(app)))


def test_a_button_decides_about_the_sample_above_it(root: Path, draw: Draw) -> None:
    app = draw("explore", {"sample": "17"}, session={str(Key.REVIEWER): "eve"})
    button(app, "✕ Drop").click().run()
    assert not app.exception
    assert "Saved: drop, row 17" in written(app)
    latest = latest_decisions(read_events(open_workspace(root)))
    own = [(one.row_idx, str(one.decision)) for one in latest if one.reviewer == "eve"]
    assert own == [(17, "drop")]


def test_a_name_in_a_link_decides_nothing(root: Path, draw: Draw) -> None:
    app = draw("explore", {"sample": "17", "reviewer": "somebody else"})
    assert not [one for one in app.button if "Drop" in one.label]


@pytest.mark.parametrize("page", ["overview", "explore"])
def test_an_invalid_pattern_is_reported_and_the_rest_of_the_filter_applies(
    root: Path, draw: Draw, context: Context, page: str
) -> None:
    app = draw(page, {"filter": 'source:scenes text:"~/colou(r/"'})
    assert not app.exception
    assert "Invalid regular expression" in written(app)
    n = len(matching_rows(context.store.selection(context.scope, Filter(source=("scenes",)))))
    assert f"{n:,}" in written(app) + " ".join(one.label for one in app.button)
