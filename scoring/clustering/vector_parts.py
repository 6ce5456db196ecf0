"""Vectors by key in parts of a folder, so that embedding can resume and is done once per content.

``part-*.npy`` are vectors, ``part-*.keys.npy`` the keys of their rows. A part is finished when its
keys, written last, are there.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.workspace import open_atomic

MAX_BYTES_IN_MEMORY = 256 << 20
_ROWS = 65_536  # copied at a time
_SUFFIX = ".keys.npy"

Keys = NDArray[Any]
Parts = Sequence[tuple[Path, Keys]]


def write_part(folder: Path, keys: Keys, vectors: NDArray[Any]) -> None:
    """Write a part, named after its keys, so that two commands at once cannot mix theirs."""
    name = f"part-{hashlib.sha256(keys.tobytes()).hexdigest()[:16]}"
    for suffix, array in ((".npy", vectors), (_SUFFIX, keys)):
        with open_atomic(folder / f"{name}{suffix}") as file:
            np.save(file, array)


def read_parts(folder: Path) -> list[tuple[Path, Keys]]:
    """Return the finished parts with the keys of their rows."""
    return [
        (path.with_name(path.name.removesuffix(_SUFFIX) + ".npy"), np.load(path))
        for path in sorted(folder.glob(f"part-*{_SUFFIX}"))
    ]


def map_parts(parts: Parts) -> list[NDArray[Any]]:
    """Return the vectors of the parts, read from the disk when they are used."""
    return [np.load(path, mmap_mode="r") for path, _ in parts]


def find_keys(parts: Parts, keys: Keys) -> NDArray[np.int64]:
    """Return the row of each key, counted through the parts; -1 where it is in none."""
    if not parts:
        return np.full(len(keys), -1)
    known = np.concatenate([part_keys for _, part_keys in parts])
    order = np.argsort(known, kind="stable")
    nearest = np.minimum(np.searchsorted(known, keys, sorter=order), len(known) - 1)
    return np.where(known[order[nearest]] == keys, order[nearest], -1)


@contextmanager
def open_rows(
    vectors: Sequence[NDArray[Any]], rows: NDArray[np.int64], folder: Path
) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of the parts as one matrix, which is a temporary file if it is large."""
    shape = (len(rows), vectors[0].shape[1])
    if 4 * shape[0] * shape[1] <= MAX_BYTES_IN_MEMORY:
        matrix = np.empty(shape, np.float32)
        copy_rows(vectors, rows, matrix)
        yield matrix
        return
    with tempfile.TemporaryDirectory(prefix=".matrix-", dir=folder) as scratch:
        path = Path(scratch) / "matrix.npy"
        mapped: Any = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        copy_rows(vectors, rows, mapped)
        mapped.flush()
        yield mapped
        del mapped


def copy_rows(
    vectors: Sequence[NDArray[Any]], rows: NDArray[np.int64], out: NDArray[np.float32]
) -> None:
    """Set ``out[i]`` to row ``rows[i]``, counted through the parts, a block of rows at a time."""
    ends = np.cumsum([0, *(len(part) for part in vectors)])
    for start in range(0, len(rows), _ROWS):
        wanted = rows[start : start + _ROWS]
        order = np.argsort(wanted, kind="stable")
        borders = np.searchsorted(wanted[order], ends)
        block = np.empty((len(wanted), out.shape[1]), np.float32)
        for number, part in enumerate(vectors):
            in_part = order[borders[number] : borders[number + 1]]
            if len(in_part):
                block[in_part] = part[wanted[in_part] - ends[number]]
        out[start : start + len(wanted)] = block
