"""Review queues: which samples come before a reviewer, in which order, and how likely each was.

A queue that is a random draw says so, with each sample's probability, so that shares among the
decisions can be carried over to the dataset; an order by score is no draw. The one decision behind
it: a random order is a fixed mixing of the row numbers by seed, so that the same samples come in
the same order on every machine and whatever the filter or the reviewer takes out; and the first k
of a random queue are a draw of their own kind for any k, because few queues are ever finished.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import compile_query, parse_other_scope
from scoring.database.connection import Snapshot, Store
from scoring.database.filters import Filter
from scoring.database.queries.compare import compare_scopes
from scoring.database.score_index.index import SOURCE, ScoreIndex, open_score_index
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.necessity import Bands, Category
from scoring.reviews.draws import STRATIFIED, Draw

ORDERS = (
    "lowest",
    "highest",
    "threshold:0.25",
    "random",
    STRATIFIED,
    "runs:RUN/BASELINE",
    "conflicts",
    "reviewers",
    "rule:0.25",
    "row_idx",
)
"""The orders of a queue, as examples of how they are written."""


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """Samples in the order in which they come up.

    ``probabilities`` runs beside ``rows``: the chance of being drawn, None where the order is no
    random draw. ``name`` is what a decision records as its queue, ``draw`` as its draw.
    ``n_eligible`` samples could have come up.
    """

    name: str
    rows: list[int]
    probabilities: list[float | None]
    n_eligible: int
    draw: str | None = None


def review_queue(
    store: Store,
    scope: Scope,
    which: Filter,
    order: str,
    limit: int,
    seed: int = 0,
    bands: Bands | None = None,
    undecided_by: str | None = None,
    decided_by: str | None = None,
) -> ReviewQueue:
    """The first samples of a review queue.

    ``order``: ``lowest``, ``highest`` and ``threshold:0.25`` (nearest to it first) take scored
    samples; ``random`` takes any; ``stratified`` takes about as many scored samples of every
    source and category, in a random order in which all of these advance together;
    ``runs:RUN/BASELINE`` those whose ranks differ most from another run's; ``conflicts`` those
    with as many keep as drop or somebody unsure; ``reviewers`` those that two reviewers decided
    differently; ``rule:0.25``
    those whose verdict goes against keeping ``visnec >= 0.25``, the furthest from it first;
    ``row_idx`` any in the order of the dataset. ``undecided_by`` leaves out what this reviewer
    has decided, ``decided_by`` ("only mine") what they have not. Raises InputError for another
    order.
    """
    name, _, at = order.partition(":")
    known = {one.partition(":")[0]: ":" in one for one in ORDERS}
    if name not in known or bool(at) != known[name]:
        raise InputError(f"{order!r} is no queue; use one of {', '.join(ORDERS)}")
    if name == STRATIFIED:
        hidden = _own(store.snapshot(), undecided_by), _own(store.snapshot(), decided_by)
        one = open_score_index(store, scope, which, bands)
        queue = _stratified(one, bands or store.bands, limit, seed, hidden)
        return replace(queue, draw=_draw(name, scope, which, bands or store.bands))
    asked = compile_query(store, scope, which, bands)
    if name == "runs":
        return _apart(store, scope, which, at, limit, bands, (undecided_by, decided_by))
    values: dict[str, Any] = {}
    if name in ("threshold", "rule"):
        values["threshold"] = _number(name, at)
    elif name == "random":
        values["seed"] = seed % 2**32
    clause, ordering = _QUEUES[name]
    own = _own_clauses(undecided_by, decided_by, values)
    matching = ("FROM scores s WHERE", asked.where, clause, own)
    rows = asked.rows(
        "SELECT s.row_idx", *matching, ordering, "LIMIT $limit", **values, limit=limit
    )
    counted = {key: value for key, value in values.items() if key not in ("seed",)}
    if name == "threshold":
        del counted["threshold"]
    eligible = int(asked.rows("SELECT count(*)", *matching, **counted)[0][0])
    chance = min(1.0, len(rows) / eligible) if name == "random" and rows else None
    label = f"{order} seed {seed}" if name == "random" else order
    draw = _draw(name, scope, which, bands or store.bands) if name == "random" else None
    return ReviewQueue(label, [row for (row,) in rows], [chance] * len(rows), eligible, draw)


def _draw(name: str, scope: Scope, which: Filter, bands: Bands) -> str:
    """What a random queue draws from, as its decisions record it."""
    return str(
        Draw(
            stratified=name == STRATIFIED,
            filter=str(which),
            run_id=scope.run_id,
            baseline=scope.baseline,
            clustering_id=scope.clustering_id,
            low=bands.low,
            high=bands.high,
        )
    )


def queue_rows(
    store: Store,
    scope: Scope,
    which: Filter,
    order: str,
    limit: int,
    seed: int = 0,
    bands: Bands | None = None,
    undecided_by: str | None = None,
) -> list[int]:
    """The rows of :func:`review_queue`."""
    return review_queue(store, scope, which, order, limit, seed, bands, undecided_by).rows


def _apart(
    store: Store,
    scope: Scope,
    which: Filter,
    other: str,
    limit: int,
    bands: Bands | None,
    reviewers: tuple[str | None, str | None],
) -> ReviewQueue:
    compared = compare_scopes(store, scope, parse_other_scope(scope, other), which, bands=bands)
    rows = compared.apart["row_idx"].to_numpy()
    undecided, decided = (_own(store.snapshot(), reviewer) for reviewer in reviewers)
    rows = rows[_open(rows, undecided, decided)]
    taken = [int(row) for row in rows[:limit]]
    return ReviewQueue(f"runs:{other}", taken, [None] * len(taken), compared.n_both)


def _stratified(
    one: ScoreIndex,
    bands: Bands,
    limit: int,
    seed: int,
    own: tuple[NDArray[np.int64] | None, NDArray[np.int64] | None],
) -> ReviewQueue:
    stratum = _strata(one, bands)
    rows = one.row_idx
    allowed = _open(rows, *own)
    if not allowed.all():
        rows, stratum = rows[allowed], stratum[allowed]
    place = mixed_order(rows, seed)
    order = np.argsort(stratum, kind="stable")
    numbers, counts = np.unique(stratum, return_counts=True)
    sizes = counts.tolist()
    turns = mixed_order(numbers, seed).tolist()  # who is first says nothing about its size
    taken: list[tuple[float, int, int, float]] = []
    begin = 0
    for size, quota, turn in zip(sizes, _quotas(sizes, limit), turns, strict=True):
        members = order[begin : begin + size]
        begin += size
        if quota:
            first = members[np.argpartition(place[members], quota - 1)[:quota]]
            first = first[np.argsort(place[first], kind="stable")]
            taken += [
                ((rank + 0.5) / quota, turn, int(rows[i]), quota / size)
                for rank, i in enumerate(first)
            ]
    taken.sort()
    name = f"{STRATIFIED} seed {seed}"
    return ReviewQueue(name, [one[2] for one in taken], [one[3] for one in taken], len(rows))


def _strata(one: ScoreIndex, bands: Bands) -> NDArray[np.int64]:
    """The number of every sample's stratum: three times its source's, plus its category's."""
    category = np.zeros(len(one), np.int64)
    for position in (one.position(bands.low), one.position(bands.high)):
        category[position:] += 1
    return one.codes[SOURCE].astype(np.int64) * len(Category) + category


