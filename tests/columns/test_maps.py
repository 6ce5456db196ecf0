"""The command map: points of instructions that are worked out in another way, and its columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from scoring import cli
from scoring.clustering import projection
from scoring.clustering.embedders import load_embedder
from scoring.clustering.projection import project
from scoring.columns.parts import list_columns
from scoring.database.connection import Store
from scoring.database.filters import parse_filter
from scoring.database.queries.browse import matching_rows
from scoring.database.queries.column_rows import numeric_columns
from scoring.database.queries.map_points import (
    ClusterOnMap,
    describe_clusters_on_map,
    list_maps,
    read_map,
)
from scoring.errors import InputError, ModelError
from scoring.exchange.imported_columns import import_columns
from scoring.exports.export import export_subset
from scoring.exports.manifest import read_manifest
from scoring.exports.verify import resolve_manifest, verify_manifest
from scoring.maps.make import make_map
from scoring.rules import TopCount
from scoring.subsets.definitions import SubsetDefinition
from scoring.workspace import Workspace
from tests.database.conftest import SCOPE
from tests.synthetic import RUN_ID, Row, make_workspace

VECTORS = {"a": (1, 0, 0), "b": (0, 1, 0), "c": (0, 0, 0), "d": (0.5, 0.5, 0), "": (9, 9, 9)}
QUESTIONS = ["a", "b", "c", "d", "a", ""]


class GivenEmbedder:
    name = "given"
    weights = "its vectors"

    def prepare(self, texts: Sequence[str]) -> None:
        pass

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([VECTORS[text] for text in texts], np.float32)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    turns = [((question, "Red", 4, 0.5, 0.25),) for question in QUESTIONS]
    rows = [Row(turns=turn, cluster=n % 3) for n, turn in enumerate(turns)]
    return make_workspace(tmp_path / "ws", rows=rows, with_images=False)


def test_points_of_instructions(workspace: Workspace) -> None:
    made = make_map(workspace, GivenEmbedder())
    assert (made.name, made.n_points, made.n_samples, made.n_without) == ("map", 4, 5, 1)
    # a, b, c and d are in a plane, symmetric about c-d: the first direction is a-b, its first
    # largest component positive; the second is c-d.
    store = Store(workspace)
    points = read_map(store, "map")
    expected = [[1000, 0, 500, 500, 1000, np.nan], [1000, 1000, 0, 1000, 1000, np.nan]]
    np.testing.assert_allclose([points.x, points.y], expected, atol=0.01)
    assert list_maps(store) == ["map"]
    where = parse_filter("area:map@400,0;600,0;600,1001;400,1001")
    assert matching_rows(store.selection(SCOPE, where)).tolist() == [2, 3]
    settings = {column.name: column.settings for column in list_columns(workspace)}
    assert settings["map_x"] == settings["map_y"]
    assert settings["map_x"]["method"] == "pca"
    assert settings["map_x"]["weights"] == "its vectors"


def test_places_on_a_map_are_the_last_of_the_number_columns(workspace: Workspace) -> None:
    file = workspace.root.parent / "scores.jsonl"
    file.write_text(json.dumps({"row_idx": 0, "zeal": 1, "own_group": 2}), "utf-8")
    import_columns(workspace, file)
    make_map(workspace, GivenEmbedder())
    columns = numeric_columns(Store(workspace).snapshot())
    assert columns == ["zeal", "own_group", "map_x", "map_y"]


def test_clusters_on_a_map(workspace: Workspace) -> None:
    make_map(workspace, GivenEmbedder())
    store = Store(workspace)
    (clustering,) = store.snapshot().clusterings
    names = dict(store.snapshot().fetch_rows("SELECT cluster_id, name FROM cluster_names"))
    # The cluster of a row is its number modulo 3; row 5 has no point.
    assert describe_clusters_on_map(store, clustering, "map") == [
        ClusterOnMap(0, names[0], 750, 1000, 2),  # rows 0 and 3
        ClusterOnMap(1, names[1], 500, 1000, 2),  # rows 1 and 4
        ClusterOnMap(2, names[2], 500, 0, 1),
    ]


def test_the_same_vectors_give_the_same_map(workspace: Workspace) -> None:
    parts = []
    for _ in range(2):
        make_map(workspace, GivenEmbedder(), name="again")
        parts.append([column.part for column in list_columns(workspace)])
    assert parts[0] == parts[1]  # parts are named after their contents


def test_an_export_is_verified_after_the_map_was_replaced(workspace: Workspace) -> None:
    make_map(workspace, GivenEmbedder())
    where = "area:map@400,0;600,0;600,1001;400,1001"  # rows 2 and 3
    definition = SubsetDefinition("middle", TopCount(9), RUN_ID, where=where)
    folder = export_subset(workspace, Store(workspace), definition).folder
    make_map(workspace, load_embedder("tfidf"))
    assert not verify_manifest(folder, workspace).changed_inputs
    replayed = resolve_manifest(workspace, Store(workspace), read_manifest(folder))
    assert replayed.subset.selected.tolist() == [2, 3]


def test_principal_components_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(50, 5)) @ np.diag([5, 3, 1, 1, 0.5])).astype(np.float32)
    _, _, directions = np.linalg.svd(vectors - vectors.mean(axis=0, dtype=float))
    points = []
    for direction in directions[:2]:
        sign = np.sign(direction[np.abs(direction).argmax()])
        along = vectors @ direction * sign
        points.append((along - along.min()) / np.ptp(along) * 1000)
    projected = project(vectors)
    np.testing.assert_allclose(projected, np.transpose(points), atol=0.01)
    assert np.array_equal(project(vectors.copy()), projected)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1), (4, 3)])
def test_vectors_without_extent_are_in_the_middle(shape: tuple[int, int]) -> None:
    assert np.array_equal(project(np.ones(shape, np.float32)), np.full((shape[0], 2), 500))


def test_maps_that_cannot_be_made_are_refused(workspace: Workspace) -> None:
    with pytest.raises(InputError, match=r"Unknown method 'tsne'\. Choose one of: pca, umap"):
        make_map(workspace, GivenEmbedder(), method="tsne")
    with pytest.raises(InputError, match="Invalid map name"):
        make_map(workspace, GivenEmbedder(), name="a b")
    file = workspace.root.parent / "own.jsonl"
    file.write_text(json.dumps({"row_idx": 0, "own_y": 1}), "utf-8")
    import_columns(workspace, file)
    with pytest.raises(InputError, match="There is a column 'own_y' already"):
        make_map(workspace, GivenEmbedder(), name="OWN")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(projection._PACKAGES, "umap", "no-such-package")
    with pytest.raises(ModelError, match="visnec-studio\\[map\\]"):
        project(np.eye(40, dtype=np.float32), "umap")


@pytest.mark.long
def test_umap_is_the_same_again_and_places_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("umap")
    monkeypatch.setattr(projection, "UMAP_FITTED", 60)
    rng = np.random.default_rng(0)
    centres = np.repeat(np.eye(3, 8), 40, axis=0)
    vectors = (centres + rng.normal(scale=0.01, size=centres.shape)).astype(np.float32)
    points = project(vectors, "umap")
    assert np.array_equal(project(vectors, "umap"), points)
    middles = points.reshape(3, 40, 2).mean(axis=1)
    nearest = np.linalg.norm(points[:, None] - middles, axis=2).argmin(axis=1)
    assert np.array_equal(nearest, np.repeat(np.arange(3), 40))
    with pytest.raises(InputError, match="needs more than 30 different vectors, got 30"):
        project(vectors[:30], "umap")


def test_the_command_prints_the_map(workspace: Workspace) -> None:
    command = ["map", "-w", str(workspace.root), "--embedder", "tfidf", "--name", "words", "--json"]
    printed = CliRunner().invoke(cli.app, command)
    assert printed.exit_code == 0, printed.output
    made = json.loads(printed.stdout)
    assert (made["name"], made["n_points"], made["n_samples"], made["n_without"]) == (
        *("words", 4, 5, 1),
    )
    assert [column["name"] for column in made["columns"]] == ["words_x", "words_y"]
