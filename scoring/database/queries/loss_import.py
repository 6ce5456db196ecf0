"""Match losses that another engine computed to the prompts they belong to, in a DuckDB file.

Every sample of the dataset ends as a row with a status. Losses are in nats per answer token, or the
mean over the answer tokens. DuckDB moves to disk what exceeds its memory limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from scoring.database.build.build import literal_paths
from scoring.errors import InputError, StorageError
from scoring.issues import ImportIssues

_EXAMPLES = 5
_SMALLEST_LOSS = -0.001  # nats: below it, the numbers are log probabilities

_CREATE = """
    CREATE TABLE losses (
        line BIGINT,  -- 1-based position among the rows of all files
        row_idx BIGINT,
        id VARCHAR,
        pass VARCHAR,
        losses DOUBLE[],  -- of each answer token
        logprobs DOUBLE[],
        loss DOUBLE,  -- mean over the answer tokens
        n_answer_tokens BIGINT,
        prompt_token_ids BIGINT[],
        n_prompt_tokens BIGINT,
        n_visual_tokens BIGINT,
        error VARCHAR
    )
"""

_INSERT_PARQUET = """
    INSERT INTO losses BY NAME
    SELECT
        $n_before + row_number() OVER () AS line,
        COLUMNS(lambda name: name IN (
            'row_idx', 'id', 'pass', 'losses', 'logprobs', 'loss', 'n_answer_tokens',
            'prompt_token_ids', 'n_prompt_tokens', 'n_visual_tokens', 'error'
        ))
    FROM read_parquet($path, hive_partitioning = false)
"""

_INSERT_CSV = """
    INSERT INTO losses BY NAME
    SELECT
        $n_before + row_number() OVER () AS line,
        COLUMNS('^(row_idx|id|pass|loss|n_(answer|prompt|visual)_tokens|error)$')
    FROM read_csv($path, header = true, all_varchar = true, hive_partitioning = false)
"""

_INSERT_JSON = """
    INSERT INTO losses BY NAME
    SELECT $n_before + row_number() OVER () AS line, *
    FROM read_json($path, format = 'auto', hive_partitioning = false, columns = {
        row_idx: 'BIGINT', id: 'VARCHAR', pass: 'VARCHAR', losses: 'DOUBLE[]',
        logprobs: 'DOUBLE[]', loss: 'DOUBLE', n_answer_tokens: 'BIGINT',
        prompt_token_ids: 'BIGINT[]', n_prompt_tokens: 'BIGINT', n_visual_tokens: 'BIGINT',
        error: 'VARCHAR'
    })
"""

_NEGATE_LOGPROBS = """
    UPDATE losses SET losses = list_transform(logprobs, lambda logprob: -logprob)
    WHERE logprobs IS NOT NULL
"""

_COUNT_NEGATIVE = """
    SELECT count(*) FROM losses WHERE least(list_min(losses), loss) < $smallest
"""

_CREATE_REPEATED = """
    CREATE TABLE repeated AS
    SELECT l.line
    FROM losses l JOIN (
        SELECT row_idx, pass, min(line) AS line FROM losses
        GROUP BY row_idx, pass HAVING count(*) > 1
    ) first_row ON l.row_idx = first_row.row_idx AND l.pass = first_row.pass
        AND l.line > first_row.line
"""

_CREATE_CHECKED = """
    CREATE TABLE checked AS
    SELECT
        p.row_idx, p.pass, p.answer_spans, p.answer_segments, p.answer_texts,
        p.n_visual_tokens, l.n_visual_tokens AS n_visual_read,
        l.losses, l.loss, l.error, len(p.token_ids) AS n_tokens, len(p.answer_ids) AS n_answers,
        coalesce(len(l.prompt_token_ids), l.n_prompt_tokens) AS n_read,
        coalesce(len(l.losses), l.n_answer_tokens) AS n_losses,
        CASE
            WHEN l.line IS NULL THEN 'absent'
            WHEN l.id <> p.id THEN 'other id'
            WHEN l.n_visual_tokens <> p.n_visual_tokens THEN 'other image'
            WHEN n_read <> n_tokens THEN 'other length'
            WHEN l.prompt_token_ids <> p.token_ids THEN 'other tokens'
            WHEN l.losses IS NULL AND l.loss IS NULL THEN 'no losses'
            WHEN n_losses <> n_answers THEN 'other answer'
            WHEN NOT isfinite(l.loss) OR list_bool_or(list_transform(
                l.losses, lambda loss: coalesce(NOT isfinite(loss), true)
            )) THEN 'not finite'
        END AS problem
    FROM read_parquet($prompts) p LEFT JOIN (FROM losses ANTI JOIN repeated USING (line)) l
        ON l.row_idx = p.row_idx AND l.pass = p.pass
