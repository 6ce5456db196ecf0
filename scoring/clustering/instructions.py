"""The instructions of a dataset and their vectors, kept in parts that outlast an interruption.

``embeddings/<digest>/part-*.npy`` hold vectors, ``part-*.keys.npy`` digests of their texts: equal
instructions are embedded once, and samples that are added later cost their new texts only. The one
decision behind it: memory does not grow with the dataset's vectors. They are read from their parts
as they are needed, and the matrix over all samples that k-means walks through lies in a temporary
file where it is large.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoring.dataset.records import read_columns, read_dataset_info
from scoring.runs.record import settings_digest
from scoring.workspace import Workspace, open_atomic, write_json

PART_TEXTS = 8192
# Of a text that is embedded. Models read its first 256 to 8,192 tokens, but their tokenizers take
# 200 bytes per character of all of it.
MOST_CHARACTERS = 200_000
_STEP = 1024  # texts between two signs of progress
_ROWS = 65_536  # copied into the matrix at a time
MAX_BYTES_IN_MEMORY = 256 << 20
_KEYS = ".keys.npy"

OnProgress = Callable[[int, int], None]
Vectors = NDArray[np.float32]
Keys = NDArray[np.bytes_]


class Embedder(Protocol):
    """Texts in, unit vectors out."""

    @property
    def name(self) -> str:
        """What the clustering records."""
        ...

    @property
    def weights(self) -> str | None:
        """Digest of all that decides a text's vector; None where it learns from the dataset."""
        ...

    def prepare(self, texts: Sequence[str]) -> None:
        """Looks at all the texts before the first of them is embedded."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(texts, dimensions) of unit length; equal texts get equal vectors."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Instructions:
    """The first human turn of every sample.

    ``texts`` are the distinct ones, ascending; ``place`` (n,) holds each sample's position in
    them, ``row_idx`` (n,) its row.
    """

    row_idx: NDArray[np.int64]
    texts: tuple[str, ...]
    place: NDArray[np.int64]


def read_instructions(workspace: Workspace) -> Instructions:
    """The instructions of the imported dataset, image placeholders removed."""
    rows: list[NDArray[np.int64]] = []
    codes: list[NDArray[np.int64]] = []
    seen: dict[str, int] = {}
    for table in read_columns(workspace, ["row_idx", "question"]):
        rows.append(table.column("row_idx").to_numpy())
        texts = [text or "" for text in table.column("question").to_pylist()]
        codes.append(np.array([seen.setdefault(text, len(seen)) for text in texts], np.int64))
    texts = sorted(seen)
    place_of = np.empty(len(texts), np.int64)
    place_of[[seen[text] for text in texts]] = np.arange(len(texts))
    return Instructions(
        row_idx=np.concatenate(rows) if rows else np.empty(0, np.int64),
        texts=tuple(texts),
        place=place_of[np.concatenate(codes)] if codes else np.empty(0, np.int64),
    )


@contextmanager
def instruction_vectors(
    workspace: Workspace,
    instructions: Instructions,
    embedder: Embedder,
    on_progress: OnProgress | None = None,
) -> Iterator[Vectors]:
    """(samples, dimensions): the vector of each sample's instruction, to read while the block runs.

    What earlier calls finished is not embedded again; an interruption loses at most one part.
    """
    folder = embeddings_folder(workspace, embedder)
    parts, position = _embed(folder, instructions.texts, embedder, on_progress)
    place = position[instructions.place]
    shape = (len(place), parts[0].shape[1])
    if 4 * shape[0] * shape[1] <= MAX_BYTES_IN_MEMORY:
        matrix = np.empty(shape, np.float32)
        _gather(parts, place, matrix)
        yield matrix
        return
    with tempfile.TemporaryDirectory(prefix=".matrix-", dir=folder) as scratch:
        path = Path(scratch) / "matrix.npy"
        mapped: Any = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        _gather(parts, place, mapped)
        mapped.flush()
        yield mapped
        del mapped


def embedder_identity(embedder: Embedder) -> str:
    """What tells vectors of this embedder from all others: its weights, else its name."""
    return embedder.weights or embedder.name


def embeddings_folder(workspace: Workspace, embedder: Embedder) -> Path:
    """Where the vectors by this embedder lie; of one that learns, those of this dataset."""
    deciding = {"embedder": embedder_identity(embedder)}
    if embedder.weights is None:
        deciding["dataset"] = read_dataset_info(workspace).fingerprint
    return workspace.root / "embeddings" / settings_digest(**deciding)[:16]


def _embed(
    folder: Path, texts: Sequence[str], embedder: Embedder, on_progress: OnProgress | None
) -> tuple[list[Vectors], NDArray[np.int64]]:
    """All parts, mapped, and each text's row in them laid end to end; what is missing is made.

    Of a text that is longer than ``MOST_CHARACTERS``, only the beginning is embedded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "embeddings.json", {"embedder": embedder.name, "weights": embedder.weights})
    keys = _keys(texts)
    texts = [text[:MOST_CHARACTERS] for text in texts]
    missing = np.flatnonzero(_positions(_stored(folder), keys) < 0)
    if len(missing):
        embedder.prepare(texts)
    done = len(texts) - len(missing)
    for start in range(0, len(missing), PART_TEXTS):
        some = missing[start : start + PART_TEXTS]
        vectors = []
        for first in range(0, len(some), _STEP):
            if on_progress:
                on_progress(done, len(texts))
            vectors.append(embedder.embed([texts[i] for i in some[first : first + _STEP]]))
            done += len(vectors[-1])
        _write_part(folder, keys[some], np.concatenate(vectors))
    if on_progress:
        on_progress(len(texts), len(texts))
    stored = _stored(folder)
    parts = [np.load(path, mmap_mode="r") for path, _ in stored]
    return parts or [np.empty((0, 1), np.float32)], _positions(stored, keys)


