"""Which folder the image paths of a file are relative to, found by trying the first of them.

The one decision behind it: the folder is fixed for the whole file and told to the user, and no
file's paths are tried in a folder that was found for another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scoring.image_bases import in_base
from scoring.readers import SourceFile
from scoring.readers.images import RECORDS, ImageProblem, resolve_image
from scoring.readers.inputs import hub_home
from scoring.readers.remote import may_be_fetched
from scoring.readers.values import Inline
from scoring.samples import Sample, Status
from scoring.workspace import Workspace

ROOT_TRIALS = 200  # images of a file that settle which folder its paths are relative to
_MOST_WAITING = 5_000  # samples, and bytes of them, held back until that is settled
_MOST_BYTES = 64 << 20


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
    """Tries the first images of one file in the folders that its paths may be relative to.

    ``known``: folders of the dataset that the file is added to. They are tried last, and only where
    the user named none.
    """

    def __init__(
        self, source: SourceFile, image_roots: Sequence[Path], known: Sequence[Path] = ()
    ) -> None:
        self._source = source
        home = hub_home(source.file.path)
        # A file in a cache of the hub is a link; so are its images, to a folder of their own.
        self._beyond = [] if home is None else [home / "blobs"]
        folder = (source.file.path.parent if home else source.file.path.resolve().parent).resolve()
        self._declared = list(dict.fromkeys(root.resolve() for root in image_roots))
        inside = any(folder.is_relative_to(root) for root in self._declared)
        own = [folder] if inside or not self._declared else []
        listed = source.file.base
        # The whole file system is no folder of images, whatever a list says.
        lists = [listed] if listed is not None and listed != listed.parent else []
        near = (
            [*self._declared, *own] if self._declared else [*lists, folder, folder.parent, *known]
        )
        self.candidates = list(dict.fromkeys(near))
        self._roots = [*self._declared, *own, *self._beyond]
        self._found = [0] * len(self.candidates)
        self.n_tried = 0
        self.inline = False
        self.open = True  # whether the folder is still sought

    def take(self, sample: Sample) -> None:
        """Tries a sample's first image, as long as it takes to be sure."""
        for image in sample.images[:1]:
            if isinstance(image, Inline):
                self.inline = self.inline or image.startswith(f"{RECORDS}#")
            elif may_be_fetched(image):
                continue
            elif self.open and sample.status is Status.PENDING:
                self.n_tried += 1
                self.open = self.n_tried < ROOT_TRIALS
                for index, root in enumerate(self.candidates):
                    others = [one for one in self._roots if one != root]
                    self._found[index] += _resolves(image, [root, *others], root)

    def folders(self) -> tuple[Path, ...]:
        """Where the file's images are looked for: the chosen folder, then others named."""
        self.open = False
        best = self.candidates[self.result().best]
        return tuple(dict.fromkeys((best, *self._declared, *self._beyond)))

    def result(self) -> ImageTrial:
        """What was found out."""
        candidates = tuple(map(str, self.candidates))
        return ImageTrial(self._source.file.name, candidates, tuple(self._found), self.n_tried)


@dataclass(slots=True)
class FileBases:
    """The folders of the dataset's first file with images, and those of files that have others."""

    default: tuple[Path, ...] = ()
    bases: list[tuple[Path, ...]] = field(default_factory=list)

    def facts(self) -> dict[str, object]:
        """As JSON values."""
        bases = [list(map(str, folders)) for folders in self.bases]
        return {"default": list(map(str, self.default)), "bases": bases}

    def base_of(self, folders: tuple[Path, ...]) -> int | None:
        """The number of the base with these folders, made where there is none; None: no base."""
        self.default = self.default or folders
        for number, known in enumerate((self.default, *self.bases), start=-1):
            if known[: len(folders)] == folders:
                return None if number < 0 else number
        self.bases.append(folders)
        return len(self.bases) - 1

    def placed(self, samples: Iterable[Sample], trials: Trials) -> Iterator[Sample]:
        """The samples of one file, whose paths name their base where it has one.

        Some are held back until it is known where the images lie.
        """
        waiting: list[Sample] = []
        size = 0
        base: int | None = None
        begun = settled = False
        for sample in samples:
            trials.take(sample)
            begun = begun or any(map(_is_path, sample.images))
            if settled or not begun:
                yield sample if base is None else _based(sample, base)
                continue
            waiting.append(sample)
            size += len(sample.original)
            if not trials.open or len(waiting) >= _MOST_WAITING or size >= _MOST_BYTES:
                base, settled = self.base_of(trials.folders()), True
                yield from (one if base is None else _based(one, base) for one in waiting)
                waiting.clear()
        if waiting:
            base = self.base_of(trials.folders())
            yield from (one if base is None else _based(one, base) for one in waiting)


def _is_path(image: str) -> bool:
    return not isinstance(image, Inline) and not may_be_fetched(image)


def _based(sample: Sample, base: int) -> Sample:
    images = (in_base(base, one) if _is_path(one) else one for one in sample.images)
    return replace(sample, images=tuple(images))


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


def _resolves(reference: str, roots: Sequence[Path], base: Path) -> bool:
    """Whether ``reference``, joined to ``base``, is a file inside any of ``roots``."""
    try:
        place = resolve_image(reference, roots)
    except ImageProblem:
        return False
    return place.path == (base / reference).resolve() or place.box is not None
