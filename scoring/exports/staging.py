"""Make the folder of an export appear whole.

Files are written to a hidden folder next to the target, flushed, and renamed. A kill at any moment
leaves no partial file under the final name, and the next export removes what was left behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from scoring.workspace import Workspace


class StagingArea:
    """A folder that replaces ``target`` when its block succeeds, and otherwise leaves no trace."""

    def __init__(self, target: Path, workspace: Workspace) -> None:
        self._target = target
        # Named after the workspace: another one may be exporting into the same parent folder.
        self._stem = f".{target.name}.{workspace.settings.workspace_id[:8]}."
        token = secrets.token_hex(4)
        self._new = target.with_name(f"{self._stem}{token}.tmp")
        self._old = target.with_name(f"{self._stem}{token}.old.tmp")

    def __enter__(self) -> Path:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._new.mkdir()
        return self._new

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._replace_target()
        finally:
            shutil.rmtree(self._new, ignore_errors=True)

    def _replace_target(self) -> None:
        _flush_folder(self._new)
        if self._target.exists():
            self._target.rename(self._old)
        try:
            self._new.rename(self._target)
        except BaseException:
            if self._old.exists():
                self._old.rename(self._target)
            raise
        _flush_folder(self._target.parent)
        shutil.rmtree(self._old, ignore_errors=True)

    def clear_leftovers(self) -> None:
        """Remove what a killed export left, after restoring the export that it was replacing."""
        folder = self._target.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name.startswith(self._stem) and path.name.endswith(".tmp"):
                if path.name.endswith(".old.tmp") and not self._target.exists():
                    path.rename(self._target)
                else:
                    shutil.rmtree(path, ignore_errors=True)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
