"""Clusters as the paper's code makes them, and the embedder that needs no weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from scoring.clustering import cluster_dataset, kmeans, list_clusterings
from scoring.dataset import import_dataset
from scoring.embeddings import OnProgress, TfidfEmbedder, load_embedder
from scoring.errors import InputError, ModelError
from scoring.workspace import Workspace, create_workspace, open_workspace

QUESTIONS = ["What colour?", "Where is it?", "What colour?", "Where is it?", "What colour is it?"]


class PlaneEmbedder:
    """Colours to the left, places to the right; counts how often each text is embedded."""

    name = "plane"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def embed(
        self, texts: Sequence[str], on_progress: OnProgress | None = None
    ) -> NDArray[np.float32]:
        self.seen += texts
        return np.array([[1, 0] if "Where" in text else [-1, 0] for text in texts], np.float32)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    records = [
        {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "a"}]}
        for q in QUESTIONS
    ]
    (tmp_path / "d.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "d.json"])
    return open_workspace(tmp_path / "ws")


def test_similar_instructions_meet_and_each_text_is_embedded_once(workspace: Workspace) -> None:
    embedder = PlaneEmbedder()
    found = cluster_dataset(workspace, embedder, k=2)
    assert sorted(embedder.seen) == sorted(set(QUESTIONS))
    table = pq.read_table(workspace.clusters_dir / found.clustering_id / "clusters.parquet")
    labels = table["cluster_id"].to_pylist()
    assert labels[0] == labels[2] == labels[4] != labels[1] == labels[3]
    assert {(one.size, one.name) for one in found.clusters} == {
        (3, "What colour?"),
        (2, "Where is it?"),
    }


def test_the_same_clustering_is_not_made_again(workspace: Workspace) -> None:
    first = cluster_dataset(workspace, PlaneEmbedder(), k=2)
    again = PlaneEmbedder()
    assert cluster_dataset(workspace, again, k=2) == first
    assert again.seen == []
    cluster_dataset(workspace, PlaneEmbedder(), k=2, seed=7)
    assert len(list_clusterings(workspace)) == 2


def test_more_clusters_than_instructions_are_as_many_as_there_are(workspace: Workspace) -> None:
    found = cluster_dataset(workspace, PlaneEmbedder(), k=50)
    assert sum(one.size for one in found.clusters) == 5
    assert len(found.clusters) <= 3


def test_no_clusters_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="at least 1; got 0"):
        cluster_dataset(workspace, PlaneEmbedder(), k=0)


def test_kmeans_is_the_papers_call() -> None:
    vectors = np.random.default_rng(3).normal(size=(5000, 16)).astype(np.float32)
    labels, distances = kmeans(vectors, 20, 42)
    reference = MiniBatchKMeans(n_clusters=20, random_state=42, batch_size=2048, n_init="auto")
    assert (labels == reference.fit_predict(vectors)).all()
    nearest = reference.transform(vectors)[np.arange(5000), labels]
    np.testing.assert_allclose(distances, nearest, rtol=1e-3)


def test_tfidf_gives_equal_texts_equal_unit_vectors_and_like_texts_near_ones() -> None:
    texts = [*QUESTIONS, "Where is the cat?", "Where is the dog?", "Name two colours"]
    vectors = TfidfEmbedder().embed(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2])
    assert vectors[5] @ vectors[6] > vectors[5] @ vectors[7]


@pytest.mark.parametrize("texts", [["", ""], ["?"], ["one"], ["one", "one"]])
def test_tfidf_survives_texts_without_words(texts: list[str]) -> None:
    assert np.isfinite(TfidfEmbedder().embed(texts)).all()


def test_an_embedder_that_cannot_be_had_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="--embedder tfidf"):
        load_embedder("nowhere/no-model")
