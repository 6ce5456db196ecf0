"""The folder of an import on its way: it goes on where it stopped, or leaves no trace.

The folder is named after the files that are read, as they were; other files make another folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from scoring.dataset.image_root_detection import FileBases
from scoring.dataset.records import DatasetInfo, dataset_parts, read_dataset_info
from scoring.errors import WorkspaceError
from scoring.readers import ReadOptions, SourceFile
from scoring.workspace import Workspace, write_json


def has_staged_import(workspace: Workspace) -> bool:
    """Whether something is kept of an import that broke off."""
    return any(workspace.root.glob(".dataset.*.partial/state.json"))


class StagingArea:
    """The folder of an import on its way: it goes on where it stopped, or leaves no trace."""

    def __init__(
        self,
        workspace: Workspace,
        sources: Sequence[SourceFile],
        options: ReadOptions,
        image_roots: Sequence[Path] = (),
        base: DatasetInfo | None = None,
    ) -> None:
        self._workspace, self.base = workspace, base
        facts = [
            (
                str(one.file.path.resolve()),
                one.file.path.stat().st_size,
                one.file.path.stat().st_mtime_ns,
            )
            for one in sources
        ]
        listed = [one.file.said for one in sources]
        roots = [str(root.resolve()) for root in image_roots]
        encoded = [options.encoding] if options.encoding else []
        said = (facts, listed, options, roots, *encoded, *([base.fingerprint] if base else []))
        key = hashlib.sha256(repr(said).encode("utf-8", "replace")).hexdigest()[:12]
        self.folder = workspace.root / f".dataset.{key}.partial"
        self.folder.mkdir(exist_ok=True)
        self._lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise WorkspaceError(
                f"another process is importing the same files into {workspace.root}; wait for it"
            ) from None
        self._clear_others()

    def _clear_others(self) -> None:
        """Removes what imports of other files left, unless they are at work."""
        for path in self._workspace.root.glob(".dataset.*.partial"):
            if path != self.folder:
                other = FileLock(path / ".lock", timeout=0)
                with contextlib.suppress(Timeout, OSError):
                    with other:
                        pass
                    shutil.rmtree(path, ignore_errors=True)

    def file_bases(self) -> FileBases:
        """The folders of images of what is there: of finished files, or of what this adds to."""
        state = self.state()
        if "default" in state:
            bases = [tuple(map(Path, folders)) for folders in state["bases"]]
            return FileBases(tuple(map(Path, state["default"])), bases)
        return self.older_bases()

    def older_bases(self) -> FileBases:
        """The folders of images of the dataset that this adds to."""
        if self.base is None:
            return FileBases()
        own = (self._workspace.dataset_dir.resolve(), self._workspace.remote_dir.resolve())
        roots = self._workspace.image_roots
        plain = tuple(root for root in roots if root not in own and not root.is_file())
        return FileBases(plain, list(roots.bases))

    @property
    def n_parts_before(self) -> int:
        """Parts of the dataset that this adds to."""
        return len(dataset_parts(self._workspace)) if self.base else 0

    def state(self) -> dict[str, Any]:
        """What is finished: files, rows and parts."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "state.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            n_samples = self.base.n_samples if self.base else 0
            nothing = {"files": [], "trials": [], "inline": False}
            return {**nothing, "n_samples": n_samples, "n_parts": self.n_parts_before}
        return found

    def keep(self, state: Mapping[str, Any]) -> None:
        """Notes that all files so far are on disk."""
        write_json(self.folder / "state.json", state)

    def finish(self) -> None:
        """Gives the folder its place in the workspace."""
        (self.folder / "state.json").unlink(missing_ok=True)
        self._lock.release()
        (self.folder / ".lock").unlink(missing_ok=True)
        self.folder.replace(self._workspace.dataset_dir)

    def finish_addition(self, info: DatasetInfo) -> None:
        """Puts the new parts beside those that are there; they count once dataset.json does.

        Raises WorkspaceError where the dataset is no longer the one that this adds to.
        """
        home = self._workspace.dataset_dir
        with FileLock(home / ".addition.lock"):
            found = read_dataset_info(self._workspace)
            if self.base is None or found.fingerprint != self.base.fingerprint:
                raise WorkspaceError(
                    f"another process has added to {self._workspace.root} meanwhile; "
                    "run the same command again"
                )
            (self.folder / "state.json").unlink(missing_ok=True)
            # From now on dataset.json tells how many parts count, whatever lies beside them.
            before = replace(found, editions=info.editions[:-1])
            write_json(home / "dataset.json", before.facts())
            counted = set(dataset_parts(self._workspace))
            for orphan in set(home.glob("part-*.parquet")) - counted:
                orphan.unlink()  # of an addition that was killed; no reader knows it
            for part in sorted(self.folder.glob("part-*.parquet")):
                part.replace(home / part.name)
            trials = [path.read_text("utf-8") for path in self._trial_files(home)]
            write_json(home / "images.json", [one for text in trials for one in json.loads(text)])
            write_json(home / "dataset.json", info.facts())
        self.discard()

    def _trial_files(self, home: Path) -> list[Path]:
        """Where images were looked for, before and now; an older dataset may not have told."""
        return [
            path / "images.json" for path in (home, self.folder) if (path / "images.json").exists()
        ]

    def close(self) -> None:
        """Leaves what can be gone on with, and nothing else."""
        if (self.folder / "state.json").exists():
            self._lock.release()
        else:
            self.discard()

    def discard(self) -> None:
        """Leaves nothing."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)