"""

_CREATE_MATCHED = """
    CREATE TABLE matched AS
    WITH explained AS (
        SELECT
            *,
            CASE
                WHEN problem IN ('absent', 'other id', 'no losses') THEN 'pending'
                WHEN problem IN ('other image', 'other length') THEN 'placeholder_mismatch'
                WHEN problem IN ('other tokens', 'other answer') THEN 'token_mismatch'
                WHEN problem = 'not finite' THEN 'non_finite'
            END AS status,
            CASE problem
                WHEN 'absent' THEN 'the files have no row for its pass ' || pass
                WHEN 'other id' THEN 'the row of its pass ' || pass || ' has another id'
                WHEN 'no losses' THEN 'no loss for its pass ' || pass || coalesce(': ' || error, '')
                WHEN 'other image' THEN
                    'the engine read ' || n_visual_read || ' visual tokens of its pass ' || pass
                    || ' instead of ' || n_visual_tokens
                WHEN 'other length' THEN
                    'the engine read ' || n_read || ' tokens of its pass ' || pass || ' instead of '
                    || n_tokens || ': other visual or special tokens'
                WHEN 'other tokens' THEN 'the engine read other tokens of its pass ' || pass
                WHEN 'other answer' THEN
                    n_losses || ' losses of its pass ' || pass || ' for ' || n_answers
                    || ' answer tokens'
                WHEN 'not finite' THEN
                    'a loss of its pass ' || pass || ' is not a finite number'
            END AS reason
        FROM checked
    )
    SELECT
        s.row_idx,
        CASE
            WHEN u.status IS NOT NULL THEN u.status
            WHEN m.row_idx IS NULL THEN 'pending'
            ELSE coalesce(m.status, t.status, 'scored')
        END AS status,
        CASE
            WHEN u.status IS NOT NULL THEN u.reason
            WHEN m.row_idx IS NULL THEN 'its prompts were not exported'
            ELSE coalesce(m.reason, t.reason)
        END AS reason,
        m.answer_spans, m.answer_segments, m.answer_texts,
        m.losses AS losses_multimodal, t.losses AS losses_text,
        coalesce(list_avg(m.losses), m.loss) AS loss_multimodal,
        coalesce(list_avg(t.losses), t.loss) AS loss_text
    FROM range($n_samples) s(row_idx)
    LEFT JOIN (FROM explained WHERE pass = 'multimodal') m ON m.row_idx = s.row_idx
    LEFT JOIN (FROM explained WHERE pass = 'text') t ON t.row_idx = s.row_idx
    LEFT JOIN read_parquet($unscored) u ON u.row_idx = s.row_idx
"""

_COUNT_SCORED = "SELECT count(*) FROM matched WHERE status = 'scored'"

_SAMPLE_SCORED = """
    SELECT row_idx, loss_multimodal, loss_text FROM matched WHERE status = 'scored'
    ORDER BY hash(row_idx), row_idx LIMIT $n
