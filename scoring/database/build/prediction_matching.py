"""Fills the tables of predictions, with their matches with the reference answers.

Matches come from the parts. Only predictions that were never matched, or by an older version of the
measures, are compared here, from their texts.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from scoring.predictions import answer_match
from scoring.predictions.imported import to_evaluation_row
from scoring.predictions.records import match_prediction, to_prediction_row
from scoring.schemas import EVALUATION, TURN_PREDICTIONS

_BLOCK_ROWS = 100_000

_HAS_REPEATED = """
    SELECT count(*) <> count(DISTINCT {key})
    FROM read_parquet($files, hive_partitioning = false)
"""

# Goes into {first_part_wins} where an answer was predicted twice: the first part by name wins.
_FIRST_PART_WINS = """
    QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY filename, file_row_number) = 1
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

# The questions and reference answers of later turns are in the dataset only.
_CONVERSATIONS = """
    conversations AS (
        SELECT
            row_idx, turns,
            [i FOR i IN range(1, len(turns) + 1) IF turns[i].role = 'assistant'] AS answers
        FROM read_parquet($dataset, hive_partitioning = false)
        WHERE row_idx IN (SELECT row_idx FROM rows)
    )
"""
_EXCHANGE = """
    trim(turns[answers[rows.turn + 1] - 1].text, $white_space) AS question,
    trim(turns[answers[rows.turn + 1]].text, $white_space) AS answer
"""
_INSERT_TURNS = f"""
    INSERT INTO turn_predictions BY NAME
    WITH parts AS (
        FROM read_parquet(
            $files, hive_partitioning = false, union_by_name = true,
            filename = true, file_row_number = true
        )
    ),
    rows AS (SELECT * FROM parts {{first_part_wins}}),
    {_CONVERSATIONS}
    SELECT $run_id AS run_id, rows.* EXCLUDE (filename, file_row_number), {_EXCHANGE}
    FROM rows JOIN conversations USING (row_idx)
    ORDER BY row_idx, turn
"""

_UNMATCHED = """
    SELECT p.row_idx, p.prediction_text, p.prediction_multimodal, s.answer, s.question, 0
    FROM predictions p JOIN samples s USING (row_idx)
    WHERE p.run_id = $run_id AND p.matched_by IS DISTINCT FROM $version
    ORDER BY p.row_idx LIMIT $limit
"""
_UNMATCHED_TURNS = """
    SELECT row_idx, prediction_text, prediction_multimodal, answer, question, turn
    FROM turn_predictions
    WHERE run_id = $run_id AND matched_by IS DISTINCT FROM $version
    ORDER BY row_idx, turn LIMIT $limit
"""

_SET_MATCHES = """
    SET
        exact_text = m.exact_text, letter_text = m.letter_text, f1_text = m.f1_text,
        exact_multimodal = m.exact_multimodal, letter_multimodal = m.letter_multimodal,
        f1_multimodal = m.f1_multimodal, matched_by = $version
    FROM new_matches m
"""
_UPDATE = f"""
    UPDATE predictions p {_SET_MATCHES}
    WHERE p.run_id = $run_id AND p.row_idx = m.row_idx
"""
_UPDATE_TURNS = f"""
    UPDATE turn_predictions p {_SET_MATCHES}
    WHERE p.run_id = $run_id AND p.row_idx = m.row_idx AND p.turn = m.turn
"""


def insert_predictions(con: duckdb.DuckDBPyConnection, run_id: str, files: Sequence[str]) -> None:
    """Fill the table ``predictions`` from the parts of one run, after ``samples``."""
    insert = _INSERT.format(first_part_wins=_resolve_repeated(con, files, "row_idx"))
    con.execute(insert, {"run_id": run_id, "files": files})
    _match_again(con, run_id, _UNMATCHED, _UPDATE)


def insert_turn_predictions(
    con: duckdb.DuckDBPyConnection, run_id: str, files: Sequence[str], dataset: Sequence[str]
) -> None:
    """Fill ``turn_predictions`` from the parts of one run and those of the dataset."""
    insert = _INSERT_TURNS.format(first_part_wins=_resolve_repeated(con, files, "(row_idx, turn)"))
    values = {"files": files, "dataset": dataset, "white_space": string.whitespace}
    con.execute(insert, values | {"run_id": run_id})
    _match_again(con, run_id, _UNMATCHED_TURNS, _UPDATE_TURNS)


def _resolve_repeated(con: duckdb.DuckDBPyConnection, files: Sequence[str], key: str) -> str:
    """Return the clause that keeps one row per key, if it is needed."""
    repeated = con.execute(_HAS_REPEATED.format(key=key), {"files": files}).fetchall()[0][0]
    return _FIRST_PART_WINS.format(key=key) if repeated else ""


