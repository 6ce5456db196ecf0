"""The staging folder of an import: an interrupted import resumes from it or leaves no trace.

The folder's name depends on the files as they are; other files get another folder.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from scoring.dataset.image_root_detection import FileBases, RootDetection, parse_detection
from scoring.dataset.record_values import FOLDER as VALUES
from scoring.dataset.records import DatasetFile, DatasetInfo, dataset_parts, read_dataset_info
from scoring.errors import WorkspaceError
from scoring.images.digests import FOLDER
from scoring.readers.options import ReadOptions
from scoring.readers.sources import SourceFile
from scoring.workspace import Workspace, write_json


def has_staged_import(workspace: Workspace) -> bool:
    """Return whether finished files of an interrupted import are kept."""
    return any(workspace.root.glob(".dataset.*.partial/state.json"))


@dataclass(slots=True)
class ImportState:
    """Progress of an import: the finished files, and the rows and parts up to their end.

    ``has_inline_images``: a JSON record contains an image itself.
    """

    files: list[DatasetFile]
    detections: list[RootDetection]
    bases: FileBases
    n_samples: int
    n_parts: int
    has_inline_images: bool = False


class StagingArea:
    """The staging folder of one import, locked against other processes.

    ``base`` is the dataset that the import adds to, if any.
    """

    def __init__(
        self,
        workspace: Workspace,
        sources: Sequence[SourceFile],
        options: ReadOptions,
        image_roots: Sequence[Path] = (),
        base: DatasetInfo | None = None,
        keys: Sequence[str] = (),
    ) -> None:
        self._workspace, self.base = workspace, base
        facts = []
        for source in sources:
            stat = source.file.data_path.stat()
            facts.append((str(source.file.data_path.resolve()), stat.st_size, stat.st_mtime_ns))
        listed = [source.file.listed_options for source in sources]
        roots = [str(root.resolve()) for root in image_roots]
        limit = str(options.limit or "")
        collected = " ".join(keys)
        further = filter(
            None, (options.encoding, base.fingerprint if base else "", limit, collected)
        )
        inputs = (facts, listed, options, roots, *further)
        key = hashlib.sha256(repr(inputs).encode("utf-8", "replace")).hexdigest()[:12]
        self.folder = workspace.root / f".dataset.{key}.partial"
        self.folder.mkdir(exist_ok=True)
        self._lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise WorkspaceError(
                f"Another process is importing the same files into {workspace.root}. "
                "Wait until it has finished."
            ) from None
        # Delete what imports of other files left behind, unless they are running.
        for path in set(workspace.root.glob(".dataset.*.partial")) - {self.folder}:
            with suppress(Timeout, OSError):
                with FileLock(path / ".lock", timeout=0):
                    pass
                shutil.rmtree(path, ignore_errors=True)

    def bases_before(self) -> FileBases:
        """Return the image folders of the dataset that this import adds to."""
        if self.base is None:
            return FileBases()
        own = (self._workspace.dataset_dir.resolve(), self._workspace.remote_dir.resolve())
        roots = self._workspace.image_roots
        folders = tuple(root for root in roots if root not in own and not root.is_file())
        return FileBases(folders, list(roots.bases))

    def load_state(self) -> ImportState:
        """Return the progress of an interrupted import, or the state at the start."""
        try:
            raw = json.loads((self.folder / "state.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            n_samples = self.base.n_samples if self.base else 0
            n_parts = len(dataset_parts(self._workspace)) if self.base else 0
            return ImportState([], [], self.bases_before(), n_samples, n_parts)
        bases = [tuple(map(Path, folders)) for folders in raw["bases"]]
        return ImportState(
            [DatasetFile(**file) for file in raw["files"]],
            [parse_detection(detection) for detection in raw["trials"]],
            FileBases(tuple(map(Path, raw["default"])), bases),
            int(raw["n_samples"]),
            int(raw["n_parts"]),
            bool(raw["inline"]),
        )

    def save_state(self, state: ImportState) -> None:
        """Record that all files so far are on disk."""
        raw = {
            "files": list(map(asdict, state.files)),
            "trials": list(map(asdict, state.detections)),
            "n_samples": state.n_samples,
            "n_parts": state.n_parts,
            "inline": state.has_inline_images,
            "default": list(map(str, state.bases.default)),
            "bases": [list(map(str, folders)) for folders in state.bases.bases],
        }
        write_json(self.folder / "state.json", raw)

    def publish(self) -> None:
        """Move the folder to its place in the workspace."""
        (self.folder / "state.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / VALUES, ignore_errors=True)  # read into columns by now
        self._lock.release()
        (self.folder / ".lock").unlink(missing_ok=True)
        self.folder.replace(self._workspace.dataset_dir)

    def publish_addition(self, info: DatasetInfo) -> None:
        """Add the new parts to the dataset; they count as soon as dataset.json is replaced.

        Raises WorkspaceError if the dataset is no longer the one that this import adds to.
        """
        home = self._workspace.dataset_dir
        with FileLock(home / ".addition.lock"):
            present = read_dataset_info(self._workspace)
            if self.base is None or present.fingerprint != self.base.fingerprint:
                raise WorkspaceError(
                    f"Another process has added to {self._workspace.root} in the meantime. "
                    "Run the same command again."
                )
            (self.folder / "state.json").unlink(missing_ok=True)
            # From now on dataset.json limits the parts that count; other files are ignored.
            write_json(
                home / "dataset.json", replace(present, editions=info.editions[:-1]).as_json()
            )
            counted = set(dataset_parts(self._workspace))
            for orphan in set(home.glob("part-*.parquet")) - counted:
                orphan.unlink()  # left by a killed addition; no reader uses it
            for part in sorted(self.folder.glob("part-*.parquet")):
                part.replace(home / part.name)
            detections = []
            for path in (home / "images.json", self.folder / "images.json"):
                if path.exists():  # earlier versions stored none
                    detections += json.loads(path.read_text("utf-8"))
            write_json(home / "images.json", detections)
            write_json(home / "dataset.json", info.as_json())
            # Last: digests of rows that do not count would belong to the rows of a later addition.
            (home / FOLDER).mkdir(exist_ok=True)
            for part in sorted((self.folder / FOLDER).glob("part-*.parquet")):
                part.replace(home / FOLDER / part.name)
        self.discard()

    def close(self) -> None:
        """Keep what can be resumed, and nothing else."""
        if (self.folder / "state.json").exists():
            self._lock.release()
        else:
            self.discard()

    def discard(self) -> None:
        """Delete the folder."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)
