"""One sample in full: its scores, turns, predictions, decisions and the others on its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from scoring.errors import InputError
from scoring.store.conditions import check_scope
from scoring.store.store import Store
from scoring.store.values import SampleDetail, Scope

_MAX_NEIGHBOURS = 50

_SAMPLE = """
    SELECT
        p.row_idx, p.id, p.source, p.images, p.question, p.answer, p.n_turns, s.status, s.reason,
        c.cluster_id, n.name, coalesce(v.decision, 'none')
    FROM samples p
    JOIN scores s ON s.row_idx = p.row_idx AND s.run_id = $run_id AND s.baseline = $baseline
    LEFT JOIN clusters c ON c.row_idx = p.row_idx AND c.clustering_id = $clustering_id
    LEFT JOIN cluster_names n
        ON n.clustering_id = c.clustering_id AND n.cluster_id = c.cluster_id
    LEFT JOIN verdicts v ON v.row_idx = p.row_idx
    WHERE p.row_idx = $row_idx AND s.row_idx = $row_idx
"""

_SCORES = """
    SELECT
        s.baseline, s.status, s.reason, s.loss_text, s.loss_multimodal, s.visnec, s.visnec_stderr,
        s.n_answer_tokens, s.truncated
    FROM scores s JOIN runs r ON r.run_id = s.run_id AND r.baseline = s.baseline
    WHERE s.run_id = $run_id AND s.row_idx = $row_idx
    ORDER BY r.position
"""

_TURN_SCORES = """
    SELECT t.baseline, t.turn, t.loss_text, t.loss_multimodal, t.visnec, t.n_answer_tokens
    FROM turn_scores t JOIN runs r ON r.run_id = t.run_id AND r.baseline = t.baseline
    WHERE t.run_id = $run_id AND t.row_idx = $row_idx
    ORDER BY r.position, t.turn
"""

_PREDICTIONS = """
    SELECT
        p.run_id, r.model, p.prediction_text, p.prediction_multimodal, p.exact_text,
        p.letter_text, p.f1_text, p.exact_multimodal, p.letter_multimodal, p.f1_multimodal,
        p.reason, p.max_new_tokens
    FROM predictions p JOIN runs r ON r.run_id = p.run_id AND r.position = 0
    WHERE p.row_idx = $row_idx
    ORDER BY p.run_id <> $run_id, r.created_at, p.run_id
"""

_DECISIONS = """
    SELECT reviewer, decision, note, decided_at, event_id
    FROM decisions WHERE row_idx = $row_idx ORDER BY reviewer
"""

_PARTS_KEPT = """
    SELECT count(*) FROM duckdb_tables()
    WHERE database_name = 'built' AND table_name = 'token_parts'
"""
_PARTS_OF_SAMPLES = """
    SELECT row_idx, part FROM built.main.token_parts
    WHERE run_id = $run_id AND row_idx = ANY($rows)
"""
_VALUE_COLUMNS = {
    "turn": "token_turns",
    "text": "token_texts",
    "loss_text": "token_loss_text",
    "loss_multimodal": "token_loss_multimodal",
}

_ON_SAME_IMAGE = """
    WITH on_image AS (
        SELECT DISTINCT row_idx FROM sample_images
        WHERE row_idx <> $row_idx AND image_key IN (
            SELECT md5_number_lower(image)
            FROM (SELECT unnest(images) AS image FROM samples WHERE row_idx = $row_idx)
        )
    )
"""

_NEIGHBOURS = """
    , first AS (FROM on_image ORDER BY row_idx LIMIT $limit)
    SELECT
        p.row_idx, p.source, p.question, p.answer, s.visnec, s.status,
        coalesce(v.decision, 'none') AS decision
    FROM first
    JOIN samples p ON p.row_idx = first.row_idx
    JOIN (
        FROM scores WHERE run_id = $run_id AND baseline = $baseline
    ) s ON s.row_idx = first.row_idx
    LEFT JOIN verdicts v ON v.row_idx = first.row_idx
    ORDER BY p.row_idx
"""


def sample_detail(store: Store, scope: Scope, row_idx: int) -> SampleDetail:
    """All that the database knows about one sample. Raises InputError where there is no such one.

    The whole conversation and the original record are in the dataset: ``dataset.read_sample``.
    """
    reading = store.reading()
    check_scope(reading, scope)
    row: dict[str, Any] = {"row_idx": int(row_idx)}
    run = row | {"run_id": scope.run_id}
    one = run | {"baseline": scope.baseline}
    found = reading.rows(_SAMPLE, one | {"clustering_id": scope.clustering_id})
    if not found:
        n = reading.rows("SELECT count(*) FROM samples")[0][0]
        raise InputError(f"there is no sample {row_idx}; the dataset has rows 0 to {n - 1}")
    values = found[0]
    counting = "\n".join((_ON_SAME_IMAGE, "SELECT count(*) FROM on_image"))
    neighbours = "\n".join((_ON_SAME_IMAGE, _NEIGHBOURS))
    return SampleDetail(
        row_idx=values[0],
        id=values[1],
        source=values[2],
        images=tuple(values[3]),
        question=values[4],
        answer=values[5],
        n_turns=values[6],
        status=values[7],
        reason=values[8],
        cluster_id=values[9],
        cluster=values[10],
        decision=values[11],
        scores=reading.frame(_SCORES, run),
        turn_scores=reading.frame(_TURN_SCORES, run),
        predictions=reading.frame(_PREDICTIONS, run),
        decisions=reading.frame(_DECISIONS, row),
        neighbours=reading.frame(neighbours, one | {"limit": _MAX_NEIGHBOURS}),
        n_neighbours=reading.rows(counting, row)[0][0],
    )


def token_scores(store: Store, scope: Scope, row_idx: int) -> pd.DataFrame | None:
    """The answer tokens of one sample: turn, text (None where unknown), loss_text,
    loss_multimodal and visnec, in nats, in their order; None where the run keeps none of it.
    """
    return token_scores_of(store, scope, [row_idx]).get(row_idx)


def token_scores_of(store: Store, scope: Scope, rows: Sequence[int]) -> dict[int, pd.DataFrame]:
    """Row to :func:`token_scores`, for those of which the run keeps them.

    Read from the parts that hold the samples, each opened once: token values would outweigh all
    else in a database.
    """
    reading = store.reading()
    check_scope(reading, scope)
    if not reading.rows(_PARTS_KEPT)[0][0]:
        return {}
    parts: dict[str, list[int]] = {}
    which = {"run_id": scope.run_id, "rows": [int(row) for row in rows]}
    for row_idx, part in reading.rows(_PARTS_OF_SAMPLES, which):
        parts.setdefault(part, []).append(row_idx)
    found: dict[int, pd.DataFrame] = {}
    for part, inside in parts.items():
        path = store.workspace.run_dir(scope.run_id) / "scores" / part
        wanted = [("row_idx", "in", inside), ("baseline", "==", scope.baseline)]
        columns = ["row_idx", *_VALUE_COLUMNS.values()]
        for row in pq.read_table(path, columns=columns, filters=wanted).to_pylist():
            if row["token_turns"] is not None and row["row_idx"] not in found:
                frame = pd.DataFrame({name: row[column] for name, column in _VALUE_COLUMNS.items()})
                found[row["row_idx"]] = frame.assign(
                    visnec=frame["loss_text"] - frame["loss_multimodal"]
                )
    return found
