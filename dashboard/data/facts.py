"""What is in the workspace: sets of scores, clusterings, runs and their progress."""

from __future__ import annotations

import pandas as pd

from dashboard.data.cache import ANSWERS
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


def read_scopes(store: Store) -> pd.DataFrame:
    """Run and baseline of every set of scores, oldest first."""
    key = (store.workspace.root, "scopes", store.generation)
    return ANSWERS.get(key, lambda: fetch_scopes(store))


def read_prediction_counts(store: Store) -> dict[str, int]:
    """Run to samples with predictions, as of the database."""
    key = (store.workspace.root, "predictions", store.generation)
    return ANSWERS.get(key, lambda: prediction_counts(store))


def read_clusterings(store: Store) -> pd.DataFrame:
    """Every clustering, oldest first."""
    key = (store.workspace.root, "clusterings", store.generation)
    return ANSWERS.get(key, lambda: fetch_clusterings(store))


def read_current_clusterings(store: Store) -> pd.DataFrame:
    """Those of the dataset as it is now; one made before samples were added lacks clusters."""

    def read() -> pd.DataFrame:
        fingerprint = read_dataset_info(store.workspace).fingerprint
        current = [
            one.clustering_id
            for one in list_clusterings(store.workspace)
            if one.dataset_fingerprint == fingerprint
        ]
        found = read_clusterings(store)
        return found[found["clustering_id"].isin(current)]

    return ANSWERS.get((store.workspace.root, "current clusterings", store.generation), read)


def read_dataset_counts(store: Store) -> pd.DataFrame:
    """Per source: samples, with an image, with several turns."""
    key = (store.workspace.root, "dataset", store.generation)
    return ANSWERS.get(key, lambda: dataset_counts(store))


def read_build_state(store: Store) -> BuildState:
    """When the database was built, and how many parts are newer."""
    return store.build_state()
