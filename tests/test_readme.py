"""The README does what it says: its commands run, its files exist, its options are real."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"<!-- ([a-z ]+) -->\n\n((?: {4}.*\n?)+)")


def commands(mark: str) -> list[str]:
    """The commands of all blocks with that mark."""
    blocks = [body for found, body in BLOCK.findall(README) if found == mark]
    return [line.strip() for body in blocks for line in body.splitlines() if line.strip()]


def test_the_blocks_that_run_as_they_stand_do(demo_workspace: Path, tmp_path: Path) -> None:
    found = commands("runs as it stands")
    assert len(found) >= 10
    assert demo_workspace == tmp_path / "demo"
    for command in found:
        name, *arguments = shlex.split(command)
        assert name == "visnec"
        code = "from scoring.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.parametrize("mark", ["needs a download", "serves until stopped"])
def test_the_other_blocks_use_commands_and_options_that_exist(mark: str) -> None:
    found = commands(mark)
    assert found
    for command in found:
        _, verb, *arguments = shlex.split(command)
        help_text = CliRunner().invoke(cli.app, [verb, "--help"], env={"COLUMNS": "200"}).output
        for option in (one for one in arguments if one.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", help_text), f"{verb} {option}"


def test_linked_files_and_the_tree_exist() -> None:
    links = re.findall(r"\]\(([^)h][^)]*)\)", README)
    assert len(links) >= 4
    for link in links:
        assert (ROOT / link).exists(), link
    tree = README.split("## Where things are")[1].split("## Limits")[0]
    above: list[str] = []  # the folders that a line lies in, by its indentation
    for line in filter(None, tree.splitlines()):
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        del above[depth:]
        for name in re.findall(r"(?<!\S)([a-z_]+(?:\.py|/))(?=\s)", line[:60]):
            assert ROOT.joinpath(*above, name).exists(), name
            if name.endswith("/"):
                above.append(name)


def test_the_three_samples_are_those_of_the_demo(demo_built: Path) -> None:
    from scoring.database.connection import Store
    from scoring.database.queries.detail import sample_detail
    from scoring.database.values import Scope
    from scoring.demo.build import DEMO_RUN
    from scoring.workspace import open_workspace

    store = Store(open_workspace(demo_built))
    rows = re.findall(r"^\| !\[row (\d+)\]\(\S+\) \| (.*?) \| .*\| (-?\d+\.\d\d) \|$", README, re.M)
    assert len(rows) == 3
    for row, question, score in rows:
        found = sample_detail(store, Scope(DEMO_RUN), int(row))
        assert found.question == question
        assert abs(found.scores[0]["visnec"] - float(score)) < 0.02
