"""SQL that types the values of a file and matches its rows to samples."""

from __future__ import annotations

PREPARE = (
    "CREATE TABLE samples (row_idx BIGINT, id VARCHAR, images VARCHAR[], n_turns INTEGER)",
    """
    CREATE MACRO json_kind(value) AS CASE json_type(value)
        WHEN 'BIGINT' THEN 'integer' WHEN 'UBIGINT' THEN 'integer' WHEN 'DOUBLE' THEN 'number'
        WHEN 'VARCHAR' THEN 'text' WHEN 'BOOLEAN' THEN 'boolean' WHEN 'ARRAY' THEN 'list'
        WHEN 'OBJECT' THEN 'object'
    END
    """,
    # DuckDB alone would read "1_0" as a number.
    r"""
    CREATE MACRO cell_kind(value) AS CASE
        WHEN coalesce(value, '') = '' THEN NULL
        WHEN regexp_full_match(value, '[-+]?[0-9]+') THEN 'integer'
        WHEN try_cast(value AS DOUBLE) IS NOT NULL AND NOT contains(value, '_') THEN 'number'
        WHEN lower(value) IN ('true', 'false') THEN 'boolean'
        WHEN starts_with(value, '[') AND json_valid(value) THEN 'list'
        ELSE 'text'
    END
    """,
)

MATCH = {
    # Programs that store a missing row_idx as NaN write the others as 3.0.
    "row_idx": """
        CREATE TABLE named AS
        SELECT f.line, s.row_idx, f.id_text IS NOT NULL AND f.id_text <> s.id AS is_other
        FROM file_rows f JOIN samples s ON s.row_idx =
            CASE WHEN regexp_full_match(f.key_text, '[0-9]{1,18}([.]0)?')
                THEN split_part(f.key_text, '.', 1)::BIGINT
            END
    """,
    "id": """
        CREATE TABLE named AS
        SELECT f.line, s.row_idx, s.n > 1 AS is_other
        FROM file_rows f JOIN (
            SELECT id, min(row_idx) AS row_idx, count(*) AS n FROM samples GROUP BY id
        ) s ON s.id = f.key_text
    """,
    "image": """
        CREATE TABLE named AS
        SELECT line, row_idx, count(*) OVER (PARTITION BY row_idx) > 1 AS is_other
        FROM (
            SELECT DISTINCT f.line, s.row_idx
            FROM file_rows f JOIN (
                SELECT row_idx, regexp_replace(unnest(images), '^base=[0-9]+#', '') AS image
                FROM samples
            ) s ON s.image = f.key_text
        )
    """,
}
REPEATED = dict.fromkeys(
    ("row_idx", "id"),
    """
    SELECT count(*), 'row_idx ' || min(row_idx)
    FROM (SELECT row_idx FROM matched GROUP BY row_idx HAVING count(*) > 1)
    """,
) | {
    "image": """
        SELECT count(*), min(key_text)
        FROM (
            SELECT key_text FROM file_rows WHERE line IN (SELECT line FROM named)
            GROUP BY key_text HAVING count(*) > 1
        )
    """
}
IS_OTHER = {
    "row_idx": "id of another sample",
    "id": "id of several samples; give row_idx",
    "image": "sample with several images of the file",
}
