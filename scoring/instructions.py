"""The instructions of a dataset and their vectors, kept in parts that outlast an interruption.

``embeddings/<digest>/part-*.npy`` hold the vectors of the distinct instructions in their sorted
order; equal instructions are embedded once. The one decision behind it: memory does not grow with
the dataset's vectors. They are read from their parts as they are needed, and the matrix over all
samples that k-means walks through lies in a temporary file where it is large.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scoring.dataset import read_columns, read_dataset_info
from scoring.runs import settings_digest
from scoring.workspace import Workspace, replacing, write_json

PART_TEXTS = 8192
_STEP = 1024  # texts between two signs of progress
_ROWS = 65_536  # copied into the matrix at a time
MAX_BYTES_IN_MEMORY = 256 << 20

OnProgress = Callable[[int, int], None]
Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Texts in, unit vectors out."""

    @property
    def name(self) -> str:
        """What the clustering records."""
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
    parts = _embed(folder, instructions.texts, embedder, on_progress)
    shape = (len(instructions.place), parts[0].shape[1])
    if 4 * shape[0] * shape[1] <= MAX_BYTES_IN_MEMORY:
        matrix = np.empty(shape, np.float32)
        _gather(parts, instructions.place, matrix)
        yield matrix
        return
    with tempfile.TemporaryDirectory(prefix=".matrix-", dir=folder) as scratch:
        path = Path(scratch) / "matrix.npy"
        mapped: Any = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        _gather(parts, instructions.place, mapped)
        mapped.flush()
        yield mapped
        del mapped


def embeddings_folder(workspace: Workspace, embedder: Embedder) -> Path:
    """Where the vectors of this dataset by this embedder lie."""
    info = read_dataset_info(workspace)
    digest = settings_digest(embedder=embedder.name, dataset=info.fingerprint)
    return workspace.root / "embeddings" / digest[:16]


def _embed(
    folder: Path, texts: Sequence[str], embedder: Embedder, on_progress: OnProgress | None
) -> list[Vectors]:
    """The parts in the order of the texts, mapped; those that are missing are made."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"embedder": embedder.name, "n_texts": len(texts), "part_texts": PART_TEXTS}
    write_json(folder / "embeddings.json", about)
    starts = range(0, len(texts), PART_TEXTS)
    missing = [start for start in starts if not _part(folder, start).exists()]
    if missing:
        embedder.prepare(texts)
    done = len(texts) - sum(min(PART_TEXTS, len(texts) - start) for start in missing)
    for start in missing:
        vectors = []
        end = min(start + PART_TEXTS, len(texts))
        for first in range(start, end, _STEP):
            if on_progress:
                on_progress(done, len(texts))
            vectors.append(embedder.embed(texts[first : min(first + _STEP, end)]))
            done += len(vectors[-1])
        with replacing(_part(folder, start)) as file:
            np.save(file, np.concatenate(vectors))
    if on_progress:
        on_progress(len(texts), len(texts))
    return [np.load(_part(folder, start), mmap_mode="r") for start in starts] or [
        np.empty((0, 1), np.float32)
    ]


def _part(folder: Path, start: int) -> Path:
    return folder / f"part-{start // PART_TEXTS:06d}.npy"


def _gather(parts: Sequence[Vectors], place: NDArray[np.int64], out: Vectors) -> None:
    """``out[i] = vectors[place[i]]``, some rows at a time."""
    for start in range(0, len(place), _ROWS):
        wanted = place[start : start + _ROWS]
        order = np.argsort(wanted, kind="stable")
        borders = np.searchsorted(wanted[order], np.arange(len(parts) + 1) * PART_TEXTS)
        block = np.empty((len(wanted), out.shape[1]), np.float32)
        for number, part in enumerate(parts):
            some = order[borders[number] : borders[number + 1]]
            if len(some):
                block[some] = part[wanted[some] - number * PART_TEXTS]
        out[start : start + len(wanted)] = block
