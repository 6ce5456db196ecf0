"""Fixtures that every test may use: the real demo workspace, built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from dashboard.data.cache import APP_CACHE

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def demo_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo workspace as `visnec demo` builds it. Tests must not change it.

    ``VISNEC_TEST_DEMO`` may name an existing one, which skips the build.
    """
    ready = os.environ.get("VISNEC_TEST_DEMO")
    if ready:
        return Path(ready)
    from scoring.demo.build import build_demo

    # The processes of a test run share one build.
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo_built"
    with FileLock(f"{root}.lock"):
        build_demo(root)  # does nothing if another process was first
    return root


@pytest.fixture(autouse=True)
def empty_app_cache() -> Iterator[None]:
    """Start every test with nothing cached by the dashboard."""
    APP_CACHE.clear()
    yield
    APP_CACHE.clear()


@pytest.fixture
def demo_workspace(demo_built: Path, tmp_path: Path) -> Path:
    """A copy of the demo workspace that a test may change."""
    root = tmp_path / "demo"
    shutil.copytree(demo_built, root)
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the slowest tests first, so that no process waits for them at the end: commands before
    browsers, so that not all of them wait for the first demo."""
    first = ("tests/test_", "tests/browser/")
    items.sort(key=lambda item: [not item.nodeid.startswith(folder) for folder in first])
