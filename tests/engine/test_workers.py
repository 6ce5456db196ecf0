"""Workers: their environment, and how the command ends when they exit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scoring.engine.baselines import BaselineSettings
from scoring.engine.options import ScoreOptions
from scoring.engine.workers import Job, worker_environment
from scoring.models.options import ModelOptions

COMMAND = [sys.executable, "-c", "from scoring.cli import main; main()"]


def test_a_job_survives_serialisation() -> None:
    blind = BaselineSettings(("none", "shuffled"), shuffle_seed=7)
    options = ScoreOptions("run", blind, tokens=True, limit=5, retry=("bad_image",))
    job = Job("/ws", ModelOptions("tiny-vlm"), options)
    assert Job.from_json(job.to_json()) == job


def test_each_worker_has_its_gpu_and_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("scoring.engine.workers.usable_cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 6")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    devices = [worker_environment(n, 3, None)["CUDA_VISIBLE_DEVICES"] for n in range(3)]
    assert devices == ["4", "6", "4"]
    assert worker_environment(0, 3, "cpu")["CUDA_VISIBLE_DEVICES"] == "4, 6"
    environment = worker_environment(0, 3, "cpu")
    assert (environment["OMP_NUM_THREADS"], environment["VISNEC_CORES"]) == ("2", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert worker_environment(0, 3, "cpu")["OMP_NUM_THREADS"] == "5"


def start(root: Path, *options: str) -> subprocess.Popen[str]:
    command = ["score", "-w", str(root), "--model", "tiny-vlm", "--run", "shared", *options]
    return subprocess.Popen(
        [*COMMAND, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        cwd=Path(__file__).parents[2],
    )


def pids_at_work(root: Path, process: subprocess.Popen[str], n: int) -> list[int]:
    """The workers, once ``n`` of them have reported."""
    while process.poll() is None:
        files = list((root / "runs" / "shared" / "progress").glob("*.json"))
        if len(files) >= n:
            return [json.loads(file.read_text())["process"]["pid"] for file in files]
        time.sleep(0.01)
    return []


def rows_of(root: Path) -> list[int]:
    parts = (root / "runs" / "shared" / "scores").glob("part-*.parquet")
    return sorted(row for part in parts for row in pq.read_table(part)["row_idx"].to_pylist())


def test_a_dead_worker_is_reported_and_its_samples_are_taken_over(demo_workspace: Path) -> None:
    process = start(demo_workspace, "--workers", "2")
    os.kill(pids_at_work(demo_workspace, process, 1)[0], signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 1, said
    assert "ended with code -9; the other workers score its samples" in said
    assert "600 of 600 samples are done, 554 have a score. Progress is saved" in said
    assert rows_of(demo_workspace) == list(range(600))


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_all_workers_gracefully(demo_workspace: Path, how: signal.Signals) -> None:
    process = start(demo_workspace, "--workers", "2")
    pids = pids_at_work(demo_workspace, process, 2)
    process.send_signal(how)
    _, said = process.communicate()
    assert process.returncode == 130, said
    assert "Progress is saved" in said
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    kept = rows_of(demo_workspace)
    assert len(set(kept)) == len(kept) <= 600  # two workers may have finished by then
    again = start(demo_workspace)
    again.communicate()
    assert again.returncode == 0
    assert rows_of(demo_workspace) == list(range(600))


@pytest.mark.long
def test_workers_exit_when_their_parent_is_killed(demo_workspace: Path) -> None:
    process = start(demo_workspace, "--workers", "2")
    pids = pids_at_work(demo_workspace, process, 2)
    process.kill()
    process.wait()
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.1)
    kept = rows_of(demo_workspace)
    assert len(set(kept)) == len(kept)


@pytest.mark.long
def test_a_workers_load_error_is_reported(demo_workspace: Path) -> None:
    command = ["score", "-w", str(demo_workspace), "--model", "/nowhere", "--workers", "2"]
    done = subprocess.run(
        [*COMMAND, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 2
    assert "/nowhere" in done.stderr
    assert "Traceback" not in done.stderr
