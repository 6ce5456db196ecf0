"""Detects which folder a file's image paths are relative to, by looking for its first images.

One folder is chosen for the whole file and reported to the user. A file's paths are never tried in
a folder that was chosen for another file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from scoring.image_references import RECORDS_ROOT, add_base, is_fetchable
from scoring.images.decode import ImageLocation, ImageProblem, is_deep_grey, resolve_image
from scoring.readers.inputs import find_hub_cache
from scoring.readers.sources import SourceFile
from scoring.readers.values import InlineReference
from scoring.samples import Sample, Status
from scoring.workspace import Workspace

MAX_PROBES = 200  # images of a file to look for
_MAX_WAITING = 5_000  # samples, and their total size, held back until the folder is known
_MAX_WAITING_BYTES = 64 << 20
_USUAL_NAMES = ("images", "image", "imgs", "img")
_MAX_SUBFOLDERS = 50  # with more of them, only those with a usual name are examined
_MAX_TARGETS = 4


@dataclass(frozen=True, slots=True)
class RootDetection:
    """Where the first images of a file were looked for. Stored in ``dataset/images.json``.

    The first candidate with the most images is chosen. Images are refused if they exist, but are
    reached through a link or ``..`` that leads outside the folders that may be read.
    """

    file: str
    candidates: tuple[str, ...]  # folders
    n_found: tuple[int, ...]  # images by candidate
    n_tried: int
    n_refused: int = 0
    remedy: tuple[str, ...] = ()  # folders to pass as ``--images`` so that these are found
    ambiguous: tuple[str, ...] = ()  # subfolders that each contain some, so none was chosen
    n_deep_greys: int = 0  # images with more than 8 bits per pixel

    @property
    def best_index(self) -> int:
        """Index of the chosen candidate."""
        return max(range(len(self.candidates)), key=lambda index: self.n_found[index])


def parse_detection(raw: Mapping[str, Any]) -> RootDetection:
    """Return a stored detection; earlier versions stored fewer fields."""
    lists = {key: tuple(value) for key, value in raw.items() if isinstance(value, list)}
    return RootDetection(**{**raw, **lists})


def read_root_detections(workspace: Workspace) -> list[RootDetection]:
    """Return the detection of each file; empty if an earlier version did not store them."""
    try:
        raw = json.loads((workspace.dataset_dir / "images.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [parse_detection(detection) for detection in raw]


class RootDetector:
    """Looks for the first images of one file in the folders that its paths may be relative to.

    These are the declared folders. Without any, they are the file's folder and its parent, the
    folder of a list that names the file, and ``known``: folders of the dataset that the file is
    added to. If none of them contains an image, their subfolders are tried.
    """

    def __init__(
        self, source: SourceFile, image_roots: Sequence[Path], known: Sequence[Path] = ()
    ) -> None:
        self._source = source
        home = find_hub_cache(source.file.path)
        # Files and images in a hub cache are links into its blobs folder.
        self._link_targets = [] if home is None else [home / "blobs"]
        path = source.file.path if home else source.file.path.resolve()
        self._folder = folder = path.parent.resolve()
        self._declared = list(dict.fromkeys(root.resolve() for root in image_roots))
        inside = any(folder.is_relative_to(root) for root in self._declared)
        own = [folder] if inside or not self._declared else []
        listed = source.file.base
        # The whole file system is not an image folder, even if a list names it.
        lists = [listed] if listed is not None and listed != listed.parent else []
        defaults = [*lists, folder, folder.parent, *known]
        self._near = list(dict.fromkeys([*self._declared, *own] if self._declared else defaults))
        self._roots = [*self._declared, *own, *self._link_targets]
        self._probes: list[str] = []
        self.has_inline_images = False
        self.needs_more_probes = True

    def add_sample(self, sample: Sample) -> None:
        """Use a sample's first image as a probe, until there are enough of them."""
        image = sample.images[0] if sample.images else ""
        is_pending = sample.status is Status.PENDING
        if isinstance(image, InlineReference):
            is_own = image.startswith(f"{RECORDS_ROOT}#")
            self.has_inline_images = self.has_inline_images or is_own
        elif image and self.needs_more_probes and is_pending and not is_fetchable(image):
            self._probes.append(image)
            self.needs_more_probes = len(self._probes) < MAX_PROBES

    def folders(self) -> tuple[Path, ...]:
        """Return the folders for the file's images: the chosen one, then other declared ones."""
        detection = self.detection
        best = Path(detection.candidates[detection.best_index])
        return tuple(dict.fromkeys((best, *self._declared, *self._link_targets)))

    @cached_property
    def detection(self) -> RootDetection:
        """The result; no further probes are accepted."""
        self.needs_more_probes = False
        located = {folder: self._find_in(folder) for folder in self._near}
        ambiguous: list[Path] = []
        if not any(located.values()):
            subfolders = self._subfolders(inside=True)
            nearby = {folder: images for folder in subfolders if (images := self._find_in(folder))}
            chosen = [folder for folder in nearby if folder.name in _USUAL_NAMES] or list(nearby)
            if len(chosen) == 1:
                located[chosen[0]] = nearby[chosen[0]]
            else:  # the same names in several folders: guessing could mix images up
                ambiguous = chosen
        best = max(located, key=lambda folder: len(located[folder]))
        refused: Mapping[str, Path] = {}
        suggested_roots: Sequence[Path] = []
        if not ambiguous:
            missing = [image for image in self._probes if image not in located[best]]
            refused, suggested_roots = self._find_suggested_roots(missing, best)
        greys = {image for image, location in located[best].items() if is_deep_grey(location)}
        return RootDetection(
            self._source.file.name,
            tuple(map(str, located)),
            tuple(self._count_probes(images) for images in located.values()),
            len(self._probes),
            self._count_probes(refused),
            tuple(map(str, suggested_roots)),
            tuple(map(str, ambiguous)),
            self._count_probes(greys),
        )

    def _count_probes(self, images: Container[str]) -> int:
        return sum(image in images for image in self._probes)

    def _find_in(self, folder: Path) -> dict[str, ImageLocation]:
        """Return the probes that are readable files below ``folder``."""
        roots = [folder, *(root for root in self._roots if root != folder)]
        locations = {}
        for image in dict.fromkeys(self._probes):
            path = image.partition("###")[0]  # without a box after the path
            # Resolving is 20 times slower than this check, and most probes fail in 50 subfolders.
            if os.path.lexists(os.path.join(folder, path)):  # noqa: PTH118 - much faster
                with suppress(ImageProblem):
                    location = resolve_image(image, roots)
                    if location.box or location.path == (folder / image).resolve():
                        locations[image] = location
        return locations

    def _subfolders(self, *, inside: bool) -> list[Path]:
        """Return direct subfolders, or the links among them that lead out if not ``inside``."""
        near = [self._folder, *self._declared] if self._folder in self._near else self._declared
        folders = [subfolder for folder in near for subfolder in _list_subfolders(folder)]
        if not self._declared:
            folders += [self._folder.parent / name for name in _USUAL_NAMES]
        new = [path for path in dict.fromkeys(folders) if path not in self._near and path.is_dir()]
        return [path for path in new if path.resolve().is_relative_to(path.parent) == inside]

    def _find_suggested_roots(
        self, missing: Sequence[str], best: Path
    ) -> tuple[Mapping[str, Path], Sequence[Path]]:
        """Return the missing images that exist but may not be read, and the folders to declare.

        This only reports: images outside the folders are never opened unless they are declared.
        """
        bases = [best, *self._near, self._folder, self._folder.parent]
        bases = list(dict.fromkeys([*bases, *self._subfolders(inside=False)]))
        refused: dict[str, Path] = {}
        for image in missing:
            for base in bases:
                with suppress(OSError, ValueError, RuntimeError):
                    if (base / image).is_file():
                        refused[image] = base
                        break
        if not refused:
            return {}, []
        targets = sorted({_outside_folder(base, image) for image, base in refused.items()})
        if len(targets) > _MAX_TARGETS:  # a folder that contains all, but not the whole file system
            common = Path(os.path.commonpath(targets))
            targets = targets[:_MAX_TARGETS] if common == common.parent else [common]
        through = list(dict.fromkeys(refused.values()))
        options = [
            list(dict.fromkeys([*self._declared, *more, *targets]))
            for more in ([], [best], through, [best, *through])
        ]
        n_found = [count_found(self._probes, roots) for roots in options]
        return refused, options[n_found.index(max(n_found))]


