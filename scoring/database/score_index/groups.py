"""The same figures for every group of samples: by source, cluster, kind and length of answer.

All groupings are computed from the score index of the filter. A group counts its samples without a
score too, so that the groups add up to the samples under the filter.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.build.schema import ANSWER_KINDS
from scoring.database.conditions import EVERYTHING, Query, cluster_column, compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import (
    CLUSTER,
    KIND,
    LENGTH,
    SOURCE,
    GroupTable,
    ScoreIndex,
    length_codes,
    length_limits,
    open_score_index,
)
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands

_DECISIONS = ("keep", "drop", "unsure")
# Few samples have decisions, so these are grouped in a query of their own.
_DECIDED = """
    SELECT {code} AS code, f.decision, count(*)
    FROM matching s JOIN final_decisions f ON f.row_idx = s.row_idx {join}
    GROUP BY ALL
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
_AMONG_MATCHING = "row_idx IN (SELECT row_idx FROM matching)"


def by_source(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Return figures per source, the largest first.

    Columns: source, n, n_scored, mean_visnec, median_visnec, misaligned, redundant,
    vision_critical, answer_tokens, keep, drop, unsure (decisions over all reviewers).
    """
    frame, index = _group_samples(store, scope, where, bands, SOURCE)
    frame.insert(0, "source", [index.sources[code] for code in frame.pop("code")])
    return frame.sort_values(["n", "source"], ascending=[False, True]).reset_index(drop=True)


def by_cluster(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Return figures per cluster, the largest first: cluster_id, name and as by_source.

    Samples that the scope's clustering leaves out form a last row without number and name. Raises
    InputError where the scope has no clustering.
    """
    if scope.clustering_id is None:
        raise InputError("No clustering is selected. Create one with: visnec cluster")
    frame, _ = _group_samples(store, scope, where, bands, CLUSTER)
    names = dict(
        store.snapshot().fetch_rows(
            "SELECT cluster_id, name FROM cluster_names WHERE clustering_id = $clustering_id",
            {"clustering_id": scope.clustering_id},
        )
    )
    frame["_left_out"] = frame["code"] == 0
    frame = frame.sort_values(["_left_out", "n", "code"], ascending=[True, False, True])
    numbers = [int(code) - 1 if code else None for code in frame["code"]]
    frame = frame.drop(columns=["code", "_left_out"]).reset_index(drop=True)
    frame.insert(0, "cluster_id", pd.Series(numbers, dtype=object if None in numbers else "int64"))
    frame.insert(1, "name", pd.Series([names.get(number) for number in numbers], dtype=object))
    return frame


def by_answer_kind(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Return figures per kind of the first answer: yes/no, choice, number, word and so on.

    Columns: answer_kind and as by_source. Kinds that do not occur are left out.
    """
    frame, _ = _group_samples(store, scope, where, bands, KIND)
    frame.insert(0, "answer_kind", [ANSWER_KINDS[code] for code in frame.pop("code")])
    return frame


def by_answer_length(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Return figures by answer tokens, in steps that double: 1, 2, 3 to 4, 5 to 8 and so on.

    Imported scores, whose answer tokens are unknown, are left out. Columns: min_tokens,
    max_tokens and as by_source, ascending.
    """
    frame, _ = _group_samples(store, scope, where, bands, LENGTH)
    frame = frame[frame["code"] > 0].reset_index(drop=True)
    limits = [length_limits(code) for code in frame.pop("code")]
    frame.insert(0, "min_tokens", [fewest for fewest, _ in limits])
    frame.insert(1, "max_tokens", [most for _, most in limits])
    return frame


def by_turn(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Return figures per position among the answers of a conversation.

    Columns: turn (0-based), n, n_scored, mean_visnec, median_visnec, loss_text, loss_multimodal
    (means), misaligned, redundant, vision_critical. Earlier answers leak the image into the
    text-only loss of later turns.
    """
    bands = bands or store.bands
    query = compile_query(store, scope, where, bands)
    among = _AMONG_MATCHING if where else "true"

    def fetch(template: str, limits: Bands | None) -> pd.DataFrame:
        return query.snapshot.cache.get_or_compute(
            (template, scope, query.key, limits),
            lambda: query.fetch_frame(template.format(among=among)),
            lambda frame: int(frame.memory_usage().sum()),
        )

    return fetch(_TURN_FIGURES, None).merge(fetch(_TURN_CATEGORIES, bands), on="turn")


def decision_counts(
    store: Store, scope: Scope, where: Filter = EVERYTHING, bands: Bands | None = None
) -> dict[str, int]:
    """Count samples by the decision over all reviewers: keep, drop, unsure, none."""
    counts = compile_query(store, scope, where, bands).fetch_rows("""
        SELECT coalesce(f.decision, 'none'), count(*)
        FROM matching s LEFT JOIN final_decisions f ON f.row_idx = s.row_idx
        GROUP BY ALL
    """)
    return dict.fromkeys((*_DECISIONS, "none"), 0) | dict(counts)


def _group_samples(
    store: Store, scope: Scope, where: Filter, bands: Bands | None, group: str
) -> tuple[pd.DataFrame, ScoreIndex]:
    """The figures of every group that has samples, by ascending code."""
    bands = bands or store.bands
    index = open_score_index(store, scope, where, bands)
    table = index.group_table(group)
    n_scored = table.counts[-1]
    sums, medians = index.cached(("sums and medians", group), lambda: _sum_and_median(index, table))
    misaligned, redundant, vision_critical = np.diff(
        [table.count_below(end) for end in index.category_ends(bands)], axis=0
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
    query = compile_query(store, scope, where, bands)
    version = query.snapshot.decisions_version
    known_version, decided = index.memo.get(("decided", group), (None, None))
    if known_version != version:
        decided = _count_decisions(query, scope, group, len(n_scored))
        index.memo["decided", group] = (version, decided)
    frame = pd.DataFrame(figures | decided)
    return frame[frame["n"] > 0].reset_index(drop=True), index


def _sum_and_median(
    index: ScoreIndex, table: GroupTable
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and median of the scores per group; NaN where nothing is scored."""
    n_scored = table.counts[-1]
    sums = np.bincount(table.codes, index.visnec, len(n_scored)).astype(np.float64)
    medians: NDArray[np.float64] = np.full(len(n_scored), np.nan)
    for group in np.flatnonzero(n_scored).tolist():
        last = int(n_scored[group]) - 1
        middle = {last // 2, (last + 1) // 2}
        medians[group] = np.mean([index.visnec[table.position_of(group, rank)] for rank in middle])
    return sums, medians


def _count_decisions(
    query: Query, scope: Scope, group: str, n_groups: int
) -> dict[str, NDArray[np.int64]]:
    """keep, drop and unsure per group."""
    cluster_id, join = cluster_column(query.snapshot, scope)
    codes = {
        SOURCE: "s.source_no",
        CLUSTER: f"coalesce({cluster_id}, -1) + 1",
        KIND: "s.kind_no",
        LENGTH: "coalesce(s.n_answer_tokens, 0)",
    }
    counts = {decision: np.zeros(n_groups, np.int64) for decision in _DECISIONS}
    statement = _DECIDED.format(code=codes[group], join=join if group == CLUSTER else "")
    rows = query.fetch_rows(statement)
    group_codes = [code for code, _, _ in rows]
    if group == LENGTH:
        group_codes = length_codes(np.array(group_codes, np.int64)).tolist()
    for code, (_, decision, n) in zip(group_codes, rows, strict=True):
        counts[decision][code] += n
    return counts
