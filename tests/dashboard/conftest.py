"""Workspaces, and pages rendered without a browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from dashboard.data.context import WORKSPACE_VARIABLE, Context, open_view_context
from dashboard.server.guard import guard_middleware
from dashboard.server.routes import ROUTES
from dashboard.view.state import View
from scoring.database.build.build import build_database
from tests.synthetic import make_workspace

Draw = Callable[..., AppTest]


@pytest.fixture(scope="session")
def synthetic_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built workspace with every kind of row, hostile texts and two reviewers."""
    root = tmp_path_factory.mktemp("synthetic") / "workspace"
    build_database(make_workspace(root, 120, with_decisions=True, baselines=("none", "gray")))
    return root


@pytest.fixture
def root(synthetic_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may change; the pages show it."""
    copy = tmp_path / "workspace"
    shutil.copytree(synthetic_built, copy)
    monkeypatch.setenv(WORKSPACE_VARIABLE, str(copy))
    return copy


@pytest.fixture
def context(root: Path) -> Context:
    """The context from which the pages read it."""
    found = open_view_context(View()).context
    assert found is not None
    return found


@pytest.fixture
def client(root: Path) -> Iterator[TestClient]:
    """A client for the dashboard's own routes."""
    app = Starlette(
        routes=ROUTES,
        middleware=guard_middleware("127.0.0.1"),
    )
    with TestClient(app, base_url="http://127.0.0.1:8501") as opened:
        yield opened


@pytest.fixture
def draw() -> Draw:
    """Renders one page with URL parameters."""

    def drawn(
        page: str,
        parameters: Mapping[str, str] | None = None,
        session: Mapping[str, object] | None = None,
    ) -> AppTest:
        script = f"from dashboard.pages.{page} import page\npage.render()\n"
        app = AppTest.from_string(script, default_timeout=60)
        for name, value in (parameters or {}).items():
            app.query_params[name] = value
        for name, value in (session or {}).items():
            app.session_state[name] = value
        return app.run()

    return drawn


def written(app: AppTest) -> str:
    """Return everything that a page wrote as HTML or plain text."""
    own = [str(one.proto.body) for one in app.get("html")]
    return "\n".join([*own, *(one.value for one in app.text), *(one.value for one in app.title)])


def data_of(app: AppTest, name: str) -> dict[str, Any]:
    """Return the data of the page's first component of this name."""
    found = (one.proto for one in app.get("bidi_component"))
    data: dict[str, Any] = json.loads(
        next(one.json for one in found if one.component_name.endswith(name))
    )
    return data


def threshold_figures(app: AppTest) -> str:
    """Return the figures of the threshold editor as text."""
    figures = data_of(app, "threshold_editor")["facts"]["figures"]
    return "\n".join(f"{one['name']}: {one['value']}, {one['note']}" for one in figures)
