"""Scores of all samples and of single turns, for score files and exports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from scoring.columns.parts import ARROW_TYPES, INTEGER
from scoring.database.build.derive import VALUE_COLUMNS
from scoring.database.conditions import check_scope
from scoring.database.connection import Snapshot, Store
from scoring.database.values import Scope
from scoring.errors import InputError

SAMPLE_SCORES = pa.schema(
    [
        ("row_idx", pa.int64()),
        ("id", pa.string()),
        ("source", pa.string()),
        ("image_path", pa.string()),  # of the first image
        ("status", pa.string()),
        ("reason", pa.string()),
        ("loss_multimodal", pa.float64()),
        ("loss_text", pa.float64()),
        ("visnec", pa.float64()),
        ("n_answer_tokens", pa.int64()),
        ("n_end_tokens", pa.int64()),
        ("n_thought_tokens", pa.int64()),
        ("visnec_without_end", pa.float64()),
    ]
)
"""Columns of scores with one row per sample."""

TURN_SCORES = pa.schema(
    [
        *(field for field in SAMPLE_SCORES if field.name in SAMPLE_SCORES.names[:6]),
        ("turn", pa.int64()),  # 0-based position among the answers; null without a score
        ("loss_multimodal", pa.float64()),
        ("loss_text", pa.float64()),
        ("visnec", pa.float64()),
        ("n_answer_tokens", pa.int64()),
    ]
)
"""Columns of scores with one row per answer, and one for a sample without a score."""

_BLOCK_ROWS = 100_000

_SAMPLE_ROWS = """
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

_TURN_ROWS = """
    SELECT
        s.row_idx, p.id, p.source, regexp_replace(p.images[1], '^base=[0-9]+#', '') AS image_path,
        s.status, s.reason,
        t.turn, t.loss_multimodal, t.loss_text, t.visnec, t.n_answer_tokens
    FROM scores s JOIN samples p ON p.row_idx = s.row_idx
    LEFT JOIN (
        SELECT * FROM turn_scores
        WHERE run_id = $run_id AND baseline = $baseline
            AND row_idx >= $first_row AND row_idx < $end_row
    ) t ON t.row_idx = s.row_idx
    WHERE s.run_id = $run_id AND s.baseline = $baseline
        AND s.row_idx >= $first_row AND s.row_idx < $end_row
        AND p.row_idx >= $first_row AND p.row_idx < $end_row
    ORDER BY s.row_idx, t.turn
"""

_HAS_TURNS = """
    SELECT count(*) > 0 FROM (
        SELECT 1 FROM turn_scores WHERE run_id = $run_id AND baseline = $baseline LIMIT 1
    )
"""


_COLUMN_ROWS = """
    SELECT row_idx, turn, {value} FROM column_values
    WHERE name = $name AND row_idx >= $first_row AND row_idx < $end_row
    ORDER BY row_idx, turn
"""


def column_fields(store: Store, names: Sequence[str], per: str) -> list[pa.Field]:
    """Return the fields of imported columns, named ``col:NAME``. Raises InputError.

    A column with one value per answer is a list in rows per sample; a column with one value per
    sample is repeated in rows per answer.
    """
    rows = store.snapshot().fetch_rows("SELECT name, type, per FROM columns ORDER BY name")
    known = {name: (column_type, of == "turn") for name, column_type, of in rows}
    if missing := [name for name in names if name not in known]:
        raise InputError(
            f"No column {', '.join(map(repr, missing))}. Columns: "
            f"{', '.join(known) or 'none yet, run visnec import-columns'}."
        )
    fields = []
    for name in names:
        column_type, is_per_turn = known[name]
        kind = ARROW_TYPES[column_type]
        is_list = is_per_turn and per == "sample"
        metadata = {"type": column_type, "per": "turn" if is_per_turn else "sample"}
        fields.append(pa.field(f"col:{name}", pa.list_(kind) if is_list else kind, True, metadata))
    return fields


def _read_column(
    snapshot: Snapshot, field: pa.Field, per: str, block: dict[str, int]
) -> dict[Any, Any]:
    """Return the values of a column by row_idx, or by row_idx and turn in rows per answer."""
    column_type = field.metadata[b"type"].decode()
    query = _COLUMN_ROWS.format(value=VALUE_COLUMNS[column_type])
    values: dict[Any, Any] = {}
    name = field.name.removeprefix("col:")
    for row_idx, turn, value in snapshot.fetch_rows(query, block | {"name": name}):
        value = int(value) if column_type == INTEGER and value is not None else value
        if turn is None:
            values[row_idx] = value
        elif per == "turn":
            values[row_idx, turn] = value
        else:
            values.setdefault(row_idx, []).append(value)
    return values


def read_column_values(store: Store, field: pa.Field, rows: NDArray[np.int64]) -> pa.ChunkedArray:
    """Return the values of a column of ``column_fields`` for samples, null where there is none.

    ``rows`` are ascending.
    """
    snapshot, chunks = store.snapshot(), []
    for first in range(0, int(rows[-1]) + 1 if len(rows) else 0, _BLOCK_ROWS):
        block = {"first_row": first, "end_row": first + _BLOCK_ROWS}
        low, high = np.searchsorted(rows, list(block.values()))
        if low < high:
            values = _read_column(snapshot, field, "sample", block)
            chunks.append(
                pa.array([values.get(row) for row in rows[low:high].tolist()], field.type)
            )
    return pa.chunked_array(chunks, field.type)


def read_score_rows(
    store: Store, scope: Scope, per: str = "sample", columns: Sequence[pa.Field] = ()
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows of ``SAMPLE_SCORES`` or ``TURN_SCORES`` in dataset order, in bounded memory.

    ``columns`` are those of ``column_fields`` to append.

    Every sample is in them, with its status; missing values are None. Raises InputError for a run
    without scores per turn.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    values = {"run_id": scope.run_id, "baseline": scope.baseline}
    if per == "turn" and not snapshot.fetch_value(_HAS_TURNS, values):
        raise InputError(
            f"Run {scope.run_id!r} has no scores per turn: it has no score yet, or its scores were "
            "imported per sample. Export them per sample."
        )
    n_samples = snapshot.fetch_value("SELECT n_samples FROM build_info")
    query = _TURN_ROWS if per == "turn" else _SAMPLE_ROWS
    for first in range(0, n_samples, _BLOCK_ROWS):
        block = {"first_row": first, "end_row": first + _BLOCK_ROWS}
        rows = snapshot.fetch_rows(query, values | block)
        for field in columns:
            of_column = _read_column(snapshot, field, per, block)
            by_turn = per == "turn" and field.metadata[b"per"] == b"turn"
            turn = TURN_SCORES.names.index("turn")
            rows = [
                (*row, of_column.get((row[0], row[turn]) if by_turn else row[0])) for row in rows
            ]
        yield rows


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
