"""Near-duplicate images by an embedding model: a small CLIP with random weights, from files on."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from scoring.clustering.image_embedder import ImageEmbedder, ImageModel
from scoring.dataset.image_index import index_images
from scoring.dataset.importing import import_dataset
from scoring.duplicates import image_vectors, near_vectors
from scoring.duplicates.contents import ImageContents
from scoring.duplicates.find import find_duplicates
from scoring.duplicates.image_vectors import ImageVectors, embed_images
from scoring.duplicates.leakage import check_leakage
from scoring.duplicates.near_vectors import find_similar, group_vectors
from scoring.errors import InputError, ModelError
from scoring.workspace import Workspace, create_workspace, open_workspace
from tests.columns.test_import_columns import values
from tests.duplicates.test_images import picture
from tests.duplicates.test_leakage import record, write
from tests.test_cli import visnec

SIZE = 32
SIMILARITY = 0.995  # with random weights, other pictures reach 0.99


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a CLIP with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    layers = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={"hidden_size": 16, "vocab_size": 64, "max_position_embeddings": 8} | layers,
        vision_config={"hidden_size": 32, "image_size": SIZE, "patch_size": 8} | layers,
        projection_dim=24,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Samples with originals, copies and others."""
    folder = tmp_path / "images"
    folder.mkdir()
    first, second = picture(1), picture(2)
    first.save(folder / "a.png")
    second.save(folder / "b.png")
    first.resize((160, 120)).save(folder / "small.png")
    first.save(folder / "a40.jpg", quality=40)
    (folder / "copy.png").write_bytes((folder / "b.png").read_bytes())
    picture(3).save(folder / "c.png")
    (folder / "broken.png").write_bytes((folder / "b.png").read_bytes()[:300])
    names = ["a.png", "b.png", "small.png", "a40.jpg", "copy.png", "c.png", "broken.png"]
    records = []
    for n, name in enumerate(names):
        turns = [
            {"from": "human", "value": f"<image>What {n}?"},
            {"from": "gpt", "value": "this"},
        ]
        records.append({"id": str(n), "conversations": turns, "image": f"images/{name}"})
    (tmp_path / "data.json").write_text(json.dumps(records))
    import_dataset(create_workspace(tmp_path / "ws"), [tmp_path / "data.json"])
    return open_workspace(tmp_path / "ws")


def read_contents(workspace: Workspace) -> ImageContents:
    index_images(workspace)
    return ImageContents.read(workspace)


def test_copies_are_near_and_the_column_names_the_model(workspace: Workspace, clip: Path) -> None:
    model = ImageModel(str(clip), similarity=SIMILARITY)
    (result,) = find_duplicates(workspace, ("images",), images_by=model)
    assert values(workspace, "image_group") == {0: 0, 1: 1, 2: 0, 3: 0, 4: 1}
    assert (result.n_groups, result.n_exact, result.n_without) == (2, 1, 0)
    settings = result.column.settings
    assert settings == ImageEmbedder(model).describe()
    assert (settings["model"], settings["similarity"]) == (str(clip), SIMILARITY)
    assert len(str(settings["weights"])) == 64


def test_each_content_is_embedded_once(
    workspace: Workspace, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_vectors, "BATCH", 2)
    monkeypatch.setattr(image_vectors, "PART_IMAGES", 2)
    embedder, contents = ImageEmbedder(ImageModel(str(clip))), read_contents(workspace)
    stop = threading.Event()
    stop.set()
    stopped = embed_images(workspace, embedder, contents, stop=stop)
    assert (stopped.n_read, stopped.is_complete) == (0, False)
    seen: list[tuple[int, int]] = []
    index = embed_images(workspace, embedder, contents, lambda *done: seen.append(done))
    assert (index.n_images, index.n_known, index.n_read, index.n_unreadable) == (6, 0, 5, 1)
    assert index.is_complete
    assert seen[-1] == (6, 6)
    monkeypatch.delattr(ImageEmbedder, "load")  # the model is not needed for what is known
    again = embed_images(workspace, embedder, contents)
    assert (again.n_images, again.n_known, again.n_read, again.n_unreadable) == (6, 5, 0, 1)
    assert again.is_complete
    assert again.issues == index.issues
    vectors = ImageVectors.open(workspace, embedder, contents)
    pixels = [embedder.prepare(picture(seed)) for seed in (1, 2)]
    first, second = (contents.find(f"images/{name}.png") for name in "ab")
    stored = vectors.read(0, 5)[
        [vectors.positions.tolist().index(each) for each in (first, second)]
    ]
    np.testing.assert_allclose(stored, embedder.embed(pixels), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)


