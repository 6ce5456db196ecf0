"""A workspace: the folder in which everything of a project lies, and where each thing lies in it.

The parts (dataset, runs, clusters, reviews, subsets) are the truth; ``visnec.duckdb`` is derived
from them and may be deleted at any time. Images stay where they are: ``workspace.json`` names
the roots inside which image paths are resolved, and the bases of files that have their own.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from scoring.errors import InputError, WorkspaceError
from scoring.image_references import ImageRoots
from scoring.necessity import DEFAULT_BANDS, Bands

SCHEMA_VERSION = 2  # what is read
_PLAIN_VERSION = 1  # what is written where no file has a base of its own
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """What ``workspace.json`` holds. ``notice`` stands on every page: the demo says what it is."""

    workspace_id: str
    schema_version: int = _PLAIN_VERSION
    image_roots: tuple[str, ...] = ()
    image_bases: tuple[tuple[str, ...], ...] = ()
    bands: Bands = DEFAULT_BANDS
    notice: str | None = None

    def with_roots(
        self, roots: tuple[str, ...], bases: tuple[tuple[str, ...], ...]
    ) -> WorkspaceSettings:
        """The same with other folders of images; versions that know no bases refuse some."""
        version = SCHEMA_VERSION if bases else self.schema_version
        return replace(self, image_roots=roots, image_bases=bases, schema_version=version)


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one workspace folder. Creating the value touches no disk."""

    root: Path
    settings: WorkspaceSettings = field(compare=False)

    @property
    def dataset_dir(self) -> Path:
        """Parquet parts of the imported records, and ``dataset.json``."""
        return self.root / "dataset"

    @property
    def runs_dir(self) -> Path:
        """One folder per run."""
        return self.root / "runs"

    def run_dir(self, run_id: str) -> Path:
        """The run record and the parts of one run."""
        return self.runs_dir / check_name(run_id, "run")

    @property
    def clusters_dir(self) -> Path:
        """One folder per clustering."""
        return self.root / "clusters"

    @property
    def reviews_dir(self) -> Path:
        """Append-only decision logs, one per reviewer and machine."""
        return self.root / "reviews"

    @property
    def subsets_dir(self) -> Path:
        """Saved subsets: rules, not rows."""
        return self.root / "subsets"

    @property
    def exports_dir(self) -> Path:
        """Default place of exports."""
        return self.root / "exports"

    @property
    def thumbnails_dir(self) -> Path:
        """Cache of small images; may be deleted."""
        return self.root / "thumbnails"

    @property
    def remote_dir(self) -> Path:
        """Images that were fetched from other machines, by the digest of their address."""
        return self.root / "remote"

    @property
    def database(self) -> Path:
        """The derived DuckDB file."""
        return self.root / "visnec.duckdb"

    @property
    def image_roots(self) -> ImageRoots:
        """Folders inside which image paths are resolved, in order of trial.

        Dataset files that hold images themselves (Parquet, tar, TSV) stand among them; beside them
        the folders of files whose paths are relative to others.
        """
        return _resolved(self.root, self.settings.image_roots, self.settings.image_bases)

    @property
    def bands(self) -> Bands:
        """Category limits of this workspace."""
        return self.settings.bands


def resolve_links(path: Path) -> Path:
    """``path`` without links in it; a file keeps its own name, by which records refer to it."""
    return path.parent.resolve() / path.name if path.is_file() else path.resolve()


@lru_cache(maxsize=16)
def _resolved(
    base: Path, declared: tuple[str, ...], bases: tuple[tuple[str, ...], ...]
) -> ImageRoots:
    """Kept, because pages ask for every image, and a dataset may lie in thousands of files."""
    resolved = [[resolve_links(base / root) for root in roots] for roots in (declared, *bases)]
    return ImageRoots(resolved[0], resolved[1:])


def create_workspace(root: Path) -> Workspace:
    """Opens the workspace at ``root``, making the folder and its settings where there is none.

    Raises WorkspaceError when the folder holds other things: nothing foreign is written into.
    """
    if (root / "workspace.json").exists():
        return open_workspace(root)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise WorkspaceError(
            f"{root} exists and is not a workspace (no workspace.json in it); "
            "name an empty or a new folder"
        )
    root.mkdir(parents=True, exist_ok=True)
    workspace = Workspace(root, WorkspaceSettings(workspace_id=uuid.uuid4().hex))
    save_settings(workspace)
    return workspace


def open_workspace(root: Path) -> Workspace:
    """Opens an existing workspace. Raises WorkspaceError with the remedy where there is none."""
    path = root / "workspace.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = int(raw["schema_version"])
    except FileNotFoundError:
        raise WorkspaceError(
            f"{root} is not a workspace (no workspace.json in it); "
            f"make one with: visnec import DATA -w {root}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(f"{path} cannot be read: {error}") from error
    if version > SCHEMA_VERSION:
        raise WorkspaceError(
            f"{root} was made by a newer VisNec Studio (workspace version {version}, this one "
            f"reads up to {SCHEMA_VERSION}); upgrade visnec-studio"
        )
    settings = WorkspaceSettings(
        workspace_id=str(raw["workspace_id"]),
        schema_version=version,
        image_roots=tuple(raw.get("image_roots", ())),
        image_bases=tuple(map(tuple, raw.get("image_bases", ()))),
        bands=Bands(**raw.get("bands", {})),
        notice=raw.get("notice"),
    )
    return Workspace(root, settings)


def declared_roots(workspace: Workspace, roots: Iterable[Path]) -> tuple[str, ...]:
    """Roots as ``workspace.json`` names them: those inside the workspace move along with it."""
    base = workspace.root.resolve()
    return tuple(
        str(root.relative_to(base)) if root.is_relative_to(base) else str(root) for root in roots
    )


def save_settings(workspace: Workspace) -> None:
    """Writes ``workspace.json`` whole."""
    write_json(workspace.root / "workspace.json", asdict(workspace.settings))


def is_valid_name(name: str) -> bool:
    """Whether ``name`` may become a file name inside the workspace."""
    return _NAME.fullmatch(name) is not None and not name.endswith((".", ".tmp"))


def check_name(name: str, what: str) -> str:
    """Returns ``name`` if it may become a file name inside the workspace, otherwise raises."""
    if not is_valid_name(name):
        raise InputError(
            f"{name!r} is no name for a {what}: use letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit, at most 100 characters"
        )
    return name


@contextmanager
def open_atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """A file that appears under ``path`` whole and flushed when the block ends, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    encoding = None if "b" in mode else "utf-8"
    try:
        with temporary.open(mode, encoding=encoding, newline=None if "b" in mode else "") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: object) -> None:
    """Writes ``value`` as readable JSON, whole or not at all."""
    with open_atomic(path, "w") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
