"""The visnec command as a user meets it: whole ways through, exit codes, interruptions."""

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
from PIL import Image

from scoring import cli
from scoring.runs.progress import read_progress
from scoring.workspace import open_workspace

COMMAND = [sys.executable, "-c", "from scoring.cli import main; main()"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}


def visnec(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=ENVIRONMENT,
        check=False,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty samples on twenty images, two of them without an image."""
    (tmp_path / "images").mkdir()
    records = []
    for row in range(40):
        colour = (row * 6, 255 - row * 6, 90)
        Image.new("RGB", (64, 64), colour).save(tmp_path / "images" / f"{row // 2}.png")
        human = {"from": "human", "value": "<image>\nWhat colour is it?"}
        record = {"id": str(row), "image": f"{row // 2}.png"}
        record["conversations"] = [human, {"from": "gpt", "value": "red"}]  # type: ignore[assignment]
        if row in (3, 30):
            del record["image"]
        records.append(record)
    (tmp_path / "data.json").write_text(json.dumps(records, indent=1))
    return tmp_path / "data.json"


def test_from_a_file_to_a_verified_export(data: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    imported = visnec("import", data, "-w", ws, "--images", data.parent / "images", "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["statuses"] == {"to score": 38, "text_only": 2}

    scored = visnec("score", "-w", ws, "--model", "tiny-vlm", "--predict", "--json")
    assert scored.returncode == 0, scored.stderr
    summary = json.loads(scored.stdout)
    assert summary["statuses"] == {"scored": 38, "text_only": 2}
    assert "demonstration model" in scored.stderr
    ended = "40 of 40 samples are done, 38 have a score; predictions: 38 of 38 samples are done, "
    assert f"{ended}38 have both" in " ".join(scored.stderr.split())

    clustered = visnec("cluster", "-w", ws, "--k", "2", "--embedder", "tfidf", "--json")
    assert clustered.returncode == 0, clustered.stderr
    assert sum(one["size"] for one in json.loads(clustered.stdout)["clusters"]) == 40

    selected = visnec(
        "select", "-w", ws, "--name", "half", "--rule", "top-share", "--share", "0.5", "--json"
    )
    assert selected.returncode == 0, selected.stderr
    outcome = json.loads(selected.stdout)
    assert outcome["n_selected"] == 19
    assert sum(one["samples"] for one in outcome["reasons"]) == 40

    exported = visnec("export", "half", "-w", ws)
    assert exported.returncode == 0, exported.stderr
    folder = Path(exported.stdout.strip())
    assert len(json.loads((folder / "samples.json").read_text())) == 19

    verified = visnec("verify", folder / "manifest.json", "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["verified"] is True

    with (folder / "samples.json").open("a") as file:
        file.write(" ")
    tampered = visnec("verify", folder / "manifest.json")
    assert tampered.returncode == 1
    assert "samples.json" in tampered.stderr

    status = visnec("status", "-w", ws, "--json")
    assert json.loads(status.stdout)["subsets"] == ["half"]
    assert visnec("build", "-w", ws).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nowhere.json", "-w", "ws"], "nowhere.json does not exist"),
        (["score", "-w", "ws", "--model", "tiny-vlm"], "ws is not a workspace"),
        (["status", "-w", "ws"], "ws is not a workspace"),
        (["export", "x", "-w", "ws"], "ws is not a workspace"),
        (["verify", "nowhere/manifest.json"], "nowhere"),
        (["dashboard", "-w", "ws"], "ws is not a workspace"),
        (["score", "-w", "ws"], "Missing option '--model'"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_wrong_usage_is_explained_with_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = visnec(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_every_command_has_help_and_a_place_in_the_readme() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
    for command in cli.app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__
        assert f"visnec {command.name}" in readme, command.name


def rows(run: Path) -> list[int]:
    """Rows over all parts; reading fails where a part that has its name is not whole."""
    parts = (run / "scores").glob("part-*.parquet")
    return sorted(row for part in parts for row in pq.read_table(part)["row_idx"].to_pylist())


def done_so_far(root: Path, run_id: str) -> int:
    progress = read_progress(open_workspace(root), run_id)
    return progress.done if progress else 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_without_loss_or_duplicate(
    how: signal.Signals, demo_workspace: Path
) -> None:
    """The demo dataset is scored anew under another name, interrupted on the way, and finished."""
    command = ["score", "-w", str(demo_workspace), "--model", "tiny-vlm", "--run", "again"]
    run = demo_workspace / "runs" / "again"
    process = subprocess.Popen(
        [*COMMAND, *command], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    while process.poll() is None and not done_so_far(demo_workspace, "again"):
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate()
    if how is signal.SIGINT:
        assert (process.returncode, "Progress is saved" in said) == (130, True)
    assert len(rows(run)) < 600
    finished = visnec(*command)
    assert finished.returncode == 0, finished.stderr
    assert rows(run) == list(range(600))


def test_doctor_tells_what_the_machine_can_do() -> None:
    done = visnec("doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["torch"].startswith("2.")
