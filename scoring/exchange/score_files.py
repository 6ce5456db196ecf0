"""Reads files of scores computed elsewhere: CSV, JSON lines or Parquet, in any known layout.

The kind of a file is found from its first bytes, not from its name. CSV is read by Arrow, which
hands back rows with the wrong number of cells so that they can be counted; JSON is read by DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from scoring.database.queries.score_json import read_json_cells, read_json_keys
from scoring.errors import InputError
from scoring.issues import ImportIssues

COLUMNS = {
    "row_idx": ("row_idx",),
    "id": ("id", "question_id", "qa_uid"),
    "image_path": ("image_path",),
    "loss_multimodal": ("loss_multimodal", "loss_video", "loss_full"),
    "loss_text": ("loss_text", "loss_blind"),
    "visnec": ("visnec", "vds"),
    "status": ("status",),
    "reason": ("reason",),
}
"""The columns of scores, by the names that are accepted for each, ours and the paper's first.

GDO writes ``qa_uid``, ``loss_video``, ``loss_blind`` and ``vds``; 3D-RFT ``loss_full`` and
``loss_blind``.
"""
NESTED = "data_quality_metrics"  # GDO writes its losses into this object of a record

CSV, JSON_LINES, JSON_ARRAY, PARQUET = KINDS = ("CSV", "JSON lines", "JSON", "Parquet")
LOSSES = ("loss_multimodal", "loss_text")
_ONE_LOSS = "loss"  # of the pass that the file is about
_CODECS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_BLOCK_BYTES = 8 << 20
_BLOCK_ROWS = 1 << 16
_BLANK = b" \t\r\n\xef\xbb\xbf"

OnBytes = Callable[[int, int], None]
"""Called with bytes read so far, bytes in all."""
Match = Callable[[Sequence[str]], dict[str, str]]
"""Names in a file -> its name of each of ``COLUMNS``."""


def read_score_cells(
    path: Path,
    issues: ImportIssues,
    on_bytes: OnBytes | None = None,
    losses: Sequence[str] = LOSSES,
) -> Iterator[pa.Table]:
    """Yield the rows of a score file in blocks; it may be compressed (.gz, .bz2, .zst).

    Columns may come in any order. Other columns, and rows that cannot be read, are counted as
    issues and left out. A file with only one of the ``losses`` may also name it ``loss``.

    The tables have ``line`` (1-based position among the rows) and each of ``COLUMNS`` as bytes,
    null where the file lacks it. Raises InputError if the file cannot be read or lacks a column
    that is required.
    """
    total = path.stat().st_size
    kind, codec = detect_kind(path)
    match = partial(match_columns, path, issues, losses)
    try:
        if kind == PARQUET:
            yield from _read_parquet(path, match)
        elif kind == CSV:
            yield from _read_csv(path, codec, match, issues, on_bytes)
        else:
            yield from _read_json(path, codec, kind == JSON_ARRAY, match, issues)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{path} cannot be read as {kind}: {error}") from error
    if on_bytes:
        on_bytes(total, total)


def detect_kind(path: Path) -> tuple[str, str | None]:
    """Return the kind of a file by its first bytes, and the codec it is compressed with, if any."""
    with path.open("rb") as file:
        head = file.read(4096)
    codec = next((codec for magic, codec in _CODECS.items() if head.startswith(magic)), None)
    if codec is not None:
        try:
            with pa.input_stream(str(path), compression=codec) as stream:
                head = stream.read(4096)
        except OSError as error:
            raise InputError(f"{path} cannot be decompressed: {error}") from error
    kinds = {b"{": JSON_LINES, b"[": JSON_ARRAY}
    return PARQUET if head.startswith(b"PAR1") else kinds.get(head.lstrip(_BLANK)[:1], CSV), codec


def match_columns(
    path: Path, issues: ImportIssues, losses: Sequence[str], names: Sequence[str]
) -> dict[str, str]:
    """Return the file's name of each of ``COLUMNS`` that it has; count the others as ignored.

    Raises InputError, with what the file has and what is accepted.
    """
    matched: dict[str, str] = {}
    problem = "has one row per turn (column turn)" if "turn" in names else ""
    for column, accepted in COLUMNS.items():
        if len(losses) == 1 and column in (*LOSSES, "visnec"):
            accepted = (*accepted, _ONE_LOSS) if column in losses else ()
        present = [name for name in names if name.removeprefix(f"{NESTED}.") in accepted]
        if column == "id" and "id" in present:  # the other names may be of something else
            present = [name for name in present if name == "id"]
        if len(present) > 1 and not problem:
            problem = f"has more than one column named {', '.join(dict.fromkeys(present))}"
        if present:
            matched[column] = present[0]
    if "row_idx" in matched and matched.get("id") != "id":
        matched.pop("id", None)
    missing = [column for column in losses if column not in matched]
    if not {"row_idx", "id"} & matched.keys():
        missing.insert(0, "row_idx (or id)")
    if missing and not problem:
        problem = f"lacks {', '.join(missing)}"
        if _ONE_LOSS in names:
            problem += " (with one loss per row, name the file of the other pass with --blind)"
    if problem:
        raise InputError(
            f"The header of {path} {problem}. Found: {', '.join(names)[:300]!r}. Accepted, one row "
            f"per sample: {describe_columns()}."
        )
    others = [name for name in names if name not in matched.values() and name != NESTED]
    issues.add("column ignored", len(others), others)
    return matched


def describe_columns() -> str:
    """Return the accepted columns in words."""
    texts = (
        column + (f" (or {', '.join(others)})" if others else "")
        for column, (_, *others) in COLUMNS.items()
    )
    return f"{'; '.join(texts)}; a row needs row_idx or id, and both losses"


def _read_csv(
    path: Path, codec: str | None, match: Match, issues: ImportIssues, on_bytes: OnBytes | None
) -> Iterator[pa.Table]:
    def skip_row(row: pa.csv.InvalidRow) -> str:
        example = f"{row.actual_columns} cells instead of {row.expected_columns}: {row.text[:80]!r}"
        issues.add("row with the wrong number of cells", 1, [example])
        return "skip"

    known = [_ONE_LOSS, *(name for names in COLUMNS.values() for name in names)]
    total, n_lines = path.stat().st_size, 0
    with pa.OSFile(str(path)) as file:
        reader = pa.csv.open_csv(
            pa.CompressedInputStream(file, codec) if codec else file,
            pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
            pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip_row),
            # Bytes first: a cell that is not a number or not UTF-8 must not stop the import.
            pa.csv.ConvertOptions(column_types=dict.fromkeys(known, pa.binary()), check_utf8=False),
        )
        columns = match(reader.schema.names)
        for batch in reader:
            cells = {ours: batch.column(name) for ours, name in columns.items()}
            yield _make_table(n_lines, len(batch), cells)
            n_lines += len(batch)
            if on_bytes:
                on_bytes(min(file.tell(), total), total)


def _read_parquet(path: Path, match: Match) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        schema, n_lines = file.schema_arrow, 0
        names = list(schema.names)
        if NESTED in names and pa.types.is_struct(schema.field(NESTED).type):
            names += [f"{NESTED}.{field.name}" for field in schema.field(NESTED).type]
        columns = match(names)
        for batch in file.iter_batches(_BLOCK_ROWS, columns=list(columns.values())):
            cells = {ours: _read_cells(batch, name) for ours, name in columns.items()}
            yield _make_table(n_lines, len(batch), cells)
            n_lines += len(batch)


def _read_cells(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Return a column as bytes; floats as the shortest text that reads back as the same double."""
    top, _, inner = name.partition(".")
    values = batch.column(name if name in batch.schema.names else top)
    values = pc.struct_field(values, inner) if pa.types.is_struct(values.type) else values
    if pa.types.is_floating(values.type):
        values = values.cast(pa.float64())
    return values.cast(pa.string()).cast(pa.binary())


