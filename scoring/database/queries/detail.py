"""One sample in full: its scores, turns, predictions, decisions and others on its image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from scoring.database.conditions import check_scope
from scoring.database.connection import Store
from scoring.database.values import Record, SampleDetail, Scope
from scoring.errors import InputError

_MAX_NEIGHBOURS = 50

# Goes before each statement.
_WANTED = "WITH wanted AS (SELECT DISTINCT unnest($rows::BIGINT[]) AS row_idx)"

# Each table is a list of rows per sample, in ``of_row``.
_SAMPLES = """
    SELECT
        p.row_idx, p.id, p.source, p.images, p.question, p.answer, p.n_turns, s.status, s.reason,
        c.cluster_id, n.name AS cluster, coalesce(f.decision, 'none') AS decision
    FROM wanted
    JOIN samples p ON p.row_idx = wanted.row_idx
    JOIN scores s
        ON s.row_idx = wanted.row_idx AND s.run_id = $run_id AND s.baseline = $baseline
    LEFT JOIN clusters c ON c.row_idx = wanted.row_idx AND c.clustering_id = $clustering_id
    LEFT JOIN cluster_names n
        ON n.clustering_id = c.clustering_id AND n.cluster_id = c.cluster_id
    LEFT JOIN final_decisions f ON f.row_idx = wanted.row_idx
"""
_SCORES = """
    SELECT
        s.row_idx AS of_row, s.baseline, s.status, s.reason, s.loss_text, s.loss_multimodal,
        s.visnec, s.n_answer_tokens, s.truncated, s.end_loss_text_sum,
        s.end_loss_multimodal_sum, s.n_end_tokens, s.thought_loss_text_sum,
        s.thought_loss_multimodal_sum, s.n_thought_tokens, s.visnec_without_end
    FROM wanted
    JOIN scores s ON s.row_idx = wanted.row_idx AND s.run_id = $run_id
    JOIN runs r ON r.run_id = s.run_id AND r.baseline = s.baseline
    ORDER BY r.position
"""
_OTHER_RUNS = """
    SELECT s.row_idx AS of_row, s.run_id, s.baseline, s.visnec
    FROM wanted
    JOIN scores s ON s.row_idx = wanted.row_idx AND s.run_id <> $run_id AND s.visnec IS NOT NULL
    JOIN runs r ON r.run_id = s.run_id AND r.baseline = s.baseline
    ORDER BY r.created_at, r.run_id, r.position
"""
_TURN_SCORES = """
    SELECT
        t.row_idx AS of_row, t.baseline, t.turn, t.loss_text, t.loss_multimodal, t.visnec,
        t.n_answer_tokens
    FROM wanted
    JOIN turn_scores t ON t.row_idx = wanted.row_idx AND t.run_id = $run_id
    JOIN runs r ON r.run_id = t.run_id AND r.baseline = t.baseline
    ORDER BY r.position, t.turn
"""
_PREDICTIONS = """
    SELECT
        p.row_idx AS of_row, p.run_id, r.model, p.prediction_text, p.prediction_multimodal,
        p.exact_text, p.letter_text, p.f1_text, p.exact_multimodal, p.letter_multimodal,
        p.f1_multimodal, p.reason, p.max_new_tokens
    FROM wanted
    JOIN predictions p ON p.row_idx = wanted.row_idx
    JOIN runs r ON r.run_id = p.run_id AND r.position = 0
    ORDER BY p.run_id <> $run_id, r.created_at, p.run_id
"""
_TURN_PREDICTIONS = """
    SELECT
        p.row_idx AS of_row, p.run_id, r.model, p.turn, p.answer, p.prediction_text,
        p.prediction_multimodal, p.exact_text, p.letter_text, p.f1_text, p.exact_multimodal,
        p.letter_multimodal, p.f1_multimodal, p.reason, p.max_new_tokens
    FROM wanted
    JOIN turn_predictions p ON p.row_idx = wanted.row_idx
    JOIN runs r ON r.run_id = p.run_id AND r.position = 0
    ORDER BY p.run_id <> $run_id, r.created_at, p.run_id, p.turn
"""
_IMAGE_LOSSES = """
    SELECT i.row_idx AS of_row, i.image, i.visnec, i.loss_without, i.reason
    FROM wanted
    JOIN image_losses i ON i.row_idx = wanted.row_idx AND i.run_id = $run_id
    ORDER BY i.image
"""
_DECISIONS = """
    SELECT row_idx AS of_row, reviewer, decision, note, decided_at, event_id
    FROM decisions WHERE row_idx = ANY($rows::BIGINT[])
    ORDER BY reviewer
"""
# At most $limit samples on one of a sample's images, and how many there are.
_NEIGHBOURS = """
, keys AS (
        SELECT DISTINCT i.of_row, coalesce(c.image_key, i.path_key) AS image_key
        FROM (
            SELECT of_row, md5_number_lower(image) AS path_key
            FROM (
                SELECT p.row_idx AS of_row, unnest(p.images) AS image
                FROM wanted JOIN samples p ON p.row_idx = wanted.row_idx
            )
        ) i
        LEFT JOIN image_copies c USING (path_key)
    ),
    on_image AS (
        SELECT DISTINCT keys.of_row, i.row_idx
        FROM keys JOIN sample_images i ON i.image_key = keys.image_key
        WHERE i.row_idx <> keys.of_row
    ),
    nearest AS (
        SELECT *, count(*) OVER (PARTITION BY of_row) AS n_neighbours
        FROM on_image
        QUALIFY row_number() OVER (PARTITION BY of_row ORDER BY row_idx) <= $limit
    )
    SELECT
        nearest.of_row, nearest.n_neighbours, p.row_idx, p.source, p.question, p.answer, s.visnec,
        s.status, coalesce(f.decision, 'none') AS decision
    FROM nearest
    JOIN samples p ON p.row_idx = nearest.row_idx
    JOIN scores s ON s.row_idx = nearest.row_idx AND s.run_id = $run_id AND s.baseline = $baseline
    LEFT JOIN final_decisions f ON f.row_idx = nearest.row_idx
    ORDER BY p.row_idx
