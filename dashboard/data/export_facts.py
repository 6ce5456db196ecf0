"""Which exports lie in a workspace, read from their manifests each time: the folders are the truth,
whoever wrote them."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from scoring.errors import VisnecError
from scoring.exports.manifest import Manifest, read_manifest
from scoring.exports.names import FOLDERS
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ExportFact:
    """An export that lies in the workspace; ``files`` are present files with their bytes."""

    folder: Path
    manifest: Manifest
    n_samples: int
    files: tuple[tuple[Path, int], ...]
    version: str  # changes when the export is written again
    n_images: int = 0  # in its folder of images
    images_bytes: int = 0

    @property
    def n_bytes(self) -> int:
        """Of all its files, the images among them."""
        return sum(size for _, size in self.files) + self.images_bytes


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
    files = [path.parent / name for name in names]  # whose names the manifest's reader checked
    sizes = tuple(
        (one, one.stat().st_size) for one in files if one.is_file() and not one.is_symlink()
    )
    version = f"{path.stat().st_mtime_ns}-{sum(size for _, size in sizes)}"
    images = manifest.counts.get("written", {}).get("images", {})
    return ExportFact(
        folder=path.parent,
        manifest=manifest,
        n_samples=int(manifest.counts["selected"]),
        files=sizes,
        version=version,
        n_images=int(images.get("files", 0)),
        images_bytes=int(images.get("bytes", 0)) if (path.parent / FOLDERS[0]).is_dir() else 0,
    )


def zipped(export: ExportFact) -> bytes:
    """All files of an export as one archive; links are not followed."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(export.folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, f"{export.folder.name}/{path.relative_to(export.folder)}")
    return found.getvalue()
