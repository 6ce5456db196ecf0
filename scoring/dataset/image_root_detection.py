"""Which folder the image paths of a file are relative to, found by trying the first of them.

The one decision behind it: the folder is fixed for the whole file and told to the user, and no
file's paths are tried in a folder that was found for another one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from scoring.image_references import RECORDS_ROOT, add_base, is_fetchable
from scoring.images.decode import ImageLocation, ImageProblem, is_deep_grey, resolve_image
from scoring.readers import SourceFile
from scoring.readers.inputs import hub_home
from scoring.readers.values import InlineReference
from scoring.samples import Sample, Status
from scoring.workspace import Workspace

ROOT_TRIALS = 200  # images of a file that settle which folder its paths are relative to
_MOST_WAITING = 5_000  # samples, and bytes of them, held back until that is settled
_MOST_BYTES = 64 << 20
_USUAL_NAMES = ("images", "image", "imgs", "img")
_MOST_SUBFOLDERS = 50  # with more of them, only those with a usual name are looked into
_MOST_TARGETS = 4


@dataclass(frozen=True, slots=True)
class RootDetection:
    """Where the first images of a file were looked for, and how many of ``n_tried`` were found.

    ``n_found`` is by candidate; the first of those that hold most was chosen. ``n_refused`` images
    exist but are reached through a link or ``..`` that leads out of the folders that may be read;
    with ``remedy`` as ``--images`` they are found. ``ambiguous``: subfolders of which each holds
    some of the images, so that none was chosen. ``n_deep_greys`` have more than 8 bits per pixel.
    """

    file: str
    candidates: tuple[str, ...]
    n_found: tuple[int, ...]
    n_tried: int
    n_refused: int = 0
    remedy: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    n_deep_greys: int = 0

    @property
    def best(self) -> int:
        """The position of the chosen folder."""
        return max(range(len(self.candidates)), key=lambda index: self.n_found[index])


class RootDetector:
    """Tries the first images of one file in the folders that its paths may be relative to.

    These are the declared folders or, without any, the file's folder and its parent, and ``known``:
    folders of the dataset that the file is added to. Where they hold none of the images, their
    subfolders are tried.
    """

    def __init__(
        self, source: SourceFile, image_roots: Sequence[Path], known: Sequence[Path] = ()
    ) -> None:
        self._source = source
        home = hub_home(source.file.path)
        # A file in a cache of the hub is a link; so are its images, to a folder of their own.
        self._beyond = [] if home is None else [home / "blobs"]
        folder = (source.file.path.parent if home else source.file.path.resolve().parent).resolve()
        self._folder = folder
        self._declared = list(dict.fromkeys(root.resolve() for root in image_roots))
        inside = any(folder.is_relative_to(root) for root in self._declared)
        own = [folder] if inside or not self._declared else []
        listed = source.file.base
        # The whole file system is no folder of images, whatever a list says.
        lists = [listed] if listed is not None and listed != listed.parent else []
        near = (
            [*self._declared, *own] if self._declared else [*lists, folder, folder.parent, *known]
        )
        self._near = list(dict.fromkeys(near))
        self._roots = [*self._declared, *own, *self._beyond]
        self._tried: list[str] = []
        self._result: RootDetection | None = None
        self.inline = False
        self.open = True  # whether the folder is still sought

    def take(self, sample: Sample) -> None:
        """Notes a sample's first image, as long as it takes to be sure."""
        for image in sample.images[:1]:
            if isinstance(image, InlineReference):
                self.inline = self.inline or image.startswith(f"{RECORDS_ROOT}#")
            elif is_fetchable(image):
                continue
            elif self.open and sample.status is Status.PENDING:
                self._tried.append(image)
                self.open = len(self._tried) < ROOT_TRIALS

    def folders(self) -> tuple[Path, ...]:
        """Where the file's images are looked for: the chosen folder, then others named."""
        result = self.result()
        best = Path(result.candidates[result.best])
        return tuple(dict.fromkeys((best, *self._declared, *self._beyond)))

    def result(self) -> RootDetection:
        """What was found out; no further image is tried."""
        self.open = False
        if self._result is None:
            self._result = self._search()
        return self._result

    def _search(self) -> RootDetection:
        found = {folder: self._found_in(folder) for folder in self._near}
        ambiguous: list[Path] = []
        if not any(found.values()):
            holding = {folder: self._found_in(folder) for folder in self._subfolders(inside=True)}
            holding = {folder: images for folder, images in holding.items() if images}
            usual = [folder for folder in holding if folder.name in _USUAL_NAMES]
            chosen = usual or list(holding)
            if len(chosen) == 1:
                found[chosen[0]] = holding[chosen[0]]
            else:  # images of one name in several folders: to guess would be to mix them up
                ambiguous = chosen
        best = max(found, key=lambda folder: len(found[folder]))
        lost = [image for image in self._tried if image not in found[best]]
        refused, remedy = ({}, []) if ambiguous else self._remedy(lost, best)
        return RootDetection(
            self._source.file.name,
            tuple(map(str, found)),
            tuple(map(self._count, found.values())),
            len(self._tried),
            self._count(refused),
            tuple(map(str, remedy)),
            tuple(map(str, ambiguous)),
            self._count({one for one, place in found[best].items() if is_deep_grey(place)}),
        )

    def _count(self, images: Container[str]) -> int:
        return sum(image in images for image in self._tried)

    def _found_in(self, folder: Path) -> dict[str, ImageLocation]:
        """The images that are files below ``folder`` and may be read."""
        roots = [folder, *(one for one in self._roots if one != folder)]
        # Most are in none of 50 subfolders: resolving is 20 times as slow as this look.
        there = [image for image in dict.fromkeys(self._tried) if _may_be_in(folder, image)]
        places = ((image, _resolved(image, roots, folder)) for image in there)
        return {image: place for image, place in places if place is not None}

    def _subfolders(self, *, inside: bool) -> list[Path]:
        """Direct subfolders in which images may be; links that lead out only if not ``inside``."""
        near = [self._folder, *self._declared] if self._folder in self._near else self._declared
        found = [one for folder in near for one in _listed_subfolders(folder)]
        if not self._declared:
            found += [self._folder.parent / name for name in _USUAL_NAMES]
        found = [one for one in dict.fromkeys(found) if one not in self._near and one.is_dir()]
        return [one for one in found if one.resolve().is_relative_to(one.parent) == inside]

    def _remedy(self, lost: Sequence[str], best: Path) -> tuple[Mapping[str, Path], Sequence[Path]]:
        """Which lost images exist but may not be read, and the folders to name so that they may.

        This only reports: what leads out of the folders is never opened without being named.
        """
        bases = [best, *self._near, self._folder, self._folder.parent]
        bases = list(dict.fromkeys([*bases, *self._subfolders(inside=False)]))
        refused = {image: base for image in lost if (base := _base_of(image, bases)) is not None}
        if not refused:
            return {}, []
        targets = _joined({_target(base, image) for image, base in refused.items()})
        through = list(dict.fromkeys(refused.values()))
        options = [
            list(dict.fromkeys([*self._declared, *more, *targets]))
            for more in ([], [best], through, [best, *through])
        ]
        n_found = [sum(_is_found(one, roots) for one in self._tried) for roots in options]
        return refused, options[n_found.index(max(n_found))]


