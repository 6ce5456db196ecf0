"""Find near-duplicate questions, samples and images, and store their groups as columns.

A question is the first human turn. Two samples are near-duplicates if they have the same images and
the text of all their turns is similar. Samples are in a group by images if their first images are
near-duplicates, their second ones, and so on. A group has all that a chain of similar pairs
connects.
Memory: about 200 bytes per different text; the rest is in temporary files of the workspace.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from scoring.columns.computed import ComputedColumn, check_names
from scoring.columns.parts import ColumnRecord
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.duplicates import near_images, near_texts
from scoring.duplicates.contents import ImageContents
from scoring.duplicates.image_matching import ImageMatcher, make_matcher
from scoring.duplicates.stored import GROUP_COLUMNS, IMAGES, QUESTIONS, SAMPLES, store_computed
from scoring.duplicates.texts import (
    SHINGLE_WORDS,
    Ints,
    ShingleFile,
    ShingleSets,
    hash_shingles,
    hash_text,
    split_words,
)
from scoring.errors import InputError
from scoring.workspace import Workspace

if TYPE_CHECKING:
    from scoring.clustering.image_embedder import ImageModel

KINDS = tuple(GROUP_COLUMNS)
COMMAND = "visnec find-duplicates"
_READ = {
    QUESTIONS: ["row_idx", "question"],
    SAMPLES: ["row_idx", "turns", "images"],
    IMAGES: ["row_idx", "images"],
}

OnProgress = Callable[[int, int], None]
OnPhase = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DuplicateGroups:
    """The groups of two or more near-duplicates of one kind, and the column that names them.

    ``n_samples`` are in a group; ``n_without`` have no text, or no image that could be read.
    ``n_exact`` different images could be compared by their exact content only.
    """

    kind: str
    column: ColumnRecord
    n_groups: int
    n_samples: int
    largest: int
    n_without: int
    n_exact: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """The group of each row, -1 without one, and what determined it."""

    row_idx: Ints
    group: Ints
    settings: dict[str, Any]
    n_exact: int = 0


def find_duplicates(
    workspace: Workspace,
    kinds: Sequence[str] = (QUESTIONS,),
    *,
    threshold: float = near_texts.DEFAULT_THRESHOLD,
    distance: int = near_images.DEFAULT_DISTANCE,
    images_by: ImageModel | None = None,
    on_progress: OnProgress | None = None,
    on_phase: OnPhase | None = None,
) -> list[DuplicateGroups]:
    """Group near-duplicates and store the number of each sample's group as a column.

    Args:
        workspace: A workspace with a dataset.
        kinds: ``questions`` (column ``question_group``), ``samples`` (``sample_group``), ``images``
            (``image_group``; reads the images that ``index_images`` has not hashed).
        threshold: The least Jaccard similarity of the runs of three words, 0.3 to 1.
        distance: The most bits of 64 in which the perceptual hashes of images differ, 0 to 8.
        images_by: Compare images by the vectors of this embedding model instead of their hashes;
            embeds the images that ``image_vectors.embed_images`` has not.
        on_progress: Called with (samples or images read, in total).
        on_phase: Called with the name of each step.

    Raises InputError for an unknown kind, an invalid threshold, or a column of that name with
    another origin, ModelError for a model that cannot be used.
    """
    if not kinds or (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise InputError(f"Cannot compare {unknown or 'nothing'}. Choose from: {', '.join(KINDS)}.")
    near_texts.check_threshold(threshold)
    check_names(workspace, COMMAND, [GROUP_COLUMNS[kind] for kind in kinds])
    start_phase = on_phase or (lambda _: None)
    matcher = make_matcher(distance, images_by)
    columns, numbered = [], []
    for kind in kinds:
        if kind == IMAGES:
            groups = _group_by_images(workspace, matcher, on_progress, start_phase)
        else:
            groups = _group_by_texts(workspace, kind, threshold, on_progress, start_phase)
        numbers = number_groups(groups.group)
        in_group = numbers >= 0
        row_idx, values = groups.row_idx[in_group], numbers[in_group]
        columns.append(ComputedColumn(GROUP_COLUMNS[kind], row_idx, values, groups.settings))
        numbered.append((kind, groups, np.bincount(values)))
    start_phase("Building the database")
    records = store_computed(workspace, COMMAND, columns)
    return [
        DuplicateGroups(
            kind=kind,
            column=record,
            n_groups=len(sizes),
            n_samples=int(sizes.sum()),
            largest=int(sizes.max(initial=0)),
            n_without=int((groups.group < 0).sum()),
            n_exact=groups.n_exact,
        )
        for record, (kind, groups, sizes) in zip(records, numbered, strict=True)
    ]


def number_groups(group: Ints) -> Ints:
    """Number the groups of two or more from 0 by their first row; -1 for all other rows.

    ``group`` (n,) is -1 for rows in none.
    """
    values, first, inverse, sizes = np.unique(
        group, return_index=True, return_inverse=True, return_counts=True
    )
    shared = np.flatnonzero((sizes > 1) & (values >= 0))
    rank = np.full(len(values), -1)
    rank[shared[np.argsort(first[shared])]] = np.arange(len(shared))
    return rank[inverse]


def _group_by_texts(
    workspace: Workspace,
    kind: str,
    threshold: float,
    on_progress: OnProgress | None,
    start_phase: OnPhase,
) -> _Groups:
    """Group rows by similar questions, or by similar turns about the same images."""
    n_samples, n_done = read_dataset_info(workspace).n_samples, 0
    rows, positions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    contents = ImageContents.read(workspace) if kind == SAMPLES else None
    with tempfile.TemporaryDirectory(prefix=".duplicates.", dir=workspace.root) as folder:
        texts = DifferentTexts(Path(folder), threshold)
        for table in read_columns(workspace, _READ[kind]):
            rows.append(table.column("row_idx").to_numpy())
            positions.append(texts.add(_read_texts(contents, table.to_pylist())))
            n_done += len(table)
            if on_progress:
                on_progress(n_done, n_samples)
        start_phase(f"Comparing {len(texts):,} different {kind}")
        labels = texts.group_similar()
    group = np.append(labels, -1)[np.concatenate(positions)]
    settings = near_texts.describe_method(threshold) | {"shingle_words": SHINGLE_WORDS}
    return _Groups(np.concatenate(rows), group, settings)


def _group_by_images(
    workspace: Workspace,
    matcher: ImageMatcher,
    on_progress: OnProgress | None,
    start_phase: OnPhase,
) -> _Groups:
    """Group rows whose images are near-duplicates one by one."""
    start_phase("Reading images")
    images = matcher.read(workspace, on_progress)
    contents = images.contents
    start_phase(f"Comparing {len(contents.keys):,} different images")
    compared, groups_of_images = matcher.group(images, on_progress)
    labels = np.arange(len(contents.keys)) + len(contents.keys)
    labels[compared] = groups_of_images
    rows, groups = [np.empty(0, np.int64)], []
    seen: dict[tuple[int, ...], int] = {}
    for table in read_columns(workspace, _READ[IMAGES]):
        rows.append(table.column("row_idx").to_numpy())
        for references in table.column("images").to_pylist():
            positions = [contents.find(reference) for reference in references]
            is_known = bool(positions) and min(positions) >= 0
            key = tuple(labels[positions].tolist()) if is_known else ()
            groups.append(seen.setdefault(key, len(seen)) if is_known else -1)
    n_exact = len(contents.keys) - len(compared)
    group = np.array(groups, np.int64)
    return _Groups(np.concatenate(rows), group, matcher.describe(), n_exact)


class DifferentTexts:
    """Texts with the images that must be the same, each different one kept once."""

    def __init__(self, folder: Path, threshold: float) -> None:
        self._threshold = threshold
        self._n_bands = near_texts.count_bands(threshold)
        self._positions: dict[bytes, int] = {}
        self._file = ShingleFile(folder)
        self._bands = [np.empty((0, self._n_bands), np.uint32)]
        self._image_keys: list[int] = []

    def __len__(self) -> int:
        return len(self._positions)

    def add(self, texts: Iterable[tuple[list[str], Sequence[str]]]) -> Ints:
        """Add texts and return the position of each among the different ones, -1 without words."""
        positions, new = [], []
        for words, images in texts:
            image_text = "\0".join(images)
            key = f"{image_text}\0\0{' '.join(words)}".encode("utf-8", "surrogatepass")
            digest = xxhash.xxh3_128_digest(key)
            position = self._positions.setdefault(digest, len(self._positions)) if words else -1
            if position == len(self._image_keys):
                new.append(hash_shingles(words, SHINGLE_WORDS))
                self._image_keys.append(hash_text(image_text))
            positions.append(position)
        sets = ShingleSets.collect(new)
        self._file.add(sets)
        self._bands.append(near_texts.hash_bands(sets, self._n_bands))
        return np.array(positions, np.int64)

    def group_similar(self) -> Ints:
        """Return the group of each different text."""
        kinds = np.array(self._image_keys, np.uint64)
        bands = np.concatenate(self._bands)
        return near_texts.group_texts(self._file.read(), bands, self._threshold, kinds)


def _read_texts(
    contents: ImageContents | None, rows: Iterable[dict[str, Any]]
) -> Iterable[tuple[list[str], Sequence[str]]]:
    """Yield the words that are compared, and the images that must be the same.

    Without ``contents`` these are the questions; images whose content is unknown are the same if
    their references are.
    """
    for row in rows:
        if contents is None:
            yield split_words(row["question"] or ""), ()
            continue
        positions = [(image, contents.find(image)) for image in row["images"]]
        images = [image if position < 0 else f"#{position}" for image, position in positions]
        yield split_words("\n".join(turn["text"] for turn in row["turns"])), images
