"""Clusters of similar instructions, as the paper's code makes them.

``MiniBatchKMeans(n_clusters=20, random_state=42, batch_size=2048, n_init='auto')`` over the
embeddings of the first human turn. A clustering is immutable and named by what decides it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from scoring.dataset import read_columns, read_dataset_info
from scoring.embeddings import Embedder, OnProgress
from scoring.errors import InputError
from scoring.runs import now, settings_digest
from scoring.schemas import CLUSTERS
from scoring.workspace import Workspace, replacing, write_json

DEFAULT_K = 20
DEFAULT_SEED = 42
_BATCH = 2048
_NAME_WORDS = 6
_NEAREST = 150  # instructions nearest to a centre that may name its cluster


@dataclass(frozen=True, slots=True)
class Cluster:
    """One group of similar instructions; ``name`` is its most typical instruction, shortened."""

    cluster_id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Clustering:
    """What ``clustering.json`` holds."""

    clustering_id: str
    embedder: str
    k: int
    seed: int
    created_at: str
    dataset_fingerprint: str
    clusters: tuple[Cluster, ...]


def cluster_dataset(
    workspace: Workspace,
    embedder: Embedder,
    *,
    k: int = DEFAULT_K,
    seed: int = DEFAULT_SEED,
    on_progress: OnProgress | None = None,
) -> Clustering:
    """Clusters all samples by their first human turn; an existing equal clustering is returned.

    Equal instructions are embedded once. With fewer distinct instructions than ``k``, as many
    clusters as there are instructions. Raises InputError for a ``k`` below 1.
    """
    if k < 1:
        raise InputError(f"--k is the number of clusters, at least 1; got {k}")
    info = read_dataset_info(workspace)
    deciding = {"embedder": embedder.name, "k": k, "seed": seed, "dataset": info.fingerprint}
    folder = workspace.clusters_dir / f"k{k}-{settings_digest(**deciding)[:8]}"
    if (folder / "clustering.json").exists():
        return _read(folder)
    rows, questions = _questions(workspace)
    texts, inverse = np.unique(np.array(questions, dtype=object), return_inverse=True)
    vectors = embedder.embed(texts.tolist(), on_progress)[inverse]
    labels, distances = kmeans(vectors, min(k, len(texts)), seed)
    _write_clusters(folder, rows, labels, distances)
    clustering = Clustering(
        clustering_id=folder.name,
        embedder=embedder.name,
        k=k,
        seed=seed,
        created_at=now(),
        dataset_fingerprint=info.fingerprint,
        clusters=tuple(_describe(labels, distances, questions)),
    )
    write_json(folder / "clustering.json", asdict(clustering))  # last: now the folder counts
    return clustering


def kmeans(
    vectors: NDArray[np.float32], k: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """(cluster of each row, distance to its centre) as the paper's code computes them."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(n_clusters=k, random_state=seed, batch_size=_BATCH, n_init="auto")
    labels = np.asarray(model.fit_predict(vectors), dtype=np.int32)
    offsets = vectors - model.cluster_centers_.astype(np.float32)[labels]
    return labels, np.linalg.norm(offsets, axis=1).astype(np.float32)


def list_clusterings(workspace: Workspace) -> list[Clustering]:
    """The finished clusterings of a workspace, oldest first."""
    folders = [path.parent for path in workspace.clusters_dir.glob("*/clustering.json")]
    found = [_read(folder) for folder in folders]
    return sorted(found, key=lambda item: (item.created_at, item.clustering_id))


def _questions(workspace: Workspace) -> tuple[NDArray[np.int64], list[str]]:
    rows: list[int] = []
    questions: list[str] = []
    for table in read_columns(workspace, ["row_idx", "question"]):
        rows += table.column("row_idx").to_pylist()
        questions += table.column("question").to_pylist()
    return np.array(rows, dtype=np.int64), questions


def _write_clusters(
    folder: Path,
    rows: NDArray[np.int64],
    labels: NDArray[np.int32],
    distances: NDArray[np.float32],
) -> None:
    table = pa.table({"row_idx": rows, "cluster_id": labels, "distance": distances}, CLUSTERS)
    with replacing(folder / "clusters.parquet") as file:
        pq.write_table(table, file)


def _describe(
    labels: NDArray[np.int32], distances: NDArray[np.float32], questions: Sequence[str]
) -> Iterable[Cluster]:
    for cluster_id in np.unique(labels):
        members = np.flatnonzero(labels == cluster_id)
        nearest = members[np.argsort(distances[members], kind="stable")]
        name = _typical([questions[index] for index in nearest[:_NEAREST]])
        yield Cluster(int(cluster_id), name, len(members))


def _typical(nearest: Sequence[str]) -> str:
    """The instruction that stands most often among those nearest to a centre."""
    common = Counter(nearest).most_common(1)[0][0]
    words = common.split()
    return " ".join(words[:_NAME_WORDS]) + ("…" if len(words) > _NAME_WORDS else "")


def _read(folder: Path) -> Clustering:
    raw = json.loads((folder / "clustering.json").read_text("utf-8"))
    clusters = tuple(Cluster(**cluster) for cluster in raw.pop("clusters"))
    return Clustering(clusters=clusters, **raw)
