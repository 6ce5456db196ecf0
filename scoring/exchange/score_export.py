"""Export the scores of a run, per sample or per turn, as CSV, JSON lines or Parquet.

The paper's form contains scored samples only, because its readers expect a score in every row. The
other forms contain every sample with its status. Losses and scores are in nats per answer token.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from scoring.database.connection import Store
from scoring.database.queries.export import (
    SAMPLE_SCORES,
    TURN_SCORES,
    column_fields,
    read_score_rows,
)
from scoring.database.values import Scope
from scoring.errors import InputError

PAPER_COLUMNS = ("row_idx", "id", "image_path", "loss_multimodal", "loss_text", "visnec")
PAPER, CSV, JSONL, PARQUET = FORMATS = ("visnec-csv", "csv", "jsonl", "parquet")
UNITS = {"sample": SAMPLE_SCORES, "turn": TURN_SCORES}
"""What a row of an export is about, and the columns of the export."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet treats such a cell as a formula

Rows = Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class ScoreExport:
    """Counts of rows written, and of samples left out because they have no score."""

    n_rows: int
    n_left_out: int


def export_scores(
    store: Store,
    scope: Scope,
    file: IO[Any],
    *,
    file_format: str = PAPER,
    per: str = "sample",
    decimals: int | None = None,
    columns: Sequence[str] = (),
) -> ScoreExport:
    """Write the scores of a run and blind baseline to ``file``, in the order of the dataset.

    Args:
        store: The database of the workspace.
        scope: The run and the blind baseline.
        file: An open text file; for Parquet a binary one.
        file_format: ``visnec-csv``: the columns of the paper's script, texts unchanged. ``csv``:
            text that a spreadsheet would run as a formula gets an apostrophe. ``jsonl``,
            ``parquet``: texts unchanged.
        per: ``sample``, or ``turn`` for one row per answer.
        decimals: Decimals of each number (the paper's script writes 6). By default numbers read
            back as the same bits.
        columns: Imported columns to add, as ``col:NAME``.

    Raises InputError if an option, the run or the baseline is unknown or they do not go together.
    """
    _check_options(file_format, per, decimals)
    fields = column_fields(store, columns, per)
    _check_columns(fields, file_format)
    schema, n_left_out = pa.schema([*UNITS[per], *fields]), 0
    names = PAPER_COLUMNS if file_format == PAPER else schema.names
    positions = [schema.names.index(name) for name in names]
    visnec = schema.names.index("visnec")

    def read_batches() -> Iterator[Rows]:
        nonlocal n_left_out
        for rows in read_score_rows(store, scope, per, fields):
            wanted = [row for row in rows if file_format != PAPER or row[visnec] is not None]
            n_left_out += len(rows) - len(wanted)
            yield [tuple(row[position] for position in positions) for row in wanted]

    if file_format == PARQUET:
        n_rows = _write_parquet(file, schema, read_batches())
    elif file_format == JSONL:
        n_rows = _write_json_lines(file, names, read_batches(), decimals)
    else:
        n_rows = write_score_csv(
            file, names, read_batches(), decimals=decimals, neutralise=file_format != PAPER
        )
    return ScoreExport(n_rows, n_left_out)


def _check_options(file_format: str, per: str, decimals: int | None) -> None:
    if file_format not in FORMATS:
        raise InputError(f"Unknown format {file_format!r}. Choose one of: {', '.join(FORMATS)}.")
    if per not in UNITS:
        raise InputError(f"Cannot export scores per {per!r}. Choose one of: {', '.join(UNITS)}.")
    if file_format == PAPER and per == "turn":
        raise InputError(
            f"{PAPER} has one row per sample. Choose --format csv, jsonl or parquet for scores per "
            "turn."
        )
    if file_format == PARQUET and decimals is not None:
        raise InputError("Parquet stores exact numbers. Leave out --decimals.")


def _check_columns(fields: Sequence[pa.Field], file_format: str) -> None:
    if fields and file_format == PAPER:
        raise InputError(
            f"{PAPER} has the paper's columns only. Choose --format csv, jsonl or parquet for "
            "imported columns."
        )
    lists = [field.name for field in fields if pa.types.is_list(field.type)]
    if lists and file_format == CSV:
        raise InputError(
            f"{', '.join(lists)} has one value per answer, and CSV has no lists. Choose "
            "--per turn, or --format jsonl or parquet."
        )


def _write_parquet(file: IO[bytes], schema: pa.Schema, batches: Iterable[Rows]) -> int:
    n_rows = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in batches:
            columns = zip(*rows, strict=True) if rows else [()] * len(schema)
            arrays = [
                pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            n_rows += len(rows)
    return n_rows


def _write_json_lines(
    file: IO[str], names: Sequence[str], batches: Iterable[Rows], decimals: int | None
) -> int:
    def format_value(value: Any) -> Any:
        return value if decimals is None or not isinstance(value, float) else round(value, decimals)

    n_rows = 0
    for rows in batches:
        for row in rows:
            record = dict(zip(names, map(format_value, row), strict=True))
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        n_rows += len(rows)
    return n_rows


def write_score_csv(
    file: IO[str],
    columns: Sequence[str],
    batches: Iterable[Rows],
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
