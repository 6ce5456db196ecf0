"""Rebuilds the database when parts were added; one of several scoring processes does it."""

from __future__ import annotations

from filelock import FileLock, Timeout

from scoring.database.build.build import build_database
from scoring.database.connection import Store
from scoring.database.values import BuildReport
from scoring.errors import WorkspaceError
from scoring.workspace import Workspace


def build_if_outdated(workspace: Workspace, *, wait: bool = True) -> BuildReport | None:
    """Build the database if it lacks a finished part; return None if it lacks none.

    ``wait``: wait while another process does this, or leave it to that process.
    """
    lock = FileLock(workspace.root / ".visnec.follow.lock", timeout=-1 if wait else 0)
    try:
        with lock:
            return build_database(workspace) if _is_outdated(workspace) else None
    except Timeout:
        return None


def _is_outdated(workspace: Workspace) -> bool:
    if not workspace.database.exists():
        return True
    try:
        return Store(workspace).build_state().n_new_parts > 0
    except WorkspaceError:  # of another version, or unreadable
        return True
