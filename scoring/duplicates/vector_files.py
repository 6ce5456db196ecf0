"""Image vectors that users computed themselves, for example by a model that detects copies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.errors import InputError

_KEYS = ("row_idx", "image")
_BATCH = 8192


@dataclass(frozen=True, slots=True)
class VectorLeaks:
    """A file with the vectors of the dataset's images, and those of benchmarks by name.

    Images whose vectors have at least the cosine ``similarity`` are near-duplicates. All vectors
    have to be of one model.
    """

    path: Path
    benchmarks: Mapping[str, Path]
    similarity: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.similarity <= 1:
            raise InputError(f"The similarity is above 0 and at most 1, not {self.similarity}.")

    def describe(self) -> dict[str, Any]:
        """Return what determines near-duplicates, for the record of a column."""
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {
            "vectors": {"file": str(self.path), "sha256": digest, "similarity": self.similarity}
        }


@dataclass(frozen=True, eq=False)
class VectorFile:
    """The n vectors of a file: ``vectors`` of shape (n, dimensions).

    ``keys`` has the row_idx (``by`` is "row_idx") or the image reference of each; without ``by``
    they are the positions in the file.
    """

    path: Path
    vectors: NDArray[Any]
    by: str | None = None
    keys: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return unit vectors from one position to another, shape (stop - start, dimensions)."""
        vectors = np.array(self.vectors[start:stop], np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        is_valid = np.isfinite(lengths) & (lengths > 0)
        if not is_valid.all():
            position = start + int(np.flatnonzero(~is_valid[:, 0])[0])
            raise InputError(f"{self.path}: vector {position} is zero or not finite.")
        vectors /= lengths
        return vectors

    @cached_property
    def known(self) -> frozenset[Any]:
        """The keys that have a vector."""
        return frozenset(self.keys)

    def keys_of(self, row_idx: int, images: Sequence[str]) -> Sequence[Any]:
        """Return the keys of a sample's images."""
        return images if self.by == "image" else [row_idx] if images else []


def read_dataset_vectors(path: Path, n_samples: int) -> VectorFile:
    """Read the vectors of a dataset's images.

    A Parquet file has a list of numbers and the ``row_idx`` or ``image`` of each; a ``.npy`` file
    has one row per sample, in the order of the dataset. Raises InputError for others.
    """
    file = read_vector_file(path)
    if file.by is not None:
        return file
    if len(file) != n_samples:
        raise InputError(
            f"{path} has {len(file):,} vectors without row_idx or image, and the dataset "
            f"{n_samples:,} samples. Write a Parquet file with one of these columns."
        )
    return VectorFile(path, file.vectors, "row_idx", range(n_samples))


def read_vector_file(path: Path) -> VectorFile:
    """Read the vectors of a Parquet or ``.npy`` file. Raises InputError for others."""
    if not path.is_file():
        raise InputError(f"No file {path}")
    try:
        if path.suffix == ".npy":
            file = VectorFile(path, np.load(path, mmap_mode="r", allow_pickle=False))
        else:
            file = _read_parquet(path)
    except (ValueError, OSError, pa.ArrowException) as error:
        raise InputError(f"{path} is not a Parquet or .npy file of vectors: {error}") from error
    if file.vectors.ndim != 2 or file.vectors.dtype.kind != "f" or not file.vectors.size:
        raise InputError(f"{path} is not a table of vectors: numbers of shape (n, dimensions).")
    return file


def _read_parquet(path: Path) -> VectorFile:
    """Read the only column of lists of numbers, in half precision, and the keys."""
    with pq.ParquetFile(path) as parquet:
        schema = parquet.schema_arrow
        lists = [field.name for field in schema if _is_vector(field.type)]
        if len(lists) != 1:
            raise InputError(
                f"{path} needs one column with a list of numbers, and has {len(lists)}: "
                f"{', '.join(lists) or ', '.join(schema.names)}."
            )
        by = next((key for key in _KEYS if key in schema.names), None)
        keys: list[Any] = []
        parts = list(_read_batches(parquet, lists[0], by, keys, path))
    if any(part.shape[1] != parts[0].shape[1] for part in parts):
        raise InputError(f"{path} has vectors of different lengths.")
    vectors = np.concatenate(parts) if parts else np.empty((0, 0), np.float16)
    return VectorFile(path, vectors, by, keys)


def _is_vector(kind: pa.DataType) -> bool:
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in is_list) and bool(pa.types.is_floating(kind.value_type))


def _read_batches(
    parquet: pq.ParquetFile, name: str, by: str | None, keys: list[Any], path: Path
) -> Iterator[NDArray[np.float16]]:
    """Yield the vectors of each batch, shape (batch, dimensions), and extend ``keys``."""
    columns = [name] if by is None else [name, by]
    for batch in parquet.iter_batches(_BATCH, columns=columns):
        lists = batch.column(name)
        values = lists.flatten()
        n, rest = divmod(len(values), max(len(batch), 1))
        lengths = pa.compute.unique(pa.compute.list_value_length(lists)).to_pylist()
        if lists.null_count or values.null_count or rest or lengths != [n]:
            raise InputError(f"{path} has missing vectors, or vectors of different lengths.")
        yield values.to_numpy().reshape(len(batch), n).astype(np.float16)
        if by is not None:
            keys += batch.column(by).to_pylist()
