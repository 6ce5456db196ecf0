"""Export the scores of a run: as the paper's CSV, or as one with every column.

The paper's form contains scored samples only, because its readers expect a score in every row. The
other form contains every sample with its status. Losses and scores are in nats per answer token.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from scoring.database.connection import Store
from scoring.database.queries.export import SCORE_COLUMNS, read_score_rows
from scoring.database.values import Scope
from scoring.errors import InputError

PAPER_COLUMNS = ("row_idx", "id", "image_path", "loss_multimodal", "loss_text", "visnec")
FORMATS = {"visnec-csv": PAPER_COLUMNS, "csv": SCORE_COLUMNS}
_VISNEC = SCORE_COLUMNS.index("visnec")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet treats such a cell as a formula


@dataclass(frozen=True, slots=True)
class ScoreExport:
    """Counts of rows written, and of samples left out because they have no score."""

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
    """Write the scores of a run and blind baseline to ``file``, in the order of the dataset.

    Args:
        store: The database of the workspace.
        scope: The run and the blind baseline.
        file: An open text file.
        file_format: ``visnec-csv``: the columns of the paper's script, texts unchanged. ``csv``:
            every sample with its status; text that a spreadsheet would run as a formula gets an
            apostrophe.
        decimals: Decimals of each number (the paper's script writes 6). By default numbers read
            back as the same bits.

    Raises InputError if the format, the run or the baseline is unknown.
    """
    if file_format not in FORMATS:
        raise InputError(f"Unknown format {file_format!r}. Choose one of: {', '.join(FORMATS)}.")
    columns = FORMATS[file_format]
    is_paper_form = columns is PAPER_COLUMNS
    positions = [SCORE_COLUMNS.index(name) for name in columns]
    n_samples = 0

    def read_batches() -> Iterator[list[tuple[Any, ...]]]:
        nonlocal n_samples
        for rows in read_score_rows(store, scope):
            n_samples += len(rows)
            wanted = (row for row in rows if not is_paper_form or row[_VISNEC] is not None)
            yield [tuple(row[position] for position in positions) for row in wanted]

    n_rows = write_score_csv(
        file, columns, read_batches(), decimals=decimals, neutralise=not is_paper_form
    )
    return ScoreExport(n_rows, n_samples - n_rows)


def write_score_csv(
    file: IO[str],
    columns: Sequence[str],
    batches: Iterable[Sequence[tuple[Any, ...]]],
    *,
    decimals: int | None = None,
    neutralise: bool = True,
) -> int:
    """Write a header and the rows of ``batches``, in order; return the number of rows.

    None becomes a blank cell; a float has the decimals that ``repr`` gives unless ``decimals`` is
    set; ``neutralise`` puts an apostrophe before text that a spreadsheet would run as a formula.
    """

    def format_cell(value: Any) -> Any:
        if isinstance(value, float):
            return value if decimals is None else f"{value:.{decimals}f}"
        is_formula = neutralise and isinstance(value, str) and value.startswith(_FORMULA)
        return f"'{value}" if is_formula else value

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    n_rows = 0
    for batch in batches:
        writer.writerows([format_cell(value) for value in row] for row in batch)
        n_rows += len(batch)
    return n_rows
