"""The same figures for every group of samples: by source, cluster, kind, length, column and turn.

All groupings but turns are computed from the score index of the filter. A group counts its samples
without a score too, so that the groups add up to the samples under the filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.build.schema import ANSWER_KINDS
from scoring.database.conditions import cluster_column, compile_query
from scoring.database.connection import Selection
from scoring.database.queries.column_groups import read_column_groups
from scoring.database.queries.overview import cluster_names
from scoring.database.score_index.index import (
    CLUSTER,
    GROUPS,
    KIND,
    LENGTH,
    SOURCE,
    ScoreIndex,
    length_codes,
    length_limits,
    open_score_index,
)
from scoring.errors import InputError
from scoring.necessity import Bands

COLUMN = "column:"
"""Prefix of a group that is a column of texts or booleans."""

# Few samples have decisions, so these are grouped in a query of their own.
_DECIDED = """
    SELECT {code} AS code, f.decision, count(*) AS n
    FROM matching s JOIN final_decisions f ON f.row_idx = s.row_idx {join}
    GROUP BY ALL
"""
_DECIDED_ROWS = """
    SELECT s.row_idx, f.decision, 1 AS n
    FROM matching s JOIN final_decisions f ON f.row_idx = s.row_idx
"""
_TURN_FIGURES = """
    SELECT
        turn, count(*) AS n, count(visnec) AS n_scored, avg(visnec) AS mean_visnec,
        median(visnec) AS median_visnec, avg(loss_text) AS loss_text,
        avg(loss_multimodal) AS loss_multimodal
    FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline AND {among}
    GROUP BY turn ORDER BY turn
"""
# Separate from the figures: moving a band limit computes no median again.
_TURN_CATEGORIES = """
    SELECT
        turn, count(*) FILTER (category_code(visnec, $low, $high) = 0) AS misaligned,
        count(*) FILTER (category_code(visnec, $low, $high) = 1) AS redundant,
        count(*) FILTER (category_code(visnec, $low, $high) = 2) AS vision_critical
    FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline AND {among}
    GROUP BY turn ORDER BY turn
"""
_TURNS = """
    SELECT turn, visnec FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL AND {among}
