"""Tables of text: the TSV files of benchmarks (images in base64), and CSV.

Rows are cut by the standard library's reader while the byte offset of each is kept, so that the
image of a row is read from its place later, and memory holds one row at a time.
"""

from __future__ import annotations

import csv
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from scoring.errors import RecordError
from scoring.readers.encodings import describe_bad_byte, find_undecoded
from scoring.readers.json_stream import MAX_RECORD_BYTES, RawRecord

csv.field_size_limit(MAX_RECORD_BYTES)
MOST_SHARED = 200_000
_SHORTEST_IMAGE = 64  # a shorter text in the image column is the index of the row that holds it
_STEP_BYTES = 1 << 20
_SURE_LINES = 100  # lines inside one pair of quotation marks that are whole rows by themselves


class _Lines:
    """Decoded lines of a file for a csv reader, with the byte offset of the next one."""

    def __init__(self, file: IO[bytes], name: str, offset: int = 0, encoding: str = "") -> None:
        self._file, self._name, self.offset = file, name, offset
        self._encoding = encoding or "utf-8"
        self._begun_at = offset
        self._ahead: deque[bytes] = deque()
        self.row: list[bytes] = []
        """Lines of the row that is read."""
        self.problem = ""
        """What of that row is in no encoding."""

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
        """The next line as it is in the file; b"" at its end."""
        line = self._ahead.popleft() if self._ahead else self._file.readline(MAX_RECORD_BYTES + 1)
        if not line:
            return b""
        self.offset += len(line)
        self.row.append(line)
        if self.offset - self._begun_at > MAX_RECORD_BYTES:
            raise RecordError(
                f"{self._name}: the row at byte {self._begun_at} is longer than "
                f"{MAX_RECORD_BYTES >> 20} MiB; a quotation mark may lack its other half"
            )
        return line

    def decode(self, line: bytes) -> str:
        """The text of a line; what is not in its encoding becomes the problem of the row."""
        try:
            return line.decode(self._encoding)
        except UnicodeDecodeError:
            text = line.decode(self._encoding, "surrogateescape")
            odd = find_undecoded(text, 0, len(text))
            self.problem = self.problem or describe_bad_byte(text[odd or 0])
            return text

    def begin(self) -> int:
        """Marks the beginning of a row."""
        self._begun_at = self.offset
        self.row, self.problem = [], ""
        return self.offset

    def put_back(self) -> None:
        """Goes back to the second line of the row."""
        first, *others = self.row
        self._ahead.extendleft(reversed(others))
        self.row, self.offset = [first], self._begun_at + len(first)
        while not first.endswith(b"\n") and not self._ahead:  # a line beyond all limits
            first = self._file.readline(_STEP_BYTES)
            self.offset += len(first)
            if not first:
                break


def read_table(
    file: IO[bytes],
    name: str,
    delimiter: str,
    *,
    quoted: bool = True,
    encoding: str = "",
    keep_going: bool = False,
) -> Iterator[tuple[int, RawRecord]]:
    """(byte offset, row) of every row below the header, columns by their name.

    ``quoted`` False: quotation marks are text. Raises RecordError for a row whose quotation marks
    do not come out even or that is not in the encoding; with ``keep_going`` its first line becomes
    a record with its problem, and reading goes on at the next line.
    """
    lines = _Lines(file, name, encoding=encoding)
    reader = _reader(lines, delimiter, quoted)
    try:
        header: list[str] = next(reader, [])
    except csv.Error as error:
        raise RecordError(f"{name}: its first line names no columns: {error}") from error
    if lines.problem:
        raise RecordError(f"{name}: in its first line {lines.problem}")
    number = 0
    while True:
        offset, number = lines.begin(), number + 1
        row: list[str] | None = []
        problem = ""
        try:
            row = next(reader, None)
            problem = lines.problem
        except (csv.Error, RecordError) as error:
            problem = _why_cut(error)
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
                what = f"row {number} has {len(row)} columns, the header names {len(header)}"
                yield offset, RawRecord(b"", problem=what)


