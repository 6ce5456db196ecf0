"""The different images of a dataset by their content, with their perceptual hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.dataset.image_index import hash_reference, read_content_keys
from scoring.duplicates.texts import Hashes, Ints
from scoring.images.digests import read_hashes
from scoring.workspace import Workspace


@dataclass(frozen=True, slots=True, eq=False)
class ImageContents:
    """What ``index_images`` knows: ``keys`` (n,) of the different contents, ascending.

    ``hashes`` (n,) are their perceptual hashes where ``has_hash`` (n,). About 40 bytes per image.
    """

    keys: Hashes
    hashes: Hashes
    has_hash: NDArray[np.bool_]
    _references: Hashes  # ascending
    _positions: Ints  # of each reference, in keys

    @classmethod
    def read(cls, workspace: Workspace) -> ImageContents:
        """Read the index of a workspace."""
        references, key_of_reference = read_content_keys(workspace)
        keys, positions = np.unique(key_of_reference, return_inverse=True)
        hashed_keys, stored = read_hashes(workspace)
        is_valid = stored.is_valid().to_numpy(zero_copy_only=False).astype(bool)
        values = stored.fill_null(0).to_numpy()
        index = np.searchsorted(hashed_keys, keys)
        is_hashed = np.isin(keys, hashed_keys[is_valid])
        hashes = np.zeros(len(keys), np.uint64)
        hashes[is_hashed] = values[index[is_hashed]]
        return cls(keys, hashes, is_hashed, references, positions)

    def find(self, reference: str) -> int:
        """Return the position of an image's content, -1 if it is not known."""
        key = np.uint64(hash_reference(reference))
        index = int(np.searchsorted(self._references, key))
        if index < len(self._references) and self._references[index] == key:
            return int(self._positions[index])
        return -1
