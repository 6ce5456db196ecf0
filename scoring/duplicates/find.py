"""Find near-duplicate questions and samples, and store their groups as columns.

A question is the first human turn. Two samples are near-duplicates if they have the same images and
the text of all their turns is similar. A group has all that a chain of similar pairs connects.
Memory: about 200 bytes per different text; the rest is in temporary files of the workspace.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from scoring.columns.parts import ColumnRecord
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.duplicates import near_texts
from scoring.duplicates.stored import ComputedColumn, check_names, store_computed
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

QUESTIONS, SAMPLES = KINDS = ("questions", "samples")
COLUMN_NAMES = {QUESTIONS: "question_group", SAMPLES: "sample_group"}
COMMAND = "visnec find-duplicates"
_READ = {QUESTIONS: ["row_idx", "question"], SAMPLES: ["row_idx", "turns", "images"]}

OnProgress = Callable[[int, int], None]
OnPhase = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DuplicateGroups:
    """The groups of two or more near-duplicates of one kind, and the column that names them.

    ``n_samples`` are in a group; ``n_without`` could not be compared.
    """

    kind: str
    column: ColumnRecord
    n_groups: int
    n_samples: int
    largest: int
    n_without: int


def find_duplicates(
    workspace: Workspace,
    kinds: Sequence[str] = (QUESTIONS,),
    *,
    threshold: float = near_texts.DEFAULT_THRESHOLD,
    on_progress: OnProgress | None = None,
    on_phase: OnPhase | None = None,
) -> list[DuplicateGroups]:
    """Group near-duplicates and store the number of each sample's group as a column.

    Args:
        workspace: A workspace with a dataset.
        kinds: ``questions`` (column ``question_group``), ``samples`` (``sample_group``).
        threshold: The least Jaccard similarity of the runs of three words, 0.3 to 1.
        on_progress: Called with (samples read, in total).
        on_phase: Called with the name of each step.

    Raises InputError for an unknown kind, an invalid threshold, or a column of that name with
    another origin.
    """
    if not kinds or (unknown := [kind for kind in kinds if kind not in KINDS]):
        raise InputError(f"Cannot compare {unknown or 'nothing'}. Choose from: {', '.join(KINDS)}.")
    near_texts.check_threshold(threshold)
    check_names(workspace, COMMAND, [COLUMN_NAMES[kind] for kind in kinds])
    start_phase = on_phase or (lambda _: None)
    settings = near_texts.describe_method(threshold) | {"shingle_words": SHINGLE_WORDS}
    columns, results = [], []
    for kind in kinds:
        row_idx, group = _group_rows(workspace, kind, threshold, on_progress, start_phase)
        numbers = number_groups(group)
        in_group = numbers >= 0
        columns.append(
            ComputedColumn(COLUMN_NAMES[kind], row_idx[in_group], numbers[in_group], settings)
        )
        results.append((kind, np.bincount(numbers[in_group]), int((group < 0).sum())))
    start_phase("Building the database")
    records = store_computed(workspace, COMMAND, columns)
    return [
        DuplicateGroups(
            kind, record, len(sizes), int(sizes.sum()), int(sizes.max(initial=0)), n_without
        )
        for record, (kind, sizes, n_without) in zip(records, results, strict=True)
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


def _group_rows(
    workspace: Workspace,
    kind: str,
    threshold: float,
    on_progress: OnProgress | None,
    start_phase: OnPhase,
) -> tuple[Ints, Ints]:
    """Return row_idx and the group of each row's text, -1 without one."""
    n_samples, n_done = read_dataset_info(workspace).n_samples, 0
    rows, positions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    with tempfile.TemporaryDirectory(prefix=".duplicates.", dir=workspace.root) as folder:
        texts = _DifferentTexts(Path(folder), threshold)
        for table in read_columns(workspace, _READ[kind]):
            rows.append(table.column("row_idx").to_numpy())
            positions.append(texts.add(_read_texts(kind, table.to_pylist())))
            n_done += len(table)
            if on_progress:
                on_progress(n_done, n_samples)
        start_phase(f"Comparing {len(texts):,} different {kind}")
        labels = texts.group_similar()
    position = np.concatenate(positions)
    return np.concatenate(rows), np.append(labels, -1)[position]


class _DifferentTexts:
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
    kind: str, rows: Iterable[dict[str, Any]]
) -> Iterable[tuple[list[str], Sequence[str]]]:
    """Yield the words that are compared, and the images that must be the same."""
    for row in rows:
        if kind == QUESTIONS:
            yield split_words(row["question"] or ""), ()
        else:
            yield split_words("\n".join(turn["text"] for turn in row["turns"])), row["images"]
