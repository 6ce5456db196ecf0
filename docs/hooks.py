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
    """Return the options of every command as tables."""
    group = get_command(cli.app)
    context = typer.Context(group, info_name="visnec")
    pages = []
    for name in group.list_commands(context):
        command = group.commands[name]
        pages += [f"## visnec {name}", command.help or "", "| option | meaning |", "| --- | --- |"]
        for parameter in command.params:
            record = parameter.get_help_record(context) if parameter.name != "help" else None
            option, meaning = record or (parameter.human_readable_name, "")
            pages.append(f"| `{option.replace('|', '/')}` | {meaning.replace('|', '/')} |")
        pages.append("")
    return "\n".join(pages)


def api_pages() -> str:
    """Return one reference per public name."""
    names = []
    for name, home in scoring._HOMES.items():
        module, _, renamed = home.partition(":")
        names.append(f"## scoring.{name}\n\n::: {module}.{renamed or name}\n")
    return "\n".join(names)


PUBLIC_TABLES = (
    "samples", "scores", "turn_scores", "predictions", "clusters", "runs", "decisions",
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
