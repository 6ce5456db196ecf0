"""Vectors in two dimensions, for a map: by principal components, or by UMAP.

Coordinates are from 0 to ``MAP_SIZE`` on each axis, rounded to 0.001, and the same for the same
vectors. Memory does not grow with the vectors: they can be mapped from a file, and are read a block
at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.errors import InputError, ModelError

PCA, UMAP = METHODS = ("pca", "umap")
DEFAULT_SEED = 42
MAP_SIZE = 1000.0
UMAP_FITTED = 100_000
"""UMAP is fitted to at most this number of vectors; the others are placed among them."""

_UMAP_NEIGHBORS = 15
_ROWS = 8192  # projected at a time

OnPhase = Callable[[str], None]
Vectors = NDArray[np.float32]
Points = NDArray[np.float64]


def check_method(method: str) -> None:
    """Raise InputError for an unknown method, ModelError for one whose package is missing."""
    if method not in METHODS:
        raise InputError(f"Unknown method {method!r}. Choose one of: {', '.join(METHODS)}.")
    with suppress(metadata.PackageNotFoundError):
        metadata.version(_PACKAGES[method])
        return
    raise ModelError(
        "--method umap needs the package umap-learn (pip install 'visnec-studio[map]'). Or use "
        "--method pca."
    )


def describe_method(method: str, seed: int) -> dict[str, object]:
    """Return what determines a map besides the vectors, for the record of a column."""
    package = _PACKAGES[method]
    about: dict[str, object] = {
        "method": method,
        "library": f"{package} {metadata.version(package)}",
    }
    return about | ({"seed": seed, "fitted_to": UMAP_FITTED} if method == UMAP else {})


def project(
    vectors: Vectors,
    method: str = PCA,
    seed: int = DEFAULT_SEED,
    on_phase: OnPhase | None = None,
) -> Points:
    """Return the points (n, 2) of vectors (n, dimensions) on a map.

    Raises InputError for an unknown method, or too few vectors for UMAP; ModelError without the
    package of the method.
    """
    check_method(method)
    if len(vectors) < 2:
        return np.full((len(vectors), 2), MAP_SIZE / 2)
    start_phase = on_phase or (lambda _: None)
    points = (
        _project_by_umap(vectors, seed, start_phase)
        if method == UMAP
        else _project_by_pca(vectors, start_phase)
    )
    return _scale(points)


def _project_by_pca(vectors: Vectors, start_phase: OnPhase) -> Points:
    """Project to the two directions of the largest variance, each with a fixed sign.

    The solver reads only the covariance, so a mapped matrix is not copied.
    """
    from sklearn import decomposition

    start_phase(f"Principal components of {len(vectors):,} vectors")
    n_components = min(2, *vectors.shape)
    with np.errstate(invalid="ignore"):  # equal vectors have no variance to explain
        model = decomposition.PCA(n_components, svd_solver="covariance_eigh").fit(vectors)
    points = np.zeros((len(vectors), 2))
    for start in range(0, len(vectors), _ROWS):
        block = np.asarray(vectors[start : start + _ROWS], np.float64) - model.mean_
        points[start : start + _ROWS, :n_components] = block @ model.components_.T
    return points


def _project_by_umap(vectors: Vectors, seed: int, start_phase: OnPhase) -> Points:
    """Fit UMAP to vectors spread evenly over all, and place the others among them.

    With a fixed seed it uses one thread.
    """
    import umap

    if len(vectors) <= 2 * _UMAP_NEIGHBORS:
        raise InputError(
            f"UMAP needs more than {2 * _UMAP_NEIGHBORS} different vectors, got {len(vectors)}. "
            "Use --method pca."
        )
    step = -(-len(vectors) // UMAP_FITTED)
    fitted = np.arange(0, len(vectors), step)
    start_phase(f"UMAP of {len(fitted):,} vectors")
    model: Any = umap.UMAP(_UMAP_NEIGHBORS, random_state=seed, n_jobs=1)
    points = np.empty((len(vectors), 2))
    points[fitted] = model.fit_transform(np.asarray(vectors[fitted]))
    rest = np.setdiff1d(np.arange(len(vectors)), fitted, assume_unique=True)
    for start in range(0, len(rest), _ROWS):
        start_phase(f"Placing {len(rest):,} vectors: {start:,} done")
        rows = rest[start : start + _ROWS]
        points[rows] = model.transform(np.asarray(vectors[rows]))
    return points


def _scale(points: Points) -> Points:
    """Scale each axis to 0..MAP_SIZE; an axis without extent gets the middle."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    is_flat = extent <= 1e-9 * np.maximum(np.abs(points).max(axis=0), 1e-30)
    scaled = (points - low) / np.where(is_flat, 1, extent) * MAP_SIZE
    return np.asarray(np.where(is_flat, MAP_SIZE / 2, scaled).round(3), np.float64)


_PACKAGES = {PCA: "scikit-learn", UMAP: "umap-learn"}
