"""The scores of a run as a file: the paper's CSV unchanged, or one with all that is known.

The one decision behind it: the paper's form holds scored samples only, because its readers take
every row for a score; the other form holds every sample with its status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from scoring.database.connection import Store
from scoring.database.queries.score_export import SCORE_COLUMNS, read_score_rows
from scoring.database.values import Scope
from scoring.errors import InputError
from scoring.exchange.score_csv import PAPER_COLUMNS, write_score_csv

FORMATS = {"visnec-csv": PAPER_COLUMNS, "csv": SCORE_COLUMNS}
_VISNEC = SCORE_COLUMNS.index("visnec")


@dataclass(frozen=True, slots=True)
class ScoreExport:
    """How many rows were written, and how many samples without a score were left out."""

    n_rows: int
    n_left_out: int


def export_scores(
    store: Store,
    scope: Scope,
    file: IO[str],
    *,
    file_format: str = "visnec-csv",
    decimals: int | None = None,
) -> ScoreExport:
    """Writes the scores of a run and blind baseline to ``file``, in the order of the dataset.

    ``visnec-csv``: the columns of the paper's script, texts as they are; numbers read back as the
    same bits, or have ``decimals`` (the paper's script writes 6). ``csv``: every sample with its
    status; text that a spreadsheet would run as a formula gets an apostrophe. Raises InputError.
    """
    if file_format not in FORMATS:
        raise InputError(f"no format {file_format!r}; there are: {', '.join(FORMATS)}")
    columns = FORMATS[file_format]
    paper = columns is PAPER_COLUMNS
    places = [SCORE_COLUMNS.index(name) for name in columns]
    n_samples = 0

    def batches() -> Iterator[list[tuple[Any, ...]]]:
        nonlocal n_samples
        for rows in read_score_rows(store, scope):
            n_samples += len(rows)
            wanted = (row for row in rows if not paper or row[_VISNEC] is not None)
            yield [tuple(row[place] for place in places) for row in wanted]

    n_rows = write_score_csv(file, columns, batches(), decimals=decimals, neutralise=not paper)
    return ScoreExport(n_rows, n_samples - n_rows)
