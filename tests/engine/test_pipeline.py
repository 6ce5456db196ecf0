"""From a file to a database with a model that returns typed losses: resume, stop, limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from scoring.cli.console import describe_progress
from scoring.database.connection import Store
from scoring.database.queries.overview import fetch_scopes, status_counts
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.errors import InputError, RunConflictError, WorkspaceError
from scoring.models.base import EncodedSample
from scoring.runs.progress import read_progress
from scoring.runs.record import list_runs, read_run, read_run_or_latest
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel


def record(row: int, image: str | None) -> dict[str, object]:
    turns = [{"from": "human", "value": "q"}, {"from": "gpt", "value": f"a{row} end"}]
    return {"id": str(row), "conversations": turns} | ({"image": image} if image else {})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Ten records: images a, b, a, b, ..., row 4 text-only, row 7 with a missing image."""
    for name in "ab":
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    records = [record(row, "ab"[row % 2] + ".png") for row in range(10)]
    records[4] = record(4, None)
    records[7] = record(7, "gone.png")
    (tmp_path / "data.json").write_text(json.dumps(records))
    place = create_workspace(tmp_path / "ws")
    import_dataset(place, [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def rows_of(workspace: Workspace, kind: str = "scores") -> list[int]:
    run = read_run_or_latest(workspace, None).run_id
    parts = sorted((workspace.run_dir(run) / kind).glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part)["row_idx"].to_pylist()]


def counts(workspace: Workspace) -> dict[str, int]:
    store = Store(workspace)
    frame = status_counts(store.selection(Scope(read_run_or_latest(workspace, None).run_id)))
    return dict(zip(frame["status"], frame["n"], strict=True))


def test_every_record_becomes_a_row_with_a_status(workspace: Workspace) -> None:
    summary = score_dataset(workspace, FakeModel())
    expected = {"scored": 8, "text_only": 1, "missing_image": 1}
    assert (summary.done, summary.total, summary.stopped) == (10, 10, False)
    assert summary.statuses == expected
    assert {status: n for status, n in counts(workspace).items() if n} == expected
    progress = read_progress(workspace, summary.run_id)
    assert progress is not None
    assert (progress.state, progress.done, progress.statuses) == ("finished", 10, expected)


def test_a_summary_counts_rows_with_a_result(workspace: Workspace, tmp_path: Path) -> None:
    summary = score_dataset(workspace, FakeModel(), baselines=("none", "gray"))
    assert (summary.done, summary.n_succeeded) == (10, 8)
    assert score_dataset(workspace, FakeModel(), run_id="first", limit=3).n_succeeded == 3
    (tmp_path / "a.png").unlink()  # of rows 0, 2, 6 and 8
    predicted = predict_dataset(workspace, FakeModel(), summary.run_id)
    assert (predicted.done, predicted.n_succeeded) == (8, 4)
    (tmp_path / "b.png").unlink()
    nothing = score_dataset(workspace, FakeModel(), run_id="nothing")
    assert (nothing.done, nothing.total, nothing.n_succeeded) == (10, 10, 0)
    assert describe_progress(nothing, "a score") == "10 of 10 samples are done, none has a score"


def test_rows_that_share_an_image_are_adjacent(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel())
    assert rows_of(workspace) == [0, 2, 6, 8, 1, 3, 5, 9, 4, 7]


def test_a_second_call_does_nothing(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel())
    model = FakeModel()
    summary = score_dataset(workspace, model)
    assert (summary.done_before, summary.done, model.batches) == (10, 10, [])
    assert len(rows_of(workspace)) == 10


def test_a_limited_run_resumes_without_the_limit(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), limit=3)
    assert rows_of(workspace) == [0, 2, 6]
    assert counts(workspace)["pending"] == 6  # row 4 is text-only, which is known before its turn
    score_dataset(workspace, FakeModel())
    assert sorted(rows_of(workspace)) == list(range(10))
    assert len(list_runs(workspace)) == 1


def test_a_stopped_run_keeps_its_scores_and_resumes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 2)
    stop = threading.Event()

    class Stopping(FakeModel):
        def _batch_losses(self, batch: Sequence[EncodedSample]) -> list[NDArray[np.float32]]:
            stop.set()
            return super()._batch_losses(batch)

    summary = score_dataset(workspace, Stopping(), stop=stop)
    assert (summary.stopped, summary.done, rows_of(workspace)) == (True, 2, [0, 2])
    progress = read_progress(workspace, summary.run_id)
    assert progress is not None
    assert progress.state == "stopped"
    again = score_dataset(workspace, FakeModel())
    assert (again.done_before, again.stopped) == (2, False)
    assert sorted(rows_of(workspace)) == list(range(10))


