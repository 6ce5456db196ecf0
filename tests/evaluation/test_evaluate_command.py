"""The command visnec evaluate, used by a script."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from scoring import cli
from scoring.errors import InputError
from scoring.workspace import Workspace
from tests.evaluation.conftest import write_lines
from tests.synthetic import RUN_ID


def run(workspace: Workspace, *arguments: object) -> Result:
    command = ["evaluate", *map(str, arguments), "-w", str(workspace.root)]
    done = CliRunner().invoke(cli.app, command, catch_exceptions=False, env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    return done


def run_json(workspace: Workspace, *arguments: object) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(run(workspace, *arguments, "--json").stdout)
    return value


def test_files_are_imported_and_evaluated(
    workspace: Workspace, seen_file: Path, blind_file: Path
) -> None:
    found = run_json(workspace, f"big={seen_file}", "--blind", blind_file, "--threshold", 0.5)
    assert (found["run_id"], found["baseline"], found["measure"]) == (RUN_ID, "none", "auto")
    assert (found["n_samples"], found["n_scored"], found["n_necessary"]) == (7, 6, 2)
    own, big = found["models"]
    assert (own["model"], big["model"]) == (RUN_ID, "big")
    assert (big["all"]["seen"]["right"], big["all"]["seen"]["n"]) == (4, 6)
    assert big["all"]["gain"]["value"] == pytest.approx((4 - 3) / 6)
    assert big["necessary"]["cells"]["blind_wrong_seen_right"] == 1
    assert [one["n_samples"] for one in big["by_category"]] == [2, 1, 3]
    assert found["ranking"]["n_common"] == 6
    kept = [(one["model"], one["sight"], one["n_missing"]) for one in found["predictions"]]
    assert kept == [("big", "seen", 1), ("big", "blind", 0)]


def test_the_model_whose_scores_choose_the_part_is_marked(
    workspace: Workspace, seen_file: Path
) -> None:
    found = run_json(workspace, f"big={seen_file}")
    assert [(one["model"], one["chose_part"]) for one in found["models"]] == [
        (RUN_ID, True),
        ("big", False),
    ]
    done = run(workspace)
    assert f"* {RUN_ID}: its own losses choose the necessary part" in " ".join(done.stderr.split())
    assert f"{RUN_ID} *" in done.stderr
    assert "big *" not in done.stderr


def test_imported_files_are_kept_for_the_next_time(workspace: Workspace, seen_file: Path) -> None:
    first = run_json(workspace, seen_file)
    assert run_json(workspace) == first
    assert run_json(workspace, seen_file) == first
    (only,) = run_json(workspace, "--model", "big")["models"]
    assert only["model"] == "big"
    (left,) = run_json(workspace, "--remove", "big")["models"]
    assert left["model"] == RUN_ID


def test_the_tables_report_import_issues(workspace: Workspace, tmp_path: Path) -> None:
    records = [{"id": "a", "prediction": "B"}, {"id": "who", "prediction": "B"}]
    output = run(workspace, write_lines(tmp_path / "[red]m.jsonl", records)).stderr
    text = " ".join(output.split())  # where a line breaks depends on the folder's name
    assert re.search(r"\[red\]m\.jsonl: 2 records", text)
    assert re.search(r"\[red\]m +seen +1 +6", text)
    assert re.search(r"unknown id +1 +who", text)
    assert "3 of 7 samples are in the necessary part (visnec of 0.25 or more)" in text
    assert "1 have no score" in text


def test_measure_filter_and_bands(workspace: Workspace) -> None:
    found = run_json(workspace, "--measure", "letter", "--only", "source:quiz,count", "--bands", 2)
    (own,) = found["models"]
    assert found["n_samples"] == 4
    assert own["all"]["seen"] | {"low": 0, "high": 0} == {
        "right": 2,
        "n": 2,
        "value": 1.0,
        "low": 0,
        "high": 0,
    }
    assert [one["n_samples"] for one in own["by_band"]] == [2, 2]


def test_a_text_only_model_needs_the_name_of_its_model(
    workspace: Workspace, seen_file: Path, blind_file: Path
) -> None:
    with pytest.raises(InputError, match="Write --text-model NAME="):
        run(workspace, "--text-model", blind_file)
    found = run_json(workspace, f"x={seen_file}", "--blind", blind_file, "--text-model", blind_file)
    assert found["models"][1]["all"]["leakage"]["value"] == 0.0


def test_blind_answers_need_the_name_of_their_model(
    workspace: Workspace, seen_file: Path, blind_file: Path, tmp_path: Path
) -> None:
    for files in ([], [f"x={seen_file}", f"y={seen_file}"]):
        with pytest.raises(InputError, match="Write --blind NAME="):
            run(workspace, *files, "--blind", blind_file)
    found = run_json(workspace, f"x={seen_file}", f"y={seen_file}", "--blind", f"y={blind_file}")
    blind = {one["model"]: one["all"]["blind"] is not None for one in found["models"]}
    assert blind == {RUN_ID: True, "x": False, "y": True}
    records = [{"row_idx": 0, "prediction": "A", "model": "z"}]
    found = run_json(workspace, "--blind", write_lines(tmp_path / "named.jsonl", records))
    assert found["models"][-1]["model"] == "z"


def test_the_rows_of_each_cell(workspace: Workspace, seen_file: Path, blind_file: Path) -> None:
    done = run(workspace, f"big={seen_file}", "--blind", blind_file, "--threshold", 0.5, "--rows")
    found = json.loads(done.stdout)
    assert found["rows"]["big"] == {
        "all": {
            "blind_right_seen_right": [1, 5],
            "blind_right_seen_wrong": [2],
            "blind_wrong_seen_right": [0, 3],
            "blind_wrong_seen_wrong": [4],
        },
        "necessary": {
            "blind_right_seen_right": [1],
            "blind_right_seen_wrong": [],
            "blind_wrong_seen_right": [0],
            "blind_wrong_seen_wrong": [],
        },
    }
    for one in found["models"]:
        for part in ("all", "necessary"):
            counts = {name: len(rows) for name, rows in found["rows"][one["model"]][part].items()}
            assert counts == one[part]["cells"]
    assert "rows" not in run_json(workspace)


def test_a_file_name_with_an_equals_sign(workspace: Workspace, seen_file: Path) -> None:
    path = seen_file.rename(seen_file.with_name("a=b.jsonl"))
    assert [one["model"] for one in run_json(workspace, path)["models"]] == [RUN_ID, "a=b"]


def test_wrong_usage_is_explained(workspace: Workspace, seen_file: Path) -> None:
    with pytest.raises(InputError, match=r"Unknown measure 'taste'\. Choose one of: auto, exact"):
        run(workspace, "--measure", "taste")
    with pytest.raises(InputError, match="does not exist"):
        run(workspace, "gone.jsonl")
