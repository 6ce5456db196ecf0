"""Runs of edits: what they score, how they resume, and that nothing takes them for other runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from scoring import cli
from scoring.database.connection import Store
from scoring.database.queries.browse import fetch_page
from scoring.database.queries.edited_scores import (
    find_current_scores,
    list_score_changes,
    read_edited_scores,
)
from scoring.database.queries.overview import fetch_scopes
from scoring.database.values import Scope
from scoring.demo.build import DEMO_RUN
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.engine.workers import Job
from scoring.errors import InputError, RecordError, RunConflictError
from scoring.exports.editing import undo_edit
from scoring.models.options import ModelOptions
from scoring.reviews.decisions import open_review_log
from scoring.reviews.edits import DropTurn, Edit, RemoveImage, SetText
from scoring.reviews.pinned_edits import pin_edits
from scoring.runs.record import read_run, read_run_or_latest
from scoring.subsets.create import SelectOptions, create_subsets
from scoring.workspace import Workspace, open_workspace
from scoring.workspace_summary import read_status
from tests.edited_workspace import LOSSES, edit, make_edit_workspace, score_edited
from tests.fakes import FakeModel


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Four samples with the answer "wrong"; the last one has a second answer, "later"."""
    return make_edit_workspace(tmp_path)


def scores_of(workspace: Workspace, run_id: str) -> dict[int, float | None]:
    scores = read_edited_scores(Store(workspace), run_id=run_id)
    return {score.row_idx: score.visnec for score in scores}


def test_only_edited_samples_are_scored_and_with_their_edit(workspace: Workspace) -> None:
    whole = score_dataset(workspace, FakeModel(LOSSES)).run_id
    edit(workspace, 1, SetText(1, "right"), event_id="e1")
    edit(workspace, 3, DropTurn(1), event_id="e3")
    summary = score_dataset(workspace, FakeModel(LOSSES), edits=pin_edits(workspace))
    assert (summary.done, summary.total) == (2, 2)
    assert scores_of(workspace, summary.run_id) == {1: 2.0, 3: 4.0}
    changes = list_score_changes(Store(workspace), read_run(workspace, summary.run_id))
    assert [(each.after.row_idx, each.before, each.run_before) for each in changes] == [
        (1, -1.0, whole),
        (3, 1.5, whole),
    ]
    assert [each.after.event_id for each in changes] == ["e1", "e3"]
    assert [pin.row_idx for pin in read_run(workspace, summary.run_id).edits] == [1, 3]


def test_the_scores_are_in_no_table_of_other_runs(workspace: Workspace) -> None:
    whole = score_dataset(workspace, FakeModel(LOSSES)).run_id
    before = Store(workspace).snapshot().fetch_rows("FROM scores ORDER BY row_idx")
    edit(workspace, 0, SetText(1, "right"))
    run_id = score_edited(workspace)
    store = Store(workspace)
    assert store.snapshot().fetch_rows("FROM scores ORDER BY row_idx") == before
    assert fetch_scopes(store)["run_id"].tolist() == [whole]
    for table in ("runs", "scores", "turn_scores", "baseline_spans"):
        count = f"SELECT count(*) FROM {table} WHERE run_id = $run_id"
        assert store.snapshot().fetch_value(count, {"run_id": run_id}) == 0
    assert read_run_or_latest(workspace, None).run_id == whole


def test_whatever_needs_a_whole_run_refuses_one_of_edits_by_name(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(LOSSES))
    edit(workspace, 0, SetText(1, "right"))
    score_edited(workspace, run_id="fixed")
    store = Store(workspace)
    refusal = "'fixed' is a run of edits"
    with pytest.raises(InputError, match=refusal):
        read_run_or_latest(workspace, "fixed")
    with pytest.raises(InputError, match=refusal):
        create_subsets(workspace, store, SelectOptions("s", "threshold", min=0.0, run_id="fixed"))
    with pytest.raises(InputError, match=refusal):
        predict_dataset(workspace, FakeModel(LOSSES), "fixed")
    with pytest.raises(InputError, match=refusal):
        fetch_page(store.selection(Scope("fixed", "none")))


def test_a_run_of_edits_resumes_and_a_further_edit_starts_another(workspace: Workspace) -> None:
    edit(workspace, 0, SetText(1, "right"))
    edit(workspace, 1, SetText(1, "right"))
    first = score_edited(workspace, limit=1)
    assert scores_of(workspace, first) == {0: 2.0, 1: None}
    assert score_edited(workspace) == first
    assert scores_of(workspace, first) == {0: 2.0, 1: 2.0}
    edit(workspace, 1, SetText(1, "later"))
    second = score_edited(workspace)
    assert second != first
    assert scores_of(workspace, second) == {0: 2.0, 1: 4.0}
    assert scores_of(workspace, first) == {0: 2.0, 1: 2.0}


def test_a_named_run_of_edits_refuses_other_edits(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(LOSSES), run_id="whole")
    edit(workspace, 0, SetText(1, "right"))
    edit(workspace, 1, SetText(1, "right"))
    score_edited(workspace, run_id="fixed")
    edit(workspace, 1, SetText(1, "later"))
    with pytest.raises(RunConflictError, match="1 of 2 were replaced or undone, 1 are new"):
        score_edited(workspace, run_id="fixed")
    with pytest.raises(RunConflictError, match="edits: none then, 2 edits now"):
        score_edited(workspace, run_id="whole")
    with pytest.raises(RunConflictError, match="edits: 2 edits then, none now"):
        score_dataset(workspace, FakeModel(LOSSES), run_id="fixed")


