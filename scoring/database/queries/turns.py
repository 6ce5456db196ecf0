"""Scores of single turns over a whole run, for turn-level exports."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from scoring.database.conditions import check_scope
from scoring.database.connection import Store
from scoring.database.values import Scope


def turns_outside(
    store: Store, scope: Scope, minimum: float | None, maximum: float | None
) -> dict[str, NDArray[Any]]:
    """Return the answers whose own VisNec score is below ``minimum``, or ``maximum`` or above.

    Columns row_idx, turn (0-based among the answers) and n_turns (answers of that sample),
    ascending by the first two. Turns without a score are not included.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    return snapshot.fetch_arrays(
        """
        SELECT t.row_idx, t.turn, p.n_turns
        FROM turn_scores t JOIN samples p ON p.row_idx = t.row_idx
        WHERE t.run_id = $run_id AND t.baseline = $baseline
            AND (t.visnec < $minimum OR t.visnec >= $maximum)
        ORDER BY t.row_idx, t.turn
        """,
        {
            "run_id": scope.run_id,
            "baseline": scope.baseline,
            "minimum": -math.inf if minimum is None else minimum,
            "maximum": math.inf if maximum is None else maximum,
        },
    )
