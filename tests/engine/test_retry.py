"""``score --retry``: rows with a problem are scored again, and the latest outcome counts."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from scoring.cli import app
from scoring.database.connection import Store
from scoring.database.queries.detail import token_scores
from scoring.database.queries.overview import status_counts
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.engine.runner import RunSummary
from scoring.errors import InputError
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Five samples; the images of rows 1 and 3 are missing."""
    records = []
    for row in range(5):
        if row not in (1, 3):
            Image.new("RGB", (2, 2)).save(tmp_path / f"{row}.png")
        turns = [{"from": "human", "value": "<image>q"}, {"from": "gpt", "value": f"a{row}"}]
        records.append({"image": f"{row}.png", "conversations": turns})
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def scored(workspace: Workspace, *retry: str, stop: threading.Event | None = None) -> RunSummary:
    return score_dataset(workspace, FakeModel(), run_id="mine", tokens=True, retry=retry, stop=stop)


def parts(workspace: Workspace) -> dict[str, bytes]:
    folder = workspace.run_dir("mine") / "scores"
    return {path.name: path.read_bytes() for path in folder.glob("part-*.parquet")}


def shown(workspace: Workspace) -> dict[str, int]:
    frame = status_counts(Store(workspace).selection(Scope("mine")))
    return {status: n for status, n in zip(frame["status"], frame["n"], strict=True) if n}


def test_the_latest_outcome_counts_everywhere(workspace: Workspace) -> None:
    folder = workspace.root.parent
    assert scored(workspace).statuses == {"scored": 3, "missing_image": 2}
    first = parts(workspace)
    (folder / "1.png").write_text("no picture")
    (folder / "3.png").write_text("no picture")
    assert scored(workspace).statuses == {"scored": 3, "missing_image": 2}  # not requested
    assert parts(workspace) == first
    assert scored(workspace, "missing_image").statuses == {"scored": 3, "bad_image": 2}
    Image.new("RGB", (2, 2)).save(folder / "1.png")
    again = scored(workspace, "missing_image", "bad_image")
    assert (again.done, again.total, again.stopped) == (5, 5, False)
    assert again.statuses == shown(workspace) == {"scored": 4, "bad_image": 1}
    after = parts(workspace)
    assert {name: after[name] for name in first} == first  # parts never change
    store = Store(workspace)
    kept = [row for row in range(5) if token_scores(store, Scope("mine"), row) is not None]
    assert kept == [0, 1, 2, 4]
    assert predict_dataset(workspace, FakeModel(), "mine").done == 4


def test_nothing_to_retry_does_nothing(workspace: Workspace) -> None:
    assert scored(workspace, "bad_image").statuses == {"scored": 3, "missing_image": 2}
    before = parts(workspace)
    assert scored(workspace, "bad_image", "too_long").done == 5
    assert parts(workspace) == before


def test_a_stopped_retry_reports_it_and_resumes(workspace: Workspace) -> None:
    scored(workspace)
    stop = threading.Event()
    stop.set()
    assert scored(workspace, "missing_image", stop=stop).stopped
    Image.new("RGB", (2, 2)).save(workspace.root.parent / "3.png")
    assert scored(workspace, "missing_image").statuses == {"scored": 4, "missing_image": 1}


def test_only_statuses_that_may_change_are_retried(workspace: Workspace) -> None:
    for status in ("scored", "pending", "broken"):
        with pytest.raises(
            InputError, match=f"Cannot retry status '{status}'. Choose from: text_only"
        ):
            scored(workspace, status)
    command = ["score", "-w", str(workspace.root), "--model", "tiny-vlm", "--retry", "lost,image"]
    assert "Cannot retry status 'lost'" in str(CliRunner().invoke(app, command).exception)