def _quotas(sizes: list[int], limit: int) -> list[int]:
    """Equal shares as far as the strata go; what small ones leave, larger ones take."""
    quotas = [0] * len(sizes)
    open_strata = sorted(range(len(sizes)), key=lambda place: (sizes[place], place))
    left = min(limit, sum(sizes))
    while open_strata:
        place = open_strata.pop(0)
        quotas[place] = min(sizes[place], left // (len(open_strata) + 1))
        left -= quotas[place]
    return quotas


def mixed_order(rows: NDArray[Any], seed: int) -> NDArray[np.uint32]:
    """The place of each row in the random order of a seed; the same as the database's ``mixed``."""
    start = int(_mixed(np.array([seed % 2**32], np.uint32))[0])
    return _mixed(rows.astype(np.uint32) + np.uint32(start))


def _mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
        x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
        return x ^ (x >> np.uint32(16))


def _own(snapshot: Snapshot, reviewer: str | None) -> NDArray[np.int64] | None:
    """What a reviewer has decided; None without a reviewer."""
    if reviewer is None:
        return None
    rows = snapshot.rows(
        "SELECT row_idx FROM decisions WHERE reviewer = $reviewer AND decision IS NOT NULL",
        {"reviewer": reviewer},
    )
    return np.array([row for (row,) in rows], np.int64)


def _open(
    rows: NDArray[Any],
    undecided: NDArray[np.int64] | None,
    decided: NDArray[np.int64] | None,
) -> NDArray[np.bool_]:
    allowed = np.ones(len(rows), np.bool_)
    if undecided is not None and len(undecided):
        allowed &= ~np.isin(rows, undecided)
    if decided is not None:
        allowed &= np.isin(rows, decided)
    return allowed


def _own_clauses(undecided_by: str | None, decided_by: str | None, values: dict[str, Any]) -> str:
    clauses = []
    if undecided_by is not None:
        clauses.append(_UNDECIDED)
        values["undecided_by"] = undecided_by
    if decided_by is not None:
        clauses.append(_MINE)
        values["decided_by"] = decided_by
    return "\n".join(clauses)


_QUEUES = {
    "lowest": ("AND s.visnec IS NOT NULL", "ORDER BY s.visnec, s.row_idx"),
    "highest": ("AND s.visnec IS NOT NULL", "ORDER BY s.visnec DESC, s.row_idx"),
    "threshold": (
        "AND s.visnec IS NOT NULL",
        "ORDER BY abs(s.visnec - $threshold), s.row_idx",
    ),
    "rule": (
        """AND s.row_idx IN (
            SELECT v.row_idx FROM verdicts v JOIN (
                SELECT row_idx, visnec FROM scores
                WHERE run_id = $run_id AND baseline = $baseline AND visnec IS NOT NULL
            ) o ON o.row_idx = v.row_idx
            WHERE (v.decision = 'keep' AND o.visnec < $threshold)
                OR (v.decision = 'drop' AND o.visnec >= $threshold)
        )""",
        "ORDER BY abs(s.visnec - $threshold) DESC, s.row_idx",
    ),
    "conflicts": (
        """AND s.row_idx IN (
            SELECT row_idx FROM decisions WHERE decision IS NOT NULL GROUP BY row_idx
            HAVING count_if(decision = 'keep') = count_if(decision = 'drop')
                OR bool_or(decision = 'unsure')
        )""",
        "ORDER BY s.row_idx",
    ),
    "reviewers": (
        """AND s.row_idx IN (
            SELECT row_idx FROM decisions WHERE decision IS NOT NULL GROUP BY row_idx
            HAVING count(DISTINCT decision) > 1
        )""",
        "ORDER BY s.row_idx",
    ),
    "random": ("", "ORDER BY mixed(s.row_idx::UBIGINT + mixed($seed::UBIGINT)), s.row_idx"),
    "row_idx": ("", "ORDER BY s.row_idx"),
}
_UNDECIDED = """AND s.row_idx NOT IN (
    SELECT row_idx FROM decisions WHERE reviewer = $undecided_by AND decision IS NOT NULL
)"""
_MINE = """AND s.row_idx IN (
    SELECT row_idx FROM decisions WHERE reviewer = $decided_by AND decision IS NOT NULL
)"""


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{name}:{text} needs a number, such as {name}:0.25") from None
