"""Fill in the generated parts of the documentation: commands, Python API, database tables."""

from __future__ import annotations

import re
from typing import Any

import typer
from typer.main import get_command

import scoring
from scoring import cli
from scoring.database.build.schema import TABLES


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks ``<!-- commands -->``, ``<!-- api -->`` and ``<!-- tables -->``."""
    for mark, write in (("commands", command_pages), ("api", api_pages), ("tables", table_list)):
        markdown = markdown.replace(f"<!-- {mark} -->", write() if mark in markdown else "")
    return re.sub(r"<!-- [a-z ]+ -->\n", "", markdown)


def command_pages() -> str:
    """Return the help, the examples and the options of every command."""
    context = typer.Context(get_command(cli.app), info_name="visnec")
    lines = []
    for name, command in cli.list_commands().items():
        lines += [f"## visnec {name}", "", command.help or "", ""]
        examples = re.findall(r"^\$ (.*)", (command.epilog or "").replace("\\[", "["), re.MULTILINE)
        lines += [f"    {example}" for example in examples]
        lines += ["", "| option | meaning |", "| --- | --- |"]
        for parameter in command.params:
            record = parameter.get_help_record(context) if parameter.name != "help" else None
            if record is not None:
                cells = (text.replace("|", "/").replace("\n\n", "<br>") for text in record)
                option, meaning = cells
                lines.append(f"| `{option}` | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def api_pages() -> str:
    """Return one reference per public name."""
    names = []
    for name, home in scoring._HOMES.items():
        module, _, renamed = home.partition(":")
        if not renamed:  # a second name of one that is listed
            names.append(f"::: {module}.{name}\n")
    return "\n".join(names)


PUBLIC_TABLES = (
    "samples", "scores", "turn_scores", "image_losses", "predictions", "turn_predictions",
    "clusters", "runs", "decisions", "columns", "column_values",
)  # fmt: skip


def table_list() -> str:
    """Return the columns of the tables that users query."""
    lines = []
    for name in PUBLIC_TABLES:
        lines += [f"### {name}", "", "| column | type | meaning |", "| --- | --- | --- |"]
        for line in TABLES[name].strip().splitlines():
            definition, _, meaning = line.strip().partition("--")
            column, _, kind = definition.strip().rstrip(",").partition(" ")
            lines.append(f"| `{column}` | {kind.strip()} | {meaning.strip().replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)
