"""Output about hostile data: shown literally, without control sequences."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring.cli import app
from scoring.cli.console import (
    STDERR,
    escape_controls,
    escape_text,
    make_table,
    print_json,
    print_text,
    show_error,
    show_message,
)
from tests.browser.hostile import RUN_ID, build_hostile_workspace

ODD = (
    "[red]x[/]",
    "[/]",
    "[link=http://example.invalid]x[/link]",
    "a\\[b]",
    "ends in \\",
    ":warning:",
    "\x1b[2J\x1b]0;title\x07",
    "\x1b]8;;http://example.invalid\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31m",
    "\rover",
    "\x08\x08\x7f",
    "\u202eright to left\u2066",
    "\ud800",
    "\u2028",
)


def find_control_characters(text: str) -> set[str]:
    """Return characters that control a terminal or the reading direction."""
    kinds = {
        character: unicodedata.category(character) for character in text if character not in "\n\t"
    }
    return {one for one, kind in kinds.items() if kind in ("Cc", "Cs", "Zl", "Zp")} | {
        one
        for one in kinds
        if unicodedata.bidirectional(one) in ("RLO", "LRO", "RLE", "LRE", "RLI")
    }


@pytest.mark.parametrize("text", ODD)
def test_every_kind_of_output_shows_text_literally(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    show_message(f"<{text}>")
    print_text(f"<{text}>")
    show_error(f"<{text}>")
    STDERR.print(make_table(f"<{text}>", [f"<{text}>"], [(f"<{text}>",)]), soft_wrap=True)
    out, err = capsys.readouterr()
    assert find_control_characters(out + err) == set()
    shown = f"<{escape_controls(text)}>"
    assert shown in out
    assert err.count(shown) == 5  # message, error, and the table's title, column and cell


@pytest.mark.parametrize("text", ODD)
def test_json_on_stdout_is_the_same_value_without_find_control_characters(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_json({text: [text]})
    out = capsys.readouterr().out
    assert find_control_characters(out) == set()
    assert json.loads(out) == {text: [text]}


def test_newlines_and_tabs_are_kept() -> None:
    assert escape_text("a\n\tb") == "a\n\tb"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("terminal") / "ws"
    build_hostile_workspace(root)
    run("build", "-w", root)
    text = (root / "dataset" / "dataset.json").read_text("utf-8")
    info = json.loads(text)
    info["files"][0]["name"] = "".join(ODD[:-2])
    (root / "dataset" / "dataset.json").write_text(json.dumps(info), "utf-8")
    return root


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout + result.stderr


def test_commands_print_no_control_sequences(attacked: Path, tmp_path: Path) -> None:
    root = tmp_path / "ws"
    shutil.copytree(attacked, root)
    output = run("status", "-w", root)
    assert escape_controls("".join(ODD[:-2])) in output
    output += run("status", "-w", root, "--json")
    output += run(
        "select", "-w", root, "--name", "s", "--rule", "per-source", "--share", "0.5",
        "--run", RUN_ID,
    )  # fmt: skip
    output += run("export", "s", "-w", root, "--to", tmp_path / "out", "--format", "ids")
    output += run("stability", "s", "-w", root)
    assert find_control_characters(output) == set()


def test_an_import_prints_hostile_records_and_names_as_text(tmp_path: Path) -> None:
    name = "[red]\x1b[31m data\u202e.json"
    attack = "".join(ODD)
    turns = [{"from": "human", "value": f"<image>\n{attack}"}, {"from": "gpt", "value": attack}]
    record = {"id": attack, "source": attack, "image": f"{attack}.png", "conversations": turns}
    bad = {"image": "a.png", "conversations": [{"from": attack, "value": attack}]}
    (tmp_path / name).write_text(json.dumps([record, bad]))
    output = run("import", tmp_path / name, "-w", tmp_path / "ws", "--dry-run")
    output += run("import", tmp_path / name, "-w", tmp_path / "ws")
    output += run("status", "-w", tmp_path / "ws")
    assert find_control_characters(output) == set()
    assert escape_controls(name) in output.replace("\n", "")


def test_an_error_prints_hostile_values_as_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from scoring import cli

    path = tmp_path / "[bold]\x1b[31m.json"
    path.write_text("[red]\x1b[2J")
    for arguments in (
        ["import", str(path), "-w", str(tmp_path / "ws")],
        ["status", "-w", str(tmp_path / "[/]\x1b[31m")],
    ):
        monkeypatch.setattr("sys.argv", ["visnec", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        assert find_control_characters(capsys.readouterr().err) == set()
