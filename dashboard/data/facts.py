"""What a workspace contains: sets of scores, clusterings, sources and the state of its database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pandas as pd

from dashboard.data.cache import APP_CACHE
from scoring.clustering.clusters import list_clusterings
from scoring.database.connection import Store
from scoring.database.queries.overview import (
    dataset_counts,
    fetch_clusterings,
    fetch_scopes,
    prediction_counts,
)
from scoring.database.values import BuildState
from scoring.dataset.records import read_dataset_info

T = TypeVar("T")


def read_scopes(store: Store) -> pd.DataFrame:
    """Return run and baseline of every set of scores, oldest first."""
    return _cached_fact(store, fetch_scopes)


def read_prediction_counts(store: Store) -> dict[str, int]:
    """Return the number of samples with predictions by run, as of the database."""
    return _cached_fact(store, prediction_counts)


def read_clusterings(store: Store) -> pd.DataFrame:
    """Return every clustering, oldest first."""
    return _cached_fact(store, fetch_clusterings)


def read_current_clusterings(store: Store) -> pd.DataFrame:
    """Return the clusterings of the current dataset; older ones lack clusters of new samples."""
    return _cached_fact(store, _find_current_clusterings)


def _find_current_clusterings(store: Store) -> pd.DataFrame:
    fingerprint = read_dataset_info(store.workspace).fingerprint
    current = [
        clustering.clustering_id
        for clustering in list_clusterings(store.workspace)
        if clustering.dataset_fingerprint == fingerprint
    ]
    frame = read_clusterings(store)
    return frame[frame["clustering_id"].isin(current)]


def read_dataset_counts(store: Store) -> pd.DataFrame:
    """Return per source: samples, with an image, with several turns."""
    return _cached_fact(store, dataset_counts)


def read_build_state(store: Store) -> BuildState:
    """Return when the database was built, and how many parts are newer."""
    return store.build_state()


def _cached_fact(store: Store, query: Callable[[Store], T]) -> T:
    """Return ``query(store)``, which depends on the database alone."""
    key = (store.workspace.root, query.__name__, store.generation)
    return APP_CACHE.answers.get(key, lambda: query(store))
