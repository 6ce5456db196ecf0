"""Review queues: which samples a reviewer sees, in which order, and the chance of each.

A queue that is a random draw records each sample's sampling probability, so that shares among the
decisions can be projected to the dataset; an order by score is not a draw. A random order mixes the
row numbers with a seed, so that the same samples come in the same order on every machine and under
every filter. The first k samples of a random queue are a random draw
for any k, because few queues are ever finished.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scoring.database.conditions import compile_query, parse_other_scope
from scoring.database.connection import Selection, Snapshot
from scoring.database.queries.column_values import disagreements
from scoring.database.queries.compare import compare_scopes
from scoring.database.queries.sorted_keys import sort_by_column
from scoring.database.queries.suspects import suspects
from scoring.database.score_index.index import SOURCE, open_score_index
from scoring.errors import InputError
from scoring.necessity import CATEGORIES, Bands
from scoring.reviews.decision_log import STRATIFIED, Draw
from scoring.rules.ranking import random_numbers

ORDERS = (
    "lowest",
    "highest",
    "threshold:0.25",
    "random",
    STRATIFIED,
    "runs:RUN/BASELINE",
    "suspects",
    "suspects:COLUMN",
    "above:COLUMN",
    "below:COLUMN",
    "col:COLUMN",
    "-col:COLUMN",
    "conflicts",
    "reviewers",
    "rule:0.25",
    "row_idx",
)
"""The orders of a queue, as examples of how they are written."""

# What may come up in a queue; {reviewed} leaves out samples by who decided on them.
_SCORED = "SELECT * FROM matching WHERE visnec IS NOT NULL AND {reviewed}"
_ELIGIBLE = {  # all scored samples for the other orders
    "rule": """
        SELECT matching.*
        FROM matching JOIN final_decisions f ON f.row_idx = matching.row_idx
        WHERE {reviewed} AND (
            f.decision = 'keep' AND visnec < $threshold
            OR f.decision = 'drop' AND visnec >= $threshold
        )
    """,
    "conflicts": """
        SELECT * FROM matching
        WHERE {reviewed} AND row_idx IN (
            SELECT row_idx FROM decisions WHERE decision IS NOT NULL GROUP BY row_idx
            HAVING count_if(decision = 'keep') = count_if(decision = 'drop')
                OR bool_or(decision = 'unsure')
        )
    """,
    "reviewers": """
        SELECT * FROM matching
        WHERE {reviewed} AND row_idx IN (
            SELECT row_idx FROM decisions WHERE decision IS NOT NULL GROUP BY row_idx
            HAVING count(DISTINCT decision) > 1
        )
    """,
    "row_idx": "SELECT * FROM matching WHERE {reviewed}",
}
_SORTED_BY = {  # row_idx for the other orders
    "lowest": "visnec, row_idx",
    "highest": "visnec DESC, row_idx",
    "threshold": "abs(visnec - $threshold), row_idx",
    "rule": "abs(visnec - $threshold) DESC, row_idx",
}
_HIGHER_SIDES = {"above": "score", "below": "column"}
_COLUMN_ORDERS = {"col": False, "-col": True}  # whether descending


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """Samples in the order in which a reviewer sees them.

    ``probabilities`` are the chances of ``rows`` to be drawn, None where the order is not a random
    draw. A decision records ``name`` as its queue and ``draw`` as its draw. ``n_eligible`` samples
    could have been selected.
    """

    name: str
    rows: list[int]
    probabilities: list[float | None]
    n_eligible: int
    draw: str | None = None


def review_queue(
    selection: Selection,
    order: str,
    limit: int,
    seed: int = 0,
    undecided_by: str | None = None,
    decided_by: str | None = None,
) -> ReviewQueue:
    """Return the first samples of a review queue.

    Args:
        order: ``lowest``, ``highest`` and ``threshold:0.25`` (nearest to it first) take scored
            samples; ``random`` takes any; ``stratified`` takes about the same number of scored
            samples of every source and category, in a random order in which all of these advance
            together; ``runs:RUN/BASELINE`` those whose ranks differ most from another run's;
            ``above:COLUMN`` those that the score ranks highest above an imported column,
            ``below:COLUMN`` the reverse (see ``column_values.disagreements``);
            ``col:COLUMN`` those with the lowest values of an imported column first,
            ``-col:COLUMN`` those with the highest;
            ``suspects`` those whose reference answer may be wrong, ``suspects:COLUMN`` with a
            column that is high for good samples (see ``suspects``);
            ``conflicts`` those with equally many keep and drop, or with any unsure;
            ``reviewers`` those with different decisions; ``rule:0.25`` those whose decision
            disagrees with keeping ``visnec >= 0.25``, the furthest from it first; ``row_idx`` any
            in dataset order.
        undecided_by: Leave out what this reviewer has decided.
        decided_by: Leave out what this reviewer has not decided ("only mine").

    Raises:
        InputError: for another order.
    """
    name, _, argument = order.partition(":")
    takes_argument = {known.partition(":")[0]: ":" in known for known in ORDERS}
    is_optional = name == "suspects"
    if name not in takes_argument or (bool(argument) != takes_argument[name] and not is_optional):
        raise InputError(f"Unknown queue {order!r}. Choose one of: {', '.join(ORDERS)}.")
    if name in ("random", STRATIFIED):
        return _draw_queue(selection, name, limit, seed, undecided_by, decided_by)
    if name in ("runs", "suspects", *_HIGHER_SIDES, *_COLUMN_ORDERS):
        ordered, n_eligible = _order_rows(selection, name, argument)
        is_open = _is_open(ordered, selection.store.snapshot(), undecided_by, decided_by)
        rows: list[int] = ordered[is_open].tolist()[:limit]
    else:
        values: dict[str, Any] = {"undecided_by": undecided_by, "decided_by": decided_by}
        if argument:
            try:
                values["threshold"] = float(argument)
            except ValueError:
                raise InputError(f"{order} needs a number, such as {name}:0.25.") from None
        reviewed = ["true"]
        reviewed += [_UNDECIDED] if undecided_by is not None else []
        reviewed += [_DECIDED] if decided_by is not None else []
        eligible = _ELIGIBLE.get(name, _SCORED).format(reviewed=" AND ".join(reviewed))
        query, sorted_by = compile_query(selection), _SORTED_BY.get(name, "row_idx")
        first = query.fetch_rows(
            f"SELECT row_idx FROM ({eligible}) ORDER BY {sorted_by} LIMIT $limit",
            values | {"limit": limit},
        )
        rows = [row for (row,) in first]
        n_eligible = int(query.fetch_value(f"SELECT count(*) FROM ({eligible})", values))
    return ReviewQueue(order, rows, [None] * len(rows), n_eligible)


def _order_rows(selection: Selection, name: str, argument: str) -> tuple[NDArray[np.integer], int]:
    """Return the rows of a queue that is ordered in memory, and how many are eligible."""
    if name == "runs":
        comparison = compare_scopes(selection, parse_other_scope(selection.scope, argument))
        return comparison.furthest["row_idx"].to_numpy(), comparison.n_both
    if name == "suspects":
        suspected = suspects(selection, argument or None)["row_idx"].to_numpy()
        return suspected, len(suspected)
    if name in _HIGHER_SIDES:
        apart = disagreements(selection, argument, high=_HIGHER_SIDES[name])["row_idx"].to_numpy()
        return apart, len(apart)
    keys = sort_by_column(compile_query(selection), selection.scope, argument)
    ordered = keys.row_idx
    if _COLUMN_ORDERS[name]:  # equal values stay by ascending row_idx
        ordered = ordered[np.argsort(-keys.values, kind="stable")]
    return ordered, len(ordered)


_UNDECIDED = """matching.row_idx NOT IN (
    SELECT row_idx FROM decisions WHERE reviewer = $undecided_by AND decision IS NOT NULL
)"""
_DECIDED = """matching.row_idx IN (
    SELECT row_idx FROM decisions WHERE reviewer = $decided_by AND decision IS NOT NULL
)"""


def _draw_queue(
    selection: Selection,
    name: str,
    limit: int,
    seed: int,
    undecided_by: str | None,
    decided_by: str | None,
) -> ReviewQueue:
    """A random draw: from all samples, or from each stratum of the scored ones."""
    if name == STRATIFIED:
        index = open_score_index(selection)
        rows = index.row_idx
        strata = assign_strata(index.codes[SOURCE], index.visnec, selection.bands)
    else:
        rows = compile_query(selection).fetch_arrays("SELECT row_idx FROM matching")["row_idx"]
        strata = np.zeros(len(rows), np.int64)
    is_open = _is_open(rows, selection.store.snapshot(), undecided_by, decided_by)
    drawn = draw_rows(rows[is_open], strata[is_open], limit, seed % 2**32)
    draw = Draw(
        stratified=name == STRATIFIED,
        filter=str(selection.where),
        run_id=selection.scope.run_id,
        baseline=selection.scope.baseline,
        clustering_id=selection.scope.clustering_id,
        low=selection.bands.low,
        high=selection.bands.high,
    )
    return ReviewQueue(
        name=f"{name} seed {seed}",
        rows=[row for row, _ in drawn],
        probabilities=[probability for _, probability in drawn],
        n_eligible=int(is_open.sum()),
        draw=str(draw),
    )


def assign_strata(
    source: NDArray[np.integer], visnec: NDArray[np.float64], bands: Bands
) -> NDArray[np.int64]:
    """Return each sample's stratum: 3 times the number of its source, plus its category's code.

    Queues draw from these strata and labels are weighted by them; were they to differ, estimates
    would be biased. A sample without a score (of another run, which a draw was made by) counts as
    vision-critical.
    """
    codes = bands.category_codes(visnec)
    codes[codes < 0] = len(CATEGORIES) - 1
    return source.astype(np.int64) * len(CATEGORIES) + codes


def count_strata(strata: NDArray[np.int64]) -> dict[int, int]:
    """Return how many samples each occurring stratum has, ascending by stratum."""
    counts = np.bincount(strata)
    occurring = np.flatnonzero(counts)
    return dict(zip(occurring.tolist(), counts[occurring].tolist(), strict=True))


def draw_rows(
    rows: NDArray[np.integer], strata: NDArray[np.int64], limit: int, seed: int
) -> list[tuple[int, float]]:
    """Draw about the same number of rows from each stratum, with their probabilities.

    All strata advance together: after any number of rows each has had its share. Inside a stratum
    the order is that of ``rules.ranking.random_numbers``.
    """
    numbers = random_numbers(rows, seed)
    order = np.argsort(strata, kind="stable")
    sizes = count_strata(strata)
    # The first stratum of a round is random, so that it does not depend on the sizes.
    turns = random_numbers(np.fromiter(sizes, np.int64), seed).tolist()
    drawn: list[tuple[float, int, int, float]] = []
    begin = 0
    for size, quota, turn in zip(
        sizes.values(), _share_quotas(list(sizes.values()), limit), turns, strict=True
    ):
        members = order[begin : begin + size]
        begin += size
        if quota:
            first = members[np.argpartition(numbers[members], quota - 1)[:quota]]
            first = first[np.argsort(numbers[first], kind="stable")]
            drawn += [
                ((rank + 0.5) / quota, turn, int(rows[i]), quota / size)
                for rank, i in enumerate(first)
            ]
    return [(row, probability) for _, _, row, probability in sorted(drawn)]


def _share_quotas(sizes: list[int], limit: int) -> list[int]:
    """Return equal shares; what small strata cannot fill goes to the larger ones."""
    quotas = [0] * len(sizes)
    ascending = sorted(range(len(sizes)), key=lambda number: (sizes[number], number))
    remaining = min(limit, sum(sizes))
    for done, number in enumerate(ascending):
        quotas[number] = min(sizes[number], remaining // (len(sizes) - done))
        remaining -= quotas[number]
    return quotas


def _is_open(
    rows: NDArray[np.integer], snapshot: Snapshot, undecided_by: str | None, decided_by: str | None
) -> NDArray[np.bool_]:
    """Return whether a row is undecided by the first reviewer and decided by the second."""
    is_open = np.ones(len(rows), np.bool_)
    for reviewer, keeps in ((undecided_by, False), (decided_by, True)):
        if reviewer is not None:
            decided = snapshot.fetch_arrays(
                """
                SELECT row_idx FROM decisions
                WHERE reviewer = $reviewer AND decision IS NOT NULL
                """,
                {"reviewer": reviewer},
            )
            is_open &= np.isin(rows, decided["row_idx"]) == keeps
    return is_open
