"""The wheel contains what the command, the dashboard and the demo need, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.lowest import lowest_versions

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without isolation: the build backend is a dependency of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_contains_code_assets_data_and_the_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "scoring", "dashboard", "data/demo", "data/tiny-vlm"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    expected = {re.sub("^data/", "scoring/bundled/", name) for name in tracked}
    assert expected <= names
    assert {name.split("/")[0] for name in names} == {
        "scoring",
        "dashboard",
        next(name for name in names if name.endswith("METADATA")).split("/")[0],
    }


def test_the_demo_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, without the checkout on the path."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import scoring, sys; assert 'site' in scoring.__file__;"
        "from scoring.cli import main; sys.argv = ['visnec', 'demo', '--no-serve', '-w', 'ws'];"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ws" / "visnec.duckdb").exists()


def test_the_lowest_versions_are_the_floors_of_the_project(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    table = """
        [project]
        dependencies = ["torch>=2.6", "streamlit>=1.66,<2"]
        [project.optional-dependencies]
        ray = ["ray[data]>=2.50,<3"]
        offline = ["weights==0.1.0"]
    """
    project.write_text(table)
    expected = {"torch": "2.6", "streamlit": "1.66", "ray": "2.50", "weights": "0.1.0"}
    assert lowest_versions(project) == expected
    project.write_text(table.replace("torch>=2.6", "torch<3"))
    with pytest.raises(ValueError, match="'torch<3' has no lowest version"):
        lowest_versions(project)
    assert {"streamlit", "typer", "pandas", "ray", "pytest"} <= lowest_versions().keys()


def test_the_makefile_names_tests_that_exist() -> None:
    named = re.findall(r"(tests/\S+\.py)(?:::(\w+))?", (ROOT / "Makefile").read_text("utf-8"))
    assert any(test for _, test in named)
    for path, test in named:
        assert f"def {test}" in (ROOT / path).read_text("utf-8"), f"{path}::{test}"
