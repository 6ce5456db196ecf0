"""One sample in full: its scores, turns, predictions, decisions and the others on its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from scoring.database.conditions import check_scope
from scoring.database.connection import Store
from scoring.database.values import Record, SampleDetail, Scope
from scoring.errors import InputError

_MAX_NEIGHBOURS = 50

_WANTED = "WITH wanted AS (SELECT DISTINCT unnest($rows::BIGINT[]) AS row_idx)"

_SAMPLES = """
    SELECT
        p.row_idx, p.id, p.source, p.images, p.question, p.answer, p.n_turns, s.status, s.reason,
        c.cluster_id, n.name AS cluster, coalesce(v.decision, 'none') AS decision
    FROM wanted
    JOIN samples p ON p.row_idx = wanted.row_idx
    JOIN scores s
        ON s.row_idx = wanted.row_idx AND s.run_id = $run_id AND s.baseline = $baseline
    LEFT JOIN clusters c ON c.row_idx = wanted.row_idx AND c.clustering_id = $clustering_id
    LEFT JOIN cluster_names n
        ON n.clustering_id = c.clustering_id AND n.cluster_id = c.cluster_id
    LEFT JOIN verdicts v ON v.row_idx = wanted.row_idx
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

_DECISIONS = """
    SELECT d.row_idx AS of_row, d.reviewer, d.decision, d.note, d.decided_at, d.event_id
    FROM wanted JOIN decisions d ON d.row_idx = wanted.row_idx
    ORDER BY d.reviewer
"""

_ON_SAME_IMAGE = """
    , keys AS (
        SELECT DISTINCT row_idx AS of_row, md5_number_lower(image) AS image_key
        FROM (
            SELECT p.row_idx, unnest(p.images) AS image
            FROM wanted JOIN samples p ON p.row_idx = wanted.row_idx
        )
    ),
    on_image AS (
        SELECT DISTINCT keys.of_row, i.row_idx
        FROM keys JOIN sample_images i ON i.image_key = keys.image_key
        WHERE i.row_idx <> keys.of_row
    )
"""

_COUNTS = "SELECT of_row, count(*) FROM on_image GROUP BY of_row"

_NEIGHBOURS = """
    , first AS (
        FROM on_image
        QUALIFY row_number() OVER (PARTITION BY of_row ORDER BY row_idx) <= $limit
    )
    SELECT
        first.of_row, p.row_idx, p.source, p.question, p.answer, s.visnec, s.status,
        coalesce(v.decision, 'none') AS decision
    FROM first
    JOIN samples p ON p.row_idx = first.row_idx
    JOIN scores s ON s.row_idx = first.row_idx AND s.run_id = $run_id AND s.baseline = $baseline
    LEFT JOIN verdicts v ON v.row_idx = first.row_idx
    ORDER BY p.row_idx
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


def sample_detail(store: Store, scope: Scope, row_idx: int) -> SampleDetail:
    """All that the database knows about one sample. Raises InputError where there is no such one.

    The whole conversation and the original record are in the dataset: ``read_samples``.
    """
    return sample_details(store, scope, [row_idx])[int(row_idx)]


def sample_details(store: Store, scope: Scope, rows: Sequence[int]) -> dict[int, SampleDetail]:
    """Row to :func:`sample_detail`; many at once take hardly longer than one."""
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    wanted: dict[str, Any] = {"rows": [int(row) for row in rows]}
    run = wanted | {"run_id": scope.run_id}
    one = run | {"baseline": scope.baseline}

    def ask(query: str, values: Mapping[str, Any]) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for record in snapshot.records("\n".join((_WANTED, query)), values):
            found.setdefault(record.pop("of_row"), []).append(record)
        return found

    samples = snapshot.records(
        "\n".join((_WANTED, _SAMPLES)), one | {"clustering_id": scope.clustering_id}
    )
    if missing := set(wanted["rows"]) - {sample["row_idx"] for sample in samples}:
        n = snapshot.rows("SELECT count(*) FROM samples")[0][0]
        raise InputError(f"there is no sample {min(missing)}; the dataset has rows 0 to {n - 1}")
    scores, turn_scores = ask(_SCORES, run), ask(_TURN_SCORES, run)
    several = any(run_id != scope.run_id for run_id, _ in snapshot.scopes)
    other_runs = ask(_OTHER_RUNS, run) if several else {}
    predictions, decisions = ask(_PREDICTIONS, run), ask(_DECISIONS, wanted)
    nearest = "\n".join((_ON_SAME_IMAGE, _NEIGHBOURS))
    neighbours = ask(nearest, one | {"limit": _MAX_NEIGHBOURS})
    n_neighbours = dict(snapshot.rows("\n".join((_WANTED, _ON_SAME_IMAGE, _COUNTS)), wanted))
    details: dict[int, SampleDetail] = {}
    for sample in samples:
        row = sample["row_idx"]
        details[row] = SampleDetail(
            **(sample | {"images": tuple(sample["images"])}),
            scores=scores.get(row, []),
            other_runs=other_runs.get(row, []),
            turn_scores=turn_scores.get(row, []),
            predictions=predictions.get(row, []),
            decisions=decisions.get(row, []),
            neighbours=neighbours.get(row, []),
            n_neighbours=n_neighbours.get(row, 0),
        )
    return details


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
    snapshot = store.snapshot()
    check_scope(snapshot, scope)
    if not snapshot.rows(_PARTS_KEPT)[0][0]:
        return {}
    parts: dict[str, list[int]] = {}
    which = {"run_id": scope.run_id, "rows": [int(row) for row in rows]}
    for row_idx, part in snapshot.rows(_PARTS_OF_SAMPLES, which):
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