class Stumbling(FakeModel):
    """Raises if a call contains one of ``answers``."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self._answers = set(answers)

    def answer_losses(self, samples: Sequence[EncodedSample]) -> list[NDArray[np.float32] | None]:
        if self._answers & {" ".join(sample.pieces) for sample in samples}:
            raise RuntimeError("shapes do not match")
        return super().answer_losses(samples)


def test_a_failing_sample_gets_a_status_and_does_not_stop_the_run(
    workspace: Workspace,
) -> None:
    summary = score_dataset(workspace, Stumbling("a3 end"), baselines=("none", "gray"))
    assert (summary.done, summary.stopped) == (10, False)
    expected = {"scored": 7, "bad_record": 1, "text_only": 1, "missing_image": 1}
    assert summary.by_baseline == {"none": expected, "gray": expected}
    parts = (workspace.run_dir(summary.run_id) / "scores").glob("part-*.parquet")
    rows = [row for part in parts for row in pq.read_table(part).to_pylist() if row["row_idx"] == 3]
    reasons = {row["reason"] for row in rows}
    assert reasons == {"the model fails on it: RuntimeError: shapes do not match"}


def test_a_resumed_run_is_not_stopped_by_its_last_sample(workspace: Workspace) -> None:
    """No sample succeeds before it that would show that the model works."""
    score_dataset(workspace, FakeModel(), limit=7)
    rest = [row for row in range(10) if row not in rows_of(workspace)]
    assert rest == [4, 7, 9]  # only the last of them can be scored
    assert score_dataset(workspace, Stumbling("a9 end")).statuses["bad_record"] == 1


def test_a_model_that_fails_on_every_sample_marks_none(workspace: Workspace) -> None:
    with pytest.raises(RuntimeError, match="shapes do not match"):
        score_dataset(workspace, Stumbling(*(f"a{row} end" for row in range(10))))
    assert rows_of(workspace) == []


def test_scores_are_kept_when_the_device_is_lost(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 4)

    class Failing(FakeModel):
        def _batch_losses(self, batch: Sequence[EncodedSample]) -> list[NDArray[np.float32]]:
            if len(self.batches) == 2:
                raise RuntimeError("the device is gone")
            return super()._batch_losses(batch)

    with pytest.raises(RuntimeError, match="the device is gone"):
        score_dataset(workspace, Failing())
    assert rows_of(workspace) == [0, 2, 6, 8]
    score_dataset(workspace, FakeModel())
    assert sorted(rows_of(workspace)) == list(range(10))


def test_another_model_under_the_same_name_is_refused(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="mine")
    with pytest.raises(RunConflictError, match="model_fingerprint: 'fake' then, 'new' now"):
        score_dataset(workspace, FakeModel(fingerprint="new"), run_id="mine")
    with pytest.raises(RunConflictError, match="truncate: False then, True now"):
        score_dataset(workspace, FakeModel(), run_id="mine", truncate=True)


def test_other_settings_without_a_name_make_another_run(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel())
    score_dataset(workspace, FakeModel(fingerprint="new"))
    assert len(list_runs(workspace)) == 2
    assert list(fetch_scopes(Store(workspace))["n_scored"]) == [8, 8]


def test_an_unknown_baseline_is_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"Unknown baseline 'noise'\. Choose from: none"):
        score_dataset(workspace, FakeModel(), baselines=("noise",))


def test_an_unknown_run_lists_the_known_ones(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="mine")
    with pytest.raises(WorkspaceError, match=r"No run 'yours' in .*\. Runs: mine"):
        read_run(workspace, "yours")


def test_predictions_are_made_for_scored_samples_and_resume(workspace: Workspace) -> None:
    run = score_dataset(workspace, FakeModel()).run_id
    first = predict_dataset(workspace, FakeModel(), run, rows=np.array([0, 4, 9]))
    assert (first.done, rows_of(workspace, "predictions")) == (2, [0, 9])
    rest = predict_dataset(workspace, FakeModel(), run)
    assert (rest.done_before, rest.done) == (2, 8)
    parts = sorted((workspace.run_dir(run) / "predictions").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    assert {(row["prediction_text"], row["prediction_multimodal"]) for row in rows} == {
        ("blind", "seen")
    }
    with pytest.raises(InputError, match="was scored by fake, not by fake"):
        predict_dataset(workspace, FakeModel(fingerprint="new"), run)


def test_leftovers_of_a_kill_are_not_treated_as_parts(workspace: Workspace) -> None:
    run = score_dataset(workspace, FakeModel(), limit=2).run_id
    scores = workspace.run_dir(run) / "scores"
    (scores / ".part-000000-dead.parquet.1234.tmp").write_bytes(b"half")
    score_dataset(workspace, FakeModel())
    assert sorted(rows_of(workspace)) == list(range(10))


def test_a_failed_build_during_a_run_does_not_end_it(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder has the name of the database: no build can succeed, not even at the end."""
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 2)
    monkeypatch.setattr("scoring.engine.runner._FIRST_BUILD", 1)
    monkeypatch.setattr("scoring.engine.runner.FLUSH_SECONDS", 0.0)
    (workspace.database / "in the way").mkdir(parents=True)
    with (
        pytest.warns(RuntimeWarning, match="could not be updated during the run") as warned,
        pytest.raises(Exception, match=r"visnec\.duckdb"),
    ):
        score_dataset(workspace, FakeModel())
    assert len([one for one in warned if one.category is RuntimeWarning]) == 1
    assert sorted(rows_of(workspace)) == list(range(10))
