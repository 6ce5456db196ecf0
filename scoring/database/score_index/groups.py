"""The same few figures for every group of samples: by source, cluster, kind and length of answer.

Groups are worked out from the slice of the filter, one way for all keys. The one decision behind
it: a group counts its samples without a score too, so the groups add up to the samples under the
filter.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoring.database.build.schema import ANSWER_KINDS
from scoring.database.conditions import EVERYTHING, Query, compile_query
from scoring.database.connection import Store
from scoring.database.filters import Filter
from scoring.database.score_index.index import (
    CLUSTER,
    KIND,
    LENGTH,
    SOURCE,
    GroupTable,
    ScoreIndex,
    cluster_column,
    open_score_index,
)
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands

_VERDICTS = ("keep", "drop", "unsure")
# Decisions are few: their groups are found by themselves, not carried through every sample.
_DECIDED = "AS key, v.decision, count(*) FROM scores s JOIN verdicts v ON v.row_idx = s.row_idx"
_TURNS = """
    SELECT
        turn, count(*) AS n, count(visnec) AS n_scored, avg(visnec) AS mean_visnec,
        median(visnec) AS median_visnec, avg(loss_text) AS loss_text,
        avg(loss_multimodal) AS loss_multimodal
    FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline
"""
# Apart from the figures, so that a moved band limit asks for no median anew.
_TURN_CATEGORIES = """
    SELECT
        turn, count(*) FILTER (visnec < $low) AS misaligned,
        count(*) FILTER (visnec >= $low AND visnec < $high) AS redundant,
        count(*) FILTER (visnec >= $high) AS vision_critical
    FROM turn_scores
    WHERE run_id = $run_id AND baseline = $baseline
"""
_BY_TURN = "GROUP BY turn ORDER BY turn"
_AMONG = "AND row_idx IN (SELECT s.row_idx FROM scores s WHERE"


def by_source(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per source, the largest first.

    Columns: source, n, n_scored, mean_visnec, median_visnec, misaligned, redundant,
    vision_critical, answer_tokens, keep, drop, unsure (verdicts over all reviewers).
    """
    frame, one = _grouped(store, scope, which, bands, SOURCE)
    frame.insert(0, "source", [one.sources[code] for code in frame.pop("code")])
    return _largest_first(frame, "source")


