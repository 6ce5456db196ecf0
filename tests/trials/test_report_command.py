"""The commands trial record and trial report on recorded results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli
from scoring.errors import InputError
from scoring.trials.plan import save_plan
from scoring.trials.report import trial_report
from scoring.workspace import Workspace, create_workspace
from tests.trials.plans import IMAGE, RECORDED_PLAN


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = create_workspace(tmp_path / "work")
    save_plan(made, RECORDED_PLAN)
    return made


def run(workspace: Workspace, *arguments: str) -> str:
    done = CliRunner().invoke(cli.app, ["trial", *arguments, "-w", str(workspace.root)])
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_record_and_report(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    lines = ["arm,seed,benchmark,value"]
    for arm, values in IMAGE.items():
        lines += [f"{arm},{seed},image,{value}" for seed, value in enumerate(values, 1)]
    file.write_text("\n".join(lines), "utf-8")
    recorded = json.loads(run(workspace, "record", "first", str(file), "--json"))
    assert [unit["arm"] for unit in recorded].count("all") == 3
    report = trial_report(workspace, "first")
    markdown, plot = tmp_path / "first.md", tmp_path / "first.svg"
    printed = run(workspace, "report", "first", "--markdown", str(markdown), "--plot", str(plot))
    assert printed.splitlines() == [
        "keep15 - keep15-random: better +14.2 (12.3 to 16.1) on image",
        "keep15 - all: as good as all (margin 1.0): -0.2 (-0.5 to 0.2) on image",
        "For the model and the budget of the recorded trainings only.",
    ]
    assert markdown.read_text("utf-8") == report.to_markdown()
    assert plot.read_bytes().startswith(b"<svg")
    assert json.loads(run(workspace, "report", "first", "--json")) == report.to_dict()
    with pytest.raises(InputError, match="already recorded"):
        run(workspace, "record", "first", str(file))
    run(workspace, "record", "first", str(file), "--replace")


def test_options_of_record_reach_the_library(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "x_results.json"
    metrics = {"relaxed_overall,none": 0.5, "relaxed_human,none": 0.4}
    file.write_text(json.dumps({"results": {"chart": metrics}}), "utf-8")
    options = ["--arm", "all", "--seed", "2", "--metric", "chart=relaxed_human", "--unit", "share"]
    (unit,) = json.loads(run(workspace, "record", "first", str(file), *options, "--json"))
    assert (unit["arm"], unit["seed"]) == ("all", 2)
    assert unit["sets"]["chart"]["values"] == {"accuracy": 40.0}


def test_a_plot_has_the_suffix_of_its_format(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one\.png the suffix \.svg"):
        run(workspace, "report", "first", "--plot", str(tmp_path / "one.png"))
    assert not (tmp_path / "one.png").exists()


def test_unknown_trials_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"No trial 'second'.*Trials: first"):
        run(workspace, "report", "second")