def test_a_score_is_current_until_the_next_edit(workspace: Workspace) -> None:
    whole = score_dataset(workspace, FakeModel(LOSSES)).run_id
    edit(workspace, 0, SetText(1, "right"), event_id="e1")
    run_id = score_edited(workspace)
    other = score_edited(workspace, FakeModel(LOSSES, fingerprint="other"))
    scope = Scope(whole, "none")
    [(score, is_same)] = find_current_scores(Store(workspace), scope, {0: "e1"}).values()
    assert (score.run_id, score.visnec, is_same) == (run_id, 2.0, True)
    assert other != run_id
    assert read_status(workspace)["edits"] == {"samples": 1, "to_score": 0}
    edit(workspace, 0, SetText(1, "later"), event_id="e2")
    assert find_current_scores(Store(workspace), scope, {0: "e2"}) == {}
    status = read_status(workspace)
    assert status["edits"] == {"samples": 1, "to_score": 1}
    of_runs = {run["run_id"]: run["edits"] for run in status["runs"]}
    assert of_runs == {
        whole: None,
        run_id: {"samples": 1, "stale": 1},
        other: {"samples": 1, "stale": 1},
    }
    undo_edit(workspace, 0, reviewer="ada")
    assert read_status(workspace)["edits"] == {"samples": 1, "to_score": 0}


def test_a_score_by_another_model_is_not_compared(workspace: Workspace) -> None:
    whole = score_dataset(workspace, FakeModel(LOSSES)).run_id
    edit(workspace, 0, SetText(1, "right"), event_id="e1")
    run_id = score_edited(workspace, FakeModel(LOSSES, fingerprint="other"))
    [(score, is_same)] = find_current_scores(
        Store(workspace), Scope(whole, "none"), {0: "e1"}
    ).values()
    assert (score.run_id, is_same) == (run_id, False)
    [change] = list_score_changes(Store(workspace), read_run(workspace, run_id))
    assert (change.before, change.run_before) == (None, None)


def test_blind_baselines_are_those_of_a_run(workspace: Workspace) -> None:
    whole = score_dataset(workspace, FakeModel(LOSSES), baselines=("none", "gray")).run_id
    edit(workspace, 0, SetText(1, "right"))
    run_id = score_edited(workspace, baselines=("gray",))
    [change] = list_score_changes(Store(workspace), read_run(workspace, run_id))
    assert (change.after.baseline, change.run_before) == ("gray", whole)


def test_an_edit_without_image_or_without_fit_gets_its_status(workspace: Workspace) -> None:
    edit(workspace, 2, RemoveImage(0))
    run_id = score_edited(workspace)
    [score] = read_edited_scores(Store(workspace), run_id=run_id)
    assert (score.status, score.visnec) == ("text_only", None)
    log = open_review_log(workspace, "ada", "desk")
    log.append_edit(0, Edit((SetText(1, "x"),), "other", "the digest of another text"))
    with pytest.raises(RecordError, match="edit of row 0 by ada cannot be applied"):
        score_edited(workspace)


def test_what_a_run_of_edits_does_not_keep_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"No sample in .* has an edit"):
        pin_edits(workspace)
    edit(workspace, 0, SetText(1, "right"))
    for name in ("tokens", "leave_one_out"):
        with pytest.raises(InputError, match=f"Leave out --{name.replace('_', '-')}"):
            score_edited(workspace, **{name: True})
    edit(workspace, 0)
    with pytest.raises(InputError, match=r"No sample in .* has an edit"):
        pin_edits(workspace)


def test_workers_score_the_edits_that_were_pinned_when_they_started(workspace: Workspace) -> None:
    edit(workspace, 0, SetText(1, "right"))
    options = ScoreOptions(edits=pin_edits(workspace))
    job = Job(str(workspace.root), ModelOptions("tiny-vlm"), options)
    again = Job.from_json(job.to_json())
    assert again == job
    edit(workspace, 0, SetText(1, "later"))
    run_id = score_dataset(workspace, FakeModel(LOSSES), again.score).run_id
    assert scores_of(workspace, run_id) == {0: 2.0}


def test_a_stopped_run_of_edits_shows_what_is_left(workspace: Workspace) -> None:
    edit(workspace, 0, SetText(1, "right"))
    stop = threading.Event()
    stop.set()
    summary = score_dataset(workspace, FakeModel(LOSSES), edits=pin_edits(workspace), stop=stop)
    assert (summary.done, summary.total, summary.stopped) == (0, 1, True)
    [score] = read_edited_scores(Store(workspace))
    assert (score.status, score.visnec) == ("pending", None)


def test_the_command_scores_edits_alone_and_with_workers(
    demo_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISNEC_WORKSPACE", str(demo_workspace))
    edit(open_workspace(demo_workspace), 5, SetText(1, "Seven"))
    command = ["score", "--model", "tiny-vlm", "--edited", "--run", "fixed", "--json"]
    [change] = json.loads(invoke(*command).stdout)["changes"]
    assert (change["row_idx"], change["status"], change["run_before"]) == (5, "scored", DEMO_RUN)
    assert change["visnec"] != change["before"]
    [listed] = json.loads(invoke("edits", "--json").stdout)
    assert listed["scores"][0]["visnec"] == change["visnec"]
    shared = [*command[:-3], "--run", "shared", "--workers", "2", "--json"]
    [again] = json.loads(invoke(*shared).stdout)["changes"]
    assert again["visnec"] == pytest.approx(change["visnec"], abs=1e-6)
    status = invoke("status").stdout
    assert "fixed is a run of edits: 1 edited samples, 0 of them" in status
    assert "Edited samples: 1, all scored" in status
    with pytest.raises(InputError, match="is a run of edits"):
        invoke("select", "--name", "s", "--rule", "threshold", "--min", "0", "--run", "fixed")
    with pytest.raises(InputError, match="Leave out --predict"):
        invoke(*command, "--predict")


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result
