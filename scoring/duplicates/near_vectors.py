"""Images with similar vectors, by comparing all pairs in blocks.

All pairs are compared, so none is missed and nothing is approximate. That is cheap compared with
the model: embedding an image by the smallest CLIP takes about 9 billion operations, comparing it
with 1,000,000 others of 512 dimensions about 1 billion. Memory: two blocks of vectors and their
product, about 100 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoring.duplicates.near_texts import group_connected
from scoring.duplicates.texts import Ints

_QUERIES, _BLOCK = 1024, 16_384  # vectors


class UnitVectors(Protocol):
    """Vectors of length 1 that are read a block at a time."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return those from one position to another, shape (stop - start, dimensions)."""


def find_similar(
    queries: UnitVectors,
    vectors: UnitVectors,
    similarity: float,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[Ints, Ints]]:
    """Yield (indices in queries, indices in vectors) of all pairs of at least that cosine.

    If both are the same object, each pair comes once, the lower index first. ``on_progress`` is
    called with (blocks of queries compared, in total).
    """
    import torch

    is_same, n_done = queries is vectors, 0
    starts = range(0, len(vectors), _BLOCK)
    n_queries = [min(start + _BLOCK, len(queries)) if is_same else len(queries) for start in starts]
    total = sum(-(-n // _QUERIES) for n in n_queries)
    for start, n in zip(starts, n_queries, strict=True):
        block = vectors.read(start, min(start + _BLOCK, len(vectors)))
        others = torch.from_numpy(block).to(device).T  # (dimensions, vectors)
        for first in range(0, n, _QUERIES):
            part = torch.from_numpy(queries.read(first, min(first + _QUERIES, n))).to(device)
            pairs = (part @ others >= similarity).nonzero().cpu().numpy()  # (pairs, 2)
            i, j = pairs[:, 0] + first, pairs[:, 1] + start
            is_wanted = i < j if is_same else slice(None)
            yield i[is_wanted], j[is_wanted]
            n_done += 1
            if on_progress:
                on_progress(n_done, total)


def group_vectors(
    vectors: UnitVectors,
    similarity: float,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Ints:
    """Return the group of each image, equal for those that similar pairs connect, shape (n,)."""
    pairs = find_similar(vectors, vectors, similarity, device, on_progress)
    return group_connected(len(vectors), pairs)