def count_found(images: Iterable[str], roots: Sequence[Path]) -> int:
    """Return how many of ``images`` can be resolved in ``roots``."""
    n_found = 0
    for image in images:
        with suppress(ImageProblem):
            n_found += resolve_image(image, roots).path.exists()
    return n_found


def _list_subfolders(folder: Path) -> list[Path]:
    """Return the visible subfolders, sorted; only usual names if there are too many."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
    names = [name for name in names if not name.startswith(".")]
    if len(names) > _MAX_SUBFOLDERS:
        names = [name for name in _USUAL_NAMES if name in names]
    return [folder / name for name in names]


def _outside_folder(base: Path, image: str) -> Path:
    """Return the first folder outside ``base`` on the way to ``image``, following links."""
    if base.is_symlink():
        return base.resolve()
    path = base
    for part in () if PurePath(image).is_absolute() else PurePath(image).parts:
        path = path / part
        end = path.resolve()
        if part != ".." and not end.is_relative_to(base):
            return end if end.is_dir() else end.parent
    return (base / image).resolve().parent


@dataclass(slots=True)
class FileBases:
    """The image folders of the first file with images, and those of files with other folders."""

    default: tuple[Path, ...] = ()
    bases: list[tuple[Path, ...]] = field(default_factory=list)

    def find_or_add_base(self, folders: tuple[Path, ...]) -> int | None:
        """Return the number of the base with these folders, adding it if new; None: no base."""
        self.default = self.default or folders
        for number, known in enumerate((self.default, *self.bases), start=-1):
            if known[: len(folders)] == folders:
                return None if number < 0 else number
        self.bases.append(folders)
        return len(self.bases) - 1

    def assign_base(self, samples: Iterable[Sample], detector: RootDetector) -> Iterator[Sample]:
        """Yield the samples of one file, adding its base, if any, to their image paths.

        Samples with paths are held back until the image folder is known.
        """
        waiting: list[Sample] = []
        size = 0
        base: int | None = None
        has_paths = is_decided = False
        for sample in samples:
            detector.add_sample(sample)
            has_paths = has_paths or any(map(_is_path, sample.images))
            if is_decided or not has_paths:
                yield _add_base(sample, base)
                continue
            waiting.append(sample)
            size += len(sample.original)
            is_full = len(waiting) >= _MAX_WAITING or size >= _MAX_WAITING_BYTES
            if is_full or not detector.needs_more_probes:
                base, is_decided = self.find_or_add_base(detector.folders()), True
                yield from (_add_base(held, base) for held in waiting)
                waiting.clear()
        if waiting:
            base = self.find_or_add_base(detector.folders())
            yield from (_add_base(held, base) for held in waiting)


def _is_path(image: str) -> bool:
    return not isinstance(image, InlineReference) and not is_fetchable(image)


def _add_base(sample: Sample, base: int | None) -> Sample:
    if base is None:
        return sample
    images = (add_base(base, image) if _is_path(image) else image for image in sample.images)
    return replace(sample, images=tuple(images))
