"""Moved images: replaces the folders that a workspace looks for them in.

Only ``workspace.json`` changes. Records, scores and decisions contain image paths relative to these
folders, so they stay as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scoring.dataset.image_root_detection import MAX_PROBES, count_found
from scoring.dataset.records import pending_images, read_dataset_info
from scoring.errors import InputError
from scoring.image_references import ImageRoots, is_fetchable, split_base
from scoring.images.decode import ImageProblem, resolve_image
from scoring.workspace import Workspace, open_workspace, save_image_roots


@dataclass(frozen=True, slots=True)
class Relocation:
    """The new image roots, and how many of ``n_tried`` images were found before and after.

    The images are the first ones of each file with folders of its own, and the first ones of all
    other files together.
    """

    roots: tuple[Path, ...]
    n_tried: int
    n_before: int
    n_after: int


def relocate_images(workspace: Workspace, moves: Sequence[str]) -> Relocation:
    """Replace the folders and files that images are looked for in.

    ``moves`` are ``OLD=NEW`` for each folder or file that moved, including everything below OLD; or
    only the new folders, which replace all folders. Raises InputError, and changes nothing, if a
    folder does not exist or none of the images is found.
    """
    read_dataset_info(workspace)
    old = workspace.image_roots
    pairs, folders = [], []
    for move in moves:
        before, mark, target = move.partition("=")
        is_pair = bool(mark) and not Path(move).exists()
        path = Path(target if is_pair else move)
        if not path.exists():
            raise InputError(f"{path} does not exist. Name the folder where the images are now.")
        if is_pair:
            pairs.append((Path(before).resolve(), path.resolve()))
        else:
            folders.append(path.resolve())
    new = _move_roots(old, pairs)
    if folders:
        new = _replace_roots(workspace, new, folders)
    images = _first_images(workspace)
    n_before, n_after = count_found(images, old), count_found(images, new)
    if images and not n_after:
        reason = f"{images[0]!r} is gone"
        try:
            resolve_image(images[0], new)
        except ImageProblem as problem:
            reason = problem.reason
        raise InputError(
            f"None of the first {len(images):,} images would be found ({reason}), so nothing was "
            f"changed. The current image folders are {_format_roots(old)}."
        )
    save_image_roots(workspace, new)
    return Relocation(open_workspace(workspace.root).image_roots, len(images), n_before, n_after)


def _move_roots(roots: ImageRoots, pairs: Sequence[tuple[Path, Path]]) -> ImageRoots:
    """Return the roots with every old folder replaced by its new one."""
    known = roots.all_folders()
    for old, _ in pairs:
        if not any(root.is_relative_to(old) for root in known):
            raise InputError(
                f"{old} contains none of the image folders of this workspace: "
                f"{_format_roots(roots)}."
            )

    def move(root: Path) -> Path:
        moved = (new / root.relative_to(old) for old, new in pairs if root.is_relative_to(old))
        return next(moved, root)

    return ImageRoots(map(move, roots), (map(move, base) for base in roots.bases))


def _replace_roots(workspace: Workspace, roots: ImageRoots, new: Sequence[Path]) -> ImageRoots:
    """Return ``new`` in place of all image folders; files of images are replaced by name."""
    if roots.bases:
        raise InputError(
            "The files of this dataset have different image folders. Give the new location of each "
            f"as --images OLD=NEW: {_format_roots(roots)}"
        )
    # These may be missing by now, so they are known by name.
    info = read_dataset_info(workspace)
    containers = {Path(file.name).name for file in info.files if file.contains_images}
    named = {path.name: path for path in new if path.is_file()}
    folders = [path for path in new if path.is_dir()]
    kept: list[Path] = []
    for root in roots:
        own = root in (workspace.dataset_dir.resolve(), workspace.remote_dir.resolve())
        if own or root.is_file() or root.name in containers:
            moved = [folder / root.name for folder in folders if not root.is_file()]
            current = next((path for path in moved if path.is_file()), root)
            kept.append(root if own else named.pop(root.name, current))
        elif not folders:
            kept.append(root)
    if named:
        raise InputError(f"This workspace has no image file named {min(named)!r} to replace.")
    return ImageRoots(dict.fromkeys([*folders, *kept]))


def _first_images(workspace: Workspace) -> list[str]:
    """Return the first images of each base, and of the files without a base."""
    first: list[str] = []
    counts: Counter[int | None] = Counter()
    n_groups = len(workspace.image_roots.bases) + 1
    for images in pending_images(workspace):
        if not images or is_fetchable(images[0]):
            continue
        base = split_base(images[0])[0]
        if counts[base] < MAX_PROBES:
            counts[base] += 1
            first.append(images[0])
            if len(counts) == n_groups and min(counts.values()) >= MAX_PROBES:
                break
    return first


def _format_roots(roots: ImageRoots) -> str:
    folders = roots.all_folders()
    more = f" and {len(folders) - 6:,} more" if len(folders) > 6 else ""
    return ", ".join(map(str, folders[:6])) + more
