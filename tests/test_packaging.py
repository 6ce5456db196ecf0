"""The sdist and the wheel are complete, the command recognizes other packages named like ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring import cli
from tests.lowest import lowest_versions

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
NOT_IN_SDIST = (".ci/", ".github/", ".git-blame-ignore-revs")
START = "from visnec_studio import main; main()"


def build_packages(folder: Path, source: Path, *options: str) -> None:
    """Build without isolation: the build backend is a dependency of the tests."""
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        folder,
        *options,
        source,
    ]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the sdist, and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("packages")
    build_packages(folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(packages: Path) -> Path:
    return next(packages.glob("*.whl"))


def repository_files(*paths: str) -> set[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *paths]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).exists()}


def run_command(*arguments: str, code: str = START, **environment: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of the command in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_sdist_contains_what_its_tests_and_documentation_need(packages: Path) -> None:
    with tarfile.open(next(packages.glob("*.tar.gz"))) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers()}
    expected = {name for name in repository_files() if not name.startswith(NOT_IN_SDIST)}
    assert names == expected | {"PKG-INFO"}


def test_the_wheel_contains_code_assets_data_and_the_model(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    paths = ("scoring", "dashboard", "visnec_studio.py", "data/demo", "data/tiny-vlm")
    packaged = {re.sub("^data/", "scoring/bundled/", name) for name in repository_files(*paths)}
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == packaged


def test_the_description_on_a_package_index_has_no_link_into_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        header, _, description = archive.read(name).decode().partition("\n\n")
    links = re.findall(r"\]\(([^)]*)\)", description)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []
    assert description.startswith("# VisNec Studio")
    assert "[The score]" not in description
    assert "The score describes its biases and limits." in description
    assert "| row 34 | Describe what is at the bottom left." in description
    assert "Author: VisNec Studio contributors" in header
    assert "Project-URL: Paper, https://arxiv.org/abs/2603.01195" in header


def test_the_installed_command_runs_the_demo(wheel: Path, tmp_path: Path) -> None:
    """Installed elsewhere, without the checkout on the path and without a network."""
    site = tmp_path / "site"
    command = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site, wheel]
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    done = subprocess.run(
        [site / "bin" / "visnec", "demo", "--no-serve", "-w", "ws"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ws" / "visnec.duckdb").exists()


@pytest.mark.parametrize("command", ["doctor", "status"])
def test_another_package_named_scoring_is_reported(command: str, tmp_path: Path) -> None:
    (tmp_path / "scoring").mkdir()
    (tmp_path / "scoring" / "__init__.py").write_text("def score(x): return x\n")
    code, _, stderr = run_command(command, PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))
    assert code == 2
    assert stderr == (
        f"error: Python imports another package named 'scoring' from {tmp_path / 'scoring'} "
        "instead of VisNec Studio's. Install visnec-studio into an environment of its own.\n"
    )


def test_another_package_named_dashboard_stops_only_what_needs_it(
    demo_built: Path, tmp_path: Path
) -> None:
    (tmp_path / "dashboard.py").write_text("tiles = []\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    message = f"another package named 'dashboard' from {tmp_path / 'dashboard.py'} instead"
    code, stdout, stderr = run_command("status", "-w", str(demo_built), PYTHONPATH=path)
    assert (code, "600 samples" in stdout, message in stderr) == (0, True, True), stdout + stderr
    code, stdout, _ = run_command("doctor", "--json", PYTHONPATH=path)
    assert (code, message in json.loads(stdout)["problems"][0]) == (0, True)
    code, _, stderr = run_command("dashboard", "-w", str(demo_built), PYTHONPATH=path)
    assert (code, stderr.count(message), "Traceback" in stderr) == (2, 2, False)


def test_no_conflict_is_reported_here() -> None:
    code, stdout, stderr = run_command("doctor", "--json", PYTHONPATH=str(ROOT))
    assert (code, json.loads(stdout)["problems"], stderr) == (0, [], "")


@pytest.mark.parametrize("absent", [("torch",), ("torch", "transformers")])
def test_without_torch_doctor_reports_how_to_install_it(
    absent: tuple[str, ...], demo_built: Path
) -> None:
    code = f"import sys; sys.modules |= dict.fromkeys({absent!r}); {START}"
    status, stdout, stderr = run_command("doctor", code=code, PYTHONPATH=str(ROOT))
    assert (status, "Traceback" in stderr) == (0, False), stderr
    for package in absent:
        assert re.search(rf"^{package} +missing$", stdout, re.MULTILINE)
        assert f"{package} is not installed. Install it with: pip install '{package}" in stderr
    assert re.search(r"^memory +\d", stdout, re.MULTILINE)
    status, _, stderr = run_command(
        "score", "-w", str(demo_built), "--model", "tiny-vlm", code=code, PYTHONPATH=str(ROOT)
    )
    assert (status, "Traceback" in stderr) == (2, False), stderr
    assert "is not installed. Install it with: pip install" in stderr


def test_a_torch_that_cannot_be_loaded_is_reported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so: cannot open shared object')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    code, stdout, _ = run_command("doctor", "--json", PYTHONPATH=path)
    facts = json.loads(stdout)
    assert (code, facts["torch"]) == (0, None)
    assert "torch cannot be imported (libcudart.so: cannot open" in facts["problems"][0]


def test_the_image_is_built_from_files_that_exist_and_needs_no_others(tmp_path: Path) -> None:
    for line in re.findall(r"^COPY (.*)", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            copied = tmp_path / (target if (ROOT / source).is_dir() else source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, copied)
    build_packages(tmp_path / "dist", tmp_path, "--wheel")
    install = re.search(r"^RUN python (-c .*?) > requirements.txt", DOCKERFILE, re.MULTILINE)
    assert install is not None
    command = ["sh", "-c", f"{sys.executable} {install[1]}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    left_out = set(project["dependencies"]) - set(done.stdout.splitlines())
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in left_out}
    assert names == {"torch", "transformers", "safetensors"}


def test_the_image_serves_the_workspace_as_another_user_than_root() -> None:
    lines = dict(re.findall(r"^(USER|ENV|ENTRYPOINT|CMD) (.*)", DOCKERFILE, re.MULTILINE))
    assert f"useradd {lines['USER']}\n" in DOCKERFILE
    assert json.loads(lines["ENTRYPOINT"]) == ["visnec"]
    assert "VISNEC_WORKSPACE=/workspace" in lines["ENV"].split()
    arguments = [*json.loads(lines["CMD"]), "--help"]
    help_text = CliRunner().invoke(cli.app, arguments).output
    assert "VISNEC_WORKSPACE" in help_text
    documented = (ROOT / "docs" / "start.md").read_text("utf-8")
    assert ":/workspace visnec-studio" in documented.replace('"', "")


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
