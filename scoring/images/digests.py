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

from scoring.readers.values import InlineReference
from scoring.schemas import IMAGE_DIGESTS, IMAGE_HASHES
from scoring.unicode_text import replace_surrogates
from scoring.workspace import Workspace, open_atomic

FOLDER = "image-digests"
IMPORTED, INDEXED = "import", "index"
"""What wrote a part: the import of the records, or ``index-images``, which may run at any time."""
_PART_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class ImageDigest:
    """The content that an image reference had when it was read.

    ``mtime_ns`` is the time of a plain file; None for an image inside a container, which does not
    change. ``hash`` is the perceptual hash, if one was computed (``is_hashed``) and the picture has
    one.
    """

    reference: str
    digest: bytes
    n_bytes: int
    mtime_ns: int | None = None
    is_hashed: bool = False
    hash: int | None = None


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
                pa.array([row.hash for row in hashed], pa.uint64()),
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


def digest_parts(workspace: Workspace) -> list[Path]:
    """Return the parts, those that count last."""
    return sorted((workspace.dataset_dir / FOLDER).glob("part-*.parquet"))


def read_digests(workspace: Workspace) -> Iterator[pa.Table]:
    """Yield the known digests in pieces, as ``schemas.IMAGE_DIGESTS``."""
    for path in digest_parts(workspace):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_PART_ROWS):
                yield pa.Table.from_batches([batch], schema=IMAGE_DIGESTS)


def digest_keys(digests: pa.Array) -> NDArray[np.uint64]:
    """Return 64 of the 128 bits of digests, shape (n,): enough for equality of contents."""
    content = b"".join(digests.to_pylist())
    return np.frombuffer(content, np.uint64).reshape(-1, 2)[:, 0].copy()


def read_hashes(workspace: Workspace) -> tuple[NDArray[np.uint64], pa.Array]:
    """Return the keys of the contents that were hashed, ascending, and their hashes or null."""
    paths = sorted((workspace.dataset_dir / FOLDER).glob("hashes-*.parquet"))
    tables = [IMAGE_HASHES.empty_table(), *(pq.read_table(path) for path in paths)]
    table = pa.concat_tables(tables).combine_chunks()
    keys = digest_keys(table.column("digest"))
    distinct, first = np.unique(keys, return_index=True)
    return distinct, table.column("hash").combine_chunks().take(pa.array(first))
