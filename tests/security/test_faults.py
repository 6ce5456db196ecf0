"""Workspaces of other versions, with odd paths, on full or read-only disks."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scoring.cli import app
from scoring.database.build import schema
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.errors import VisnecError, WorkspaceError
from scoring.reviews import decision_log
from scoring.reviews.decision_log import Decision, DecisionDraft
from scoring.reviews.decisions import open_review_log, read_events
from scoring.workspace import SCHEMA_VERSION, create_workspace, open_workspace
from tests.browser.conftest import serving
from tests.synthetic import RUN_ID, make_workspace, typed_row

ROWS = [typed_row(0.125 * (i % 9) - 0.25, i) for i in range(12)]
ODD_NAMES = ("a b", "mit ä, 図 and é", "what?", "50%25", "#1", "[red]", "a;b'c\"d", "x&y=z")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_workspace(tmp_path / "ws", rows=ROWS).root


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    error = result.exception
    if isinstance(error, VisnecError):
        return error.exit_code, str(error)
    assert error is None or isinstance(error, SystemExit), error
    return result.exit_code, result.output


def run_ok(*arguments: str | Path) -> str:
    code, output = run(*arguments)
    assert code == 0, output
    return output


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_workspace_may_have_an_odd_path(tmp_path: Path, name: str) -> None:
    root = make_workspace(tmp_path / name / "ws", rows=ROWS).root
    run_ok("build", "-w", root)
    assert "12" in run_ok("status", "-w", root)
    select = ("select", "-w", root, "--name", "s", "--rule", "top-count", "--count", "5")
    run_ok(*select, "--run", RUN_ID)
    run_ok("export", "s", "-w", root, "--format", "ids")
    assert "Verified" in run_ok("verify", root / "exports" / "s" / "manifest.json")
    run_ok("export-scores", "-w", root, "--to", tmp_path / name / "scores.csv")


def test_two_dashboards_serve_one_workspace_with_an_odd_path(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "ä ?" / "ws", rows=ROWS)
    build_database(workspace)
    with ExitStack() as both:
        for name in ("one", "two"):
            server = both.enter_context(serving(workspace.root, tmp_path / f"{name}.txt"))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
        build_database(workspace)  # while both have it open
    for name in ("one", "two"):
        assert "Traceback" not in (tmp_path / f"{name}.txt").read_text("utf-8", "replace")


def test_a_newer_workspace_is_refused_with_a_message(root: Path) -> None:
    path = root / "workspace.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "schema_version": SCHEMA_VERSION + 1}), "utf-8")
    before = path.read_bytes()
    for command in (("status",), ("build",), ("score", "--model", "tiny-vlm"), ("dashboard",)):
        code, output = run(command[0], "-w", root, *command[1:])
        assert (code, "newer VisNec Studio" in output) == (2, True), output
        assert "Upgrade visnec-studio" in output
    with pytest.raises(WorkspaceError, match="newer"):
        create_workspace(root)
    assert path.read_bytes() == before


def test_settings_of_a_newer_minor_version_are_ignored(root: Path) -> None:
    path = root / "workspace.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "invented_later": [1]}), "utf-8")
    assert open_workspace(root).settings.workspace_id == settings["workspace_id"]


def test_an_older_workspace_opens(root: Path) -> None:
    """The settings contain only those of the first version; later ones have defaults."""
    path = root / "workspace.json"
    settings = json.loads(path.read_text("utf-8"))
    first = {name: settings[name] for name in ("workspace_id", "schema_version", "image_roots")}
    path.write_text(json.dumps(first), "utf-8")
    run_ok("build", "-w", root)
    run_ok("status", "-w", root)


@pytest.mark.parametrize("version", [schema.DATABASE_VERSION - 1, schema.DATABASE_VERSION + 1])
def test_a_database_of_another_version_names_the_remedy(
    root: Path, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace(root)
    with monkeypatch.context() as other:
        other.setattr(schema, "DATABASE_VERSION", version)
        build_database(workspace)
    with pytest.raises(WorkspaceError, match=r"another version of VisNec Studio.*build"):
        Store(workspace)
    build_database(workspace)
    Store(workspace)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema_version": "x"}', "\0"])
def test_unreadable_settings_are_reported(root: Path, content: str) -> None:
    (root / "workspace.json").write_text(content)
    code, output = run("status", "-w", root)
    assert (code, "workspace.json" in output) == (2, True)


def test_the_clock_may_go_backwards(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions are ordered by their number, not by the clock."""
    workspace = open_workspace(root)
    log = open_review_log(workspace, "Ann", "desk")
    log.append([DecisionDraft(3, Decision.KEEP, decided_at="2030-01-01T00:00:00+00:00")])
    log.append([DecisionDraft(3, Decision.DROP, decided_at="2020-01-01T00:00:00+00:00")])
    build_database(workspace)
    query = "SELECT decision FROM decisions WHERE row_idx = 3"
    assert Store(workspace).snapshot().fetch_rows(query, {}) == [("drop",)]
    os.utime(workspace.database, (0, 0))
    build_database(workspace)
    assert Store(workspace).snapshot().fetch_rows(query, {}) == [("drop",)]