"""
_LISTS = {
    "scores": _SCORES,
    "other_runs": _OTHER_RUNS,
    "turn_scores": _TURN_SCORES,
    "image_losses": _IMAGE_LOSSES,
    "predictions": _PREDICTIONS,
    "turn_predictions": _TURN_PREDICTIONS,
    "decisions": _DECISIONS,
    "neighbours": _NEIGHBOURS,
}
_TABLE_OF_PARTS = """
    SELECT count(*) FROM duckdb_tables()
    WHERE database_name = 'built' AND table_name = 'token_parts'
"""
_PARTS = """
    SELECT row_idx, part FROM built.main.token_parts
    WHERE run_id = $run_id AND row_idx = ANY($rows)
"""
_TOKEN_COLUMNS = {
    "turn": "token_turns",
    "text": "token_texts",
    "loss_text": "token_loss_text",
    "loss_multimodal": "token_loss_multimodal",
}


def sample_detail(store: Store, scope: Scope, row_idx: int) -> SampleDetail:
    """Return all that the database has about one sample. Raises InputError for an unknown row.

    The whole conversation and the original record are in the dataset: ``read_samples``.
    """
    return sample_details(store, scope, [row_idx])[int(row_idx)]


def sample_details(store: Store, scope: Scope, rows: Sequence[int]) -> dict[int, SampleDetail]:
    """Return :func:`sample_detail` by row, for many rows in about the time of one."""
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    values: dict[str, Any] = {
        "rows": [int(row) for row in rows],
        "run_id": scope.run_id,
        "baseline": scope.baseline,
        "clustering_id": scope.clustering_id,
        "limit": _MAX_NEIGHBOURS,
    }
    samples = snapshot.fetch_records(_WANTED + _SAMPLES, values)
    if missing := set(values["rows"]) - {sample["row_idx"] for sample in samples}:
        n = snapshot.fetch_value("SELECT n_samples FROM build_info")
        raise InputError(f"There is no sample {min(missing)}. The dataset has rows 0 to {n - 1}.")
    has_other_runs = any(run_id != scope.run_id for run_id, _ in snapshot.scopes)
    lists: dict[str, dict[int, list[Record]]] = {}
    for name, statement in _LISTS.items():
        of_row = lists[name] = {}
        if name != "other_runs" or has_other_runs:
            for record in snapshot.fetch_records(_WANTED + statement, values):
                of_row.setdefault(record.pop("of_row"), []).append(record)
    details: dict[int, SampleDetail] = {}
    for sample in samples:
        row_idx = sample["row_idx"]
        of_sample: dict[str, Any] = {
            name: records.get(row_idx, []) for name, records in lists.items()
        }
        counts = [neighbour.pop("n_neighbours") for neighbour in of_sample["neighbours"]]
        details[row_idx] = SampleDetail(
            **(sample | {"images": tuple(sample["images"])}),
            **of_sample,
            n_neighbours=counts[0] if counts else 0,
        )
    return details


def fetch_predictions(store: Store, run_id: str, row_idx: int) -> dict[int, str]:
    """Return a run's multimodal predictions of a sample by answer, numbered from 0."""
    rows = store.snapshot().fetch_rows(
        """
        SELECT 0 AS turn, prediction_multimodal FROM predictions
        WHERE run_id = $run_id AND row_idx = $row_idx
        UNION ALL
        SELECT turn, prediction_multimodal FROM turn_predictions
        WHERE run_id = $run_id AND row_idx = $row_idx
        """,
        {"run_id": run_id, "row_idx": row_idx},
    )
    return {int(turn): text for turn, text in rows if text is not None}


def token_scores(store: Store, scope: Scope, row_idx: int) -> pd.DataFrame | None:
    """Return the answer tokens of one sample in their order; None where the run kept none.

    Columns: turn, text (None where unknown), loss_text, loss_multimodal and visnec, in nats.
    """
    return token_scores_of(store, scope, [row_idx]).get(row_idx)


def token_scores_of(store: Store, scope: Scope, rows: Sequence[int]) -> dict[int, pd.DataFrame]:
    """Return :func:`token_scores` by row, where the run kept them.

    Read from the parts, each opened once: token values would make up most of a database.
    """
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    if not snapshot.fetch_value(_TABLE_OF_PARTS):
        return {}
    parts: dict[str, list[int]] = {}
    values = {"run_id": scope.run_id, "rows": [int(row) for row in rows]}
    for row_idx, part in snapshot.fetch_rows(_PARTS, values):
        parts.setdefault(part, []).append(row_idx)
    frames: dict[int, pd.DataFrame] = {}
    for part, rows_in_part in parts.items():
        table = pq.read_table(
            store.workspace.run_dir(scope.run_id) / "scores" / part,
            columns=["row_idx", *_TOKEN_COLUMNS.values()],
            filters=[("row_idx", "in", rows_in_part), ("baseline", "==", scope.baseline)],
        )
        for row in table.to_pylist():
            if row["token_turns"] is not None and row["row_idx"] not in frames:
                frame = pd.DataFrame({name: row[column] for name, column in _TOKEN_COLUMNS.items()})
                frames[row["row_idx"]] = frame.assign(
                    visnec=frame["loss_text"] - frame["loss_multimodal"]
                )
    return frames
