"""Make the folder of an export appear whole.

Files are written to a hidden folder next to the target, flushed, and renamed. A kill at any moment
leaves no partial file under the final name, and the next export removes what was left behind.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def clear_leftovers(target: Path, owner: str) -> None:
    """Remove what a killed export left, after restoring the export that it was replacing."""
    for path in sorted(target.parent.iterdir()) if target.parent.is_dir() else ():
        if path.name.startswith(_hidden_stem(target, owner)) and path.name.endswith(".tmp"):
            if path.name.endswith(".old.tmp") and not target.exists():
                path.rename(target)
            else:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def stage_folder(target: Path, owner: str) -> Iterator[Path]:
    """Yield a folder that replaces ``target`` if the block succeeds, and else leaves no trace."""
    stem = _hidden_stem(target, owner) + secrets.token_hex(4)
    new, old = (target.with_name(stem + suffix) for suffix in (".tmp", ".old.tmp"))
    target.parent.mkdir(parents=True, exist_ok=True)
    new.mkdir()
    try:
        yield new
        _flush_folder(new)
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except BaseException:
            if old.exists():
                old.rename(target)
            raise
        _flush_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _hidden_stem(target: Path, owner: str) -> str:
    """Return a name with the workspace's id: another one may export into the same folder."""
    return f".{target.name}.{owner[:8]}."


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
