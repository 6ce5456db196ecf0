"""Predictions into the database, with how they match the reference answers.

The one decision behind it: matches come from the parts, where they were derived once; only what
an older version of the measures judged, or nothing yet, is compared anew here, from the texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from scoring.database.build.derive import FIRST_PART_WINS
from scoring.predictions import answer_match
from scoring.predictions.imported import to_evaluation_row
from scoring.predictions.records import (
    match_prediction,
    to_prediction_row,
)
from scoring.schemas import EVALUATION, PREDICTIONS

_AT_ONCE = 100_000

_HAS_REPEATED = """
    SELECT count(*) <> count(DISTINCT row_idx)
    FROM read_parquet($files, hive_partitioning = false)
"""

# Parts may be older than a column; what they lack is NULL.
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
    rows AS (
        SELECT * FROM parts
"""
_INSERTED = """
    )
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
    """Fills the table ``predictions`` from the parts of one run; ``samples`` must be there."""
    repeated = con.execute(_HAS_REPEATED, {"files": files}).fetchall()[0][0]
    values = {"run_id": run_id, "files": files}
    con.execute("\n".join((_INSERT, FIRST_PART_WINS if repeated else "", _INSERTED)), values)
    _match_anew(con, run_id)


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
    """Fills ``imported_predictions`` with what one model answered with one sight."""
    about = {"model": model, "sight": sight}
    which = {"files": files, "version": answer_match.MATCH_VERSION}
    con.execute(_INSERT_IMPORTED, about | which)
    offset = 0
    page = which | {"limit": _AT_ONCE}
    while rows := con.execute(_OLDER_IMPORTED, page | {"offset": offset}).fetchall():
        matched = [
            to_evaluation_row(row_idx, prediction, answer or "", question or "")
            for row_idx, prediction, answer, question in rows
        ]
        con.register("new_matches", pa.Table.from_pylist(matched, EVALUATION))
        con.execute(_ADD_IMPORTED, about)
        con.unregister("new_matches")
        offset += _AT_ONCE


def _match_anew(con: duckdb.DuckDBPyConnection, run_id: str) -> None:
    which = {"run_id": run_id, "version": answer_match.MATCH_VERSION}
    page = which | {"limit": _AT_ONCE}
    while rows := con.execute(_UNMATCHED, page).fetchall():
        matched = [
            to_prediction_row(
                match_prediction(row_idx, blind, seeing, answer or "", question or ""), None
            )
            for row_idx, blind, seeing, answer, question in rows
        ]
        con.register("new_matches", pa.Table.from_pylist(matched, PREDICTIONS))
        con.execute(_UPDATE, which)
        con.unregister("new_matches")