def test_a_decision_on_a_full_disk_is_not_reported_as_saved(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = open_workspace(root)
    log = open_review_log(workspace, "Ann", "desk")
    log.append([DecisionDraft(1, Decision.KEEP, event_id="first")])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(decision_log.os, "fsync", full)
        with pytest.raises((OSError, VisnecError)):
            log.append([DecisionDraft(2, Decision.KEEP, event_id="second")])
    log.append([DecisionDraft(2, Decision.KEEP, event_id="second")])  # the browser's next try
    fresh = list(read_events(open_workspace(root)))
    assert [event.event_id for event in fresh].count("second") == 1
    assert [event.row_idx for event in fresh if event.event_id == "first"] == [1]


# The superuser can write anywhere unless it drops these capabilities.
POWERLESS = ("--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")


def run_unprivileged(*arguments: str | Path) -> tuple[int, str]:
    """Return exit code and output of a command run by a user to whom file permissions apply."""
    dropping = shutil.which("setpriv") if os.geteuid() == 0 else ""
    if dropping is None:
        pytest.skip("the superuser can write anywhere")
    code = "from scoring.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ended = subprocess.run(
        [dropping, *POWERLESS, *command] if dropping else command,
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("command", ["import", "demo"])
def test_a_workspace_in_a_folder_that_cannot_be_written_to_is_an_explained_error(
    command: str, tmp_path: Path
) -> None:
    data = tmp_path / "data.csv"
    data.write_text("question,answer\nq,a\n")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    arguments = [data] if command == "import" else ["--no-serve"]
    for folder in (locked / "ws", data / "ws"):
        code, output = run_unprivileged(command, *arguments, "-w", folder)
        assert (code, "Traceback" in output) == (2, False), output
        assert f"Cannot create a workspace in {folder}: " in output
    locked.chmod(0o755)


def test_a_read_only_workspace_can_be_viewed(root: Path, tmp_path: Path) -> None:
    build_database(open_workspace(root))
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert run_unprivileged("status", "-w", root)[0] == 0
        to = tmp_path / "scores.csv"
        assert run_unprivileged("export-scores", "-w", root, "--run", RUN_ID, "--to", to)[0] == 0
        for command in (
            ("build",),
            ("select", "--name", "s", "--rule", "top-count", "--count", "3", "--run", RUN_ID),
        ):
            code, output = run_unprivileged(command[0], "-w", root, *command[1:])
            assert (code, "Traceback" in output) == (2, False), output
            assert "Permission denied" in output
    finally:
        for folder in folders:
            folder.chmod(0o755)
