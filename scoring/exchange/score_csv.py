"""Read and write scores as CSV, in the form of the paper's script, as a stream.

Numbers are written so that they read back as the same bits (Python's ``repr``), or with a fixed
number of decimals on request; the paper's script writes six. Losses and scores are in nats per
answer token.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from scoring.errors import InputError
from scoring.issues import ImportIssues

PAPER_COLUMNS = ("row_idx", "id", "image_path", "loss_multimodal", "loss_text", "visnec")
_REQUIRED = ("row_idx", "loss_multimodal", "loss_text")
_CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_BLOCK_BYTES = 8 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet treats such a cell as a formula

OnBytes = Callable[[int, int], None]
"""Called with bytes read so far, bytes in all."""


def read_score_cells(
    path: Path, issues: ImportIssues, on_bytes: OnBytes | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of a score file in blocks, plain or compressed (.gz, .bz2, .zst).

    Columns may come in any order. Other columns, and rows that are not as wide as the header, are
    counted as issues and left out.

    Yields:
        Tables of ``line`` (1-based position among the rows) and the raw bytes of each of
        ``PAPER_COLUMNS``, null where the file lacks the column.

    Raises:
        InputError: The file cannot be read or its header lacks a required column.
    """
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    total = path.stat().st_size
    n_lines = 0
    try:
        with pa.OSFile(str(path)) as file:
            reader = _open_reader(file, path, issues)
            names = reader.schema.names
            _check_header(path, names, issues)
            for batch in reader:
                lines = np.arange(n_lines + 1, n_lines + 1 + len(batch), dtype=np.int64)
                n_lines += len(batch)
                absent = pa.nulls(len(batch), pa.binary())
                cells = {
                    name: batch.column(name) if name in names else absent for name in PAPER_COLUMNS
                }
                yield pa.table({"line": lines, **cells})
                if on_bytes:
                    on_bytes(min(file.tell(), total), total)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error


def _open_reader(
    file: pa.NativeFile, path: Path, issues: ImportIssues
) -> pa.csv.CSVStreamingReader:
    def skip_row(row: pa.csv.InvalidRow) -> str:
        example = f"{row.actual_columns} cells instead of {row.expected_columns}: {row.text[:80]!r}"
        issues.add("row with the wrong number of cells", 1, [example])
        return "skip"

    codec = _CODECS.get(path.suffix)
    return pa.csv.open_csv(
        pa.CompressedInputStream(file, codec) if codec else file,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip_row),
        # Bytes first: a cell that is not a number or not UTF-8 must not stop the import.
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.binary() for name in PAPER_COLUMNS}, check_utf8=False
        ),
    )


def _check_header(path: Path, names: Sequence[str], issues: ImportIssues) -> None:
    missing = [name for name in _REQUIRED if name not in names]
    duplicates = [name for name in PAPER_COLUMNS if names.count(name) > 1]
    if missing or duplicates:
        problem = (
            f"lacks {', '.join(missing)}"
            if missing
            else f"has more than one column named {', '.join(duplicates)}"
        )
        raise InputError(
            f"The header of {path} {problem}. Found: {', '.join(names)[:300]!r}. Scores are "
            f"read from {','.join(PAPER_COLUMNS)} (id, image_path and visnec are optional)."
        )
    others = [name for name in names if name not in PAPER_COLUMNS]
    issues.add("column ignored", len(others), others)


def write_score_csv(
    file: IO[str],
    columns: Sequence[str],
    batches: Iterable[Sequence[tuple[Any, ...]]],
    *,
    decimals: int | None = None,
    neutralise: bool = True,
) -> int:
    """Write a header and the rows of ``batches``, in order.

    Args:
        file: An open text file.
        columns: The names in the header.
        batches: Rows with a value for each column; None becomes a blank cell.
        decimals: Decimals of each float; by default those that ``repr`` gives.
        neutralise: Put an apostrophe before text that a spreadsheet would run as a formula.

    Returns:
        The number of rows written.
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
