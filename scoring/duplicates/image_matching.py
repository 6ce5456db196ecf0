"""How images are compared: by perceptual hashes, or by the vectors of an embedding model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from scoring.dataset.image_index import index_images
from scoring.duplicates import near_images
from scoring.duplicates.contents import ImageContents
from scoring.duplicates.texts import Ints
from scoring.images.perceptual import HASH_NAME
from scoring.workspace import Workspace

if TYPE_CHECKING:
    from scoring.clustering.image_embedder import ImageEmbedder, ImageModel
    from scoring.duplicates.image_vectors import ImageVectors

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class DatasetImages:
    """A workspace and the contents of its images."""

    workspace: Workspace
    contents: ImageContents


class ImageMatcher(Protocol):
    """Finds near-duplicate images; positions are those in ``ImageContents.keys``."""

    def read(self, workspace: Workspace, on_progress: OnProgress | None = None) -> DatasetImages:
        """Read the images of a dataset that were not read before."""

    def group(
        self, images: DatasetImages, on_progress: OnProgress | None = None
    ) -> tuple[Ints, Ints]:
        """Return the positions of the images that can be compared, and the group of each."""

    def find_near(self, ours: DatasetImages, theirs: DatasetImages) -> Iterator[tuple[Ints, Ints]]:
        """Yield the positions of near pairs; a pair may come several times."""

    def describe(self) -> dict[str, Any]:
        """Return what determines near-duplicates, for the record of a column."""


def make_matcher(distance: int, images_by: ImageModel | None) -> ImageMatcher:
    """Return the matcher by a model, or else by hashes. Raises InputError for the distance."""
    near_images.check_distance(distance)
    return HashMatcher(distance) if images_by is None else VectorMatcher(images_by)


@dataclass(frozen=True, slots=True)
class HashMatcher:
    """Compares perceptual hashes; mirrored copies are near too."""

    distance: int

    def read(self, workspace: Workspace, on_progress: OnProgress | None = None) -> DatasetImages:
        """See the protocol."""
        index_images(workspace, on_progress, hashes=True)
        return DatasetImages(workspace, ImageContents.read(workspace))

    def group(
        self, images: DatasetImages, on_progress: OnProgress | None = None
    ) -> tuple[Ints, Ints]:
        """See the protocol."""
        contents = images.contents
        groups = near_images.group_pictures(contents.hashes, self.distance, on_progress)
        return np.flatnonzero(contents.has_hash), groups

    def find_near(self, ours: DatasetImages, theirs: DatasetImages) -> Iterator[tuple[Ints, Ints]]:
        """See the protocol."""
        hashed, their_hashed = (
            np.flatnonzero(images.contents.has_hash) for images in (ours, theirs)
        )
        if len(hashed):
            queries = ours.contents.hashes.add_mirrored()
            for i, j in near_images.find_near(queries, theirs.contents.hashes, self.distance):
                yield hashed[i % len(hashed)], their_hashed[j]

    def describe(self) -> dict[str, Any]:
        """See the protocol."""
        return {"hash": HASH_NAME, "distance": self.distance, "mirrored": True}


@dataclass(frozen=True)
class VectorMatcher:
    """Compares the vectors of an embedding model, which it computes where they are missing."""

    model: ImageModel

    @cached_property
    def _embedder(self) -> ImageEmbedder:
        from scoring.clustering.image_embedder import ImageEmbedder

        return ImageEmbedder(self.model)

    def read(self, workspace: Workspace, on_progress: OnProgress | None = None) -> DatasetImages:
        """See the protocol."""
        from scoring.duplicates.image_vectors import embed_images

        embedder = self._embedder
        index_images(workspace, on_progress)
        images = DatasetImages(workspace, ImageContents.read(workspace))
        embed_images(workspace, embedder, images.contents, on_progress)
        return images

    def _open(self, images: DatasetImages) -> ImageVectors:
        from scoring.duplicates.image_vectors import ImageVectors

        return ImageVectors.open(images.workspace, self._embedder, images.contents)

    def group(
        self, images: DatasetImages, on_progress: OnProgress | None = None
    ) -> tuple[Ints, Ints]:
        """See the protocol."""
        from scoring.duplicates.near_vectors import group_vectors

        vectors = self._open(images)
        similarity, device = self.model.similarity, self._embedder.device
        return vectors.positions, group_vectors(vectors, similarity, device, on_progress)

    def find_near(self, ours: DatasetImages, theirs: DatasetImages) -> Iterator[tuple[Ints, Ints]]:
        """See the protocol."""
        from scoring.duplicates.near_vectors import find_similar

        queries, vectors = self._open(ours), self._open(theirs)
        similarity, device = self.model.similarity, self._embedder.device
        for i, j in find_similar(queries, vectors, similarity, device):
            yield queries.positions[i], vectors.positions[j]

    def describe(self) -> dict[str, Any]:
        """See the protocol."""
        return self._embedder.describe()
