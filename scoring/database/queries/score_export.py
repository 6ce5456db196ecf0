"""All samples with their scores, a block of rows at a time, for score files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
