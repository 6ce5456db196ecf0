"""Scores of all samples and of single turns, for score files and exports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from scoring.database.conditions import check_scope
from scoring.database.connection import Store
from scoring.database.values import Scope

SCORE_COLUMNS = (
    "row_idx",
    "id",
    "source",
    "image_path",
    "status",
    "reason",
    "loss_multimodal",
    "loss_text",
    "visnec",
    "n_answer_tokens",
    "n_end_tokens",
    "n_thought_tokens",
    "visnec_without_end",
)
_BLOCK_ROWS = 100_000

_ROWS = """
    SELECT
        s.row_idx, p.id, p.source, regexp_replace(p.images[1], '^base=[0-9]+#', '') AS image_path,
        s.status, s.reason,
        s.loss_multimodal, s.loss_text, s.visnec, s.n_answer_tokens, s.n_end_tokens,
        s.n_thought_tokens, s.visnec_without_end
    FROM scores s JOIN samples p ON p.row_idx = s.row_idx
    WHERE s.run_id = $run_id AND s.baseline = $baseline
        AND s.row_idx >= $first_row AND s.row_idx < $end_row
        AND p.row_idx >= $first_row AND p.row_idx < $end_row
    ORDER BY s.row_idx
"""


def read_score_rows(store: Store, scope: Scope) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows of ``SCORE_COLUMNS`` in dataset order, every sample once, in bounded memory.

    ``image_path`` is the first of a sample's images; missing values are None.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    n_samples = snapshot.fetch_value("SELECT n_samples FROM build_info")
    values = {"run_id": scope.run_id, "baseline": scope.baseline}
    for first in range(0, n_samples, _BLOCK_ROWS):
        block = {"first_row": first, "end_row": first + _BLOCK_ROWS}
        yield snapshot.fetch_rows(_ROWS, values | block)


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
