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
    files: tuple[tuple[Path, int], ...]
    version: str  # changes when the export is written again

    @property
    def n_samples(self) -> int:
        """Samples exported."""
        return int(self.manifest.counts["selected"])


def read_exports(workspace: Workspace) -> tuple[list[ExportFact], list[str]]:
    """The exports of the workspace by folder, and a sentence for each that cannot be read."""
    found: list[ExportFact] = []
    problems: list[str] = []
    for path in sorted(workspace.exports_dir.glob("[!.]*/manifest.json")):
        try:
            manifest = read_manifest(path)
        except VisnecError as error:
            problems.append(str(error))
            continue
        names = [*(one.name for one in manifest.outputs), path.name]
        files = [path.with_name(name) for name in names]
        sizes = tuple((one, one.stat().st_size) for one in files if one.is_file())
        version = f"{path.stat().st_mtime_ns}-{sum(size for _, size in sizes)}"
        found.append(ExportFact(path.parent, manifest, sizes, version))
    return found, problems
