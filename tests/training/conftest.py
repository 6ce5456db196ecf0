"""Exports of the demo's subset "above", as `visnec export` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli

Export = Callable[..., Path]


@pytest.fixture
def export(demo_workspace: Path, tmp_path: Path) -> Export:
    """Runs `visnec export SUBSET OPTIONS...` on the demo and returns the folder."""

    def run(subset: str, *options: str) -> Path:
        folder = tmp_path / f"export-{len(list(tmp_path.glob('export-*')))}"
        arguments = ["export", subset, "-w", str(demo_workspace), "--to", str(folder), *options]
        result = CliRunner().invoke(cli.app, arguments)
        assert result.exit_code == 0, result.output
        return folder

    return run
