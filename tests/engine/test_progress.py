"""Progress of a run: per source and status, in parts and in flight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import predict_dataset, score_dataset
from scoring.runs.progress import RunProgress, read_progress
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

IMAGES = ("x/a.png", "x/a.png", "x/b.png", "x/gone.png", "y/c.png", "y/c.png", None)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Source x: rows 0 to 3, the last with a missing image; y: 4 and 5; data: 6, without one."""
    for name in ("x/a.png", "x/b.png", "y/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    records = []
    for row, image in enumerate(IMAGES):
        human = {"from": "human", "value": "<image>q" if image else "q"}
        turns = [human, {"from": "gpt", "value": f"a{row}"}]
        records.append({"conversations": turns} | ({"image": image} if image else {}))
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def told(progress: RunProgress) -> tuple[int, dict[str, int], dict[str, tuple[int, int]]]:
    return progress.done, progress.statuses, progress.sources


@pytest.mark.parametrize("flush_seconds", [0.0, 1e9], ids=["in parts", "in flight"])
def test_each_report_counts_by_source_and_by_status(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, flush_seconds: float
) -> None:
    """The counts are the same for samples in a part and in memory."""
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 2)
    monkeypatch.setattr("scoring.engine.runner._REPORT_SECONDS", 0.0)
    monkeypatch.setattr("scoring.engine.runner.FLUSH_SECONDS", flush_seconds)
    seen: list[RunProgress] = []
    baselines = ("none", "gray")  # each sample counts once, with its status under the first
    run = score_dataset(workspace, FakeModel(), baselines=baselines, on_progress=seen.append).run_id
    # The plan: 0 and 1 (x/a), 2 (x/b), 3 (x/gone), 4 and 5 (y/c), 6; in chunks of two.
    steps = [
        (0, {}, {"x": (0, 4), "y": (0, 2), "data": (0, 1)}),
        (2, {"scored": 2}, {"x": (2, 4), "y": (0, 2), "data": (0, 1)}),
        (4, {"scored": 3, "missing_image": 1}, {"x": (4, 4), "y": (0, 2), "data": (0, 1)}),
        (6, {"scored": 5, "missing_image": 1}, {"x": (4, 4), "y": (2, 2), "data": (0, 1)}),
    ]
    end = (
        7,
        {"scored": 5, "missing_image": 1, "text_only": 1},
        {"x": (4, 4), "y": (2, 2), "data": (1, 1)},
    )
    found = [told(one) for one in seen]
    assert [step for step in steps if step in found] == steps
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert {one.state for one in seen[:-1]} == {"running"}
    last = read_progress(workspace, run)
    assert last is not None
    assert (last.phase, last.state, last.total, last.n_processes) == ("score", "finished", 7, 0)
    assert told(last) == told(seen[-1]) == end


def test_predictions_count_their_samples_and_report_the_scores_statuses(
    workspace: Workspace,
) -> None:
    run = score_dataset(workspace, FakeModel()).run_id
    predict_dataset(workspace, FakeModel(), run)
    progress = read_progress(workspace, run)
    assert progress is not None
    assert (progress.phase, progress.state) == ("predict", "finished")
    assert told(progress) == (
        5,
        {"scored": 5, "missing_image": 1, "text_only": 1},
        {"x": (3, 3), "y": (2, 2)},
    )