def _listed_subfolders(folder: Path) -> list[Path]:
    """The visible subfolders in order, or those with a usual name where there are too many."""
    try:
        names = sorted(one.name for one in os.scandir(folder) if one.is_dir())
    except OSError:
        return []
    names = [name for name in names if not name.startswith(".")]
    if len(names) > _MOST_SUBFOLDERS:
        names = [name for name in _USUAL_NAMES if name in names]
    return [folder / name for name in names]


def _may_be_in(folder: Path, image: str) -> bool:
    path = image.partition("###")[0]  # without the box that may follow a path
    return os.path.lexists(os.path.join(folder, path))  # noqa: PTH118 - much faster than a Path


def _base_of(image: str, bases: Sequence[Path]) -> Path | None:
    """The first folder in which ``image`` is a file, wherever links lead."""
    for base in bases:
        with suppress(OSError, ValueError, RuntimeError):
            if (base / image).is_file():
                return base
    return None


def _target(base: Path, image: str) -> Path:
    """The first folder outside of ``base`` on the way to ``image``, links followed."""
    if base.is_symlink():
        return base.resolve()
    path = base
    for part in () if PurePath(image).is_absolute() else PurePath(image).parts:
        path = path / part
        end = path.resolve()
        if part != ".." and not end.is_relative_to(base):
            return end if end.is_dir() else end.parent
    return (base / image).resolve().parent


def _joined(targets: set[Path]) -> list[Path]:
    """A few folders that hold all ``targets``, but not the whole file system."""
    if len(targets) > _MOST_TARGETS:
        common = Path(os.path.commonpath(targets))
        if common != common.parent:
            return [common]
    return sorted(targets)[:_MOST_TARGETS]


def _is_found(image: str, roots: Sequence[Path]) -> bool:
    try:
        resolve_image(image, roots)
    except ImageProblem:
        return False
    return True


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

    def placed(self, samples: Iterable[Sample], trials: RootDetector) -> Iterator[Sample]:
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
    return not isinstance(image, InlineReference) and not is_fetchable(image)


def _based(sample: Sample, base: int) -> Sample:
    images = (add_base(base, one) if _is_path(one) else one for one in sample.images)
    return replace(sample, images=tuple(images))


def parse_detection(raw: Mapping[str, Any]) -> RootDetection:
    """A trial as it was written down; earlier versions wrote fewer of its fields."""
    values: dict[str, Any] = {
        key: tuple(one) if isinstance(one, list) else one for key, one in raw.items()
    }
    return RootDetection(**values)


def read_root_detections(workspace: Workspace) -> list[RootDetection]:
    """Where the import looked for images, by file; empty where that is not known."""
    try:
        raw = json.loads((workspace.dataset_dir / "images.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [parse_detection(one) for one in raw]


def _resolved(reference: str, roots: Sequence[Path], base: Path) -> ImageLocation | None:
    """The file that ``reference``, joined to ``base``, names inside any of ``roots``."""
    try:
        place = resolve_image(reference, roots)
    except ImageProblem:
        return None
    joined = place.path == (base / reference).resolve() or place.box is not None
    return place if joined else None
