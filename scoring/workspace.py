"""Paths and settings of a workspace, the folder that holds everything that belongs to a project.

The parts (dataset, runs, clusters, reviews, subsets) are the source of truth; ``visnec.duckdb`` is
derived from them and may be deleted at any time. Images are not copied: ``workspace.json`` lists
the roots that image paths are resolved in, and the bases of files that have their own.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from scoring.errors import InputError, WorkspaceError
from scoring.image_references import ImageRoots
from scoring.necessity import DEFAULT_BANDS, Bands

SCHEMA_VERSION = 2  # newest version that can be read
_VERSION_WITHOUT_BASES = 1  # written unless a file has a base of its own
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


EDIT_REASONS = ("wrong_answer", "wrong_image", "ambiguous", "unsafe", "formatting", "other")


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """Contents of ``workspace.json``. ``notice`` is shown on every page (used by the demo).

    ``edit_reasons`` are the reason codes that an edit of a record may have.
    """

    workspace_id: str
    schema_version: int = _VERSION_WITHOUT_BASES
    image_roots: tuple[str, ...] = ()
    image_bases: tuple[tuple[str, ...], ...] = ()
    bands: Bands = DEFAULT_BANDS
    notice: str | None = None
    edit_reasons: tuple[str, ...] = EDIT_REASONS


class _Path:
    """A path inside the workspace."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, workspace: Workspace, owner: type | None = None) -> Path:
        return workspace.root / self._name


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one workspace folder. Constructing it does not access the disk.

    ``dataset_record`` is read instead of ``dataset/dataset.json``: that of an earlier edition.
    """

    root: Path
    settings: WorkspaceSettings = field(compare=False)
    dataset_record: Path | None = field(default=None, compare=False)

    dataset_dir = _Path("dataset")  # Parquet parts of the imported records, and dataset.json
    runs_dir = _Path("runs")  # one folder per run
    clusters_dir = _Path("clusters")  # one folder per clustering
    reviews_dir = _Path("reviews")  # append-only decision logs, one per reviewer and machine
    subsets_dir = _Path("subsets")  # saved subsets, stored as rules instead of rows
    columns_dir = _Path("columns")  # one folder per imported column
    trials_dir = _Path("trials")  # one folder per trial
    exports_dir = _Path("exports")  # default folder for exports
    thumbnails_dir = _Path("thumbnails")  # cache of thumbnails; may be deleted
    remote_dir = _Path("remote")  # downloaded images, by the digest of their URL
    database = _Path("visnec.duckdb")  # derived from the other files

    def run_dir(self, run_id: str) -> Path:
        """The run record and the parts of one run."""
        return self.runs_dir / check_name(run_id, "run")

    @property
    def image_roots(self) -> ImageRoots:
        """Folders, and dataset files with images in them (Parquet, tar, TSV), to find paths in."""
        return _resolve_roots(self.root, self.settings.image_roots, self.settings.image_bases)

    @property
    def bands(self) -> Bands:
        """Category limits of this workspace."""
        return self.settings.bands


def resolve_links(path: Path) -> Path:
    """Return ``path`` with links resolved; a file keeps its name, which references contain."""
    return path.parent.resolve() / path.name if path.is_file() else path.resolve()


@lru_cache(maxsize=16)
def _resolve_roots(
    folder: Path, declared: tuple[str, ...], bases: tuple[tuple[str, ...], ...]
) -> ImageRoots:
    """Cached, because pages call it per image and a dataset may consist of thousands of files."""
    resolved = [[resolve_links(folder / root) for root in roots] for roots in (declared, *bases)]
    return ImageRoots(resolved[0], resolved[1:])


def create_workspace(root: Path) -> Workspace:
    """Open the workspace at ``root``, creating the folder and its settings if there is none.

    Raises WorkspaceError for a folder that cannot be written to, or that contains something else.
    """
    try:
        if (root / "workspace.json").exists():
            return open_workspace(root)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise WorkspaceError(
                f"{root} exists but is not a workspace (it has no workspace.json). "
                "Choose a new or empty folder."
            )
        root.mkdir(parents=True, exist_ok=True)
        workspace = Workspace(root, WorkspaceSettings(workspace_id=uuid.uuid4().hex))
        save_settings(workspace)
    except OSError as error:
        raise WorkspaceError(
            f"Cannot create a workspace in {root}: {error.strerror}. Choose a folder that you can "
            "write to with -w."
        ) from error
    return workspace


@contextmanager
def create_for_import(root: Path) -> Iterator[Workspace]:
    """Open or create the workspace at ``root``; a new one is deleted if the block fails.

    It is kept if anything was stored in it.
    """
    is_new, is_own_folder = not (root / "workspace.json").exists(), not root.exists()
    workspace = create_workspace(root)
    try:
        yield workspace
    except BaseException:
        if is_new and [path.name for path in root.iterdir()] == ["workspace.json"]:
            (root / "workspace.json").unlink()
            if is_own_folder:
                root.rmdir()
        raise


def require_dataset(workspace: Workspace) -> None:
    """Raise WorkspaceError if nothing was imported into the workspace yet."""
    if not (workspace.dataset_dir / "dataset.json").is_file():
        raise WorkspaceError(
            f"{workspace.root} has no dataset yet. "
            f"Import one with: visnec import DATA -w {workspace.root}"
        )


def open_workspace(root: Path) -> Workspace:
    """Open an existing workspace. Raises WorkspaceError if there is none or it is unreadable."""
    path = root / "workspace.json"
    try:
        raw: dict[str, Any] = json.loads(path.read_text("utf-8"))
        version = int(raw["schema_version"])
    except FileNotFoundError:
        raise WorkspaceError(
            f"{root} is not a workspace (it has no workspace.json). "
            f"Create one with: visnec import DATA -w {root}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(f"Cannot read {path}: {error}") from error
    if version > SCHEMA_VERSION:
        raise WorkspaceError(
            f"{root} was created by a newer VisNec Studio (workspace version {version}; this "
            f"installation reads versions up to {SCHEMA_VERSION}). Upgrade visnec-studio."
        )
    settings = WorkspaceSettings(
        workspace_id=str(raw["workspace_id"]),
        schema_version=version,
        image_roots=tuple(raw.get("image_roots", ())),
        image_bases=tuple(map(tuple, raw.get("image_bases", ()))),
        bands=Bands(**raw.get("bands", {})),
        notice=raw.get("notice"),
        edit_reasons=tuple(map(str, raw.get("edit_reasons") or EDIT_REASONS)),
    )
    return Workspace(root, settings)


def save_image_roots(workspace: Workspace, roots: ImageRoots) -> None:
    """Write other image folders to ``workspace.json``, relative if inside the workspace."""
    root = workspace.root.resolve()
    declared, *bases = (
        tuple(str(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths)
        for paths in (roots, *roots.bases)
    )
    version = SCHEMA_VERSION if bases else workspace.settings.schema_version
    settings = replace(
        workspace.settings,
        image_roots=declared,
        image_bases=tuple(bases),
        schema_version=version,
    )
    save_settings(replace(workspace, settings=settings))


def save_settings(workspace: Workspace) -> None:
    """Write ``workspace.json`` atomically; the usual reasons of edits are not written."""
    values = asdict(workspace.settings)
    if workspace.settings.edit_reasons == EDIT_REASONS:
        del values["edit_reasons"]
    write_json(workspace.root / "workspace.json", values)


def is_valid_name(name: str) -> bool:
    """Return whether ``name`` is allowed as a file name inside the workspace."""
    return _NAME.fullmatch(name) is not None and not name.endswith((".", ".tmp"))


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is allowed as a file name in the workspace, else raise InputError."""
    if not is_valid_name(name):
        raise InputError(
            f"Invalid {what} name {name!r}. Use at most 100 letters, digits, '.', '_' and '-', "
            "starting with a letter or digit."
        )
    return name


@contextmanager
def open_atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that replaces ``path``, complete and flushed, when the block succeeds."""
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
    """Write ``value`` as indented JSON, atomically."""
    with open_atomic(path, "w") as file:
        json.dump(value, file, ensure_ascii=False, indent=2)
        file.write("\n")
