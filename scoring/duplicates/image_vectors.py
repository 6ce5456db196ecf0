"""The vectors of the different images of a dataset by an embedding model, stored to be reused.

``embeddings/images-<weights>/`` has them by content, so copies of an image are embedded once, and a
pass that was stopped or killed resumes. Contents that cannot be decoded are remembered next to
them, in ``undecodable.json``. They are stored in half precision: 1 KB per image for 512
dimensions, of which a search reads a block at a time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scoring.clustering.image_embedder import BATCH, ImageEmbedder, Vectors
from scoring.clustering.vector_parts import (
    copy_rows,
    find_keys,
    map_parts,
    open_rows,
    read_parts,
    write_part,
)
from scoring.dataset.image_index import ImageIndex
from scoring.dataset.records import pending_images
from scoring.duplicates.contents import ImageContents
from scoring.duplicates.texts import Ints
from scoring.image_references import ImageRoots
from scoring.images.decode import ImageProblem, open_image, resolve_image
from scoring.issues import ImportIssues
from scoring.samples import Status
from scoring.workspace import Workspace, write_json

PART_IMAGES = 8192
_PART_SECONDS = 60.0  # after which fewer images are a part
_UNDECODABLE = "undecodable.json"
_THREADS = 8
_WAITING = 4 * BATCH  # pictures that are being read or wait for the model


@dataclass(frozen=True, slots=True, eq=False)
class ImageVectors:
    """The vectors of n images; ``positions`` (n,) are their places among the contents."""

    positions: Ints
    _rows: Ints  # in the parts
    _parts: list[NDArray[Any]]

    @classmethod
    def open(
        cls, workspace: Workspace, embedder: ImageEmbedder, contents: ImageContents
    ) -> ImageVectors:
        """Open the vectors of those contents that have one."""
        parts = read_parts(_folder_of(workspace, embedder))
        rows = find_keys(parts, contents.keys)
        positions = np.flatnonzero(rows >= 0)
        return cls(positions, rows[positions], map_parts(parts))

    def __len__(self) -> int:
        return len(self.positions)

    def open_matrix(self, folder: Path) -> AbstractContextManager[Vectors]:
        """Yield all vectors, shape (n, dimensions); a large matrix is a file in the folder."""
        return open_rows(self._parts, self._rows, folder)

    def read(self, start: int, stop: int) -> Vectors:
        """Return unit vectors from one position to another, shape (stop - start, dimensions)."""
        rows = self._rows[start:stop]
        vectors = np.empty((len(rows), self._parts[0].shape[1]), np.float32)
        copy_rows(self._parts, rows, vectors)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


def embed_images(
    workspace: Workspace,
    embedder: ImageEmbedder,
    contents: ImageContents,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
) -> ImageIndex:
    """Embed each different image of a dataset that has no vector of this model yet.

    ``progress`` is called with the images done and in all, of those to be embedded; ``stop`` ends
    early and keeps what was done. Memory: the pictures of a few batches and a part of vectors.
    """
    folder = _folder_of(workspace, embedder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"model": embedder.model.name, "weights": embedder.weights}
    write_json(folder / "embeddings.json", about)
    undecodable = _read_undecodable(folder)
    is_missing = find_keys(read_parts(folder), contents.keys) < 0
    reasons = [undecodable.get(str(key)) for key in contents.keys[is_missing].tolist()]
    is_missing[is_missing] = [reason is None for reason in reasons]
    known_reasons = [reason for reason in reasons if reason is not None]
    n_missing, stop = int(is_missing.sum()), stop or threading.Event()
    if n_missing:
        embedder.load()
    writer, issues, n_done = _VectorWriter(folder, embedder), ImportIssues(), 0
    for reason in known_reasons:
        issues.add(str(Status.BAD_IMAGE), 1, [reason])
    references = _iter_missing(workspace, contents, is_missing)
    for position, result in _read_pictures(references, embedder, workspace.image_roots, stop):
        n_done += 1
        if isinstance(result, Exception):
            status = result.status if isinstance(result, ImageProblem) else Status.BAD_IMAGE
            issues.add(str(status), 1, [str(result)])
            if _is_about_content(result):
                undecodable[str(contents.keys[position])] = str(result)
        else:
            writer.add(contents.keys[position], result)
        if progress:
            progress(n_done, n_missing)
    writer.flush()
    write_json(folder / _UNDECODABLE, undecodable)
    n_known = len(contents.keys) - n_missing - len(known_reasons)
    # Without a stop, those that were not met are contents that the dataset no longer has.
    n_images = n_known + len(known_reasons) + (n_missing if stop.is_set() else n_done)
    n_failed = n_done - writer.n_written + len(known_reasons)
    return ImageIndex(n_images, n_known, writer.n_written, n_failed, issues.as_rows())


def _folder_of(workspace: Workspace, embedder: ImageEmbedder) -> Path:
    return workspace.root / "embeddings" / f"images-{embedder.weights[:16]}"


def _read_undecodable(folder: Path) -> dict[str, str]:
    """Return why contents cannot be decoded, by their keys."""
    try:
        reasons: dict[str, str] = json.loads((folder / _UNDECODABLE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return reasons


def _is_about_content(error: Exception) -> bool:
    """Return whether an image with the same bytes cannot be decoded another time either."""
    cause = error.__context__
    if not isinstance(error, ImageProblem) or error.status is not Status.BAD_IMAGE:
        return False
    if isinstance(cause, OSError):  # of the system, such as a failing disk, if it has a number
        return cause.errno is None
    return isinstance(cause, Image.DecompressionBombError | SyntaxError)


def _iter_missing(
    workspace: Workspace, contents: ImageContents, is_missing: NDArray[np.bool_]
) -> Iterator[tuple[int, str]]:
    """Yield position and first reference of the contents without a vector, in dataset order."""
    is_open = is_missing.copy()
    for images in pending_images(workspace):
        for image in images:
            position = contents.find(image)
            if position >= 0 and is_open[position]:
                is_open[position] = False
                yield position, image


def _read_pictures(
    references: Iterator[tuple[int, str]],
    embedder: ImageEmbedder,
    roots: ImageRoots,
    stop: threading.Event,
) -> Iterator[tuple[int, Vectors | Exception]]:
    """Yield the prepared pictures of images, or why one could not be read, as they are ready."""

    def prepare(reference: str) -> Vectors:
        return embedder.prepare(open_image(resolve_image(reference, roots)))

    waiting: dict[Future[Vectors], int] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        while True:
            while len(waiting) < _WAITING and not stop.is_set():
                position, reference = next(references, (-1, ""))
                if position < 0:
                    break
                waiting[pool.submit(prepare, reference)] = position
            if not waiting:
                return
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                error = future.exception()
                position = waiting.pop(future)
                if error is None:
                    yield position, future.result()
                elif isinstance(error, Exception):
                    yield position, error
                else:
                    raise error


class _VectorWriter:
    """Embeds pictures in batches and writes their vectors in parts."""

    def __init__(self, folder: Path, embedder: ImageEmbedder) -> None:
        self.n_written = 0
        self._folder, self._embedder = folder, embedder
        self._keys: list[np.uint64] = []
        self._pixels: list[Vectors] = []
        self._vectors: list[NDArray[np.float16]] = []
        self._written = time.monotonic()

    def add(self, key: np.uint64, pixels: Vectors) -> None:
        """Add a picture; it is written with a later one or by ``flush``."""
        self._keys.append(key)
        self._pixels.append(pixels)
        if len(self._pixels) == BATCH:
            self._embed()
            is_due = time.monotonic() - self._written > _PART_SECONDS
            if is_due or len(self._keys) >= PART_IMAGES:
                self.flush()

    def _embed(self) -> None:
        self._vectors.append(self._embedder.embed(self._pixels).astype(np.float16))
        self._pixels = []

    def flush(self) -> None:
        """Write what was added as a part."""
        if self._pixels:
            self._embed()
        if self._keys:
            write_part(self._folder, np.array(self._keys), np.concatenate(self._vectors))
            self.n_written += len(self._keys)
        self._keys, self._vectors, self._written = [], [], time.monotonic()