def split_header(line: str, delimiter: str) -> list[str]:
    """Return the column names in the first line of a table, none where it is not one line."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a lone carriage return, or a name without end: reading the table says so
        return []


def _reader(
    lines: Iterator[str], delimiter: str, quoted: bool, strict: bool = True
) -> Iterator[list[str]]:
    if quoted:
        return csv.reader(lines, delimiter=delimiter, strict=strict)
    return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=strict)


def _why_cut(error: Exception) -> str:
    if not isinstance(error, csv.Error):
        return str(error)
    return (
        f"{error}: a field that begins with a quotation mark must end with one, and those inside "
        "it are doubled"
    )


def find_unquoted_line(file: IO[bytes], name: str, encoding: str = "") -> int | None:
    """Return the number of the line which proves that a TSV file was written without quoting.

    That is a line of as many columns as the header names, in which a field begins with a quotation
    mark: with quoting it would break off, or swallow lines that are whole rows themselves. None
    where all quotation marks come out even.
    """
    lines = _Lines(file, name, encoding=encoding)
    n_tabs = lines.read_line().count(b"\t")
    number = 1
    while True:
        lines.begin()
        try:
            line = lines.read_line()
        except RecordError:  # a line beyond all limits: whoever reads the rows names it
            return None
        if not line:
            return None
        number += 1
        if not _is_even(line):
            if _is_uneven(lines.decode(line), lines, n_tabs):
                return number
            number += len(lines.row) - 1


def _is_even(line: bytes) -> bool:
    """Whether each field of a line that begins with a quotation mark ends with one; cheap."""
    if not line.startswith(b'"') and b'\t"' not in line:
        return True
    fields = (field for field in line.rstrip(b"\r\n").split(b"\t") if field.startswith(b'"'))
    return all(
        len(field) > 1 and field.endswith(b'"') and b'"' not in field[1:-1].replace(b'""', b"")
        for field in fields
    )


def _is_uneven(first: str, lines: _Lines, n_tabs: int) -> bool:
    """Whether the row that begins with the line ``first`` can only be read without quoting."""

    def following() -> Iterator[str]:
        yield first
        for line in lines:
            if len(lines.row) > _SURE_LINES and _are_rows(lines.row, n_tabs):
                return
            yield line

    try:
        next(_reader(following(), "\t", True), None)
    except (csv.Error, RecordError):
        uneven = _are_rows(lines.row[:1], n_tabs)
        lines.put_back()
        return uneven
    return len(lines.row) > 1 and _are_rows(lines.row, n_tabs)


def _are_rows(lines: list[bytes], n_tabs: int) -> bool:
    return all(line.count(b"\t") == n_tabs for line in lines)


class SharedImages:
    """Rows of a benchmark that show the image of another row, which they name by its index.

    The latest MOST_SHARED rows with an image are known; those named are kept longest.
    """

    def __init__(self) -> None:
        self._offsets: OrderedDict[str, int] = OrderedDict()

    def resolve(self, offset: int, row: dict[str, object]) -> int:
        """The offset of the row whose image ``row`` shows."""
        image, index = row.get("image"), row.get("index")
        if isinstance(image, str) and isinstance(index, str):
            if len(image) >= _SHORTEST_IMAGE:
                self._offsets[index] = offset
                if len(self._offsets) > MOST_SHARED:
                    self._offsets.popitem(last=False)
            elif image in self._offsets:
                self._offsets.move_to_end(image)
                return self._offsets[image]
        return offset


def read_row_at(path: Path, offset: int, quoted: bool = True) -> dict[str, str]:
    """The row of a table that begins at byte ``offset``."""
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    with path.open("rb") as file:
        first = _Lines(file, path.name)
        header: list[str] = next(_reader(first, delimiter, quoted, strict=False), [])
        file.seek(offset)
        lines = _Lines(file, path.name, offset)
        row: list[str] = next(_reader(lines, delimiter, quoted, strict=False), [])
    return dict(zip(header, row, strict=False))
