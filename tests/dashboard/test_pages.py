"""Every page draws: on a full workspace, an empty one, one without a run, and with odd links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.data.context import WORKSPACE_VARIABLE
from dashboard.pages.explore import page as explore
from dashboard.pages.subset import exports
from scoring.database.build.build import build_database
from scoring.database.queries import browse
from scoring.workspace import create_workspace
from tests.dashboard.conftest import Draw, written
from tests.synthetic import make_workspace

PAGES = ("overview", "explore", "review", "subset", "runs")


def well(app: AppTest) -> str:
    """What a page wrote, after making sure that nothing failed on it."""
    assert not app.exception, app.exception[0].message
    return written(app)


@pytest.mark.parametrize("page", PAGES)
def test_a_full_workspace(root: Path, draw: Draw, page: str) -> None:
    assert page.capitalize() in well(draw(page, {"reviewer": "ada"}))


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_workspace_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw, page: str
) -> None:
    create_workspace(tmp_path / "empty")
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "empty"))
    assert "visnec import" in well(draw(page))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("built", [True, False])
def test_a_workspace_without_a_run_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw, page: str, built: bool
) -> None:
    workspace = make_workspace(tmp_path / "new", 12, with_run=False, with_clusters=False)
    if built:
        build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    assert "visnec score" in well(draw(page))


@pytest.mark.parametrize("page", ["overview", "explore", "subset"])
def test_a_run_without_clusters_and_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw, page: str
) -> None:
    workspace = make_workspace(
        tmp_path / "pending", visnec=[None, None, None], with_clusters=False, with_predictions=False
    )
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    well(draw(page))
    well(draw(page, {"rule": "paper"}))


HOSTILE = {
    "run": "<img src=x onerror=alert(1)>",
    "clustering": "../../etc",
    "filter": 'source:"<script>alert(1)</script>" visnec:..0.2',
    "sample": "nonsense",
    "cut": "nan",
    "size": "7",
    "rule": "eval",
}


@pytest.mark.parametrize("page", PAGES)
def test_a_hostile_link_is_reported_and_escaped(root: Path, draw: Draw, page: str) -> None:
    said = well(draw(page, HOSTILE))
    assert "was ignored" in said
    assert "<img" not in said
    assert "<script>alert" not in said


# ---- explore -------------------------------------------------------------------------------------


def test_explore_counts_what_the_filter_matches(root: Path, draw: Draw) -> None:
    assert "<b>120 samples</b>" in well(draw("explore"))
    said = well(draw("explore", {"filter": "status:text_only"}))
    assert re.search(r"<b>\d+ samples</b>", said)
    assert "<b>120 samples</b>" not in said


def test_explore_pages_forward_and_back(root: Path, draw: Draw) -> None:
    app = draw("explore", {"size": "24", "sort": "row_idx"})
    app.button("Next-above").click().run()
    well(app)
    assert app.query_params["page"] == ">23.0,23"
    app.button("First-above").click().run()
    assert "page" not in app.query_params


def test_explore_opens_a_sample_by_link_and_steps_on(root: Path, draw: Draw) -> None:
    app = draw("explore", {"sample": "7", "sort": "row_idx"})
    well(app)
    app.button("sample-next").click().run()
    assert app.query_params["sample"] == "8"
    app.button("sample-back").click().run()
    well(app)
    assert "sample" not in app.query_params


def test_explore_reports_a_missing_sample(root: Path, draw: Draw) -> None:
    assert "No such sample" in well(draw("explore", {"sample": "4711"}))


def test_explore_reports_an_invalid_typed_filter(root: Path, draw: Draw) -> None:
    app = draw("explore")
    app.text_input("filter.expression").set_value("visnec:abc").run()
    said = well(app)
    assert "Invalid filter" in said
    assert "visnec:abc" in said
    assert "filter" not in app.query_params
    app.text_input("filter.expression").set_value("visnec:..0.2").run()
    assert "Invalid filter" not in well(app)
    assert app.query_params["filter"] == "visnec:..0.2"


# ---- subset --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rule", ["threshold", "top-share", "top-count", "paper", "paper-code", "random"]
)
def test_subset_shows_the_outcome_of_each_rule(root: Path, draw: Draw, rule: str) -> None:
    said = well(draw("subset", {"rule": rule}))
    assert "Samples in the subset" in said
    assert "All samples" in said


def test_subset_reports_limits_that_keep_nothing(root: Path, draw: Draw) -> None:
    said = well(draw("subset", {"minimum": "0.5", "maximum": "0.5"}))
    assert "This rule cannot be applied" in said


def test_subset_goes_from_a_rule_to_a_verified_export(root: Path, draw: Draw) -> None:
    opened = {"export-options-best-0": True, "delete-best-0": True}
    app = draw("subset", {"rule": "top-count", "count": "20", "hand": "0"}, opened)
    app.text_input("subset_name").set_value("best")
    _press(app, "Save")
    assert "Saved as best" in well(app)
    app.button("export-best").click().run()
    assert "Exported 20 samples of best" in well(app)
    assert (root / "exports" / "best" / "manifest.json").is_file()
    app.button("verify-best").click().run()
    assert "Verified: 20 samples rebuilt" in well(app)
    file = root / "exports" / "best" / "samples.json"
    file.write_bytes(file.read_bytes().replace(b"[", b"{", 1))
    app.button("verify-best").click().run()
    assert "This export differs" in well(app)
    app.button("forget-best").click().run()
    assert "Deleted best" in well(app)
    assert not (root / "subsets" / "best.json").exists()


def test_subset_verifies_again_if_another_action_aborts_it(
    root: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {"rule": "top-count", "count": "20", "hand": "0"}
    app = draw("subset", parameters, {"export-options-best-0": True})
    app.text_input("subset_name").set_value("best")
    _press(app, "Save")
    app.button("export-best").click().run()
    with monkeypatch.context() as patched:  # what Streamlit does when another action arrives
        patched.setattr(exports, "verify_manifest", lambda *_: st.stop())
        app.button("verify-best").click().run()
    assert "Verified" not in well(app)
    assert "Verified: 20 samples rebuilt" in well(app.run())


def test_subset_rejects_a_name_in_use_and_an_invalid_name(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "top-count", "count": "20"})
    for name, answer in (
        ("best", "Saved as best"),
        ("../up", "Invalid subset name"),
        ("", "Type a name for this subset"),
    ):
        app.text_input("subset_name").set_value(name)
        _press(app, "Save")
        assert answer in well(app)
    app.number_input("view.count").set_value(10).run()
    app.text_input("subset_name").set_value("best")
    _press(app, "Save")
    assert "already saved with other settings" in well(app)
    app.checkbox("subset_replace").check()
    app.text_input("subset_name").set_value("best")
    _press(app, "Save")
    assert "Saved as best" in well(app)


def test_subset_opens_a_saved_one_again(root: Path, draw: Draw) -> None:
    app = draw("subset", {"rule": "top-share", "share": "0.2"})
    app.text_input("subset_name").set_value("fifth")
    _press(app, "Save")
    app.number_input("view.share").set_value(50.0).run()
    assert app.query_params["share"] == "0.5"
    app.button("open-fifth").click().run()
    well(app)
    assert app.query_params["share"] == "0.2"


def test_subset_with_a_damaged_definition_still_shows_the_rest(root: Path, draw: Draw) -> None:
    (root / "subsets").mkdir(exist_ok=True)
    (root / "subsets" / "torn.json").write_text("{")
    said = well(draw("subset"))
    assert "Saved subsets cannot be listed" in said
    assert "No exports yet" in said


def _press(app: AppTest, label: str) -> None:
    next(one for one in app.button if one.label == label).click().run()


def test_first_hits_are_shown_while_all_samples_are_searched(
    root: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "_SEARCH_ROWS", 30)
    link = {"filter": "text:colour", "size": "24"}
    with monkeypatch.context() as never:
        never.setattr(explore, "read_page", lambda *_: st.stop())
        begun = well(draw("explore", link))
    assert "hits, counting …" in begun
    assert "of 120 samples searched" in begun
    ended = well(draw("explore", link))
    assert "counting" not in ended
    assert re.search(r"<b>\d+ samples</b>", ended)
    # All is known now, so nothing is shown meanwhile.
    monkeypatch.setattr(explore, "read_page", lambda *_: st.stop())
    assert "counting" not in well(draw("explore", link))


def test_the_overview_warns_of_an_unfit_model(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path / "negative", visnec=[-0.5] * 30, with_images=False)
    build_database(workspace)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(workspace.root))
    said = written(draw("overview"))
    assert "This model may not be fit for the task" in said
    assert "100 % of the scores are negative" in said


def test_the_overview_notes_what_training_on_the_dataset_does(root: Path, draw: Draw) -> None:
    said = written(draw("overview"))
    assert "has seen its wrong answers" in said
    assert "may not be fit" not in said


def test_the_overview_warns_of_a_run_that_ignores_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "equal"))
    options = {"with_images": False, "with_predictions": False}
    build_database(make_workspace(tmp_path / "equal", visnec=[0.0] * 30, **options))
    said = written(draw("overview"))
    assert "This run seems to ignore the image: 30 of 30 losses are the same" in said
    assert "Use of the images: 0 of 30 losses differ from baseline “no image”" in said
    build_database(make_workspace(tmp_path / "few", visnec=[0.0] * 19, **options))
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "few"))
    said = written(draw("overview"))
    assert "ignore the image" not in said
    assert "not checked, as 19 losses can be compared and 20 are needed" in said


def test_the_list_names_its_scores_where_they_are_the_order(root: Path, draw: Draw) -> None:
    shown = re.compile(r"this page: \+\d\.\d\d to [+−]\d\.\d\d")
    assert shown.search(well(draw("explore")))
    assert not shown.search(well(draw("explore", {"sort": "row_idx"})))
