"""Which exports lie in a workspace, read from their manifests each time: the folders are the truth,
whoever wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from scoring.errors import VisnecError
from scoring.manifest import Manifest, read_manifest
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ExportFact:
    """An export that lies in the workspace; ``files`` are present files with their bytes."""

    folder: Path
    manifest: Manifest
    n_samples: int
    files: tuple[tuple[Path, int], ...]
    version: str  # changes when the export is written again


def read_exports(workspace: Workspace) -> tuple[list[ExportFact], list[str]]:
    """The exports of the workspace by folder, and a sentence for each that cannot be read."""
    found: list[ExportFact] = []
    problems: list[str] = []
    for path in sorted(workspace.exports_dir.glob("[!.]*/manifest.json")):
        try:
            found.append(_read_export(path))
        except (VisnecError, OSError) as error:
            problems.append(str(error))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{path} is no manifest of an export: {error!r}")
    return found, problems


def _read_export(path: Path) -> ExportFact:
    manifest = read_manifest(path)
    names = [*(one.name for one in manifest.outputs), path.name]
    files = [path.with_name(name) for name in names]  # refuses names that lead elsewhere
    sizes = tuple(
        (one, one.stat().st_size) for one in files if one.is_file() and not one.is_symlink()
    )
    version = f"{path.stat().st_mtime_ns}-{sum(size for _, size in sizes)}"
    return ExportFact(path.parent, manifest, int(manifest.counts["selected"]), sizes, version)
