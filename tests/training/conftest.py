"""Exports of two subsets of the demo, as `visnec export` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli

Export = Callable[..., Path]
SUBSETS = {
    "above": ["threshold", "--min", "0.25", "--text-only", "keep"],
    "often": ["weights", "--temperature", "0.5", "--max-weight", "4"],
}


@pytest.fixture
def export(demo_workspace: Path, tmp_path: Path) -> Export:
    """Runs `visnec export SUBSET OPTIONS...` on the demo and returns the folder."""

    def run(verb: str, *arguments: str) -> None:
        result = CliRunner().invoke(cli.app, [verb, "-w", str(demo_workspace), *arguments])
        assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"

    def export_subset(subset: str, *options: str) -> Path:
        folder = tmp_path / f"export-{len(list(tmp_path.glob('export-*')))}"
        run("export", subset, "--to", str(folder), *options)
        return folder

    for name, rule in SUBSETS.items():
        run("select", "--run", "demo", "--name", name, "--rule", *rule)
    return export_subset