def _match_again(con: duckdb.DuckDBPyConnection, run_id: str, unmatched: str, update: str) -> None:
    """Compare predictions that this version of the measures has not matched."""
    run = {"run_id": run_id, "version": answer_match.MATCH_VERSION}
    while rows := con.execute(unmatched, run | {"limit": _BLOCK_ROWS}).fetchall():
        matched = [
            to_prediction_row(
                match_prediction(row_idx, blind, seen, answer or "", question or "", turn=turn),
                None,
            )
            for row_idx, blind, seen, answer, question, turn in rows
        ]
        con.register("new_matches", pa.Table.from_pylist(matched, TURN_PREDICTIONS))
        con.execute(update, run)
        con.unregister("new_matches")


# Files of earlier versions have no turn: their predictions are about first answers.
_IMPORTED = """
    SELECT * REPLACE (coalesce(turn, 0) AS turn) FROM (
        SELECT NULL::INTEGER AS turn WHERE false
        UNION ALL BY NAME FROM read_parquet($files, hive_partitioning = false)
    )
"""
_INSERT_IMPORTED = f"""
    INSERT INTO imported_predictions BY NAME
    SELECT $model AS model, $sight AS sight, row_idx, prediction, exact, letter, f1
    FROM ({_IMPORTED})
    WHERE turn = 0 AND matched_by = $version AND row_idx IN (SELECT row_idx FROM samples)
    ORDER BY row_idx
"""
_OLDER_IMPORTED = f"""
    SELECT p.row_idx, p.prediction, s.answer, s.question
    FROM ({_IMPORTED}) p JOIN samples s USING (row_idx)
    WHERE p.turn = 0 AND p.matched_by <> $version
    ORDER BY p.row_idx LIMIT $limit OFFSET $offset
"""
_ADD_IMPORTED = """
    INSERT INTO imported_predictions BY NAME
    SELECT $model AS model, $sight AS sight, * EXCLUDE (matched_by, turn) FROM new_matches
"""
_HAS_IMPORTED_TURNS = f"SELECT count(*) > 0 FROM ({_IMPORTED}) WHERE turn > 0"
_INSERT_IMPORTED_TURNS = f"""
    INSERT INTO imported_turn_predictions BY NAME
    WITH rows AS (FROM ({_IMPORTED}) WHERE turn > 0),
    {_CONVERSATIONS}
    SELECT $model AS model, $sight AS sight, rows.*, {_EXCHANGE}
    FROM rows JOIN conversations USING (row_idx)
    WHERE rows.turn < len(answers)
    ORDER BY row_idx, turn
"""
_OLDER_IMPORTED_TURNS = """
    SELECT row_idx, prediction, answer, question, turn FROM imported_turn_predictions
    WHERE model = $model AND sight = $sight AND matched_by <> $version
    ORDER BY row_idx, turn LIMIT $limit
"""
_UPDATE_IMPORTED_TURNS = """
    UPDATE imported_turn_predictions p
    SET exact = m.exact, letter = m.letter, f1 = m.f1, matched_by = m.matched_by
    FROM new_matches m
    WHERE p.model = $model AND p.sight = $sight AND p.row_idx = m.row_idx AND p.turn = m.turn
"""


def insert_imported(
    con: duckdb.DuckDBPyConnection,
    model: str,
    sight: str,
    files: Sequence[str],
    dataset: Sequence[str],
) -> None:
    """Fill the tables of imported predictions with those of one model with one sight."""
    about = {"model": model, "sight": sight}
    source = {"files": files, "version": answer_match.MATCH_VERSION}
    con.execute(_INSERT_IMPORTED, about | source)
    offset = 0
    page = source | {"limit": _BLOCK_ROWS}
    while rows := con.execute(_OLDER_IMPORTED, page | {"offset": offset}).fetchall():
        _execute_on_matches(con, rows, _ADD_IMPORTED, about)
        offset += _BLOCK_ROWS
    if not con.execute(_HAS_IMPORTED_TURNS, {"files": files}).fetchall()[0][0]:
        return
    values = {"files": files, "dataset": dataset, "white_space": string.whitespace}
    con.execute(_INSERT_IMPORTED_TURNS, about | values)
    page = about | {"version": answer_match.MATCH_VERSION, "limit": _BLOCK_ROWS}
    while rows := con.execute(_OLDER_IMPORTED_TURNS, page).fetchall():
        _execute_on_matches(con, rows, _UPDATE_IMPORTED_TURNS, about)


def _execute_on_matches(
    con: duckdb.DuckDBPyConnection,
    rows: Sequence[tuple[Any, ...]],
    statement: str,
    about: dict[str, str],
) -> None:
    """Match rows of row_idx, prediction, answer, question and turn; execute on ``new_matches``."""
    matched = [
        to_evaluation_row(row_idx, prediction, answer or "", question or "", *turn)
        for row_idx, prediction, answer, question, *turn in rows
    ]
    con.register("new_matches", pa.Table.from_pylist(matched, EVALUATION))
    con.execute(statement, about)
    con.unregister("new_matches")
