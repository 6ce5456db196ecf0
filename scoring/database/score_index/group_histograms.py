"""Histograms per group, from the score index that the figures of the groups come from."""

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
    GROUPS,
    KIND,
    LENGTH,
    SOURCE,
    ScoreIndex,
    length_limits,
    open_score_index,
)
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands

_TURNS = """
    SELECT turn, visnec FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL
"""
_TURNS_MATCHING = f"{_TURNS} AND row_idx IN (SELECT row_idx FROM matching)"


def group_histograms(
    store: Store,
    scope: Scope,
    group: str,
    edges: Sequence[float],
    where: Filter = EVERYTHING,
    bands: Bands | None = None,
) -> dict[Any, list[int]]:
    """Count per group with scored samples those with ``left <= visnec < right``, bin by bin.

    Keys are those of the tables of ``groups``: source, cluster_id (None: in no cluster), kind of
    the answer, or max_tokens. The first and the last bin include what is outside. Raises
    InputError for an unknown group.
    """
    if group not in GROUPS:
        raise InputError(f"Unknown group {group!r}. Choose one of: {', '.join(GROUPS)}.")
    index = open_score_index(store, scope, where, bands)
    table = index.group_table(group)
    positions = [0, *(index.position_of(edge) for edge in edges[1:-1]), len(index)]
    counts = np.diff([table.count_below(position) for position in positions], axis=0)
    return {
        _group_key(index, group, code): counts[:, code].tolist()
        for code in range(counts.shape[1])
        if counts[:, code].any() and not (group == LENGTH and code == 0)
    }


def turn_histograms(
    store: Store,
    scope: Scope,
    edges: Sequence[float],
    where: Filter = EVERYTHING,
    bands: Bands | None = None,
) -> dict[int, list[int]]:
    """As :func:`group_histograms`, for the answers of each turn (0-based) by their own score."""
    query = compile_query(store, scope, where, bands)
    counts = np.zeros((0, len(edges) - 1), np.int64)
    for batch in query.fetch_batches(_TURNS_MATCHING if where else _TURNS):
        bins = np.searchsorted(np.asarray(edges[1:-1]), batch["visnec"], side="right")
        n_turns = max(len(counts), int(batch["turn"].max(initial=-1)) + 1)
        cells = batch["turn"].astype(np.int64) * counts.shape[1] + bins
        added = np.bincount(cells, minlength=n_turns * counts.shape[1])
        added[: counts.size] += counts.ravel()
        counts = added.reshape(n_turns, counts.shape[1])
    return {turn: row.tolist() for turn, row in enumerate(counts) if row.any()}


def _group_key(index: ScoreIndex, group: str, code: int) -> Any:
    if group == SOURCE:
        return index.sources[code]
    if group == CLUSTER:
        return code - 1 if code else None
    return ANSWER_KINDS[code] if group == KIND else length_limits(code)[1]
