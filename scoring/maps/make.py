"""Make a map: the vectors of instructions or images in two dimensions, stored as two columns.

Each different instruction or image counts once, so that a frequent template does not determine the
directions; samples with the same one share a point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scoring.clustering.instructions import (
    Embedder,
    Instructions,
    instruction_vectors,
    read_instructions,
)
from scoring.clustering.projection import DEFAULT_SEED, PCA, check_method, describe_method, project
from scoring.columns.computed import ComputedColumn, check_names, write_computed
from scoring.columns.parts import NUMBER, ColumnRecord
from scoring.database.build.build import build_database
from scoring.database.queries.map_points import IMAGE_MAP, INSTRUCTION_MAP, MAP_COMMAND
from scoring.dataset.image_index import index_images
from scoring.dataset.records import read_columns
from scoring.duplicates.contents import ImageContents
from scoring.duplicates.image_vectors import ImageVectors, embed_images
from scoring.workspace import Workspace, check_name

if TYPE_CHECKING:
    from scoring.clustering.image_embedder import ImageModel

OnProgress = Callable[[int, int], None]
OnPhase = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StoredMap:
    """A map and its two columns: ``n_samples`` samples at ``n_points`` different vectors.

    ``n_without`` samples have no point: no instruction, or no first image that could be read.
    """

    name: str
    columns: tuple[ColumnRecord, ...]
    n_points: int
    n_samples: int
    n_without: int


@dataclass(frozen=True, slots=True, eq=False)
class _Projected:
    """Points, and which of them each row has (-1: none), with what determined them."""

    points: NDArray[np.float64]
    row_idx: NDArray[np.int64]
    point_of_row: NDArray[np.int64]
    settings: dict[str, Any]


def make_map(
    workspace: Workspace,
    embedder: Embedder | None = None,
    *,
    images_by: ImageModel | None = None,
    method: str = PCA,
    seed: int = DEFAULT_SEED,
    name: str | None = None,
    on_progress: OnProgress | None = None,
    on_phase: OnPhase | None = None,
) -> StoredMap:
    """Project instructions or images to two dimensions and store the columns NAME_x and NAME_y.

    Args:
        workspace: A workspace with a dataset.
        embedder: Of the instructions; by default as ``load_embedder`` chooses.
        images_by: Map the first image of each sample by this embedding model instead.
        method: ``pca``, or ``umap`` with the package umap-learn.
        seed: Of UMAP.
        name: By default ``map``, or ``image_map`` for images. An earlier map of the name is
            replaced, and kept for the exports that it selected samples of.
        on_progress: Called with (texts or images embedded, in total).
        on_phase: Called with the name of each step.

    Raises InputError for an unknown method, an invalid name, or columns of that name with another
    origin; ModelError for a model or package that cannot be used.
    """
    check_method(method)
    name = check_name(name or (INSTRUCTION_MAP if images_by is None else IMAGE_MAP), "map")
    names = f"{name}_x", f"{name}_y"
    check_names(workspace, MAP_COMMAND, names)
    start_phase = on_phase or (lambda _: None)
    if images_by is None:
        made = _project_instructions(workspace, embedder, method, seed, on_progress, start_phase)
    else:
        made = _project_images(workspace, images_by, method, seed, on_progress, start_phase)
    start_phase("Building the database")
    has_point = made.point_of_row >= 0
    row_idx, points = made.row_idx[has_point], made.points[made.point_of_row[has_point]]
    settings = describe_method(method, seed) | made.settings
    columns = [
        ComputedColumn(column, row_idx, points[:, axis], settings, NUMBER)
        for axis, column in enumerate(names)
    ]
    records = write_computed(workspace, MAP_COMMAND, columns, keep_earlier=True)
    build_database(workspace)
    n_without = len(has_point) - len(row_idx)
    return StoredMap(name, tuple(records), len(made.points), len(row_idx), n_without)


def _project_instructions(
    workspace: Workspace,
    embedder: Embedder | None,
    method: str,
    seed: int,
    on_progress: OnProgress | None,
    start_phase: OnPhase,
) -> _Projected:
    """Project each different instruction that is not empty."""
    if embedder is None:
        from scoring.clustering.embedders import load_embedder

        embedder = load_embedder()
    start_phase(f"Embedding ({embedder.name})")
    instructions = read_instructions(workspace)
    has_text = np.array([bool(text.strip()) for text in instructions.texts], bool)
    different = np.flatnonzero(has_text)
    # All texts are given, because an embedder that is fitted to them is fitted to the dataset.
    wanted = Instructions(different, instructions.texts, different)
    with instruction_vectors(workspace, wanted, embedder, on_progress) as vectors:
        points = project(vectors, method, seed, start_phase)
    point_of_text = np.where(has_text, np.cumsum(has_text) - 1, -1)
    settings = {"embedder": embedder.name, "weights": embedder.weights}
    return _Projected(points, instructions.row_idx, point_of_text[instructions.text_idx], settings)


def _project_images(
    workspace: Workspace,
    model: ImageModel,
    method: str,
    seed: int,
    on_progress: OnProgress | None,
    start_phase: OnPhase,
) -> _Projected:
    """Project each different image; a sample has the point of its first one."""
    from scoring.clustering.image_embedder import ImageEmbedder

    embedder = ImageEmbedder(model)
    start_phase("Reading images")
    index_images(workspace, on_progress)
    contents = ImageContents.read(workspace)
    embed_images(workspace, embedder, contents, on_progress)
    vectors = ImageVectors.open(workspace, embedder, contents)
    points = np.empty((0, 2))
    if len(vectors):
        with vectors.open_matrix(workspace.root / "embeddings") as matrix:
            points = project(matrix, method, seed, start_phase)
    point_of_content = np.full(len(contents.keys) + 1, -1)  # the last one: of an unknown image
    point_of_content[vectors.positions] = np.arange(len(vectors))
    rows, positions = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for table in read_columns(workspace, ["row_idx", "images"]):
        rows.append(table.column("row_idx").to_numpy())
        references = table.column("images").to_pylist()
        first = [contents.find(images[0]) if images else -1 for images in references]
        positions.append(np.array(first, np.int64))
    about = embedder.describe()
    settings = {key: about[key] for key in ("model", "revision", "weights")}
    return _Projected(
        points, np.concatenate(rows), point_of_content[np.concatenate(positions)], settings
    )
