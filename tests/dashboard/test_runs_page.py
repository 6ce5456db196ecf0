"""Runs: the record, the progress in words, every sample accounted for, and nothing yet."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dashboard.data.context import WORKSPACE_VARIABLE, Context
from dashboard.data.facts import read_prediction_counts
from dashboard.data.scores import read_status_counts, read_status_reasons
from dashboard.text import formatting
from scoring.runs.leases import identify_process
from scoring.runs.progress import RunProgress
from scoring.workspace import create_workspace
from tests.dashboard.conftest import Draw, written
from tests.synthetic import RUN_ID, make_workspace


def progress(state: str, **changes: object) -> RunProgress:
    """Progress at 50 of 200, two seconds a sample."""
    values: dict[str, object] = {
        "phase": "score",
        "done": 50,
        "total": 200,
        "rate": 0.5,
        "seconds_left": 300.0,
        "state": state,
        "updated_at": "2026-01-02T03:04:05+00:00",
        "pid": 77,
        "host": "desk",
        "statuses": {},
    }
    return RunProgress(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "age", "said"),
    [
        (
            progress("running"),
            1.0,
            "Scoring: 50 of 200 samples (25.0 %), 0.5 per second, 5 min left",
        ),
        (progress("running", phase="predict", seconds_left=None), 1.0, "Writing predictions: 50"),
        (progress("silent"), 120.0, "No report for 2 min while scoring at 50 of 200"),
        (progress("stopped"), 9e9, "Stopped while scoring at 50 of 200 samples (25.0 %)"),
        (progress("finished"), 9e9, "Finished 2026-01-02 03:04 UTC."),
    ],
)
def test_progress_is_formatted_as_a_sentence(given: RunProgress, age: float, said: str) -> None:
    assert formatting.describe_progress(given, age).startswith(said)


def test_the_record_and_every_status_are_shown(root: Path, context: Context, draw: Draw) -> None:
    app = draw("runs")
    said = written(app)
    assert not app.exception
    assert RUN_ID in said
    assert 'All samples</td><td class="number">120<' in said
    counts = read_status_counts(context)
    assert int(counts["n"].sum()) == 120
    reasons = read_status_reasons(context)
    for row in reasons["example_row_idx"]:
        assert f"sample={row}" in said
    predictions = read_prediction_counts(context.store)[RUN_ID]
    scored = int(counts.set_index("status")["n"]["scored"])
    assert predictions == scored
    assert f'<div class="vn-value">{predictions}</div>' in said


def test_baseline_parameters_are_shown(root: Path, draw: Draw) -> None:
    path = root / "runs" / RUN_ID / "run.json"
    more = {
        "baseline_parameters": {"blur_sigma": 0.05, "shuffle_seed": 1_234_567},
        "processor": "TinyProcessor, <b>Pil</b>",
        "device_name": "A device",
        "tokens": True,
    }
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | more))
    said = written(draw("runs"))
    assert "sigma 5 % of the image&#x27;s longer side" in said
    assert "<dt>Shuffle seed</dt><dd>1234567</dd>" in said
    assert "cpu (A device)" in said
    assert "TinyProcessor, &lt;b&gt;Pil&lt;/b&gt;" in said
    assert "<dt>Token values</dt><dd>stored</dd>" in said


def report(n_written: int, n_own: int, **changes: object) -> dict[str, object]:
    """What this process, which lives, reports of 120 samples."""
    values: dict[str, object] = {
        "phase": "score",
        "state": "running",
        "process": identify_process(),
        "updated_at": datetime.now(UTC).isoformat(),
        "total": 120,
        "rate": 1.5,
        "written": {"done": n_written, "statuses": {}, "sources": {"scenes": n_written}},
        "in_flight": {"done": n_own, "statuses": {}, "sources": {"scenes": n_own}},
        "source_totals": {"scenes": 90, "digits": 30},
    }
    return values | changes


def test_an_active_run_shows_the_progress_of_its_processes(root: Path, draw: Draw) -> None:
    folder = root / "runs" / RUN_ID / "progress"
    folder.mkdir()
    (folder / "desk-1.json").write_text(json.dumps(report(18, 5)))
    (folder / "desk-2.json").write_text(json.dumps(report(20, 5)))
    app = draw("runs")
    assert not app.exception
    said = written(app)
    assert "Scoring: 30 of 120 samples (25.0 %), 3.0 per second, 30 s left, 2 processes" in said
    assert "scenes</td>" in said
    assert '<td class="number">30</td><td class="number">90</td>' in said


def test_a_workspace_without_runs_shows_how_to_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    make_workspace(tmp_path / "w", 5, with_run=False, with_clusters=False)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "w"))
    app = draw("runs")
    assert not app.exception
    assert "No run yet" in written(app)
    assert "visnec score" in written(app)


def test_an_empty_workspace_shows_how_to_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw: Draw
) -> None:
    create_workspace(tmp_path / "w")
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(tmp_path / "w"))
    app = draw("runs")
    assert not app.exception
    assert "visnec import" in written(app)
