"""Orders, quotas and random numbers that rules are made of: pure functions on columns.

Every order breaks ties by the lower ``row_idx``, and random numbers depend on the row and the seed
alone, so everything built from them replays on any machine.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.errors import RuleError
from scoring.rules.candidates import Candidates, Floats, Ints, Mask

Per = Literal["dataset", "cluster", "source"]
"""The groups inside which a rule ranks samples."""


def scored_positions(candidates: Candidates) -> Ints:
    """Return the positions of the scored samples that a rule selects from, ascending."""
    return np.flatnonzero(candidates.eligible)


def sort_best_first(values: Floats, positions: Ints) -> Ints:
    """Sort ``positions`` by descending value; equal values stay in ascending order of row_idx."""
    return positions[np.argsort(-values[positions], kind="stable")]


def to_mask(candidates: Candidates, positions: Ints) -> Mask:
    """Return ``positions`` as a mask over all candidates."""
    mask = np.zeros(len(candidates), np.bool_)
    mask[positions] = True
    return mask


def group_scored(candidates: Candidates, per: Per) -> Ints:
    """Return the group of each scored sample, in the order of ``scored_positions``.

    Raises RuleError if clusters are requested and a scored sample has none.
    """
    scored = scored_positions(candidates)
    if per == "dataset":
        return np.zeros(len(scored), np.int64)
    if per == "source":
        return candidates.source[scored].astype(np.int64)
    unclustered = scored[candidates.cluster_id[scored] < 0]
    if len(unclustered):
        raise RuleError(
            f"This rule needs clusters, and {len(unclustered):,} scored samples have none "
            f"(first: row {candidates.row_idx[unclustered[0]]}). "
            "Choose a clustering, or create one with: visnec cluster"
        )
    return candidates.cluster_id[scored].astype(np.int64)


def select_share(
    candidates: Candidates, values: Floats, per: Per, share: float, at_least: int = 0
) -> Mask:
    """Select the highest values of each group: ``max(int(share * n), at_least)`` of n scored."""
    groups = group_scored(candidates, per)
    _, sizes = np.unique(groups, return_counts=True)
    quotas = np.maximum((share * sizes).astype(np.int64), at_least)
    return select_best(candidates, values, groups, quotas)


def select_best(candidates: Candidates, values: Floats, groups: Ints, quotas: Ints) -> Mask:
    """Select the ``quotas[g]`` highest values of each group of scored samples.

    ``values`` has all candidates, ``groups`` the scored ones, ``quotas`` the distinct groups in
    ascending order.
    """
    best = sort_best_first(values, scored_positions(candidates))
    group_of = np.zeros(len(candidates), np.int64)
    group_of[scored_positions(candidates)] = groups
    rank, group = rank_within_groups(group_of[best])
    return to_mask(candidates, best[rank < quotas[group]])


def rank_within_groups(groups: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return each element's rank in its group from 0, and the group's number, ascending from 0."""
    order = np.argsort(groups, kind="stable")
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    rank, group = np.empty(len(groups), np.int64), np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(starts, sizes)
    group[order] = np.repeat(np.arange(len(sizes)), sizes)
    return rank, group


def average_ranks(values: Floats) -> Floats:
    """Return the ranks of values from 0, tied ones averaged."""
    # scipy.stats does the same and takes a second to import.
    return np.asarray(pd.Series(values).rank() - 1, np.float64)


def rank_fractions(values: Floats) -> Floats:
    """Return the ranks of values as ``(rank + 0.5) / n``, between 0 (lowest) and 1."""
    return (average_ranks(values) + 0.5) / max(len(values), 1)


def random_numbers(row_idx: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """Return one distinct, well-mixed number per row: SplitMix64 (Steele, Lea and Flood 2014)."""
    return _mix_bits(row_idx.astype(np.uint64) + _mix_bits(np.array([seed], np.uint64)))


def _mix_bits(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
