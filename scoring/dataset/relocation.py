"""Images that moved: the folders that a workspace looks for them in, mapped to where they are now.

The one decision behind it: only ``workspace.json`` changes. Records, scores and decisions name
images by their path below these folders, so they stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scoring.dataset.image_root_detection import ROOT_TRIALS
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.errors import InputError
from scoring.image_references import ImageRoots, is_fetchable, split_base
from scoring.images.decode import ImageProblem, resolve_image
from scoring.readers.detect import JSON
from scoring.samples import Status
from scoring.workspace import Workspace, declared_roots, open_workspace, save_settings


@dataclass(frozen=True, slots=True)
class Relocation:
    """Where images are looked for now, and how many of ``n_tried`` were found before and after.

    Tried are the first images of each file with folders of its own, and of all others together.
    """

    roots: tuple[Path, ...]
    n_tried: int
    n_before: int
    n_after: int


def relocate_images(workspace: Workspace, given: Sequence[str]) -> Relocation:
    """Maps the folders and files that images are looked for in to where they are now.

    ``given``: ``OLD=NEW`` for each that moved, what lies below OLD included; or the new folders
    alone, which take the place of all folders. Raises InputError for what is not there, and where
    none of the images is found: nothing is changed then.
    """
    read_dataset_info(workspace)
    old = workspace.image_roots
    pairs, folders = _read_moves(given)
    new = _moved(old, pairs)
    if folders:
        new = _replaced(workspace, new, folders)
    tried = _first_images(workspace)
    n_before, n_after = (_n_found(tried, roots) for roots in (old, new))
    if tried and not n_after:
        raise InputError(
            f"none of the first {len(tried):,} images is found so ({_why_not(tried[0], new)}); "
            f"nothing was changed. Images are looked for in {_listed(old)}"
        )
    bases = tuple(declared_roots(workspace, one) for one in new.bases)
    settings = workspace.settings.with_roots(declared_roots(workspace, new), bases)
    save_settings(replace(workspace, settings=settings))
    return Relocation(open_workspace(workspace.root).image_roots, len(tried), n_before, n_after)


def _read_moves(given: Sequence[str]) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """(pairs of old and new, new ones alone)."""
    pairs, alone = [], []
    for one in given:
        before, mark, after = one.partition("=")
        new = Path(after if mark and not Path(one).exists() else one)
        if not new.exists():
            raise InputError(f"{new} does not exist; name the folder where the images are now")
        if mark and not Path(one).exists():
            pairs.append((Path(before).resolve(), new.resolve()))
        else:
            alone.append(new.resolve())
    return pairs, alone


def _moved(roots: ImageRoots, pairs: Sequence[tuple[Path, Path]]) -> ImageRoots:
    """Every root below an old place, below its new one."""
    known = [*roots, *(root for base in roots.bases for root in base)]
    for old, _ in pairs:
        if not any(root.is_relative_to(old) for root in known):
            raise InputError(
                f"{old} holds none of the places where images are looked for: {_listed(roots)}"
            )

    def moved(root: Path) -> Path:
        for old, new in pairs:
            if root.is_relative_to(old):
                return new / root.relative_to(old)
        return root

    return ImageRoots(map(moved, roots), (map(moved, base) for base in roots.bases))


def _replaced(workspace: Workspace, roots: ImageRoots, new: Sequence[Path]) -> ImageRoots:
    """The new folders in the place of the old ones; files of images by their name."""
    if roots.bases:
        raise InputError(
            "the files of this dataset look for their images in folders of their own; say of each "
            f"where it went, as --images OLD=NEW: {_listed(roots)}"
        )
    files = _file_names(workspace)
    named = {path.name: path for path in new if path.is_file()}
    folders = [path for path in new if path.is_dir()]
    kept: list[Path] = []
    for root in roots:
        own = root in (workspace.dataset_dir.resolve(), workspace.remote_dir.resolve())
        if own or root.is_file() or root.name in files:
            below = [folder / root.name for folder in folders if not root.is_file()]
            found = next((path for path in below if path.is_file()), root)
            kept.append(root if own else named.pop(root.name, found))
        elif not folders:
            kept.append(root)
    if named:
        raise InputError(f"no images are looked for in a file called {min(named)!r}")
    return ImageRoots(dict.fromkeys([*folders, *kept]))


def _file_names(workspace: Workspace) -> set[str]:
    """Of the dataset's files that hold images themselves: they may be gone by now."""
    files = read_dataset_info(workspace).files
    return {Path(one.name).name for one in files if one.container not in JSON}


def _first_images(workspace: Workspace) -> list[str]:
    found: list[str] = []
    counted: Counter[int | None] = Counter()
    wanted = len(workspace.image_roots.bases) + 1
    for table in read_columns(workspace, ["images", "status"]):
        for images, status in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if status != Status.PENDING or not images or is_fetchable(images[0]):
                continue
            base = split_base(images[0])[0]
            if counted[base] < ROOT_TRIALS:
                counted[base] += 1
                found.append(images[0])
        if len(counted) == wanted and min(counted.values()) >= ROOT_TRIALS:
            break
    return found


def _n_found(images: Sequence[str], roots: ImageRoots) -> int:
    n_found = 0
    for image in images:
        try:
            n_found += resolve_image(image, roots).path.exists()
        except ImageProblem:
            continue
    return n_found


def _why_not(image: str, roots: ImageRoots) -> str:
    try:
        resolve_image(image, roots)
    except ImageProblem as problem:
        return problem.reason
    return f"{image!r} is gone"


def _listed(roots: ImageRoots) -> str:
    every = dict.fromkeys([*roots, *(root for base in roots.bases for root in base)])
    more = f" and {len(every) - 6:,} more" if len(every) > 6 else ""
    return ", ".join(map(str, list(every)[:6])) + more