def _keys(texts: Sequence[str]) -> Keys:
    digests = (
        hashlib.blake2b(one.encode("utf-8", "surrogatepass"), digest_size=16) for one in texts
    )
    return np.array([one.digest() for one in digests], "S16")


def _stored(folder: Path) -> list[tuple[Path, Keys]]:
    """The finished parts with the keys of their rows."""
    found = sorted(folder.glob(f"part-*{_KEYS}"))
    return [
        (path.with_name(path.name.removesuffix(_KEYS) + ".npy"), np.load(path)) for path in found
    ]


def _positions(stored: Sequence[tuple[Path, Keys]], keys: Keys) -> NDArray[np.int64]:
    """The row of each key in the parts laid end to end, -1 where it is in none."""
    if not stored:
        return np.full(len(keys), -1)
    known = np.concatenate([one for _, one in stored])
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known, keys, sorter=order), len(known) - 1)
    return np.where(known[order[at]] == keys, order[at], -1)


def _write_part(folder: Path, keys: Keys, vectors: Vectors) -> None:
    """Named after its texts, so that two commands at once cannot mix theirs; its keys are written
    last: now it counts."""
    name = f"part-{hashlib.sha256(keys.tobytes()).hexdigest()[:16]}"
    for suffix, array in ((".npy", vectors), (_KEYS, keys)):
        with open_atomic(folder / f"{name}{suffix}") as file:
            np.save(file, array)


def _gather(parts: Sequence[Vectors], place: NDArray[np.int64], out: Vectors) -> None:
    """``out[i]`` is the row ``place[i]`` of the parts laid end to end; some rows at a time."""
    ends = np.cumsum([0, *(len(part) for part in parts)])
    for start in range(0, len(place), _ROWS):
        wanted = place[start : start + _ROWS]
        order = np.argsort(wanted, kind="stable")
        borders = np.searchsorted(wanted[order], ends)
        block = np.empty((len(wanted), out.shape[1]), np.float32)
        for number, part in enumerate(parts):
            some = order[borders[number] : borders[number + 1]]
            if len(some):
                block[some] = part[wanted[some] - ends[number]]
        out[start : start + len(wanted)] = block
