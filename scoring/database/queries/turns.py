"""Scores of single turns over a whole run: what a turn-level export goes by."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from scoring.database.conditions import check_scope
from scoring.database.connection import Store
from scoring.database.values import Scope

_OUTSIDE = """
    SELECT t.row_idx, t.turn, p.n_turns
    FROM turn_scores t JOIN samples p ON p.row_idx = t.row_idx
    WHERE t.run_id = $run_id AND t.baseline = $baseline
        AND (t.visnec < $minimum OR t.visnec >= $maximum)
    ORDER BY t.row_idx, t.turn
"""


def turns_outside(
    store: Store, scope: Scope, minimum: float | None, maximum: float | None
) -> dict[str, NDArray[Any]]:
    """Answers whose own VisNec score lies under ``minimum`` or not under ``maximum``.

    Columns row_idx, turn (0-based among the answers) and n_turns (answers of that sample),
    ascending by the first two. Turns without a score are not among them.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    limits = {
        "minimum": float("-inf") if minimum is None else minimum,
        "maximum": float("inf") if maximum is None else maximum,
    }
    return snapshot.arrays(_OUTSIDE, {"run_id": scope.run_id, "baseline": scope.baseline, **limits})
