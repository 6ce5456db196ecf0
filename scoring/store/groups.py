"""The same few figures for every group of samples: by source, cluster, kind and length of answer.

Groups are computed by one query with a key that each function names. The one decision behind it:
a group counts its samples without a score too, so the groups add up to the samples under the
filter.
"""

from __future__ import annotations

import pandas as pd

from scoring.errors import InputError
from scoring.necessity import Bands
from scoring.store.conditions import EVERYTHING, Asked, ask
from scoring.store.filters import Filter
from scoring.store.frames import in_order
from scoring.store.overview import sample_count
from scoring.store.schema import ANSWER_KINDS
from scoring.store.store import Store
from scoring.store.values import Scope

_GROUPED = """
    WITH grouped AS (
        SELECT
            key, count(*) AS n, count(visnec) AS n_scored, avg(visnec) AS mean_visnec,
            median(visnec) AS median_visnec,
            count(*) FILTER (visnec < $low_limit) AS misaligned,
            count(*) FILTER (visnec >= $low_limit AND visnec < $high_limit) AS redundant,
            count(*) FILTER (visnec >= $high_limit) AS vision_critical,
            coalesce(sum(n_answer_tokens), 0)::BIGINT AS answer_tokens
        FROM (SELECT s.visnec, s.n_answer_tokens,
"""
# Decisions are few: their groups are found by themselves, not carried through every sample.
_DECIDED = """
        ) GROUP BY key
    ),
    decided AS (
        SELECT key, count(*) FILTER (decision = 'keep') AS keep,
            count(*) FILTER (decision = 'drop') AS drop,
            count(*) FILTER (decision = 'unsure') AS unsure
        FROM (SELECT v.decision,
"""
_JOINED = """
        ) GROUP BY key
    )
    SELECT
        grouped.*, coalesce(keep, 0) AS keep, coalesce(drop, 0) AS drop,
        coalesce(unsure, 0) AS unsure
    FROM grouped LEFT JOIN decided ON grouped.key IS NOT DISTINCT FROM decided.key
    ORDER BY n DESC, grouped.key
"""
_AMONG = "AND row_idx IN (SELECT s.row_idx FROM scores s WHERE"
_ON_CLUSTER = "(FROM clusters WHERE clustering_id = $clustering_id) c ON c.row_idx = s.row_idx"


def by_source(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per source, the largest first.

    Columns: source, n, n_scored, mean_visnec, median_visnec, misaligned, redundant,
    vision_critical, answer_tokens, keep, drop, unsure (verdicts over all reviewers).
    """
    bands = bands or store.bands
    asked = ask(store, scope, which, bands)
    return _grouped(asked, bands, "s.source").rename(columns={"key": "source"})


def by_cluster(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per cluster of the scope's clustering, the largest first: cluster_id, name and as by_source.

    Samples that the clustering leaves out form a last row without number and name. Raises
    InputError where the scope has no clustering.
    """
    if scope.clustering_id is None:
        raise InputError("no clustering is chosen; make one with: visnec cluster")
    bands = bands or store.bands
    asked = ask(store, scope, which, bands)
    asked.values["clustering_id"] = scope.clustering_id
    frame = _grouped(asked, bands, "c.cluster_id", " ".join(("JOIN", _ON_CLUSTER)))
    if frame["n"].sum() < sample_count(store, scope, which, bands):
        frame = _grouped(asked, bands, "c.cluster_id", " ".join(("LEFT JOIN", _ON_CLUSTER)))
    names = asked.reading.rows(
        "SELECT cluster_id, name FROM cluster_names WHERE clustering_id = $clustering_id",
        {"clustering_id": scope.clustering_id},
    )
    frame = frame.rename(columns={"key": "cluster_id"})
    named = [dict(names).get(cluster_id) for cluster_id in frame["cluster_id"]]
    frame.insert(1, "name", pd.Series(named, dtype="object"))
    return in_order(frame, [cluster_id is None for cluster_id in frame["cluster_id"]])


def by_answer_kind(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per kind of the first answer (yes/no, choice, number, word, phrase, text, none).

    Columns: answer_kind and as by_source. Kinds that do not occur are left out.
    """
    bands = bands or store.bands
    asked = ask(store, scope, which, bands)
    frame = _grouped(asked, bands, "s.answer_kind")
    places = {kind: place for place, kind in enumerate(ANSWER_KINDS)}
    frame = frame.rename(columns={"key": "answer_kind"})
    return in_order(frame, [places[kind] for kind in frame["answer_kind"]])


def by_answer_length(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Scored samples by answer tokens, in steps that double: 1, 2, 3 to 4, 5 to 8 and so on.

    Columns: min_tokens, max_tokens and as by_source, ascending.
    """
    bands = bands or store.bands
    asked = ask(store, scope, which, bands)
    frame = _grouped(asked, bands, "(2 ** ceil(log2(s.n_answer_tokens)))::BIGINT")
    frame = frame[frame["n_scored"] > 0].astype({"key": "int64"})
    frame = frame.sort_values("key").reset_index(drop=True)
    frame.insert(0, "min_tokens", frame["key"] // 2 + 1)
    return frame.rename(columns={"key": "max_tokens"})


def by_turn(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> pd.DataFrame:
    """Per position among the answers of a conversation, for the samples under the filter.

    Columns: turn (0-based), n, mean_visnec, median_visnec, mean_loss_text, mean_loss_multimodal.
    Earlier answers leak the image into the text-only loss of later turns.
    """
    asked = ask(store, scope, which, bands)
    among = (_AMONG, asked.where, ")") if which else ()
    return asked.frame(
        """
        SELECT
            turn, count(*) AS n, avg(visnec) AS mean_visnec, median(visnec) AS median_visnec,
            avg(loss_text) AS mean_loss_text, avg(loss_multimodal) AS mean_loss_multimodal
        FROM turn_scores
        WHERE run_id = $run_id AND baseline = $baseline
        """,
        *among,
        "GROUP BY turn ORDER BY turn",
    )


def verdict_counts(
    store: Store, scope: Scope, which: Filter = EVERYTHING, bands: Bands | None = None
) -> dict[str, int]:
    """Samples under the filter by the verdict that holds: keep, drop, unsure, none."""
    asked = ask(store, scope, which, bands)
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


def _grouped(asked: Asked, bands: Bands, key: str, join: str = "") -> pd.DataFrame:
    rows = (key, "AS key FROM scores s", join)
    with_verdicts = "JOIN verdicts v ON v.row_idx = s.row_idx WHERE"
    query = (_GROUPED, *rows, "WHERE", asked.where, _DECIDED, *rows, with_verdicts, asked.where)
    return asked.frame(*query, _JOINED, low_limit=bands.low, high_limit=bands.high)
