"""Which folder the image paths of a file are relative to, found by trying the first of them.

The one decision behind it: the folder is fixed for the whole file and told to the user, and where
an older folder of the same workspace holds another file of that path nothing is guessed.
"""

from __future__ import annotations

import filecmp
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.errors import InputError
from scoring.readers import SourceFile
from scoring.readers.images import RECORDS, ImageProblem, resolve_image
from scoring.readers.remote import may_be_fetched
from scoring.readers.values import Inline
from scoring.samples import Sample, Status
from scoring.workspace import Workspace

ROOT_TRIALS = 200  # images of a file that settle which folder its paths are relative to


@dataclass(frozen=True, slots=True)
class ImageTrial:
    """Where the first images of a file were looked for, and how many of ``n_tried`` lie there.

    ``n_found`` is by candidate; the first of those that hold most was chosen.
    """

    file: str
    candidates: tuple[str, ...]
    n_found: tuple[int, ...]
    n_tried: int

    @property
    def best(self) -> int:
        """The position of the chosen folder."""
        return max(range(len(self.candidates)), key=lambda index: self.n_found[index])


class Trials:
    """Tries the first images of one file in the folders that its paths may be relative to."""

    def __init__(
        self, source: SourceFile, image_roots: Sequence[Path], older: Sequence[Path] = ()
    ) -> None:
        self._source = source
        self._older = list(older)
        folder = source.file.path.resolve().parent
        declared = [root.resolve() for root in image_roots]
        inside = any(folder.is_relative_to(root) for root in declared)
        own = [folder] if inside or not declared else []
        new = [*declared, *own] if declared else [folder, folder.parent]
        self._new = [root for root in new if root not in self._older]
        self.candidates = [*self._older, *self._new]
        self._roots = [*self._older, *declared, *own]
        self._found = [0] * len(self.candidates)
        self._tried = 0
        self.inline = False

    def take(self, sample: Sample) -> None:
        """Tries a sample's first image, as long as it takes to be sure."""
        for image in sample.images[:1]:
            if isinstance(image, Inline):
                self.inline = self.inline or image.startswith(f"{RECORDS}#")
            elif may_be_fetched(image):
                continue
            elif self._tried < ROOT_TRIALS and sample.status is Status.PENDING:
                self._tried += 1
                for index, root in enumerate(self.candidates):
                    others = [one for one in self._roots if one != root]
                    self._found[index] += _resolves(image, [root, *others], root)
        for image in sample.images if self._older else ():
            if not isinstance(image, Inline):
                self._refuse_two(image)

    def _refuse_two(self, image: str) -> None:
        """Raises InputError where an older folder holds another file of that path."""
        for root in self._older:
            if not os.path.lexists(root / image):
                continue
            for other in self._new:
                if _are_two(root / image, other / image):
                    raise InputError(
                        f"{self._source.file.path} names the image {image!r}, and {root} holds "
                        f"another one of that path than {other}; older folders are looked into "
                        "first, so the samples would show the wrong one. Write the paths with "
                        "their folder in front and name its parent with --images, or import the "
                        "file into a workspace of its own"
                    )
            return

    def result(self) -> ImageTrial:
        """What was found out."""
        candidates = tuple(map(str, self.candidates))
        return ImageTrial(self._source.file.name, candidates, tuple(self._found), self._tried)


def trial_of(raw: Mapping[str, Any]) -> ImageTrial:
    """A trial as it was written down."""
    candidates, n_found = tuple(raw["candidates"]), tuple(raw["n_found"])
    return ImageTrial(raw["file"], candidates, n_found, raw["n_tried"])


def read_image_trials(workspace: Workspace) -> list[ImageTrial]:
    """Where the import looked for images, by file; empty where that is not known."""
    try:
        raw = json.loads((workspace.dataset_dir / "images.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [trial_of(one) for one in raw]


def _are_two(one: Path, other: Path) -> bool:
    """Whether both are files and differ in their bytes."""
    try:
        if not (one.is_file() and other.is_file()) or one.samefile(other):
            return False
        return not filecmp.cmp(one, other, shallow=False)
    except (OSError, ValueError):  # not there, or no path at all
        return False


def _resolves(reference: str, roots: Sequence[Path], base: Path) -> bool:
    """Whether ``reference``, joined to ``base``, is a file inside any of ``roots``."""
    try:
        place = resolve_image(reference, roots)
    except ImageProblem:
        return False
    return place.path == (base / reference).resolve() or place.box is not None
