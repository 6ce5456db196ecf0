"""Text tables: the TSV files of benchmarks (images in base64), and CSV.

Rows are split by the standard library's reader while their byte offsets are tracked, so the image
of a row can be read from its position later and only one row is in memory at a time.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from scoring.errors import RecordError
from scoring.readers.encodings import describe_bad_byte, find_undecoded
from scoring.readers.json_stream import MAX_RECORD_BYTES, RawRecord

csv.field_size_limit(MAX_RECORD_BYTES)
_STEP_BYTES = 1 << 20
_CERTAIN_LINES = 100  # complete rows inside quotation marks that prove missing quoting


class _Lines:
    """Decoded lines of a file for a csv reader, with the byte offset of the next line."""

    def __init__(self, file: IO[bytes], name: str, offset: int = 0, encoding: str = "") -> None:
        self._file, self._name, self.offset = file, name, offset
        self._encoding = encoding or "utf-8"
        self._row_offset = offset
        self._ahead: deque[bytes] = deque()
        self.row: list[bytes] = []
        """Lines of the current row."""
        self.problem = ""
        """Why the current row cannot be decoded."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        first = self.offset == 0
        line = self.read_line()
        if not line:
            raise StopIteration
        text = self.decode(line)
        return text.removeprefix("\ufeff") if first else text

    def read_line(self) -> bytes:
        """Return the next line undecoded; b"" at the end of the file."""
        line = self._ahead.popleft() if self._ahead else self._file.readline(MAX_RECORD_BYTES + 1)
        if not line:
            return b""
        self.offset += len(line)
        self.row.append(line)
        if self.offset - self._row_offset > MAX_RECORD_BYTES:
            raise RecordError(
                f"{self._name}: the row at byte {self._row_offset} is longer than "
                f"{MAX_RECORD_BYTES >> 20} MiB. A closing quotation mark may be missing."
            )
        return line

    def decode(self, line: bytes) -> str:
        """Return the text of a line; an invalid byte becomes the problem of the row."""
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError:
            text = line.decode(self._encoding, "surrogateescape")
            position = find_undecoded(text, 0, len(text))
            self.problem = self.problem or describe_bad_byte(text[position or 0])
            return text

    def start_row(self) -> int:
        """Start a row and return its byte offset."""
        self._row_offset = self.offset
        self.row, self.problem = [], ""
        return self.offset

    def put_back(self) -> None:
        """Go back to the second line of the row."""
        first, *others = self.row
        self._ahead.extendleft(reversed(others))
        self.row, self.offset = [first], self._row_offset + len(first)
        while not first.endswith(b"\n") and not self._ahead:  # an overlong line
            first = self._file.readline(_STEP_BYTES)
            self.offset += len(first)
            if not first:
                break


def read_table(
    file: IO[bytes],
    name: str,
    delimiter: str,
    quoted: bool = True,
    encoding: str = "",
    keep_going: bool = False,
) -> Iterator[tuple[int, RawRecord]]:
    """Yield (byte offset, row) for every row below the header, columns by name.

    If not ``quoted``, quotation marks are text. Raises RecordError for a row with unbalanced
    quotation marks or bytes outside the encoding; with ``keep_going`` its first line becomes a
    record with a problem, and reading continues at the next line.
    """
    lines = _Lines(file, name, encoding=encoding)
    reader = _open_csv(lines, delimiter, quoted)
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise RecordError(f"{name}: cannot read column names in line 1: {error}") from error
    if lines.problem:
        raise RecordError(f"{name}: line 1: {lines.problem}")
    number = 0
    while True:
        offset, number = lines.start_row(), number + 1
        row: list[str] | None = []
        problem = ""
        try:
            row = next(reader, None)
            problem = lines.problem
        except (csv.Error, RecordError) as error:
            problem = str(error)
            if isinstance(error, csv.Error):
                problem += (
                    ". A field that starts with a quotation mark must end with one, and quotation "
                    "marks inside it must be doubled."
                )
            lines.put_back()
        if row is None:
            return
        if problem:
            problem = f"row {number}, at byte {offset}: {problem}"
            if not keep_going:
                raise RecordError(f"{name}: {problem}")
            yield offset, RawRecord(b"", problem=problem)
        elif any(row):
            if len(row) == len(header):
                yield offset, RawRecord(b"", dict(zip(header, row, strict=True)))
            else:
                problem = f"row {number} has {len(row)} columns, the header has {len(header)}"
                yield offset, RawRecord(b"", problem=problem)


def split_header(line: str, delimiter: str) -> list[str]:
    """Return the column names in the first line of a table; none if it is not a whole line."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a lone carriage return or an unclosed name: reading reports it
        return []


def _open_csv(
    lines: Iterator[str], delimiter: str, quoted: bool, strict: bool = True
) -> Iterator[list[str]]:
    if quoted:
        return csv.reader(lines, delimiter=delimiter, strict=strict)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=strict)


def find_unquoted_line(file: IO[bytes], name: str, encoding: str = "") -> int | None:
    """Return the number of a line which proves that a TSV file was written without quoting.

    The line has the same number of columns as the header, and one of its fields starts with a
    quotation mark; with quoting it would be invalid or swallow lines that are complete rows. None
    if all quotation marks are balanced.
    """
    lines = _Lines(file, name, encoding=encoding)
    n_tabs = lines.read_line().count(b"\t")
    number = 1
    while True:
        lines.start_row()
        try:
            line = lines.read_line()
        except RecordError:  # an overlong line; reading the rows reports it
            return None
        if not line:
            return None
        number += 1
        if not _is_balanced(line):
            if _requires_unquoted(lines.decode(line), lines, n_tabs):
                return number
            number += len(lines.row) - 1


def _is_balanced(line: bytes) -> bool:
    """Return whether each field that starts with a quotation mark ends with one; cheap."""
    if not line.startswith(b'"') and b'\t"' not in line:
        return True
    fields = (field for field in line.rstrip(b"\r\n").split(b"\t") if field.startswith(b'"'))
    return all(
        len(field) > 1 and field.endswith(b'"') and b'"' not in field[1:-1].replace(b'""', b"")
        for field in fields
    )


def _requires_unquoted(first: str, lines: _Lines, n_tabs: int) -> bool:
    """Return whether the row that starts with ``first`` can only be read without quoting."""

    def row_lines() -> Iterator[str]:
        yield first
        for line in lines:
            if len(lines.row) > _CERTAIN_LINES and _are_rows(lines.row, n_tabs):
                return
            yield line

    try:
        next(_open_csv(row_lines(), "\t", True), None)
    except (csv.Error, RecordError):
        is_row = _are_rows(lines.row[:1], n_tabs)
        lines.put_back()
        return is_row
    return len(lines.row) > 1 and _are_rows(lines.row, n_tabs)


def _are_rows(lines: list[bytes], n_tabs: int) -> bool:
    return all(line.count(b"\t") == n_tabs for line in lines)


def read_row_at(path: Path, offset: int, quoted: bool = True) -> dict[str, str]:
    """Return the row of a table that starts at byte ``offset``."""
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    with path.open("rb") as file:
        rows = []
        for start in (0, offset):
            file.seek(start)
            lines = _Lines(file, path.name, start)
            rows.append(next(_open_csv(lines, delimiter, quoted, strict=False), []))
    return dict(zip(*rows, strict=False))