def _read_json(
    path: Path, codec: str | None, is_array: bool, match: Match, issues: ImportIssues
) -> Iterator[pa.Table]:
    columns = match(read_json_keys(path, codec, is_array, NESTED))
    n_lines = 0
    for batch in read_json_cells(path, codec, is_array, columns, _BLOCK_ROWS):
        is_damaged = batch.column("is_damaged").to_numpy(zero_copy_only=False)
        damaged = np.flatnonzero(is_damaged).tolist()
        examples = (f"line {n_lines + index + 1:,}" for index in damaged)
        issues.add("line that is not a JSON object", len(damaged), examples)
        cells = {name: batch.column(name) for name in COLUMNS}
        yield _make_table(n_lines, len(batch), cells).filter(pa.array(~is_damaged))
        n_lines += len(batch)


def _make_table(n_before: int, n_rows: int, cells: dict[str, pa.Array]) -> pa.Table:
    lines = np.arange(n_before + 1, n_before + 1 + n_rows, dtype=np.int64)
    absent = pa.nulls(n_rows, pa.binary())
    return pa.table({"line": lines, **{name: cells.get(name, absent) for name in COLUMNS}})


def count_unread(issues: ImportIssues) -> int:
    """Return the number of rows that were left out because they cannot be read."""
    unread: Iterable[str] = ("row with the wrong number of cells", "line that is not a JSON object")
    return sum(issues.counts.get(kind, 0) for kind in unread)
