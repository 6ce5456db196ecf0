"""Embeddings of the instructions: what clusters are made of.

Two embedders stand behind one seam: sentence-transformers, as in the paper's code, and TF-IDF
with a truncated SVD, which needs no weights and serves where none can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scoring.errors import ModelError

TFIDF = "tfidf"
PAPER_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
_DIMENSIONS = 128
_BATCH = 2048

OnProgress = Callable[[int, int], None]


class Embedder(Protocol):
    """Texts in, unit vectors out."""

    @property
    def name(self) -> str:
        """What the clustering records."""
        ...

    def embed(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """(texts, dimensions) of unit length; equal texts get equal vectors."""
        ...


def load_embedder(name: str | None = None) -> Embedder:
    """``tfidf``, or a sentence-transformers model by name or path.

    Without a name: the paper's model where sentence-transformers is installed, else ``tfidf``.
    """
    if name is None:
        name = PAPER_EMBEDDER if find_spec("sentence_transformers") else TFIDF
    return TfidfEmbedder() if name == TFIDF else SentenceEmbedder(name)


class TfidfEmbedder:
    """Words and word pairs, weighted by TF-IDF, brought to 128 dimensions by a truncated SVD."""

    name = TFIDF

    def embed(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """See the protocol; the vectors depend on the whole list of texts."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        counts = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            max_features=1 << 16,
            token_pattern=r"\w+",  # noqa: S106
        )
        try:
            matrix = counts.fit_transform(texts)
        except ValueError:  # no text holds a word
            return np.zeros((len(texts), 1), dtype=np.float32)
        if on_progress:
            on_progress(len(texts) // 2, len(texts))
        dimensions = min(_DIMENSIONS, *(size - 1 for size in matrix.shape))
        if dimensions > 0:
            matrix = TruncatedSVD(dimensions, random_state=0).fit_transform(matrix)
        else:
            matrix = matrix.toarray()
        if on_progress:
            on_progress(len(texts), len(texts))
        return np.asarray(normalize(matrix), dtype=np.float32)


class SentenceEmbedder:
    """A sentence-transformers model."""

    def __init__(self, name: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ModelError(
                "embeddings by a model need sentence-transformers "
                "(pip install 'visnec-studio[embeddings]'); or use --embedder tfidf"
            ) from error
        try:
            self._model = SentenceTransformer(name, trust_remote_code=False)
        except Exception as error:
            raise ModelError(
                f"the embedder {name!r} cannot be loaded ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); name a local folder, or use --embedder tfidf"
            ) from error
        self.name = name

    def embed(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        """See the protocol."""
        out: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            out.append(
                self._model.encode(batch, normalize_embeddings=True, show_progress_bar=False)
            )
            if on_progress:
                on_progress(start + len(batch), len(texts))
        return np.concatenate(out).astype(np.float32)
