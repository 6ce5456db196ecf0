"""The instructions of a dataset and their vectors, stored in parts so that embedding can resume.

``embeddings/<digest>/`` has the vectors by digests of their texts: equal instructions are embedded
once, and samples that are added later cost only their new texts. Memory does not grow with the
vectors of the dataset: they are read from their parts when needed, and a large matrix over all
samples is in a temporary file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoring.clustering.vector_parts import find_keys, map_parts, open_rows, read_parts, write_part
from scoring.dataset.records import read_columns, read_dataset_info
from scoring.runs.record import settings_digest
from scoring.workspace import Workspace, write_json

PART_TEXTS = 8192
# Of a text. Models read its first 256 to 8,192 tokens, but their tokenizers need 200 bytes per
# character of the whole text.
MOST_CHARACTERS = 200_000
_STEP = 1024  # texts between two progress reports

OnProgress = Callable[[int, int], None]
Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def name(self) -> str:
        """Name that the clustering records."""

    @property
    def weights(self) -> str | None:
        """Digest of all that determines a vector; None where it is fitted to the dataset."""

    def prepare(self, texts: Sequence[str]) -> None:
        """Fit to all texts before the first of them is embedded."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return (texts, dimensions) of unit length; equal texts get equal vectors."""


@dataclass(frozen=True, slots=True, eq=False)
class Instructions:
    """The first human turn of every sample.

    ``texts`` are the distinct ones, ascending; ``text_idx`` (n,) is each sample's position in them,
    ``row_idx`` (n,) its row.
    """

    row_idx: NDArray[np.int64]
    texts: tuple[str, ...]
    text_idx: NDArray[np.int64]


def read_instructions(workspace: Workspace) -> Instructions:
    """Return the instructions of the imported dataset, without image placeholders."""
    rows: list[NDArray[np.int64]] = []
    codes: list[NDArray[np.int64]] = []
    seen: dict[str, int] = {}
    for table in read_columns(workspace, ["row_idx", "question"]):
        rows.append(table.column("row_idx").to_numpy())
        texts = [text or "" for text in table.column("question").to_pylist()]
        codes.append(np.array([seen.setdefault(text, len(seen)) for text in texts], np.int64))
    texts = sorted(seen)
    sorted_idx = np.empty(len(texts), np.int64)
    sorted_idx[[seen[text] for text in texts]] = np.arange(len(texts))
    return Instructions(
        row_idx=np.concatenate(rows) if rows else np.empty(0, np.int64),
        texts=tuple(texts),
        text_idx=sorted_idx[np.concatenate(codes)] if codes else np.empty(0, np.int64),
    )


@contextmanager
def instruction_vectors(
    workspace: Workspace,
    instructions: Instructions,
    embedder: Embedder,
    on_progress: OnProgress | None = None,
) -> Iterator[Vectors]:
    """Yield (samples, dimensions): the vector of each sample's instruction, inside the block.

    What earlier calls embedded is reused; an interruption loses at most one part.
    """
    folder = embeddings_folder(workspace, embedder)
    parts, vector_idx = _embed_missing(folder, instructions.texts, embedder, on_progress)
    with open_rows(parts, vector_idx[instructions.text_idx], folder) as matrix:
        yield matrix


def embeddings_folder(workspace: Workspace, embedder: Embedder) -> Path:
    """Return the folder of an embedder's vectors, per dataset if it is fitted to the dataset."""
    settings = {"embedder": embedder.weights or embedder.name}
    if embedder.weights is None:
        settings["dataset"] = read_dataset_info(workspace).fingerprint
    return workspace.root / "embeddings" / settings_digest(**settings)[:16]


def _embed_missing(
    folder: Path, texts: Sequence[str], embedder: Embedder, on_progress: OnProgress | None
) -> tuple[list[Vectors], NDArray[np.int64]]:
    """Embed the texts without a vector; return all parts, mapped, and each text's row in them.

    Rows count through the parts one after another. Of a text longer than ``MOST_CHARACTERS``, only
    the beginning is embedded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "embeddings.json", {"embedder": embedder.name, "weights": embedder.weights})
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16) for text in texts
    )
    keys = np.array([digest.digest() for digest in digests], "S16")
    texts = [text[:MOST_CHARACTERS] for text in texts]
    missing = np.flatnonzero(find_keys(read_parts(folder), keys) < 0)
    if len(missing):
        embedder.prepare(texts)
    done = len(texts) - len(missing)
    for start in range(0, len(missing), PART_TEXTS):
        in_part = missing[start : start + PART_TEXTS]
        vectors = []
        for first in range(0, len(in_part), _STEP):
            if on_progress:
                on_progress(done, len(texts))
            vectors.append(embedder.embed([texts[i] for i in in_part[first : first + _STEP]]))
            done += len(vectors[-1])
        write_part(folder, keys[in_part], np.concatenate(vectors))
    if on_progress:
        on_progress(len(texts), len(texts))
    stored = read_parts(folder)
    parts = map_parts(stored)
    return parts or [np.empty((0, 1), np.float32)], find_keys(stored, keys)
