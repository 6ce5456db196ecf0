"""README and docs match the program: commands run, links exist, options are real."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from scoring import cli
from scoring.exports.options import ExportOptions
from scoring.exports.trainers import TRAINERS, start_command

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"<!-- ([a-z ]+) -->\n\n((?: {4}.*\n?)+)")


def pages() -> list[Path]:
    """README and the pages of the site in the order in which they are read."""
    settings = re.search(r"^nav:\n(.*)", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M | re.S)
    assert settings is not None
    nav = yaml.safe_load(settings[0])["nav"]
    listed: list[str] = []
    for entry in nav:
        listed += [entry] if isinstance(entry, str) else next(iter(entry.values()))
    docs = ROOT / "docs"
    assert sorted(listed) == sorted(p.relative_to(docs).as_posix() for p in docs.rglob("*.md"))
    return [ROOT / "README.md", *(ROOT / "docs" / name for name in listed)]


def commands(mark: str) -> list[str]:
    """The commands of all blocks with that mark, each once."""
    text = "\n\n".join(path.read_text("utf-8") for path in pages())
    blocks = [body for found, body in BLOCK.findall(text) if found == mark]
    lines = [line.strip() for body in blocks for line in body.splitlines() if line.strip()]
    return list(dict.fromkeys(lines))


def test_the_commands_of_the_documentation_run(
    demo_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = commands("runs")
    assert len(lines) >= 25
    assert demo_workspace == tmp_path / "demo"
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    for line in lines:
        name, *arguments = shlex.split(line)
        assert name == "visnec"
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_page_of_a_trainer_has_its_start_command(trainer: str) -> None:
    page = (ROOT / "docs" / "trainers" / f"{trainer}.md").read_text("utf-8")
    blocks = dict(BLOCK.findall(page))
    assert f"--for {trainer} --to for-{trainer}\n" in blocks["runs"]
    words = blocks["starts"].replace("\\\n", " ").split()
    expected = start_command(ExportOptions(trainer=trainer), "keep15", f"for-{trainer}")
    assert words == expected.split()


@pytest.mark.parametrize("mark", ["needs a download", "serves until stopped"])
def test_the_other_blocks_use_commands_and_options_that_exist(mark: str) -> None:
    lines = commands(mark)
    assert lines
    for line in lines:
        _, *arguments = shlex.split(line)
        verb = next(
            name for name in cli.list_commands() if f"{line} ".startswith(f"visnec {name} ")
        )
        help_text = (
            CliRunner().invoke(cli.app, [*verb.split(), "--help"], env={"COLUMNS": "200"}).output
        )
        for option in (argument for argument in arguments if argument.startswith("-")):
            assert re.search(rf"(?<![\w-]){re.escape(option)}\b", help_text), f"{verb} {option}"


def test_the_python_of_the_training_page_runs(
    demo_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("accelerate", "datasets"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall((ROOT / "docs" / "training.md").read_text("utf-8"))
    assert [mark for mark, _ in blocks] == ["runs", "python"]
    for line in blocks[0][1].strip().splitlines():
        assert CliRunner().invoke(cli.app, shlex.split(line)[1:]).exit_code == 0
    names: dict[str, Any] = {}
    exec(textwrap.dedent(blocks[1][1]), names)  # noqa: S102 - our own page
    assert names["trainer"].state.global_step == 2
    assert (tmp_path / "trained" / "model.safetensors").is_file()


def test_linked_files_exist() -> None:
    for page in pages():
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_paths_in_security_exist() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    paths = re.findall(r"`((?:tests|scoring|dashboard|docs)/[^`]*|[\w./]+\.py)`", text)
    assert len(paths) > 25
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_options_named_in_the_text_exist() -> None:
    """Every ``--option`` in running text is an option of some command."""
    text = "\n".join(path.read_text("utf-8") for path in pages())
    text = re.sub(r"^ {4}.*$", "", text, flags=re.M)
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z-]+)", text))
    assert len(named) > 40
    known = known_options()
    assert named - known == set()


def known_options() -> set[str]:
    from typer.main import get_command

    group: Any = get_command(cli.app)
    parameters = [*group.params]
    for command in cli.list_commands().values():
        parameters += command.params
    return {"--help"} | {
        option
        for parameter in parameters
        for option in [*parameter.opts, *parameter.secondary_opts]
    }


def test_the_tutorial_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    notebook = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text("utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102 - our own notebook
    assert names["run"].n_succeeded > 400
    assert names["by_source"]["median_visnec"].dropna().is_monotonic_decreasing
    assert 20 < names["report"].n_samples < 120


def test_the_three_samples_are_those_of_the_demo(demo_built: Path) -> None:
    from scoring.database.connection import Store
    from scoring.database.queries.detail import sample_detail
    from scoring.database.values import Scope
    from scoring.demo.build import DEMO_RUN
    from scoring.workspace import open_workspace

    store = Store(open_workspace(demo_built))
    readme = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| !\[row (\d+)\]\(\S+\) \| (.*?) \| .*\| (-?\d+\.\d\d) \|$", readme, re.M)
    assert len(rows) == 3
    for row, question, score in rows:
        detail = sample_detail(store, Scope(DEMO_RUN), int(row))
        assert detail.question == question
        assert abs(detail.scores[0]["visnec"] - float(score)) < 0.02
