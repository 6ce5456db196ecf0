"""Types of answers, by their text: answers of one type have losses of similar size."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

# Yes/no and A to E have caps near ln 2 and ln 4. The types are ``rules.candidates.ANSWER_KINDS``.
ANSWER_KIND = r"""
    CASE
        WHEN coalesce(trim(answer), '') = '' THEN 'none'
        WHEN regexp_full_match(answer, '(?i)\s*(yes|no)[.!]?\s*') THEN 'yes/no'
        WHEN regexp_full_match(answer, '(?i)\s*\(?[A-E]\)?[.:]?\s*') THEN 'choice'
        WHEN regexp_full_match(answer, '\s*[-+]?[0-9][0-9.,]*\s*%?\s*') THEN 'number'
        WHEN regexp_full_match(answer, '\s*\S+\s*') THEN 'word'
        WHEN regexp_full_match(answer, '\s*\S+(\s+\S+){1,4}\s*') THEN 'phrase'
        ELSE 'text'
    END
"""
"""The type of the column ``answer``."""


def classify_answers(answers: Sequence[str]) -> list[str]:
    """Return the type of each answer."""
    table = pa.table({"position": range(len(answers)), "answer": pa.array(answers, pa.string())})
    with duckdb.connect() as connection:
        connection.register("answers", table)
        statement = f"SELECT {ANSWER_KIND} FROM answers ORDER BY position"
        return [kind for (kind,) in connection.execute(statement).fetchall()]
