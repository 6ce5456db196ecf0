"""What a workspace contains: sets of scores, clusterings and sources, as of its database."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import pandas as pd

from dashboard.data.cache import APP_CACHE
from scoring.clustering.clusters import list_clusterings
from scoring.database.connection import Store
from scoring.database.queries import overview
from scoring.database.queries.column_groups import group_columns
from scoring.database.queries.column_rows import numeric_columns, sortable_columns
from scoring.database.queries.map_points import INSTRUCTION_MAP, list_maps
from scoring.dataset.records import read_dataset_info

T = TypeVar("T")


def _cached_fact(query: Callable[[Store], T]) -> Callable[[Store], T]:
    """Cache a query that depends on the database alone."""

    @wraps(query)
    def read(store: Store) -> T:
        key = (store.workspace.root, query.__name__, store.generation)
        return APP_CACHE.answers.get(key, lambda: query(store))

    return read


read_scopes = _cached_fact(overview.fetch_scopes)
read_prediction_counts = _cached_fact(overview.prediction_counts)
read_clusterings = _cached_fact(overview.fetch_clusterings)
read_dataset_counts = _cached_fact(overview.dataset_counts)
read_maps = _cached_fact(list_maps)


@_cached_fact
def read_sortable_columns(store: Store) -> dict[str, str]:
    """Return the type of each imported column that samples can be sorted by, by name."""
    return sortable_columns(store.snapshot())


@_cached_fact
def read_numeric_columns(store: Store) -> list[str]:
    """Return the columns with one number per sample, as a filter names them."""
    return numeric_columns(store.snapshot())


@_cached_fact
def read_group_columns(store: Store) -> list[str]:
    """Return the columns of texts or booleans that samples can be grouped by."""
    return group_columns(store.snapshot())


def choose_group_column(store: Store, name: str | None) -> str | None:
    """Return the named column to group by, or else the first one; None without any."""
    names = read_group_columns(store)
    return name if name in names else next(iter(names), None)


def choose_column(store: Store, name: str | None) -> str | None:
    """Return the named column of numbers, or else the first one; None without any."""
    names = read_numeric_columns(store)
    return name if name in names else next(iter(names), None)


def choose_map(store: Store, name: str | None) -> str | None:
    """Return the named map, or else that of the instructions or another one; None without any."""
    names = read_maps(store)
    return next((each for each in (name, INSTRUCTION_MAP, *names) if each in names), None)


@_cached_fact
def read_current_clusterings(store: Store) -> pd.DataFrame:
    """Return the clusterings of the current dataset; older ones lack clusters of new samples."""
    fingerprint = read_dataset_info(store.workspace).fingerprint
    current = [
        clustering.clustering_id
        for clustering in list_clusterings(store.workspace)
        if clustering.dataset_fingerprint == fingerprint
    ]
    frame = read_clusterings(store)
    return frame[frame["clustering_id"].isin(current)]
