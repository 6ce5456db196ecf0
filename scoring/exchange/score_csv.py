"""Scores as CSV: the form of the paper's script, in and out, as a stream.

The one decision behind it: numbers are read as they stand and written so that they read back as
the same bits (Python's ``repr``), or with a fixed number of decimals where that is asked for, as
the paper's script writes six. Losses and scores are in nats per answer token.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from scoring.errors import InputError
from scoring.issues import ImportIssues

PAPER_COLUMNS = ("row_idx", "id", "image_path", "loss_multimodal", "loss_text", "visnec")
_REQUIRED = ("row_idx", "loss_multimodal", "loss_text")
_BLOCK_BYTES = 8 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes such a cell for a formula

OnBytes = Callable[[int, int], None]
"""Called with bytes read so far, bytes in all."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoreBlock:
    """Rows of a score file, in its order, without those whose ``row_idx`` is no number.

    ``row_idx`` (n,) int64, ``line`` (n,) int64: 1-based place among the rows of the file. The
    three numbers (n,) float64 are NaN where the cell is blank or no number. ``id`` and
    ``image_path`` are binary arrays with nulls for blank cells.
    """

    row_idx: NDArray[np.int64]
    line: NDArray[np.int64]
    id: pa.Array
    image_path: pa.Array
    loss_multimodal: NDArray[np.float64]
    loss_text: NDArray[np.float64]
    visnec: NDArray[np.float64]


def read_score_blocks(
    path: Path, findings: ImportIssues, on_bytes: OnBytes | None = None
) -> Iterator[ScoreBlock]:
    """The rows of a score file in blocks; plain or compressed (``.gz``, ``.bz2``, ``.zst``).

    Columns may stand in any order, further ones are counted as findings and left out. What is no
    row of the header's width, or has no row number, is counted too. Raises InputError where the
    file cannot be read or its header lacks a needed column.
    """
    if not path.is_file():
        raise InputError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}")
    total = path.stat().st_size
    try:
        with pa.OSFile(str(path)) as file:
            reader = _open(file, path, findings)
            _check_header(path, reader.schema.names, findings)
            n_lines = 0
            for batch in reader:
                yield from _blocks(batch, n_lines, findings)
                n_lines += len(batch)
                if on_bytes:
                    on_bytes(min(file.tell(), total), total)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error


def _open(file: pa.NativeFile, path: Path, findings: ImportIssues) -> pa.csv.CSVStreamingReader:
    def skip(row: pa.csv.InvalidRow) -> str:
        said = f"{row.actual_columns} cells instead of {row.expected_columns}: {row.text[:80]!r}"
        findings.add("row of another width", 1, [said])
        return "skip"

    stream = file
    for suffix, codec in ((".gz", "gzip"), (".bz2", "bz2"), (".zst", "zstd")):
        if path.suffix == suffix:
            stream = pa.CompressedInputStream(file, codec)
    return pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        # Bytes first: a cell that is no number or no UTF-8 must not stop the file.
        convert_options=pa.csv.ConvertOptions(
            column_types={name: pa.binary() for name in PAPER_COLUMNS}, check_utf8=False
        ),
    )


def _check_header(path: Path, names: Sequence[str], findings: ImportIssues) -> None:
    lacking = [name for name in _REQUIRED if name not in names]
    twice = [name for name in PAPER_COLUMNS if names.count(name) > 1]
    if lacking or twice:
        what = f"lacks {', '.join(lacking)}" if lacking else f"names {', '.join(twice)} twice"
        raise InputError(
            f"the header of {path} {what}: it is {', '.join(names)[:300]!r}; scores are read from "
            f"{','.join(PAPER_COLUMNS)} (id, image_path and visnec may be absent)"
        )
    others = [name for name in names if name not in PAPER_COLUMNS]
    findings.add("column left out", len(others), others)


def _blocks(batch: pa.RecordBatch, n_before: int, findings: ImportIssues) -> Iterator[ScoreBlock]:
    rows, known = _row_numbers(batch.column("row_idx"))
    line = np.arange(n_before + 1, n_before + 1 + len(batch), dtype=np.int64)
    odd = np.flatnonzero(~known)
    cells = batch.column("row_idx")
    findings.add("row_idx is no number", len(odd), (_shown(cells[int(at)].as_py()) for at in odd))
    if len(odd):
        batch = batch.filter(pa.array(known))
        rows, line = rows[known], line[known]
    if len(rows):
        yield ScoreBlock(
            rows,
            line,
            _texts(batch, "id"),
            _texts(batch, "image_path"),
            *(_numbers(batch, name) for name in PAPER_COLUMNS[3:]),
        )


def _shown(cell: bytes | None) -> str:
    return repr((cell or b"").decode("utf-8", "replace")[:80])


def _row_numbers(cells: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    try:
        rows = pc.cast(pc.cast(cells, pa.string()), pa.int64())
        if not rows.null_count:
            return rows.to_numpy(zero_copy_only=False), np.ones(len(rows), dtype=bool)
    except pa.ArrowInvalid:
        pass
    found = [_whole(cell) for cell in cells.to_pylist()]
    known = np.array([one is not None for one in found], dtype=bool)
    return np.array([one or 0 for one in found], dtype=np.int64), known


def _whole(cell: bytes | None) -> int | None:
    number = _number(cell)
    whole = number.is_integer() and abs(number) < 1 << 53
    return int(number) if whole else None


def _numbers(batch: pa.RecordBatch, name: str) -> NDArray[np.float64]:
    if name not in batch.schema.names:
        return np.full(len(batch), np.nan)
    cells = batch.column(name)
    try:
        numbers: NDArray[np.float64] = pc.cast(pc.cast(cells, pa.string()), pa.float64()).to_numpy(
            zero_copy_only=False
        )
    except pa.ArrowInvalid:
        numbers = np.array([_number(cell) for cell in cells.to_pylist()], dtype=np.float64)
    return numbers


def _number(cell: bytes | None) -> float:
    try:
        return float((cell or b"").replace(b"_", b"?"))
    except ValueError:
        return float("nan")


def _texts(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(len(batch), pa.binary())
    cells = batch.column(name)
    return pc.if_else(pc.equal(cells, b""), pa.scalar(None, pa.binary()), cells)


def write_score_csv(
    file: IO[str],
    columns: Sequence[str],
    batches: Iterable[Sequence[tuple[Any, ...]]],
    *,
    decimals: int | None = None,
    neutralise: bool = True,
) -> int:
    """Writes a header and the rows of ``batches``, in order; returns the number of rows.

    Floats are written as ``repr`` has them, or with ``decimals``; None is blank. ``neutralise``
    puts an apostrophe before text that a spreadsheet would take for a formula.
    """

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return value if decimals is None else f"{value:.{decimals}f}"
        formula = neutralise and isinstance(value, str) and value.startswith(_FORMULA)
        return f"'{value}" if formula else value

    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    n_rows = 0
    for batch in batches:
        writer.writerows([cell(value) for value in row] for row in batch)
        n_rows += len(batch)
    return n_rows
