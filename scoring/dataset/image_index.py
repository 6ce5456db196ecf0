"""The pass over all images of a dataset that reads each once and stores what its content gives.

Images whose content is known are skipped: what an import read, and what an earlier pass stored. A
pass that was stopped or killed therefore resumes where its last part ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xxhash
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from scoring.dataset.records import pending_images
from scoring.errors import WorkspaceError
from scoring.image_references import ImageRoots, digest_content
from scoring.images.containers import MAX_IMAGE_BYTES
from scoring.images.decode import (
    ImageLocation,
    ImageProblem,
    open_image,
    read_content,
    resolve_image,
)
from scoring.images.digests import (
    FOLDER,
    INDEXED,
    DigestWriter,
    ImageDigest,
    digest_keys,
    read_digests,
    read_hashes,
)
from scoring.images.perceptual import HASHED_SIZE, PictureHash, hash_picture
from scoring.issues import ImportIssues
from scoring.samples import Status
from scoring.workspace import Workspace, open_workspace, require_dataset

_THREADS = 8
_WAITING = 32  # images that are being read or wait for a thread
_FLUSH_SECONDS = 20.0
_VERSION = ("n_bytes", "mtime_ns")


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """The result of a pass, in numbers of distinct images.

    ``n_known`` were known before, ``n_read`` were read now, and ``n_unreadable`` could not be read,
    for the reasons in ``issues``.
    """

    n_images: int
    n_known: int
    n_read: int
    n_unreadable: int
    issues: list[dict[str, Any]]

    @property
    def is_complete(self) -> bool:
        """Whether each image was read or has a reason; False if the pass was stopped."""
        return self.n_known + self.n_read + self.n_unreadable == self.n_images


def index_images(
    workspace: Workspace,
    progress: Callable[[int, int], None] | None = None,
    stop: threading.Event | None = None,
    *,
    hashes: bool = False,
) -> ImageIndex:
    """Read the images of a dataset whose content is not known, and store their digests.

    Plain files are read again if their size or time changed since. Memory is bounded: about
    50 bytes per image of the dataset, and the contents of a few images.

    Args:
        workspace: a workspace with a dataset.
        progress: called with the images done and in all, of those to be read.
        stop: set it to stop early; what was read is kept.
        hashes: also decode each different image and store its perceptual hash, for near-duplicates.

    Raises WorkspaceError if another process indexes the same workspace.
    """
    workspace = open_workspace(workspace.root)  # an import may have added image folders since
    require_dataset(workspace)
    folder = workspace.dataset_dir / FOLDER
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(workspace.dataset_dir / ".image-digests.lock", timeout=0):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()
            return _read_images(workspace, progress, stop or threading.Event(), hashes)
    except Timeout:
        raise WorkspaceError(
            f"Another process is indexing the images of {workspace.root}. Wait until it has "
            "finished."
        ) from None


def _read_images(
    workspace: Workspace,
    progress: Callable[[int, int], None] | None,
    stop: threading.Event,
    hashes: bool,
) -> ImageIndex:
    roots = workspace.image_roots
    is_open, n_images = _find_unknown(workspace, hashes)
    total = int(is_open.sum())
    issues, done, n_read = ImportIssues(), 0, 0
    writer = DigestWriter(workspace.dataset_dir / FOLDER, INDEXED)
    waiting: set[Future[ImageDigest]] = set()
    flushed = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        references = _iter_open(workspace, is_open)
        while True:
            while len(waiting) < _WAITING and not stop.is_set():
                reference = next(references, None)
                if reference is None:
                    break
                waiting.add(pool.submit(index_image, reference, roots, hashes))
            if not waiting:
                break
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                done += 1
                try:
                    writer.add(future.result())
                    n_read += 1
                except ImageProblem as problem:
                    issues.add(str(problem.status), 1, [problem.reason])
                except Exception as error:  # noqa: BLE001 - one odd image must not end the pass
                    issues.add(str(Status.BAD_IMAGE), 1, [f"{type(error).__name__}: {error}"])
            if time.monotonic() - flushed > _FLUSH_SECONDS:
                writer.flush()
                flushed = time.monotonic()
            if progress:
                progress(done, total)
    writer.flush()
    return ImageIndex(n_images, n_images - total, n_read, done - n_read, issues.as_rows())


def index_image(reference: str, roots: ImageRoots, hashed: bool = False) -> ImageDigest:
    """Read one image. Raises ImageProblem if it cannot be read or is being written.

    The digest of a part of an image covers its box too: other parts are other images. ``hashed``:
    with its perceptual hash, None if it cannot be decoded.
    """
    location = resolve_image(reference, roots)
    before = location.cache_key()
    if not location.member and location.path.stat().st_size > MAX_IMAGE_BYTES:
        reason = f"{location.name} has more than {MAX_IMAGE_BYTES:,} bytes"
        raise ImageProblem(Status.BAD_IMAGE, reason)
    content = read_content(location)
    box = b"" if location.box is None else repr(location.box).encode()
    digest, n_bytes = digest_content(content + box), len(content)
    picture = _hash_image(location, content) if hashed else None
    if location.member:
        return ImageDigest(reference, digest, n_bytes, None, hashed, picture)
    if location.cache_key() != before:
        raise ImageProblem(Status.BAD_IMAGE, f"{location.name} changed while it was read")
    mtime_ns = location.path.stat().st_mtime_ns
    return ImageDigest(reference, digest, n_bytes, mtime_ns, hashed, picture)


def _hash_image(location: ImageLocation, content: bytes) -> PictureHash | None:
    with suppress(ImageProblem):
        location = replace(location, content=content) if location.member else location
        return hash_picture(open_image(location, min_size=HASHED_SIZE))
    return None


def _find_unknown(workspace: Workspace, hashes: bool) -> tuple[NDArray[np.bool_], int]:
    """Return flags of the first occurrences of images that are to be read, and the distinct images.

    The flags are in the order of ``_iter_images``. ``hashes``: of the known ones, one for each
    content without a perceptual hash.
    """
    occurrences = np.fromiter(map(hash_reference, _iter_images(workspace)), np.uint64)  # (images,)
    distinct, first = np.unique(occurrences, return_index=True)
    known, keys = read_content_keys(workspace)
    is_unknown = ~np.isin(distinct, known)
    if hashes:
        position = np.flatnonzero(~is_unknown)
        keys = keys[np.searchsorted(known, distinct[position])]
        is_new = ~np.isin(keys, read_hashes(workspace)[0])
        is_unknown[position[is_new][np.unique(keys[is_new], return_index=True)[1]]] = True
    is_open = np.zeros(len(occurrences), np.bool_)
    is_open[first[is_unknown]] = True
    return is_open, len(distinct)


def read_content_keys(workspace: Workspace) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return hashes of the references whose last digest is about the file as it is now, ascending.

    And the key of each one's content.
    """
    roots = workspace.image_roots
    hashes: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    keys: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    flags: list[NDArray[np.bool_]] = [np.empty(0, np.bool_)]
    for table in read_digests(workspace):
        references = table.column("reference").to_pylist()
        versions = zip(*(table.column(name).to_pylist() for name in _VERSION), strict=True)
        current = [
            mtime_ns is None or _is_current(reference, roots, n_bytes, mtime_ns)
            for reference, (n_bytes, mtime_ns) in zip(references, versions, strict=True)
        ]
        hashes.append(np.fromiter(map(hash_reference, references), np.uint64))
        keys.append(digest_keys(table.column("digest")))
        flags.append(np.array(current, np.bool_))
    last_first = [np.concatenate(each)[::-1] for each in (hashes, keys, flags)]
    distinct, last = np.unique(last_first[0], return_index=True)
    is_current = last_first[2][last].astype(bool)
    return distinct[is_current], last_first[1][last][is_current]


def _is_current(reference: str, roots: ImageRoots, n_bytes: int, mtime_ns: int) -> bool:
    try:
        stat = resolve_image(reference, roots).path.stat()
    except (ImageProblem, OSError):
        return False
    return (stat.st_size, stat.st_mtime_ns) == (n_bytes, mtime_ns)


def _iter_open(workspace: Workspace, is_open: NDArray[np.bool_]) -> Iterator[str]:
    return (
        image for image, wanted in zip(_iter_images(workspace), is_open, strict=False) if wanted
    )


def _iter_images(workspace: Workspace) -> Iterator[str]:
    """Yield the images of samples that may be scored, in dataset order, with repeats."""
    return (image for images in pending_images(workspace) for image in images)


def hash_reference(reference: str) -> int:
    """Return the number by which ``read_content_keys`` knows an image."""
    return xxhash.xxh3_64_intdigest(reference.encode("utf-8", "surrogatepass"))
