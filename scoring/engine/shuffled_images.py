"""A seeded order of a dataset's images, in which each is followed by another sample's.

Images are sorted by a keyed digest of their paths, so the order depends only on the set of paths
and the seed. It is stored in a memory-mapped Arrow file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from scoring.workspace import open_atomic

_SCHEMA = pa.schema(
    [
        ("image", pa.string()),  # in the order of the dataset
        ("key", pa.uint64()),  # ascending: the shuffled order
        ("place", pa.int64()),  # index into the column image of the one with this key
    ]
)
_BATCH_ROWS = 65_536


class ShuffledImages:
    """The distinct first images of a dataset's samples in a circular, shuffled order."""

    def __init__(self, path: Path, seed: int) -> None:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self._seed, self._images = seed, table.column("image")
        self._keys: NDArray[np.uint64] = table.column("key").to_numpy()
        self._indices: NDArray[np.int64] = table.column("place").to_numpy()

    def __len__(self) -> int:
        return len(self._keys)

    def images_after(self, image: str) -> Iterator[str]:
        """Yield every other image once, starting after ``image`` in the shuffled order."""
        start = int(np.searchsorted(self._keys, _image_keys([image], self._seed)[0], side="right"))
        for step in range(len(self._keys)):
            index = self._indices[(start + step) % len(self._keys)]
            other: str = self._images[int(index)].as_py()
            if other != image:
                yield other


def write_shuffled_images(path: Path, first_images: Iterable[list[str | None]], seed: int) -> None:
    """Write the shuffled order of the images, atomically.

    Args:
        path: Target file.
        first_images: The first image of every sample, None for samples without, in pieces.
        seed: Key of the digests.
    """
    present = ([image for image in piece if image is not None] for piece in first_images)
    pieces = [pa.array(piece, pa.large_string()) for piece in present]
    images = pc.unique(pa.chunked_array(pieces, pa.large_string()))  # (images,)
    del pieces
    batches = [slice(at, at + _BATCH_ROWS) for at in range(0, len(images), _BATCH_ROWS)]
    keys = np.empty(len(images), np.uint64)
    for batch in batches:
        keys[batch] = _image_keys(images[batch].to_pylist(), seed)
    order = np.argsort(keys)
    with open_atomic(path) as file, pa.ipc.new_file(file, _SCHEMA) as writer:
        for batch in batches:
            columns = [images[batch].cast(pa.string()), keys[order[batch]], order[batch]]
            writer.write_batch(pa.record_batch(columns, _SCHEMA))


def _image_keys(images: Iterable[str], seed: int) -> NDArray[np.uint64]:
    """Return eight bytes of a digest of each image's path, keyed with the seed."""
    key = str(seed).encode()
    digests = [hashlib.blake2b(image.encode(), digest_size=8, key=key).digest() for image in images]
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