"""


def by_source(selection: Selection) -> pd.DataFrame:
    """Return figures per source, the largest first.

    Columns: source, n, n_scored, mean_visnec, median_visnec, misaligned, redundant,
    vision_critical, answer_tokens, keep, drop, unsure (decisions over all reviewers).
    """
    frame, index = _group_samples(selection, SOURCE)
    frame.insert(0, "source", [index.sources[code] for code in frame.pop("code")])
    return frame.sort_values(["n", "source"], ascending=[False, True]).reset_index(drop=True)


def by_cluster(selection: Selection) -> pd.DataFrame:
    """Return figures per cluster, the largest first: cluster_id, name and as by_source.

    Samples that the scope's clustering leaves out form a last row without number and name. Raises
    InputError where the scope has no clustering.
    """
    if selection.scope.clustering_id is None:
        raise InputError("No clustering is selected. Create one with: visnec cluster")
    frame, _ = _group_samples(selection, CLUSTER)
    names = cluster_names(selection.store, selection.scope.clustering_id)
    frame["_left_out"] = frame["code"] == 0
    frame = frame.sort_values(["_left_out", "n", "code"], ascending=[True, False, True])
    numbers = [int(code) - 1 if code else None for code in frame["code"]]
    frame = frame.drop(columns=["code", "_left_out"]).reset_index(drop=True)
    frame.insert(0, "cluster_id", pd.Series(numbers, dtype=object if None in numbers else "int64"))
    labels = [None if number is None else names.get(number) for number in numbers]
    frame.insert(1, "name", pd.Series(labels, dtype=object))
    return frame


def by_answer_kind(selection: Selection) -> pd.DataFrame:
    """Return figures per kind of the first answer: yes/no, choice, number, word and so on.

    Columns: answer_kind and as by_source. Kinds that do not occur are left out.
    """
    frame, _ = _group_samples(selection, KIND)
    frame.insert(0, "answer_kind", [ANSWER_KINDS[code] for code in frame.pop("code")])
    return frame


def by_answer_length(selection: Selection) -> pd.DataFrame:
    """Return figures by answer tokens, in steps that double: 1, 2, 3 to 4, 5 to 8 and so on.

    Imported scores, whose answer tokens are unknown, are left out. Columns: min_tokens,
    max_tokens and as by_source, ascending.
    """
    frame, _ = _group_samples(selection, LENGTH)
    frame = frame[frame["code"] > 0].reset_index(drop=True)
    limits = [length_limits(code) for code in frame.pop("code")]
    frame.insert(0, "min_tokens", [fewest for fewest, _ in limits])
    frame.insert(1, "max_tokens", [most for _, most in limits])
    return frame


def by_column(selection: Selection, column: str) -> pd.DataFrame:
    """Return figures per value of a column of texts or booleans, the largest first.

    Columns: value and as by_source. Samples without a value form a last row without one. Raises
    InputError for another kind of column or one with too many values.
    """
    frame, _ = _group_samples(selection, f"{COLUMN}{column}")
    labels = read_column_groups(selection.store, column).labels
    frame["_without"] = frame["code"] == 0
    frame = frame.sort_values(["_without", "n", "code"], ascending=[True, False, True])
    values = [labels[code - 1] if code else None for code in frame["code"]]
    frame = frame.drop(columns=["code", "_without"]).reset_index(drop=True)
    frame.insert(0, "value", pd.Series(values, dtype=object))
    return frame


def by_turn(selection: Selection) -> pd.DataFrame:
    """Return figures per position among the answers of a conversation.

    Columns: turn (0-based), n, n_scored, mean_visnec, median_visnec, loss_text, loss_multimodal
    (means), misaligned, redundant, vision_critical. Earlier answers leak the image into the
    text-only loss of later turns.
    """
    query = compile_query(selection)

    def fetch(template: str, limits: Bands | None) -> pd.DataFrame:
        return query.snapshot.cache.get_or_compute(
            (template, selection.scope, query.key, limits),
            lambda: query.fetch_frame(template.format(among=_turns_among(selection))),
            lambda frame: int(frame.memory_usage().sum()),
        )

    return fetch(_TURN_FIGURES, None).merge(fetch(_TURN_CATEGORIES, selection.bands), on="turn")


def group_histograms(
    selection: Selection, group: str, edges: Sequence[float]
) -> dict[Any, list[int]]:
    """Count per group with scored samples those with ``left <= visnec < right``, bin by bin.

    Keys are those of the tables above: source, cluster_id (None: in no cluster), kind of the
    answer, max_tokens, or the value of a column (None: without) where the group is written
    ``column:NAME``. The first and the last bin include what is outside. Raises InputError for an
    unknown group.
    """
    if group not in GROUPS and not group.startswith(COLUMN):
        raise InputError(f"Unknown group {group!r}. Choose one of: {', '.join(GROUPS)}.")
    index = _open_index(selection, group)
    table = index.group_table(group)
    positions = [0, *(index.position_of(edge) for edge in edges[1:-1]), len(index)]
    counts = np.diff([table.count_below(position) for position in positions], axis=0)
    codes = [
        code for code in np.flatnonzero(counts.any(axis=0)).tolist() if code or group != LENGTH
    ]
    keys: dict[str, Sequence[Any]] = {SOURCE: index.sources, KIND: ANSWER_KINDS}
    if group in keys:
        return {keys[group][code]: counts[:, code].tolist() for code in codes}
    if group.startswith(COLUMN):
        labels = read_column_groups(selection.store, group.removeprefix(COLUMN)).labels
        return {labels[code - 1] if code else None: counts[:, code].tolist() for code in codes}
    if group == CLUSTER:
        return {code - 1 if code else None: counts[:, code].tolist() for code in codes}
    return {length_limits(code)[1]: counts[:, code].tolist() for code in codes}


def turn_histograms(selection: Selection, edges: Sequence[float]) -> dict[int, list[int]]:
    """As :func:`group_histograms`, for the answers of each turn (0-based) by their own score."""
    n_bins = len(edges) - 1
    counts = np.zeros((0, n_bins), np.int64)
    for batch in compile_query(selection).fetch_batches(
        _TURNS.format(among=_turns_among(selection))
    ):
        bins = np.searchsorted(np.asarray(edges[1:-1]), batch["visnec"], side="right")
        n_turns = max(len(counts), int(batch["turn"].max(initial=-1)) + 1)
        cells = batch["turn"].astype(np.int64) * n_bins + bins
        added = np.bincount(cells, minlength=n_turns * n_bins)
        added[: counts.size] += counts.ravel()
        counts = added.reshape(n_turns, n_bins)
    return {turn: row.tolist() for turn, row in enumerate(counts) if row.any()}


def _turns_among(selection: Selection) -> str:
    return "row_idx IN (SELECT row_idx FROM matching)" if selection.where else "true"


def _open_index(selection: Selection, group: str) -> ScoreIndex:
    """The scores of a selection, with the groups of a column added if ``group`` names one."""
    index = open_score_index(selection)
    if group.startswith(COLUMN) and ("table", group) not in index.memo:
        groups = read_column_groups(selection.store, group.removeprefix(COLUMN))
        unscored = compile_query(selection).fetch_arrays(
            "SELECT row_idx FROM matching WHERE visnec IS NULL"
        )["row_idx"]
        n_unscored = np.bincount(groups.codes[unscored], minlength=len(groups.labels) + 1)
        index.add_group(group, groups.codes[index.row_idx], n_unscored.astype(np.int64))
    return index


def _group_samples(selection: Selection, group: str) -> tuple[pd.DataFrame, ScoreIndex]:
    """The figures of every group that has samples, by ascending code."""
    index = _open_index(selection, group)
    table = index.group_table(group)
    n_scored = table.counts[-1]
    sums, medians = index.cached(("sums and medians", group), lambda: _sum_and_median(index, group))
    misaligned, redundant, vision_critical = np.diff(
        [table.count_below(end) for end in index.category_ends(selection.bands)], axis=0
    )
    figures = {
        "code": np.arange(len(n_scored)),
        "n": n_scored + index.count_unscored(group),
        "n_scored": n_scored,
        "mean_visnec": sums / np.where(n_scored, n_scored, np.nan),
        "median_visnec": medians,
        "misaligned": misaligned,
        "redundant": redundant,
        "vision_critical": vision_critical,
        "answer_tokens": table.tokens[-1],
    }
    version = selection.store.snapshot().decisions_version
    known_version, decided = index.memo.get(("decided", group), (None, None))
    if known_version != version:
        decided = _count_decisions(selection, group, len(n_scored))
        index.memo["decided", group] = (version, decided)
    frame = pd.DataFrame(figures | decided)
    return frame[frame["n"] > 0].reset_index(drop=True), index


def _sum_and_median(
    index: ScoreIndex, group: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and median of the scores per group; NaN where nothing is scored."""
    table = index.group_table(group)
    n_scored = table.counts[-1]
    sums = np.bincount(table.codes, index.visnec, len(n_scored)).astype(np.float64)
    medians: NDArray[np.float64] = np.full(len(n_scored), np.nan)
    for code in np.flatnonzero(n_scored).tolist():
        last = int(n_scored[code]) - 1
        middle = {last // 2, (last + 1) // 2}
        medians[code] = np.mean([index.visnec[table.position_of(code, rank)] for rank in middle])
    return sums, medians


def _count_decisions(
    selection: Selection, group: str, n_groups: int
) -> dict[str, NDArray[np.int64]]:
    """keep, drop and unsure per group."""
    query = compile_query(selection)
    if group.startswith(COLUMN):
        columns = query.fetch_arrays(_DECIDED_ROWS)
        groups = read_column_groups(selection.store, group.removeprefix(COLUMN))
        codes = groups.codes[columns["row_idx"]].astype(np.int64)
    else:
        cluster_id, join = cluster_column(query.snapshot, selection.scope)
        codes_in_sql = {
            SOURCE: "s.source_no",
            CLUSTER: f"coalesce({cluster_id}, -1) + 1",
            KIND: "s.kind_no",
            LENGTH: "coalesce(s.n_answer_tokens, 0)",
        }
        columns = query.fetch_arrays(
            _DECIDED.format(code=codes_in_sql[group], join=join if group == CLUSTER else "")
        )
        codes = columns["code"].astype(np.int64)
        codes = length_codes(codes).astype(np.int64) if group == LENGTH else codes
    counts = {}
    for decision in ("keep", "drop", "unsure"):
        chosen = columns["decision"] == decision
        counts[decision] = np.bincount(codes[chosen], columns["n"][chosen], n_groups).astype(int)
    return counts
