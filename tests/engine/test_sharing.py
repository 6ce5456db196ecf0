"""Several processes on one run: shared, taken over, killed at random; the rows are the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from scoring.database.connection import Store
from scoring.database.queries.overview import status_counts
from scoring.database.values import Scope
from scoring.dataset.importing import import_dataset
from scoring.engine.pipeline import score_dataset
from scoring.errors import StorageError
from scoring.models.base import EncodedSample
from scoring.runs.progress import read_progress
from scoring.runs.record import read_run_or_latest
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.fakes import FakeModel

N = 300
SCORE = """
import sys, time
from pathlib import Path
from scoring.engine import plan
from scoring.engine import runner
from scoring.engine.pipeline import score_dataset
from scoring.workspace import open_workspace
from tests.fakes import FakeModel

class Slow(FakeModel):
    def _batch_losses(self, batch):
        time.sleep(0.02)
        return super()._batch_losses(batch)

plan.CHUNK_ROWS, runner.FLUSH_SECONDS = 4, 0.1
score_dataset(open_workspace(Path(sys.argv[1])), Slow(), run_id="run")
"""
VISNEC = """
from scoring.engine import plan
from scoring.engine import runner
plan.CHUNK_ROWS, runner.FLUSH_SECONDS = 8, 0.2
from scoring.cli import main
main()
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "yes it is"}]
    records = [{"id": str(row), "image": "a.png", "conversations": turns} for row in range(N)]
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def rows_of(workspace: Workspace, run_id: str = "run") -> list[int]:
    """Rows of all parts, sorted; reading fails if a part is incomplete."""
    parts = (workspace.run_dir(run_id) / "scores").glob("part-*.parquet")
    return sorted(row for part in parts for row in pq.read_table(part)["row_idx"].to_pylist())


def start(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
    )


