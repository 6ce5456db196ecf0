"""Digests of image contents in ``dataset/image-digests``: which images are the same.

Parts never change and appear by atomic rename; where two have a reference, the one whose name
sorts last counts. Deleting the folder loses only speed and the links between equal images.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.images.perceptual import N_COLOURS, PictureHash, PictureHashes
from scoring.readers.values import InlineReference
from scoring.schemas import IMAGE_DIGESTS, IMAGE_HASHES
from scoring.unicode_text import replace_surrogates
from scoring.workspace import Workspace, open_atomic

FOLDER = "image-digests"
IMPORTED, INDEXED = "import", "index"
"""What wrote a part: the import of the records, or ``index-images``, which counts more."""
_PART_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class ImageDigest:
    """The content that an image reference had when it was read.

    ``mtime_ns`` is the time of a plain file; None for an image inside a container, which does not
    change. ``picture`` is the perceptual hash, if it was computed (``is_hashed``) and there is one.
    """

    reference: str
    digest: bytes
    n_bytes: int
    mtime_ns: int | None = None
    is_hashed: bool = False
    picture: PictureHash | None = None


@dataclass(slots=True)
class DigestWriter:
    """Writes digests to parts in a folder; what is not written yet is lost in a kill."""

    folder: Path
    origin: str  # IMPORTED or INDEXED
    _rows: list[ImageDigest] = field(default_factory=list)

    def add(self, row: ImageDigest) -> None:
        """Add an image."""
        self._rows.append(row)
        if len(self._rows) >= _PART_ROWS:
            self.flush()

    def add_inline(self, images: Sequence[str]) -> None:
        """Add those images whose content was read together with the record."""
        for image in images:
            if isinstance(image, InlineReference) and image.digest is not None:
                self.add(ImageDigest(str(image), image.digest, image.n_bytes))

    def flush(self) -> None:
        """Write the images that were added as a part."""
        if not self._rows:
            return
        rows, self._rows = self._rows, []
        hashed = [row for row in rows if row.is_hashed]
        if hashed:  # first: a digest without it would count as not hashed yet
            values = [
                pa.array([row.digest for row in hashed], pa.binary(16)),
                pa.array([row.picture and row.picture.bits for row in hashed], pa.uint64()),
                pa.array([row.picture and row.picture.colours for row in hashed], pa.binary(48)),
            ]
            self._write_part("hashes", pa.Table.from_arrays(values, schema=IMAGE_HASHES))
        columns = [
            pa.array([replace_surrogates(row.reference) for row in rows], pa.string()),
            pa.array([row.digest for row in rows], pa.binary(16)),
            pa.array([row.n_bytes for row in rows], pa.int64()),
            pa.array([row.mtime_ns for row in rows], pa.int64()),
        ]
        self._write_part("part", pa.Table.from_arrays(columns, schema=IMAGE_DIGESTS))

    def _write_part(self, kind: str, table: pa.Table) -> None:
        name = f"{kind}-{self.origin}-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        with open_atomic(self.folder / name) as file:
            pq.write_table(table, file, compression="zstd")


def digest_parts(workspace: Workspace, index: str | None = None) -> list[Path]:
    """Return the parts, those that count last.

    With ``index``, these are the parts that counted when ``last_index`` returned it: a pass over
    the images may add parts at any time, while an import adds none during a run.
    """
    parts = sorted((workspace.dataset_dir / FOLDER).glob("part-*.parquet"))
    if index is None:
        return parts
    return [part for part in parts if part.name <= max(index, f"part-{INDEXED}")]


def last_index(workspace: Workspace) -> str:
    """Return the name of the last part that a pass over the images has written, "" without one."""
    names = [part.name for part in digest_parts(workspace)]
    return max((name for name in names if name.startswith(f"part-{INDEXED}-")), default="")


def read_digests(workspace: Workspace, index: str | None = None) -> Iterator[pa.Table]:
    """Yield the known digests in pieces, as ``schemas.IMAGE_DIGESTS``."""
    for path in digest_parts(workspace, index):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_PART_ROWS):
                yield pa.Table.from_batches([batch], schema=IMAGE_DIGESTS)


def digest_keys(digests: pa.Array) -> NDArray[np.uint64]:
    """Return 64 of the 128 bits of digests, shape (n,): enough for equality of contents."""
    content = b"".join(digests.to_pylist())
    return np.frombuffer(content, np.uint64).reshape(-1, 2)[:, 0].copy()


def read_hashes(
    workspace: Workspace,
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], PictureHashes]:
    """Return the keys of the contents that were hashed, which have a hash, and these hashes.

    The keys are ascending.
    """
    paths = sorted((workspace.dataset_dir / FOLDER).glob("hashes-*.parquet"))
    tables = [IMAGE_HASHES.empty_table(), *(pq.read_table(path) for path in paths)]
    table = pa.concat_tables(tables)
    keys, first = np.unique(digest_keys(table.column("digest")), return_index=True)
    table = table.take(pa.array(first))
    has_hash = table.column("bits").is_valid().to_numpy().astype(bool)
    hashed = table.filter(pa.array(has_hash))
    colours = np.frombuffer(b"".join(hashed.column("colours").to_pylist()), np.uint8)
    bits = hashed.column("bits").to_numpy()
    return keys, has_hash, PictureHashes(bits, colours.reshape(-1, N_COLOURS))
