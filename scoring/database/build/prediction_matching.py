"""Fills the tables of predictions, with their matches with the reference answers.

Matches come from the parts. Only predictions that were never matched, or by an older version of the
measures, are compared here, from their texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from scoring.database.build.derive import FIRST_PART_WINS
from scoring.predictions import answer_match
from scoring.predictions.imported import to_evaluation_row
from scoring.predictions.records import match_prediction, to_prediction_row
from scoring.schemas import EVALUATION, PREDICTIONS

_BLOCK_ROWS = 100_000

_HAS_REPEATED = """
    SELECT count(*) <> count(DISTINCT row_idx)
    FROM read_parquet($files, hive_partitioning = false)
"""

# Columns that an older part lacks are NULL.
_INSERT = """
    INSERT INTO predictions BY NAME
    WITH parts AS (
        SELECT * EXCLUDE (run_id) FROM predictions WHERE false
        UNION ALL BY NAME
        FROM read_parquet(
            $files, hive_partitioning = false, union_by_name = true,
            filename = true, file_row_number = true
        )
    ),
    rows AS (SELECT * FROM parts {first_part_wins})
    SELECT $run_id AS run_id, rows.* EXCLUDE (filename, file_row_number) FROM rows
    WHERE row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx
"""

_UNMATCHED = """
    SELECT p.row_idx, p.prediction_text, p.prediction_multimodal, s.answer, s.question
    FROM predictions p JOIN samples s USING (row_idx)
    WHERE p.run_id = $run_id AND p.matched_by IS DISTINCT FROM $version
    ORDER BY p.row_idx LIMIT $limit
"""

_UPDATE = """
    UPDATE predictions SET
        exact_text = m.exact_text, letter_text = m.letter_text, f1_text = m.f1_text,
        exact_multimodal = m.exact_multimodal, letter_multimodal = m.letter_multimodal,
        f1_multimodal = m.f1_multimodal, matched_by = $version
    FROM new_matches m
    WHERE predictions.run_id = $run_id AND predictions.row_idx = m.row_idx
"""


def insert_predictions(con: duckdb.DuckDBPyConnection, run_id: str, files: Sequence[str]) -> None:
    """Fill the table ``predictions`` from the parts of one run, after ``samples``."""
    repeated = con.execute(_HAS_REPEATED, {"files": files}).fetchall()[0][0]
    insert = _INSERT.format(first_part_wins=FIRST_PART_WINS if repeated else "")
    con.execute(insert, {"run_id": run_id, "files": files})
    run = {"run_id": run_id, "version": answer_match.MATCH_VERSION}
    while rows := con.execute(_UNMATCHED, run | {"limit": _BLOCK_ROWS}).fetchall():
        matched = [
            to_prediction_row(
                match_prediction(row_idx, blind, seen, answer or "", question or ""), None
            )
            for row_idx, blind, seen, answer, question in rows
        ]
        con.register("new_matches", pa.Table.from_pylist(matched, PREDICTIONS))
        con.execute(_UPDATE, run)
        con.unregister("new_matches")


_INSERT_IMPORTED = """
    INSERT INTO imported_predictions BY NAME
    SELECT $model AS model, $sight AS sight, row_idx, prediction, exact, letter, f1
    FROM read_parquet($files, hive_partitioning = false)
    WHERE matched_by = $version AND row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx
"""
_OLDER_IMPORTED = """
    SELECT p.row_idx, p.prediction, s.answer, s.question
    FROM read_parquet($files, hive_partitioning = false) p JOIN samples s USING (row_idx)
    WHERE p.matched_by <> $version
    ORDER BY p.row_idx LIMIT $limit OFFSET $offset
"""
_ADD_IMPORTED = """
    INSERT INTO imported_predictions BY NAME
    SELECT $model AS model, $sight AS sight, * EXCLUDE (matched_by) FROM new_matches
"""


def insert_imported(
    con: duckdb.DuckDBPyConnection, model: str, sight: str, files: Sequence[str]
) -> None:
    """Fill ``imported_predictions`` with the predictions of one model with one sight."""
    about = {"model": model, "sight": sight}
    source = {"files": files, "version": answer_match.MATCH_VERSION}
    con.execute(_INSERT_IMPORTED, about | source)
    offset = 0
    page = source | {"limit": _BLOCK_ROWS}
    while rows := con.execute(_OLDER_IMPORTED, page | {"offset": offset}).fetchall():
        matched = [
            to_evaluation_row(row_idx, prediction, answer or "", question or "")
            for row_idx, prediction, answer, question in rows
        ]
        con.register("new_matches", pa.Table.from_pylist(matched, EVALUATION))
        con.execute(_ADD_IMPORTED, about)
        con.unregister("new_matches")
        offset += _BLOCK_ROWS
