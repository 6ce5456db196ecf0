"""Histograms of groups side by side, counted from the slice that the groups' figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scoring.database.build.schema import ANSWER_KINDS
from scoring.database.conditions import EVERYTHING, compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import (
    CLUSTER,
    KIND,
    LENGTH,
    SOURCE,
    ScoreIndex,
    open_score_index,
)
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands

GROUPS = (SOURCE, CLUSTER, KIND, LENGTH)


def group_histograms(
    store: Store,
    scope: Scope,
    group: str,
    edges: Sequence[float],
    which: Filter = EVERYTHING,
    bands: Bands | None = None,
) -> dict[Any, list[int]]:
    """Per group with scored samples, how many have ``left <= visnec < right``, bin by bin.

    Keys are those of the tables of ``groups``: source, cluster_id (None: in no cluster), kind of
    the answer, or max_tokens. The first and the last bin also take what lies outside. Raises
    InputError for an unknown group.
    """
    if group not in GROUPS:
        raise InputError(f"unknown group {group!r}; known are {', '.join(GROUPS)}")
    one = open_score_index(store, scope, which, bands)
    table = one.group(group)
    places = [0, *(one.position(edge) for edge in edges[1:-1]), len(one)]
    left = np.stack([table.counts_left(place) for place in places])
    counts = np.diff(left, axis=0)
    names = [_key(one, group, code) for code in range(counts.shape[1])]
    return {
        name: counts[:, code].tolist()
        for code, name in enumerate(names)
        if counts[:, code].any() and not (group == LENGTH and code == 0)
    }


def turn_histograms(
    store: Store,
    scope: Scope,
    edges: Sequence[float],
    which: Filter = EVERYTHING,
    bands: Bands | None = None,
) -> dict[int, list[int]]:
    """As :func:`group_histograms`, for the answers of each turn (0-based) by their own score."""
    asked = compile_query(store, scope, which, bands)
    among = (_AMONG, asked.where, ")") if which else ()
    counts = np.zeros((0, len(edges) - 1), np.int64)
    for batch in asked.snapshot.batches("\n".join((_TURNS, *among)), asked.values):
        bins = np.searchsorted(np.asarray(edges[1:-1]), batch["visnec"], side="right")
        n_turns = max(len(counts), int(batch["turn"].max(initial=-1)) + 1)
        cells = batch["turn"].astype(np.int64) * counts.shape[1] + bins
        found = np.bincount(cells, minlength=n_turns * counts.shape[1])
        found[: counts.size] += counts.ravel()
        counts = found.reshape(n_turns, counts.shape[1])
    return {turn: row.tolist() for turn, row in enumerate(counts) if row.any()}


_TURNS = """
    SELECT turn, visnec FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL
"""
_AMONG = "AND row_idx IN (SELECT s.row_idx FROM scores s WHERE"


def _key(one: ScoreIndex, group: str, code: int) -> Any:
    if group == SOURCE:
        return one.sources[code]
    if group == CLUSTER:
        return code - 1 if code else None
    return ANSWER_KINDS[code] if group == KIND else 2 ** max(code - 1, 0)
