"""Match the rows of a score file to the samples of a dataset, in a DuckDB file of its own.

A row is used only where neither its id nor its image contradicts the sample. Every other row is
counted as an issue, and its sample keeps a status with a reason. DuckDB moves to disk what exceeds
its memory limit. Losses and scores are in nats per answer token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from scoring.errors import StorageError
from scoring.issues import ImportIssues
from scoring.samples import Status
from scoring.schemas import IMPORTED_SCORES

TOLERANCE = 1e-5  # nats: three numbers of six decimals differ by less from rounding alone
_OF_DATASET = (Status.TEXT_ONLY, Status.VIDEO, Status.BAD_RECORD)
FAILURES = [
    str(status) for status in Status if status not in (Status.SCORED, Status.PENDING, *_OF_DATASET)
]
"""What a score file may give as the status of a sample without losses."""
_MEMORY_LIMIT = "400MB"
_THREADS = 4  # each needs its share of the memory
_EXAMPLES = 5  # of each issue, those that come first in the file

_CREATE = (
    """
    CREATE TABLE file_rows (
        line BIGINT,  -- 1-based position among the rows of the file
        row_cell BLOB,
        row_idx BIGINT,
        id BLOB,
        image_path BLOB,
        loss_multimodal DOUBLE,
        loss_text DOUBLE,
        visnec DOUBLE,
        unknown_status BLOB,
        status VARCHAR,  -- why there is no score; NULL for any other status
        reason VARCHAR,
        has_losses BOOLEAN,
        is_blind BOOLEAN  -- of a second file, which has the losses without the image
    )
    """,
    "CREATE TABLE blind_rows (row_idx BIGINT, id BLOB, loss_text DOUBLE, line BIGINT)",
    """
    CREATE TABLE samples (
        row_idx BIGINT, id VARCHAR, images VARCHAR[], status VARCHAR, reason VARCHAR
    )
    """,
    # NULL for a cell that is not a number. DuckDB alone would read "1_0" and "+-1".
    """
    CREATE MACRO parse_number(cell) AS CASE
        WHEN NOT regexp_matches(try(decode(cell)), '_|[+]-')
        THEN try_cast(try(decode(cell)) AS DOUBLE)
    END
    """,
    r"""
    CREATE MACRO join_names(path) AS array_to_string(
        list_filter(string_split(replace(path, '\', '/'), '/'), lambda name: name NOT IN ('', '.')),
        '/'
    )
    """,
    # "/a/b" for the relative path a/b, "//a/b" for the absolute one, NULL for a path without names:
    # where one ends with the other, whole names are equal.
    r"""
    CREATE MACRO normalize_path(path) AS CASE
        WHEN starts_with(replace(path, '\', '/'), '/') THEN '//' || join_names(path)
        ELSE '/' || nullif(join_names(path), '')
    END
    """,
    """
    CREATE MACRO is_same_path(a, b) AS
        coalesce(ends_with(a, b) OR ends_with(b, a), false)
    """,
    # An export as CSV has an apostrophe before text that a spreadsheet would run as a formula.
    r"""
    CREATE MACRO is_same_text(text, cell) AS
        encode(text) = cell OR (regexp_matches(text, '^[-=+@\t\r]') AND encode('''' || text) = cell)
    """,
    """
    CREATE MACRO strip_base(image) AS regexp_replace(image, '^base=[0-9]{1,6}#', '')
    """,
)

_INSERT_ROWS = """
    INSERT INTO file_rows
    SELECT
        line,
        row_idx,
        CASE WHEN parse_number(row_idx) = trunc(parse_number(row_idx))
            THEN try_cast(parse_number(row_idx) AS BIGINT)
        END,
        CASE WHEN octet_length(id) > 0 THEN id END,
        CASE WHEN octet_length(image_path) > 0 THEN image_path END,
        parse_number(loss_multimodal),
        parse_number(loss_text),
        parse_number(visnec),
        CASE WHEN octet_length(status) > 0
                AND NOT coalesce(list_contains($known, try(decode(status))), false)
            THEN status
        END,
        CASE WHEN list_contains($failures, try(decode(status))) THEN decode(status) END,
        try(decode(reason)),
        coalesce(octet_length(loss_multimodal), 0) + coalesce(octet_length(loss_text), 0) > 0,
        $is_blind
    FROM batch
"""

# Rows that name their sample by id alone; an id that several samples have names none.
_LOCATE_IDS = """
    UPDATE file_rows SET row_idx = named.row_idx
    FROM (
        SELECT encode(id) AS id, min(row_idx) AS row_idx FROM samples
        WHERE id IS NOT NULL GROUP BY id HAVING count(*) = 1
    ) named
    WHERE file_rows.row_cell IS NULL AND file_rows.id = named.id
"""

# With a file per pass, a row gets the loss of the first row of the other file with its row_idx. It
# counts as one without losses if there is none, or if that has another id.
_PAIR_PASSES = (
    """
    INSERT INTO blind_rows
    SELECT row_idx, id, loss_text, line FROM file_rows
    WHERE is_blind AND has_losses AND row_idx IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY row_idx ORDER BY line) = 1
    """,
    "DELETE FROM file_rows WHERE is_blind AND row_idx IS NOT NULL",
    """
    UPDATE file_rows SET has_losses = false
    WHERE NOT EXISTS (
        FROM blind_rows b
        WHERE b.row_idx = file_rows.row_idx AND coalesce(b.id = file_rows.id, true)
    )
    """,
    """
    UPDATE file_rows SET loss_text = b.loss_text FROM blind_rows b
    WHERE b.row_idx = file_rows.row_idx AND file_rows.has_losses
    """,
)

_CREATE_REPEATED = """
    CREATE TABLE repeated AS
    SELECT f.line
    FROM file_rows f JOIN (
        SELECT row_idx, min(line) AS line FROM file_rows
        WHERE row_idx IS NOT NULL GROUP BY row_idx HAVING count(*) > 1
    ) first_row ON f.row_idx = first_row.row_idx AND f.line > first_row.line
    WHERE f.row_idx BETWEEN 0 AND $n_samples - 1
"""

_CREATE_MATCHED = """
    CREATE TABLE matched AS
    SELECT
        s.row_idx, s.id, s.images, s.status, s.reason,
        f.line, f.id AS file_id, f.image_path, f.loss_multimodal, f.loss_text,
        f.visnec AS file_visnec, f.status AS file_status, f.reason AS file_reason,
        coalesce(f.has_losses, false) AS has_losses,
        f.loss_text - f.loss_multimodal AS visnec,
        CASE
            WHEN s.status <> 'pending' AND NOT coalesce(f.has_losses, false) THEN 'none'
            WHEN s.status <> 'pending' THEN 'unscorable'
            WHEN f.line IS NULL THEN 'absent'
            WHEN NOT f.has_losses AND f.status IS NULL THEN 'blank'
            WHEN $check AND NOT coalesce(is_same_text(s.id, f.id), true) THEN 'other_id'
            WHEN $check AND f.image_path IS NOT NULL AND len(s.images) > 0
                AND encode(s.images[1]) <> f.image_path
                AND NOT is_same_text(strip_base(s.images[1]), f.image_path)
                AND NOT list_bool_or(list_transform(s.images, lambda image: is_same_path(
                    normalize_path(strip_base(image)),
                    normalize_path(try(decode(f.image_path)))
                )))
            THEN 'other_image'
            WHEN f.status IS NOT NULL THEN 'failed'
            WHEN coalesce(isfinite(f.loss_text) AND isfinite(f.loss_multimodal), false)
            THEN 'scored'
            ELSE 'non_finite'
        END AS outcome,
        outcome = 'scored' AND f.visnec IS NOT NULL AND NOT isnan(f.visnec)
            AND abs(f.visnec - (f.loss_text - f.loss_multimodal))
                <= $tolerance * greatest(abs(f.loss_text), 1) AS agrees,
        outcome = 'scored' AND f.visnec IS NOT NULL AND NOT isnan(f.visnec) AND NOT agrees
            AS differs
    FROM samples s LEFT JOIN (FROM file_rows ANTI JOIN repeated USING (line)) f
        ON f.row_idx = s.row_idx
"""

_COUNT_USED = "SELECT count(*) FROM matched WHERE outcome IN ('scored', 'non_finite', 'failed')"

_READ_SCORES = """
    SELECT
        row_idx,
        $baseline AS baseline,
        CASE
            WHEN outcome IN ('scored', 'non_finite') THEN outcome
            WHEN outcome = 'failed' THEN file_status
            ELSE status
        END AS status,
        CASE outcome
            WHEN 'scored' THEN NULL
            WHEN 'failed' THEN coalesce(nullif(file_reason, ''), 'its status in ' || $file)
            WHEN 'non_finite' THEN 'a loss in ' || $file || ' is not a finite number'
            WHEN 'absent' THEN $file || ' has no row for it'
            WHEN 'blank' THEN $file || ' has no losses for it'
            WHEN 'other_id' THEN 'its row in ' || $file || ' has another id'
            WHEN 'other_image' THEN 'its row in ' || $file || ' has another image'
            ELSE reason
        END AS reason,
        CASE WHEN outcome = 'scored' THEN loss_text END AS loss_text,
        CASE WHEN outcome = 'scored' THEN loss_multimodal END AS loss_multimodal,
        CASE WHEN agrees THEN file_visnec WHEN outcome = 'scored' THEN visnec END AS visnec
    FROM matched
    WHERE row_idx >= $first AND row_idx < $end
    ORDER BY row_idx
"""

_ISSUES: dict[str, tuple[str, Callable[..., str]]] = {
    "row_idx is not a number": (
        """
        SELECT row_cell FROM file_rows WHERE row_idx IS NULL AND row_cell IS NOT NULL ORDER BY line
        """,
        lambda cell: _shown(cell, 80),
    ),
    "neither row_idx nor id": (
        "SELECT line FROM file_rows WHERE row_cell IS NULL AND id IS NULL ORDER BY line",
        lambda line: f"row {line:,} of the file",
    ),
    "id that no sample has": (
        """
        SELECT id FROM file_rows ANTI JOIN (SELECT encode(id) AS id FROM samples) USING (id)
        WHERE row_cell IS NULL AND id IS NOT NULL ORDER BY line
        """,
        lambda cell: _shown(cell, 80),
    ),
    "id that several samples have": (
        """
        SELECT id FROM file_rows SEMI JOIN (SELECT encode(id) AS id FROM samples) USING (id)
        WHERE row_cell IS NULL AND row_idx IS NULL ORDER BY line
        """,
        lambda cell: _shown(cell, 80),
    ),
    "row_idx outside of the dataset": (
        """
        SELECT row_idx FROM file_rows
        WHERE row_idx < 0 OR row_idx >= (SELECT count(*) FROM samples) ORDER BY line
        """,
        str,
    ),
    "row_idx repeated; the first row is used": (
        "SELECT row_idx, line FROM file_rows SEMI JOIN repeated USING (line) ORDER BY line",
        lambda row_idx, line: f"row_idx {row_idx} in row {line:,} of the file",
    ),
    "score for a sample that cannot have one": (
        "SELECT row_idx, status FROM matched WHERE outcome = 'unscorable' ORDER BY row_idx",
        lambda row_idx, status: f"row {row_idx}, which is {status}",
    ),
    "another id": (
        "SELECT row_idx, file_id, id FROM matched WHERE outcome = 'other_id' ORDER BY row_idx",
        lambda row_idx, cell, own: f"row {row_idx}, id {_shown(cell)} in the file, {own!r} here",
    ),
    "another image": (
        """
        SELECT
            row_idx, image_path,
            array_to_string(list_transform(images, lambda image: strip_base(image)), ', ')
        FROM matched WHERE outcome = 'other_image' ORDER BY row_idx
        """,
        lambda row_idx, cell, own: f"row {row_idx}, {_shown(cell)} in the file, {own!r} here",
    ),
    "visnec is not loss_text - loss_multimodal; the losses are used": (
        "SELECT row_idx, file_visnec, visnec FROM matched WHERE differs ORDER BY row_idx",
        lambda row_idx, given, derived: f"row {row_idx}, {given:g} instead of {derived:g}",
    ),
    "row of the blind file without a row in the other": (
        "SELECT row_idx FROM blind_rows ANTI JOIN file_rows USING (row_idx) ORDER BY line",
        lambda row_idx: f"row {row_idx}",
    ),
    "unknown status; the row is used without it": (
        """
        SELECT unknown_status FROM file_rows WHERE unknown_status IS NOT NULL ORDER BY line
        """,
        lambda cell: _shown(cell, 80),
    ),
    "losses of a row that has the status of one without; they are not used": (
        """
        SELECT row_idx, file_status FROM matched WHERE outcome = 'failed' AND has_losses
        ORDER BY row_idx
        """,
        lambda row_idx, status: f"row {row_idx}, which is {status} in the file",
    ),
    "row without losses": (
        "SELECT row_idx FROM matched WHERE outcome = 'blank' ORDER BY row_idx",
        lambda row_idx: f"row {row_idx}",
    ),
    "sample without a row in the file": (
        "SELECT row_idx FROM matched WHERE outcome = 'absent' ORDER BY row_idx",
        lambda row_idx: f"row {row_idx}",
    ),
}
"""Kind of issue to its rows, examples first, and the text of an example."""


class ScoreMatcher:
    """A database in ``folder`` that matches one score file to a dataset.

    Use as a context manager: ``add_rows``, ``match_samples``, then ``read_scores``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._has_blind_file = folder, False
        self._con = duckdb.connect(
            str(folder / "scores.duckdb"),
            config={
                "memory_limit": _MEMORY_LIMIT,
                "threads": _THREADS,
                "temp_directory": str(folder / "spill"),
            },
        )
        self._con.execute("SET enable_progress_bar = false")  # it draws on stdout
        for statement in _CREATE:
            self._con.execute(statement)

    def __enter__(self) -> ScoreMatcher:
        return self

    def __exit__(self, _: type[BaseException] | None, error: object, trace: object) -> None:
        self._con.close()
        if isinstance(error, duckdb.Error):
            raise StorageError(
                f"The scores could not be matched in {self._folder}: {error}. Nothing was "
                "imported. Free disk space and import them again."
            ) from error

    def add_rows(self, batches: Iterable[pa.Table], *, is_blind: bool = False) -> int:
        """Parse and store the rows of the file; return their number.

        ``is_blind``: they are of a second file, which has the losses without the image.
        """
        self._has_blind_file = self._has_blind_file or is_blind
        values = {"is_blind": is_blind, "known": [*map(str, Status)], "failures": FAILURES}
        return sum(self._insert(_INSERT_ROWS, batch, values) for batch in batches)

    def match_samples(
        self, samples: Iterable[pa.Table], issues: ImportIssues, *, check: bool
    ) -> int:
        """Match the rows to all samples of the dataset; return how many rows were used.

        ``samples`` have row_idx, id, images, status and reason. ``issues`` receives the rows that
        are not used and the samples without a row. ``check`` refuses rows whose id or image path is
        not that of the sample.
        """
        n_samples = sum(self._insert("INSERT INTO samples FROM batch", table) for table in samples)
        self._con.execute(_LOCATE_IDS)
        if self._has_blind_file:
            for statement in _PAIR_PASSES:
                self._con.execute(statement)
        self._con.execute(_CREATE_REPEATED, {"n_samples": n_samples})
        self._con.execute(_CREATE_MATCHED, {"check": check, "tolerance": TOLERANCE})
        for kind, (query, describe) in _ISSUES.items():
            rows = self._con.sql(query)
            n = rows.count("*").fetchall()[0][0]
            examples = rows.limit(_EXAMPLES).fetchall() if n else []
            issues.add(kind, n, (describe(*row) for row in examples))
        return int(self._con.execute(_COUNT_USED).fetchall()[0][0])

    def read_scores(self, file: str, baseline: str, n_rows: int) -> Iterator[pa.Table]:
        """Yield one row of ``schemas.IMPORTED_SCORES`` per sample, ``n_rows`` at a time."""
        n_samples = self._con.execute("SELECT count(*) FROM samples").fetchall()[0][0]
        for first in range(0, n_samples, n_rows):
            values = {"file": file, "baseline": baseline, "first": first, "end": first + n_rows}
            relation = self._con.sql(_READ_SCORES, params=values)
            yield relation.to_arrow_table().cast(IMPORTED_SCORES).combine_chunks()

    def _insert(
        self, statement: str, batch: pa.Table, values: dict[str, object] | None = None
    ) -> int:
        self._con.register("batch", batch)
        self._con.execute(statement, values)
        self._con.unregister("batch")
        return len(batch)


def _shown(cell: bytes | None, length: int = 200) -> str:
    return repr((cell or b"").decode("utf-8", "replace")[:length])
