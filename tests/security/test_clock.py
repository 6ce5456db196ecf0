"""A clock that went back: files on disk have timestamps in the future."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scoring.database.build.build import build_database
from scoring.database.build.refresh import build_if_outdated
from scoring.database.connection import Store
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import score_dataset
from scoring.runs.progress import read_progress
from scoring.runs.record import list_runs
from scoring.workspace import Workspace, create_workspace, open_workspace, write_json
from tests.fakes import FakeModel
from tests.synthetic import run_record, typed_row, write_images

N = 24
BACK = timedelta(days=1)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    rows = [typed_row(0.5, i) for i in range(N)]
    write_images(tmp_path / "images", rows)
    records = [
        {
            "image": row.image,
            "conversations": [
                {"from": "human", "value": f"<image>\nQuestion {i}?"},
                {"from": "gpt", "value": f"answer {i}"},
            ],
        }
        for i, row in enumerate(rows)
    ]
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(
        create_workspace(tmp_path / "ws"), [tmp_path / "data.json"], [tmp_path / "images"]
    )
    return open_workspace(tmp_path / "ws")


def set_back(root: Path) -> None:
    """Simulate a clock that was set back: move the modification times of all files a day ahead."""
    ahead = time.time() + BACK.total_seconds()
    for path in root.rglob("*"):
        os.utime(path, (ahead, ahead))


def write_report(folder: Path, **changes: Any) -> Path:
    """Write the progress report of a process on another machine that was killed."""
    path = folder / "elsewhere-7.json"
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"done": 10, "statuses": {}, "sources": {}}
    progress = {
        "phase": "score",
        "state": "running",
        "process": {"host": "elsewhere", "machine": "", "pid": 7, "started": ""},
        "updated_at": (datetime.now(UTC) + BACK).isoformat(timespec="seconds"),
        "total": N,
        "rate": 1.0,
        "written": counts,
        "in_flight": {**counts, "done": 0},
        "source_totals": {},
    }
    path.write_text(json.dumps(progress | changes))
    return path


def test_scoring_resumes_after_the_clock_went_back(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="run", limit=10)
    claims = workspace.run_dir("run") / "claims" / "score"
    claims.mkdir(parents=True, exist_ok=True)
    dead = {"host": "elsewhere", "machine": "", "pid": 7, "started": "", "token": "dead"}
    for chunk in range(N):
        (claims / f"chunk-{chunk:08d}.lock").write_text(json.dumps(dead))
    write_report(workspace.run_dir("run") / "progress")
    set_back(workspace.root)
    summary = score_dataset(workspace, FakeModel(), run_id="run")
    assert summary.statuses == {"scored": N}
    count = "SELECT count(*), count(DISTINCT row_idx) FROM scores WHERE status = 'scored'"
    assert Store(workspace).snapshot().fetch_rows(count, {}) == [(N, N)]


def test_a_killed_run_is_silent_instead_of_active(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="run", limit=10)
    write_report(workspace.run_dir("run") / "progress")
    set_back(workspace.root)
    progress = read_progress(workspace, "run")
    assert progress is not None
    assert progress.state == "silent"


def test_a_process_that_reports_again_is_active(workspace: Workspace) -> None:
    path = write_report(workspace.run_dir("run") / "progress")
    set_back(workspace.root)
    os.utime(path)  # the first report after the clock went back
    progress = read_progress(workspace, "run")
    assert progress is not None
    assert progress.state == "running"


def test_new_parts_are_noticed_despite_a_database_from_the_future(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="run", limit=10)
    build_database(workspace)
    set_back(workspace.root)
    score_dataset(workspace, FakeModel(), run_id="run", build=False)
    assert build_if_outdated(workspace) is not None
    count = "SELECT count(*) FROM scores WHERE status = 'scored'"
    assert Store(workspace).snapshot().fetch_rows(count, {}) == [(N,)]


def test_runs_with_future_dates_stay_in_the_list(workspace: Workspace) -> None:
    """Runs are ordered by the time in their record, the only time that all machines share."""
    ahead = (datetime.now(UTC) + BACK).isoformat(timespec="seconds")
    fingerprint = "0" * 64
    record = run_record("ahead", "fake", fingerprint, ["none"], ahead)
    write_json(workspace.run_dir("ahead") / "run.json", record)
    score_dataset(workspace, FakeModel(), run_id="after")
    assert [run.run_id for run in list_runs(workspace)] == ["after", "ahead"]
    count = "SELECT count(*) FROM scores WHERE run_id = 'after' AND status = 'scored'"
    assert Store(workspace).snapshot().fetch_rows(count, {}) == [(N,)]