def by_cluster(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per cluster of the scope's clustering, the largest first: cluster_id, name and as by_source.

    Samples that the clustering leaves out form a last row without number and name. Raises
    InputError where the scope has no clustering.
    """
    if scope.clustering_id is None:
        raise InputError("no clustering is chosen; make one with: visnec cluster")
    frame, _ = _grouped(store, scope, which, bands, CLUSTER)
    names = dict(
        store.snapshot().rows(
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
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per kind of the first answer (yes/no, choice, number, word, phrase, text, none).

    Columns: answer_kind and as by_source. Kinds that do not occur are left out.
    """
    frame, _ = _grouped(store, scope, which, bands, KIND)
    frame.insert(0, "answer_kind", [ANSWER_KINDS[code] for code in frame.pop("code")])
    return frame


def by_answer_length(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Scored samples by answer tokens, in steps that double: 1, 2, 3 to 4, 5 to 8 and so on.

    Scores from elsewhere, whose tokens nobody told, are left out. Columns: min_tokens,
    max_tokens and as by_source, ascending.
    """
    frame, _ = _grouped(store, scope, which, bands, LENGTH)
    frame = frame[frame["code"] > 0].reset_index(drop=True)
    longest = 2 ** (frame.pop("code").to_numpy(np.int64) - 1)
    frame.insert(0, "min_tokens", longest // 2 + 1)
    frame.insert(1, "max_tokens", longest)
    return frame


def by_turn(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per position among the answers of a conversation, for the samples under the filter.

    Columns: turn (0-based), n, n_scored, mean_visnec, median_visnec, loss_text, loss_multimodal
    (means), misaligned, redundant, vision_critical. Earlier answers leak the image into the
    text-only loss of later turns.
    """
    bands = bands or store.bands
    asked = compile_query(store, scope, which, bands)
    among = (_AMONG, asked.where, ")") if which else ()
    cache, about = asked.snapshot.cache, (scope, asked.key)
    figures = cache.get_or_compute(
        ("turns", *about), lambda: asked.frame(_TURNS, *among, _BY_TURN), _bytes
    )
    limits = {"low": bands.low, "high": bands.high}
    counts = cache.get_or_compute(
        ("turn categories", bands, *about),
        lambda: asked.frame(_TURN_CATEGORIES, *among, _BY_TURN, **limits),
        _bytes,
    )
    return figures.merge(counts, on="turn")


def _bytes(frame: pd.DataFrame) -> int:
    return int(frame.memory_usage().sum())


def decision_counts(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> dict[str, int]:
    """Samples under the filter by the verdict that holds: keep, drop, unsure, none."""
    asked = compile_query(store, scope, which, bands)
    keep, drop, unsure, total = asked.rows(
        """
        WITH matched AS (SELECT s.row_idx FROM scores s WHERE
        """,
        asked.where,
        """
        ),
        decided AS (FROM verdicts WHERE row_idx IN (FROM matched))
        SELECT
            count(*) FILTER (decision = 'keep'), count(*) FILTER (decision = 'drop'),
            count(*) FILTER (decision = 'unsure'), (SELECT count(*) FROM matched)
        FROM decided
        """,
    )[0]
    none = total - keep - drop - unsure
    return {"keep": keep, "drop": drop, "unsure": unsure, "none": none}


def _grouped(
    store: Store, scope: Scope, which: Filter, bands: Bands | None, key: str
) -> tuple[pd.DataFrame, ScoreIndex]:
    """The figures of every group that has samples, by ascending code."""
    bands = bands or store.bands
    one = open_score_index(store, scope, which, bands)
    table = one.group(key)
    n_scored = table.counts[-1]
    n = n_scored + _unscored(one, key)
    below_low = table.counts_left(one.position(bands.low))
    below_high = table.counts_left(one.position(bands.high))
    sums, medians = one.kept((key, "middle"), lambda: _middle(one, table))
    frame = pd.DataFrame(
        {
            "code": np.arange(len(n)),
            "n": n,
            "n_scored": n_scored,
            "mean_visnec": sums / np.where(n_scored, n_scored, np.nan),
            "median_visnec": medians,
            "misaligned": below_low,
            "redundant": below_high - below_low,
            "vision_critical": n_scored - below_high,
            "answer_tokens": table.tokens[-1],
        }
    )
    asked = compile_query(store, scope, which, bands)
    version = asked.snapshot.decisions_version
    known, decided = one.memo.get((key, "decided"), (None, None))
    if known != version:
        decided = _decided(asked, scope, key, len(n))
        one.memo[key, "decided"] = (version, decided)
    frame = frame.assign(**dict(zip(_VERDICTS, decided, strict=True)))
    return frame[frame["n"] > 0].reset_index(drop=True), one


def _unscored(one: ScoreIndex, key: str) -> NDArray[np.int64]:
    """Samples without a score per group; they have no answer tokens, hence no length."""
    n_groups = one.n_groups[key]
    if key == LENGTH:
        return np.zeros(n_groups, np.int64)
    return np.bincount(one.unscored[key], one.unscored["n"], n_groups).astype(np.int64)


def _middle(one: ScoreIndex, table: GroupTable) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum of the scores and their median per group; NaN where nothing is scored."""
    n_scored = table.counts[-1]
    sums = np.bincount(table.codes, one.visnec, len(n_scored)).astype(np.float64)
    medians: NDArray[np.float64] = np.full(len(n_scored), np.nan)
    for group in np.flatnonzero(n_scored).tolist():
        last = int(n_scored[group]) - 1
        around = {last // 2, (last + 1) // 2}
        medians[group] = np.mean([one.visnec[table.position(group, rank)] for rank in around])
    return sums, medians


def _decided(asked: Query, scope: Scope, key: str, n_groups: int) -> list[NDArray[np.int64]]:
    """keep, drop and unsure per group."""
    cluster, join = cluster_column(asked.snapshot, scope)
    columns = {
        SOURCE: "s.source_no",
        CLUSTER: " ".join(("coalesce(", cluster, ", -1) + 1")),
        KIND: "s.kind_no",
        LENGTH: "(ceil(log2(s.n_answer_tokens)) + 1)::INTEGER",
    }
    values = {"clustering_id": scope.clustering_id} if key == CLUSTER and join else {}
    query = ("SELECT", columns[key], _DECIDED, join if key == CLUSTER else "", "WHERE", asked.where)
    found = {verdict: np.zeros(n_groups, np.int64) for verdict in _VERDICTS}
    for code, verdict, n in asked.rows(*query, "GROUP BY ALL", **values):
        if code is not None:
            found[verdict][code] = n
    return list(found.values())


def _largest_first(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    return frame.sort_values(["n", name], ascending=[False, True]).reset_index(drop=True)
