"""Scoring on a local Ray cluster: two actors, resuming, and resuming without Ray."""

from __future__ import annotations

import threading
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scoring.engine.distributed import score_distributed
from scoring.engine.options import ScoreOptions
from scoring.engine.pipeline import score_dataset
from scoring.engine.workers import Job
from scoring.errors import InputError
from scoring.models import load_model
from scoring.models.options import ModelOptions
from scoring.workspace import create_workspace, open_workspace

MODEL = ModelOptions("tiny-vlm", device="cpu")
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra [ray]")


def rows_of(root: Path) -> list[int]:
    parts = (root / "runs" / "ray" / "scores").glob("part-*.parquet")
    return sorted(row for part in parts for row in pq.read_table(part)["row_idx"].to_pylist())


def parts_of(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "runs" / "ray" / "scores").iterdir()}


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_without_ray_the_extra_is_named(demo_workspace: Path) -> None:
    with pytest.raises(InputError, match=r"pip install 'visnec-studio\[ray\]'"):
        score_distributed(open_workspace(demo_workspace), Job(str(demo_workspace), MODEL), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predict": "first"}, "ray cannot predict"),
        ({"score": ScoreOptions(retry=("bad_image",))}, "ray cannot retry"),
    ],
)
def test_unsupported_jobs_are_refused_before_any_work(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    place = create_workspace(tmp_path / "place")
    with pytest.raises(InputError, match=message):
        score_distributed(place, Job(str(place.root), MODEL, **options), 2)
    assert not any(place.root.glob("runs/*"))


@needs_ray
@pytest.mark.long
def test_two_actors_resume_a_run_that_a_plain_process_finds_complete(
    demo_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_workspace(demo_workspace)
    model = load_model(**asdict(MODEL))
    monkeypatch.setattr("scoring.engine.distributed.BATCH_CHUNKS", 1)
    first = score_dataset(place, model, run_id="ray", limit=200)
    assert (first.done, rows_of(demo_workspace) != []) == (200, True)
    before = {path.name for path in (demo_workspace / "runs" / "ray" / "scores").iterdir()}

    job = Job(str(demo_workspace), MODEL, ScoreOptions("ray"))
    outcome = score_distributed(place, job, 2)
    assert (outcome.run_id, outcome.stopped, outcome.lost) == ("ray", False, ())
    assert rows_of(demo_workspace) == list(range(600))
    names = {path.name for path in (demo_workspace / "runs" / "ray" / "scores").iterdir()}
    assert before < names
    pids = list((demo_workspace / "runs" / "ray" / "progress").glob("*.json"))
    assert len(pids) >= 2  # both actors have reported

    again = score_dataset(place, model, run_id="ray")
    assert (again.done_before, again.done) == (600, 600)


@needs_ray
@pytest.mark.long
def test_ray_resumes_a_run_that_it_stopped(
    demo_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_workspace(demo_workspace)
    job = Job(str(demo_workspace), MODEL, ScoreOptions("ray"))
    monkeypatch.setattr("scoring.engine.distributed.BATCH_CHUNKS", 1)
    stop = threading.Event()
    stopped = score_distributed(place, job, 2, on_progress=lambda _: stop.set(), stop=stop)
    kept = rows_of(demo_workspace)
    assert (stopped.run_id, stopped.stopped) == ("ray", True)
    assert 0 < len(kept) == len(set(kept)) < 600
    before = parts_of(demo_workspace)

    again = score_distributed(place, job, 2)
    assert (again.run_id, again.stopped) == ("ray", False)
    assert rows_of(demo_workspace) == list(range(600))  # no duplicates
    after = parts_of(demo_workspace)
    assert {name: after[name] for name in before} == before  # saved rows were not scored again


@needs_ray
@pytest.mark.long
def test_an_actors_error_is_raised_unchanged(demo_workspace: Path) -> None:
    job = Job(str(demo_workspace), ModelOptions("/nowhere", device="cpu"))
    with pytest.raises(InputError, match="/nowhere"):
        score_distributed(open_workspace(demo_workspace), job, 1)
