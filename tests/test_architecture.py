"""The shape of the code: import contracts, and what starting the dashboard loads."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``statement``."""
    code = (
        f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([str(command)], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout


def test_dashboard_loads_no_model_library() -> None:
    pages = sorted(path.parent.name for path in (ROOT / "dashboard" / "pages").glob("*/page.py"))
    assert len(pages) >= 5
    modules = [f"dashboard.pages.{page}.page" for page in pages]
    loaded = loaded_by(
        "import " + ", ".join(["dashboard.server.serve", "dashboard.data.actions", *modules])
    )
    assert "streamlit" in loaded
    assert not loaded & {"torch", "transformers", "sklearn", "sentence_transformers"}


def test_importing_the_library_loads_no_heavy_package() -> None:
    loaded = loaded_by("import scoring, scoring.cli")
    assert not loaded & {"torch", "transformers", "streamlit", "plotly", "sklearn"}


@pytest.mark.parametrize("package", ["scoring", "dashboard"])
def test_tree_in_contributing_matches_the_folders_on_disk(package: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    tree = re.search(rf"^    {package}/\n((?:      .+\n)+)", text, re.MULTILINE)
    assert tree is not None
    named = set(re.findall(r"(?<= )[a-z_]+(?:/|\.py)(?= |$)", tree[1], re.MULTILINE))
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / package).glob("[a-z]*")
        if path.suffix == ".py" or path.is_dir()
    }
    assert named - {"build/", "queries/", "score_index/"} == there


def test_no_page_allows_unsafe_html() -> None:
    sources = (ROOT / "dashboard").rglob("*.py")
    assert [path.name for path in sources if "unsafe_allow_html" in path.read_text("utf-8")] == []