"""


def _about(row_idx: int, name: str) -> str:
    return f"row {row_idx}, pass {name}"


_OF_CHECKED = "SELECT row_idx, pass FROM checked WHERE problem = $problem ORDER BY row_idx, pass"
_PROBLEMS = {
    "absent": "prompt without a row in the files",
    "other id": "another id",
    "no losses": "row without losses",
    "other image": "other number of visual tokens",
    "other length": "other number of visual or special tokens",
    "other tokens": "other prompt tokens",
    "other answer": "other number of losses than answer tokens",
    "not finite": "loss that is not a finite number",
}
_ISSUES: dict[str, tuple[str, Callable[..., str]]] = {
    "row_idx and pass repeated; the first row is used": (
        """
        SELECT row_idx, pass FROM losses SEMI JOIN repeated USING (line) ORDER BY line
        """,
        _about,
    ),
    "row without a prompt in the export": (
        """
        SELECT row_idx, pass FROM losses l
        WHERE NOT EXISTS (FROM checked c WHERE c.row_idx = l.row_idx AND c.pass = l.pass)
        ORDER BY line
        """,
        _about,
    ),
}


class LossMatcher:
    """A database in ``folder`` that matches files of losses to exported prompts.

    Use as a context manager: ``add_file`` for each, ``match_prompts``, then ``read_rows``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._n_rows = folder, 0
        settings: dict[str, str | bool | int | float | list[str]]
        settings = {"memory_limit": "1GB", "threads": 4, "temp_directory": str(folder / "spill")}
        self._con = duckdb.connect(str(folder / "losses.duckdb"), config=settings)
        self._con.execute("SET enable_progress_bar = false")  # it draws on stdout
        self._con.execute(_CREATE)

    def __enter__(self) -> LossMatcher:
        return self

    def __exit__(self, _: type[BaseException] | None, error: object, trace: object) -> None:
        self._con.close()
        if isinstance(error, duckdb.Error):
            raise StorageError(
                f"The losses could not be matched in {self._folder}: {error}. Nothing was "
                "imported. Free disk space and import them again."
            ) from error

    def add_file(self, path: Path, kind: str) -> int:
        """Read a file of kind CSV, JSON, JSON lines or Parquet; return its number of rows."""
        insert = {"CSV": _INSERT_CSV, "Parquet": _INSERT_PARQUET}.get(kind, _INSERT_JSON)
        values = {"path": literal_paths([path])[0], "n_before": self._n_rows}
        try:
            n_rows = int(self._con.execute(insert, values).fetchall()[0][0])
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise InputError(f"{path} cannot be read as {kind}: {error}") from error
        self._n_rows += n_rows
        return n_rows

    def match_prompts(
        self,
        prompts: Sequence[Path],
        unscored: Sequence[Path],
        n_samples: int,
        issues: ImportIssues,
    ) -> int:
        """Match the losses to the parts of an export; return how many samples have a score.

        ``issues`` receives the rows and prompts that have no partner or do not fit. Raises
        InputError for losses that are log probabilities.
        """
        self._con.execute(_NEGATE_LOGPROBS)
        smallest = {"smallest": _SMALLEST_LOSS}
        if n := self._con.execute(_COUNT_NEGATIVE, smallest).fetchall()[0][0]:
            raise InputError(
                f"{n:,} rows have a loss below 0. Losses are -log P in nats; log probabilities "
                "belong into a column logprobs."
            )
        self._con.execute(_CREATE_REPEATED)
        self._con.execute(_CREATE_CHECKED, {"prompts": literal_paths(prompts)})
        values = {"n_samples": n_samples, "unscored": literal_paths(unscored)}
        self._con.execute(_CREATE_MATCHED, values)
        for kind, (query, describe) in _ISSUES.items():
            self._add_issue(issues, kind, query, {}, describe)
        for problem, kind in _PROBLEMS.items():
            self._add_issue(issues, kind, _OF_CHECKED, {"problem": problem}, _about)
        return int(self._con.execute(_COUNT_SCORED).fetchall()[0][0])

    def read_rows(self, n_rows: int) -> Iterator[list[dict[str, Any]]]:
        """Yield one row per sample in dataset order, ``n_rows`` at a time.

        Each has row_idx, status, reason, answer_spans, answer_segments, answer_texts, the losses
        per answer token of both passes (None if only means are known) and their means.
        """
        relation = self._con.sql("FROM matched ORDER BY row_idx")
        for batch in relation.to_arrow_reader(n_rows):
            yield batch.to_pylist()

    def sample_scored(self, n: int) -> list[tuple[int, float, float]]:
        """Return row_idx, multimodal and text-only loss of ``n`` samples spread over the data."""
        return self._con.execute(_SAMPLE_SCORED, {"n": n}).fetchall()

    def _add_issue(
        self,
        issues: ImportIssues,
        kind: str,
        query: str,
        values: dict[str, str],
        describe: Callable[..., str],
    ) -> None:
        rows = self._con.sql(query, params=values)
        n = rows.count("*").fetchall()[0][0]
        examples = rows.limit(_EXAMPLES).fetchall() if n else []
        issues.add(kind, n, (describe(*row) for row in examples))
