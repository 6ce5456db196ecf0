"""The different images of a dataset by their content, with their perceptual hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.dataset.image_index import hash_reference, read_content_keys
from scoring.duplicates.texts import Hashes, Ints
from scoring.images.digests import read_hashes
from scoring.images.perceptual import PictureHashes
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True, eq=False)
class ImageContents:
    """What ``index_images`` knows: ``keys`` (n,) of the different contents, ascending.

    ``hashes`` are the perceptual hashes of those that have one (``has_hash``, (n,)), in this order.
    About 100 bytes per image.
    """

    keys: Hashes
    has_hash: NDArray[np.bool_]
    hashes: PictureHashes
    _references: Hashes  # ascending
    _positions: Ints  # of each reference, in keys

    @classmethod
    def read(cls, workspace: Workspace) -> ImageContents:
        """Read the index of a workspace."""
        references, key_of_reference = read_content_keys(workspace)
        keys, positions = np.unique(key_of_reference, return_inverse=True)
        hashed_keys, has_hash, hashes = read_hashes(workspace)
        is_hashed = np.isin(keys, hashed_keys[has_hash])
        index = np.searchsorted(hashed_keys[has_hash], keys[is_hashed])
        return cls(keys, is_hashed, hashes.select(index), references, positions)

    def find(self, reference: str) -> int:
        """Return the position of an image's content, -1 if it is not known."""
        key = np.uint64(hash_reference(reference))
        index = int(np.searchsorted(self._references, key))
        if index < len(self._references) and self._references[index] == key:
            return int(self._positions[index])
        return -1
