"""Workspaces of other versions in the commands and in the pages: opened, rebuilt, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from dashboard.data.context import WORKSPACE_VARIABLE, read_workspace
from dashboard.server.serve import APP
from scoring.cli import app
from scoring.database.build import schema
from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.dataset.records import read_samples
from scoring.engine.pipeline import score_dataset
from scoring.errors import RunConflictError, WorkspaceError
from scoring.exports.verify import verify_manifest
from scoring.reviews.decisions import read_events
from scoring.reviews.resolution import latest_decisions
from scoring.subsets.definitions import read_subset
from scoring.workspace import SCHEMA_VERSION, open_workspace
from tests.dashboard.conftest import Draw, draw, written  # noqa: F401 - a fixture
from tests.fakes import FakeModel

FROZEN = sorted((Path(__file__).parents[1] / "workspaces").glob("version-*"))
PAGES = ("overview", "explore", "compare", "evaluate", "review", "subset", "trials", "runs")


@pytest.fixture(params=FROZEN, ids=lambda path: path.name)
def frozen(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a workspace written by that version, opened by the pages."""
    root = tmp_path / "frozen"
    shutil.copytree(request.param, root)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(root))
    return root


def test_every_version_has_a_frozen_workspace() -> None:
    assert [path.name for path in FROZEN] == [f"version-{n + 1}" for n in range(SCHEMA_VERSION)]


def test_the_commands_read_all_of_it(frozen: Path) -> None:
    result = CliRunner().invoke(app, ["build", "-w", str(frozen)])
    assert result.exit_code == 0, result.output
    workspace = open_workspace(frozen)
    snapshot = Store(workspace).snapshot()
    scored = "SELECT count(*), sum(visnec) FROM scores WHERE status = 'scored'"
    # Rows 0, 1, 3, 4, 6, 7 and 9 have an image: 1, .75, .25, 0, 1, .75 and .25.
    assert snapshot.fetch_rows(scored, {}) == [(7, 4.0)]
    assert snapshot.fetch_rows("SELECT count(*) FROM predictions", {}) == [(7,)]
    assert snapshot.fetch_rows("SELECT count(DISTINCT cluster_id) FROM clusters", {}) == [(2,)]
    assert [sample.id for sample in read_samples(workspace)] == [f"s-{i}" for i in range(12)]
    latest = {event.row_idx: event.decision for event in latest_decisions(read_events(workspace))}
    decisions = {row: str(decision) for row, decision in latest.items() if decision}
    assert decisions == {0: "keep", 1: "drop"}
    assert str(read_subset(workspace, "kept").rule) == "threshold min=0.25"
    assert verify_manifest(frozen / "exports" / "kept", workspace).n_samples > 0


def test_its_run_is_kept_and_a_new_run_is_scored(frozen: Path) -> None:
    """Its scores were computed by another method and must not be mixed with new ones."""
    (part,) = (frozen / "runs" / "first" / "scores").glob("part-*.parquet")
    before = part.read_bytes()
    with pytest.raises(RunConflictError, match="scoring_version: None then, 2 now"):
        score_dataset(open_workspace(frozen), FakeModel(), run_id="first")
    assert part.read_bytes() == before
    score_dataset(open_workspace(frozen), FakeModel(), run_id="second")
    count = "SELECT run_id, count(*) FROM scores WHERE status = 'scored' GROUP BY 1 ORDER BY 1"
    counts = Store(open_workspace(frozen)).snapshot().fetch_rows(count, {})
    assert counts == [("first", 7), ("second", 7)]


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_render_and_build_its_database(frozen: Path, draw: Draw, page: str) -> None:  # noqa: F811
    drawn = draw(page)
    assert not drawn.exception, drawn.exception[0].message
    assert page.capitalize() in written(drawn)
    assert (frozen / "visnec.duckdb").exists()


@pytest.mark.parametrize("version", [schema.DATABASE_VERSION - 1, schema.DATABASE_VERSION + 1])
def test_the_pages_rebuild_a_database_of_another_version(
    frozen: Path,
    draw: Draw,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    version: int,
) -> None:
    with monkeypatch.context() as other:
        other.setattr(schema, "DATABASE_VERSION", version)
        build_database(open_workspace(frozen))
    drawn = draw("overview")
    assert not drawn.exception, drawn.exception[0].message
    assert "12" in written(drawn)
    Store(open_workspace(frozen))


def test_the_pages_rebuild_a_damaged_database(frozen: Path, draw: Draw) -> None:  # noqa: F811
    (frozen / "visnec.duckdb").write_bytes(b"no database")
    drawn = draw("explore")
    assert not drawn.exception, drawn.exception[0].message
    Store(open_workspace(frozen))


def test_the_pages_refuse_a_newer_workspace_with_a_message(frozen: Path) -> None:
    path = frozen / "workspace.json"
    settings = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**settings, "schema_version": SCHEMA_VERSION + 1}), "utf-8")
    before = path.read_bytes()
    with pytest.raises(WorkspaceError, match="Upgrade visnec-studio"):
        read_workspace()
    shown = AppTest.from_file(str(APP), default_timeout=60).run()
    assert not shown.exception
    assert "created by a newer VisNec Studio" in written(shown)
    assert "Upgrade visnec-studio" in written(shown)
    assert path.read_bytes() == before
