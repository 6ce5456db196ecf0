"""Workspaces with typed scores, built once per module."""

from __future__ import annotations

from pathlib import Path

import pytest

from scoring.database.build.build import build_database
from scoring.database.conditions import compile_query
from scoring.database.connection import Selection, Store
from scoring.database.values import Page, Scope
from scoring.samples import Status
from scoring.workspace import Workspace
from tests.synthetic import CLUSTERING_ID, RUN_ID, make_workspace

SCOPE = Scope(RUN_ID, "none", CLUSTERING_ID)

# Sources repeat scenes, digits, charts and clusters 0, 1, 2; two scores are tied.
SCORES = [0.5, -0.25, 0.25, 2.0, None, 0.0, 0.5, Status.TEXT_ONLY, -1.0, 0.125, Status.BAD_IMAGE]
TOKENS = [2, 4, 8, 1, 4, 2, 4, 4, 16, 4, 4]


def built(root: Path, **options: object) -> tuple[Workspace, Store]:
    """A synthetic workspace with its database, open."""
    workspace = make_workspace(root / "ws", with_images=False, **options)  # type: ignore[arg-type]
    build_database(workspace)
    return workspace, Store(workspace)


def decision_counts(selection: Selection) -> dict[str, int]:
    counts = compile_query(selection).fetch_rows("""
        SELECT coalesce(f.decision, 'none'), count(*)
        FROM matching s LEFT JOIN final_decisions f ON f.row_idx = s.row_idx
        GROUP BY ALL
    """)
    return dict.fromkeys(("keep", "drop", "unsure", "none"), 0) | dict(counts)


def row_indices(page: Page) -> list[int]:
    return [record["row_idx"] for record in page.records]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The eleven samples of SCORES."""
    root = tmp_path_factory.mktemp("typed")
    return built(root, visnec=SCORES, tokens=TOKENS)[1]


@pytest.fixture(scope="module")
def plausible(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """240 plausible samples of five sources, two baselines, decisions of two reviewers."""
    root = tmp_path_factory.mktemp("plausible")
    return built(root, n=240, baselines=("none", "gray"), with_decisions=True)[1]
