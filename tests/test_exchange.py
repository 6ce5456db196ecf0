"""The commands import-scores and export-scores, and the cost estimate of score."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from tests.test_cli import visnec


def test_scores_export_and_import_again(demo_workspace: Path, tmp_path: Path) -> None:
    out, ws = tmp_path / "scores.csv", ["-w", demo_workspace]
    done = visnec("export-scores", *ws, "--run", "demo", "--to", out, "--json")
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert (written["n_rows"], written["n_left_out"]) == (554, 46)
    assert "46 samples without a score are left out" in " ".join(done.stderr.split())

    imported = visnec("import-scores", out, *ws, "--run", "back", "--model", "tiny-vlm", "--json")
    assert imported.returncode == 0, imported.stderr
    report = json.loads(imported.stdout)
    assert report["statuses"]["scored"] == 554
    assert sum(report["statuses"].values()) == 600
    assert "554 of 600 samples have a score" in " ".join(imported.stderr.split())

    again = visnec("export-scores", *ws, "--run", "back")
    assert again.stdout == out.read_text()

    status = json.loads(visnec("status", *ws, "--json").stdout)
    assert [run["state"] for run in status["runs"] if run["run_id"] == "back"] == ["imported"]
    selected = visnec("select", *ws, "--run", "back", "--name", "best", "--rule", "paper")
    assert selected.returncode == 0, selected.stderr
    refused = visnec("predict", *ws, "--run", "back")
    assert refused.returncode == 2
    assert "were imported" in " ".join(refused.stderr.split())


def test_an_empty_subset_is_exported_with_a_warning(demo_workspace: Path) -> None:
    ws = ["-w", demo_workspace]
    rule = ["--rule", "threshold", "--min", "99"]
    assert visnec("select", *ws, "--run", "demo", "--name", "empty", *rule).returncode == 0
    done = visnec("export", "empty", *ws)
    assert done.returncode == 0
    assert "warning: The export is empty: 0 samples" in " ".join(done.stderr.split())
    rest = visnec("export", "empty", *ws, "--format", "dropped", "--overwrite")
    assert "600 samples left out" in " ".join(rest.stderr.split())
    assert "warning" not in rest.stderr


def test_a_wrong_header_is_explained(demo_workspace: Path, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("id,score\na,1\n")
    done = visnec("import-scores", path, "-w", demo_workspace)
    assert done.returncode == 2
    assert "lacks loss_multimodal, loss_text" in " ".join(done.stderr.split())
    assert "Traceback" not in " ".join(done.stderr.split())


def test_losses_of_another_engine_are_imported_or_refused(
    demo_workspace: Path, tmp_path: Path
) -> None:
    prompts, ws = tmp_path / "prompts", ["-w", demo_workspace]
    done = visnec(
        "export-prompts", *ws, "--model", "tiny-vlm", "--to", prompts, "--limit", "20", "--json"
    )
    assert done.returncode == 0, done.stderr
    n_prompts = json.loads(done.stdout)["statuses"]["pending"]
    table = pq.read_table(prompts / "prompts")
    lines = [
        {"row_idx": row["row_idx"], "pass": row["pass"], "losses": [0.5] * len(row["answer_ids"])}
        for row in table.to_pylist()
    ]
    file = tmp_path / "losses.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["import-losses", file, *ws, "--prompts", prompts, "--run", "elsewhere"]
    refused = visnec(*command, "--probe", "4")
    assert refused.returncode == 2
    assert "Nothing was imported" in " ".join(refused.stderr.split())
    imported = visnec(*command, "--engine", "constant", "--json")
    assert imported.returncode == 0, imported.stderr
    assert "were not compared" in " ".join(imported.stderr.split())
    report = json.loads(imported.stdout)
    assert (report["statuses"]["scored"], report["n_rows"]) == (n_prompts, 2 * n_prompts)
    turns = visnec("export-scores", *ws, "--run", "elsewhere", "--format", "jsonl", "--per", "turn")
    rows = [json.loads(line) for line in turns.stdout.splitlines()]
    assert {row["loss_text"] for row in rows if row["turn"] is not None} == {0.5}


def test_an_estimate_reports_the_cost_and_writes_nothing(demo_workspace: Path) -> None:
    before = sorted(path.name for path in (demo_workspace / "runs").iterdir())
    command = ["score", "-w", demo_workspace, "--model", "tiny-vlm", "--run", "new", "--estimate"]
    done = visnec(*command, "--predict", "--json")
    assert done.returncode == 0, done.stderr
    estimate = json.loads(done.stdout)
    assert (estimate["n_samples"], estimate["n_left"], estimate["n_tried"]) == (600, 600, 64)
    assert estimate["tokens_multimodal"]["mean"] > estimate["tokens_text"]["mean"] > 10
    assert 0 < estimate["seconds"][0] <= estimate["seconds"][1]
    assert estimate["process_bytes"] > 100_000_000
    assert "expected time" in " ".join(done.stderr.split())
    assert sorted(path.name for path in (demo_workspace / "runs").iterdir()) == before
    same = ["--run", "demo", "--baseline", "none", "--baseline", "gray", "--tokens"]
    finished = visnec("score", "-w", demo_workspace, "--model", "tiny-vlm", *same, "--estimate")
    assert "all 600 samples are done" in " ".join(finished.stderr.split())