def wait_for(workspace: Workspace, n: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until ``n`` samples are done, or the process has ended."""
    while process.poll() is None:
        progress = read_progress(workspace, "run")
        if progress and progress.done >= n:
            return
        time.sleep(0.01)


def test_threads_that_score_one_run_share_its_rows(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 4)
    models = [FakeModel() for _ in range(3)]
    threads = [
        threading.Thread(target=score_dataset, args=(workspace, model), kwargs={"run_id": "run"})
        for model in models
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows_of(workspace) == list(range(N))
    assert list((workspace.run_dir("run") / "claims" / "score").iterdir()) == []


def test_processes_killed_at_random_neither_lose_nor_duplicate_rows(workspace: Workspace) -> None:
    """Two share the run; one of them is killed again and again and restarted."""
    draw = random.Random(1)  # noqa: S311 - when to kill
    steady = start(SCORE, str(workspace.root))
    for kill in range(3):
        process = start(SCORE, str(workspace.root))
        wait_for(workspace, 40 * kill + draw.randrange(40), process)
        process.kill()
        process.wait()
    steady.kill()
    steady.wait()
    summary = score_dataset(workspace, FakeModel(), run_id="run")
    assert (summary.done, summary.statuses) == (N, {"scored": N})
    assert rows_of(workspace) == list(range(N))


def test_expired_lease_does_not_write_twice(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = workspace.run_dir("run") / "claims" / "score"

    class Sleeping(FakeModel):
        """While it sleeps in its first batch, its leases expire and another scores everything."""

        def _batch_losses(self, batch: Sequence[EncodedSample]) -> list[NDArray[np.float32]]:
            if not self.batches:
                for path in claims.glob("chunk-*.lock"):
                    os.utime(path, (0, 0))
                score_dataset(workspace, FakeModel(), run_id="run")
            return super()._batch_losses(batch)

    monkeypatch.setattr("scoring.runs.leases.HEARTBEAT_SECONDS", 1000.0)
    summary = score_dataset(workspace, Sleeping(), run_id="run")
    assert (summary.done, summary.stopped) == (N, False)
    assert rows_of(workspace) == list(range(N))


def test_a_row_computed_by_two_processes_counts_once(workspace: Workspace) -> None:
    score_dataset(workspace, FakeModel(), run_id="run")
    scores = workspace.run_dir("run") / "scores"
    part = next(scores.glob("part-*.parquet"))
    (scores / "part-000000-twice.parquet").write_bytes(part.read_bytes())
    summary = score_dataset(workspace, FakeModel(), run_id="run")
    assert (summary.done, summary.statuses) == (N, {"scored": N})
    frame = status_counts(
        Store(workspace).selection(Scope(read_run_or_latest(workspace, None).run_id))
    )
    assert int(frame["n"].sum()) == N


def test_a_full_disk_is_reported_and_leaves_no_partial_part(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third part exceeds the file size limit of the process, which fails like a full disk."""
    monkeypatch.setattr("scoring.engine.plan.CHUNK_ROWS", 50)
    monkeypatch.setattr("scoring.engine.runner.FLUSH_SECONDS", 0.0)
    written = pq.write_table

    def full(table: object, file: object, **options: object) -> None:
        if len(list((workspace.run_dir("run") / "scores").glob("part-*"))) == 2:
            file.write(b"half a part")  # type: ignore[attr-defined]
            raise OSError(28, "No space left on device")
        written(table, file, **options)

    monkeypatch.setattr("scoring.runs.journal.pq.write_table", full)
    expected = r"No space left on device\)\. 100 of 300 samples are saved"
    with pytest.raises(StorageError, match=expected):
        score_dataset(workspace, FakeModel(), run_id="run")
    scores = workspace.run_dir("run") / "scores"
    assert len(rows_of(workspace)) == 100
    assert [path.name for path in scores.iterdir() if not path.name.startswith("part-")] == []
    progress = read_progress(workspace, "run")
    assert progress is not None
    assert (progress.state, progress.done) == ("stopped", 100)
    monkeypatch.setattr("scoring.runs.journal.pq.write_table", written)
    score_dataset(workspace, FakeModel(), run_id="run")
    assert rows_of(workspace) == list(range(N))


def test_old_unfinished_files_are_removed_and_recent_ones_kept(workspace: Workspace) -> None:
    scores = workspace.run_dir("run") / "scores"
    scores.mkdir(parents=True)
    for name, age in (("old", 3600), ("new", 0)):
        path = scores / f".part-000000-{name}.parquet.1.tmp"
        path.write_bytes(b"half")
        moment = time.time() - age
        os.utime(path, (moment, moment))
    score_dataset(workspace, FakeModel(), run_id="run")
    assert [path.name for path in scores.glob(".*")] == [".part-000000-new.parquet.1.tmp"]


def values_of(root: Path, run_id: str) -> dict[int, tuple[str, list[float]]]:
    """Status and loss sums of every row of the run."""
    parts = sorted((root / "runs" / run_id / "scores").glob("part-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return {
        row["row_idx"]: (
            row["status"],
            [
                turn[name]
                for turn in row["turns"]
                for name in ("loss_text_sum", "loss_multimodal_sum")
            ],
        )
        for row in rows
    }


@pytest.mark.long
def test_twenty_kills_of_the_real_command_change_nothing(demo_workspace: Path) -> None:
    place = open_workspace(demo_workspace)
    command = ["score", "-w", str(demo_workspace), "--model", "tiny-vlm", "--run"]
    assert start(VISNEC, *command, "undisturbed").wait() == 0
    draw = random.Random(20)  # noqa: S311 - when to kill
    killed = 0
    while killed < 20:
        process = start(VISNEC, *command, "run")
        before = len(rows_of(place))
        if killed % 4 == 3:
            time.sleep(draw.uniform(0, 6))  # while it loads, or later
        else:
            wait_for(place, min(before + draw.randrange(1, 40), 590), process)
            time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    assert start(VISNEC, *command, "run").wait() == 0
    assert rows_of(place) == rows_of(place, "undisturbed") == list(range(600))
    expected, found = values_of(demo_workspace, "undisturbed"), values_of(demo_workspace, "run")
    for row, (status, losses) in expected.items():
        assert found[row][0] == status
        assert found[row][1] == pytest.approx(losses, abs=1e-4)
    leftovers = (demo_workspace / "runs" / "run" / "claims" / "score").iterdir()
    assert list(leftovers) == []
