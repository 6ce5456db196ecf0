"""A seeded order of a dataset's images, in which each is followed by another sample's.

The one decision behind it: images are put in the order of a keyed digest of their paths, so the
order depends on the set of paths and the seed alone. It lies in an Arrow file that is mapped into
memory: any number of images costs a process no more than their digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scoring.workspace import open_atomic

_SCHEMA = pa.schema(
    [
        ("image", pa.string()),  # in the order of the dataset
        ("key", pa.uint64()),  # ascending: the shuffled order
        ("place", pa.int64()),  # where in the column image the one with this key stands
    ]
)
_BATCH_ROWS = 65_536

FirstImages = Callable[[], Iterable[list[str | None]]]
"""The first image of every sample, None for samples without; read twice, in pieces."""


class ShuffledImages:
    """The distinct first images of a dataset's samples in a closed, shuffled order."""

    def __init__(self, path: Path, seed: int) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._seed, self._images = seed, table.column("image")
        self._keys: NDArray[np.uint64] = table.column("key").to_numpy()
        self._places: NDArray[np.int64] = table.column("place").to_numpy()

    def __len__(self) -> int:
        return len(self._keys)

    def after(self, image: str) -> Iterator[str]:
        """Every other image once, beginning behind ``image`` in the shuffled order."""
        start = int(np.searchsorted(self._keys, _keys([image], self._seed)[0], side="right"))
        for step in range(len(self._keys)):
            place = self._places[(start + step) % len(self._keys)]
            other: str = self._images[int(place)].as_py()
            if other != image:
                yield other


def write_shuffled_images(path: Path, first_images: FirstImages, seed: int) -> None:
    """Writes the shuffled order of the images, whole or not at all.

    Takes some tens of bytes of memory per sample, whatever the length of the paths.
    """
    keys, rows = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    start = 0
    for images in first_images():
        present = [row for row, image in enumerate(images) if image is not None]
        keys.append(_keys((images[row] for row in present), seed))
        rows.append(np.array(present, dtype=np.int64) + start)
        start += len(images)
    distinct, first = np.unique(np.concatenate(keys), return_index=True)
    leaders = np.concatenate(rows)[first]  # the first row of each image, in the shuffled order
    by_row = np.argsort(leaders)
    place = np.empty_like(by_row)
    place[by_row] = np.arange(len(by_row))
    images_by_row = _picked(first_images(), leaders[by_row])
    with open_atomic(path) as file, pa.ipc.new_file(file, _SCHEMA) as writer:
        for start in range(0, len(distinct), _BATCH_ROWS):
            part = slice(start, start + _BATCH_ROWS)
            columns = {
                "image": list(islice(images_by_row, len(distinct[part]))),
                "key": distinct[part],
                "place": place[part],
            }
            writer.write_batch(pa.RecordBatch.from_pydict(columns, _SCHEMA))


def _keys(images: Iterable[str | None], seed: int) -> NDArray[np.uint64]:
    """Eight bytes of a digest of each image's path, keyed with the seed."""
    key = str(seed).encode()
    digests = [
        hashlib.blake2b(image.encode(), digest_size=8, key=key).digest()
        for image in images
        if image
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def _picked(pieces: Iterable[list[str | None]], rows: NDArray[np.int64]) -> Iterator[str]:
    """The images of ``rows`` (ascending)."""
    start = 0
    for images in pieces:
        low, high = np.searchsorted(rows, [start, start + len(images)])
        for row in rows[low:high]:
            yield images[row - start] or ""
        start += len(images)
