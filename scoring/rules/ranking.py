"""Orders, quotas and random numbers that rules are made of: pure functions on columns.

The one decision behind it: every order ends with the lower ``row_idx``, and random numbers come
from the row and the seed alone, so that whatever is made of them replays on any machine.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scoring.errors import RuleError
from scoring.rules.candidates import Candidates, Floats, Ints, Mask

Per = Literal["dataset", "cluster", "source"]
"""Inside what a rule chooses."""


def scored_positions(candidates: Candidates) -> Ints:
    """Places of the scored samples, ascending."""
    return np.flatnonzero(candidates.scored)


def sort_best_first(values: Floats, places: Ints) -> Ints:
    """``places`` by descending value; equal values stay in ascending order of row_idx."""
    return places[np.argsort(-values[places], kind="stable")]


def to_mask(candidates: Candidates, places: Ints) -> Mask:
    """The places as a mask over all candidates."""
    mask = np.zeros(len(candidates), np.bool_)
    mask[places] = True
    return mask


def group_scored(candidates: Candidates, per: Per) -> Ints:
    """The group of each scored sample, in the order of ``scored_places``.

    Raises RuleError where a scored sample has no cluster and clusters are asked for.
    """
    scored = scored_positions(candidates)
    if per == "dataset":
        return np.zeros(len(scored), np.int64)
    if per == "source":
        return candidates.source[scored].astype(np.int64)
    astray = scored[candidates.cluster_id[scored] < 0]
    if len(astray):
        raise RuleError(
            f"this rule chooses inside clusters, but {len(astray):,} scored samples have none "
            f"(the first is row {candidates.row_idx[astray[0]]}); "
            "name a clustering, or make one with: visnec cluster"
        )
    return candidates.cluster_id[scored].astype(np.int64)


def select_best(candidates: Candidates, values: Floats, groups: Ints, quotas: Ints) -> Mask:
    """The ``quotas[g]`` highest values of each group of scored samples.

    ``values`` is a column over all candidates, ``groups`` one over the scored; ``quotas`` has one
    number for each distinct group, ascending.
    """
    scored = scored_positions(candidates)
    order = np.argsort(-values[scored], kind="stable")
    order = order[np.argsort(groups[order], kind="stable")]
    _, starts, sizes = np.unique(groups[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    return to_mask(candidates, scored[order[rank < np.repeat(quotas, sizes)]])


def group_quotas(groups: Ints, share: float, at_least: int = 0) -> Ints:
    """``max(int(share * n), at_least)`` for each distinct group of n, ascending by group."""
    _, sizes = np.unique(groups, return_counts=True)
    quotas: Ints = np.maximum((share * sizes).astype(np.int64), at_least)
    return quotas


def random_numbers(row_idx: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """One well mixed number per row, all different: SplitMix64 (Steele, Lea and Flood 2014)."""
    return _mix(row_idx.astype(np.uint64) + _mix(np.array([seed], np.uint64)))


def random_order(row_idx: NDArray[Any], seed: int) -> Floats:
    """Values whose descending order is the order of ``random_numbers``, lowest first."""
    ranks = np.empty(len(row_idx), np.float64)
    ranks[np.argsort(random_numbers(row_idx, seed), kind="stable")] = np.arange(len(row_idx))
    return -ranks


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