def test_all_pairs_are_compared_in_blocks(
    workspace: Workspace, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder, contents = ImageEmbedder(ImageModel(str(clip))), read_contents(workspace)
    embed_images(workspace, embedder, contents)
    vectors = ImageVectors.open(workspace, embedder, contents)
    other = ImageVectors.open(workspace, embedder, contents)
    matrix = vectors.read(0, len(vectors))
    cosines = matrix @ matrix.T
    middle = float(np.median(cosines[np.triu_indices(5, 1)]))  # of the ten pairs
    similar = cosines >= middle
    expected = {(i, j) for i, j in np.argwhere(similar).tolist() if i < j}
    assert len(expected) == 5
    groups = group_vectors(vectors, middle)
    seen: list[tuple[int, int]] = []
    for queries, block in ((1, 1), (2, 3), (4, 2), (1024, 16_384)):
        monkeypatch.setattr(near_vectors, "_QUERIES", queries)
        monkeypatch.setattr(near_vectors, "_BLOCK", block)
        pairs = find_similar(vectors, vectors, middle, on_progress=lambda *done: seen.append(done))
        listed = [pair for i, j in pairs for pair in zip(i.tolist(), j.tolist(), strict=True)]
        assert len(listed) == len(expected)
        assert set(listed) == expected
        assert seen[-1][0] == seen[-1][1]
        everything = find_similar(other, vectors, middle)
        assert sum(len(i) for i, _ in everything) == similar.sum()
        np.testing.assert_array_equal(group_vectors(vectors, middle), groups)


def test_models_that_cannot_be_used_are_refused(
    workspace: Workspace, clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"from 0\.5 to 1, got 0\.2"):
        ImageModel(str(clip), similarity=0.2)
    with pytest.raises(ModelError, match="does not exist"):
        find_duplicates(workspace, ("images",), images_by=ImageModel("./nowhere"))
    without_processor = shutil.copytree(clip, tmp_path / "clip")
    (without_processor / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match=r"Cannot load .* as an image model"):
        find_duplicates(workspace, ("images",), images_by=ImageModel(str(without_processor)))
    pixels = [np.zeros((3, 32, 32), np.float32), np.zeros((3, 16, 32), np.float32)]
    with pytest.raises(ModelError, match="different shapes"):
        ImageEmbedder(ImageModel(str(clip))).embed(pixels)


def test_the_command_resumes_and_prints_the_model(workspace: Workspace, clip: Path) -> None:
    options = ("--images-by", clip, "--similarity", SIMILARITY, "--json")
    for _ in range(2):
        done = visnec("find-duplicates", "-w", workspace.root, *options)
        assert done.returncode == 0, done.stderr
        (result,) = json.loads(done.stdout)
        assert (result["kind"], result["n_groups"], result["n_samples"]) == ("images", 2, 5)
        assert result["column"]["settings"]["similarity"] == SIMILARITY
        assert "1 images are damaged" in done.stderr


def test_a_map_of_images_has_the_point_of_the_first_one(workspace: Workspace, clip: Path) -> None:
    done = visnec("map", "-w", workspace.root, "--images-by", clip, "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["name"], made["n_points"], made["n_samples"], made["n_without"]) == (
        *("image_map", 5, 6, 1),  # one is a copy of another, one is damaged
    )
    x, y = values(workspace, "image_map_x"), values(workspace, "image_map_y")
    assert x.keys() == y.keys() == {0, 1, 2, 3, 4, 5}
    assert (x[1], y[1]) == (x[4], y[4])
    assert len(set(zip(x.values(), y.values(), strict=True))) == 5
    assert {min(x.values()), min(y.values())} == {0}
    assert {max(x.values()), max(y.values())} == {1000}


def test_leaks_are_found_by_a_model(workspace: Workspace, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    picture(3).resize((160, 120)).save(tmp_path / "bench/near.jpg", quality=40)
    picture(2).save(tmp_path / "bench/same.png")
    picture(9).save(tmp_path / "bench/other.png")
    names = ("near.jpg", "same.png", "other.png")
    path = write(
        tmp_path / "bench.json", *(record("Who is it?", image=f"bench/{name}") for name in names)
    )
    model = ImageModel(str(clip), similarity=SIMILARITY)
    report = check_leakage(workspace, {"bench": path}, images_by=model)
    (leaks,) = report.benchmarks
    # A copy of the same bytes has the same vector too.
    assert leaks.leaked == {"image": 1, "near-image": 2, "question": 0, "near-question": 0}
    assert set(leaks.examples["near-image"]) == {(0, 5)}
    leaked = {1: "image", 4: "image", 5: "near-image"}
    assert values(workspace, "leak") == dict.fromkeys((0, 2, 3, 6), "none") | leaked
    assert report.columns[0].settings["model"] == str(clip)
    assert report.columns[0].settings["jaccard"] == 0.8
