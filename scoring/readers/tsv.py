"""Tables of text: the TSV files of benchmarks (images in base64), and CSV.

Rows are cut by the standard library's reader while the byte offset of each is kept, so that the
image of a row is read from its place later, and memory holds one row at a time.
"""

from __future__ import annotations

import csv
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from scoring.errors import RecordError
from scoring.readers.json_stream import MAX_RECORD_BYTES, RawRecord

csv.field_size_limit(MAX_RECORD_BYTES)
MOST_SHARED = 200_000
_SHORTEST_IMAGE = 64  # a shorter text in the image column is the index of the row that holds it


class _Lines:
    """Decoded lines of a file for a csv reader, with the byte offset of the next one."""

    def __init__(self, file: IO[bytes], name: str, offset: int = 0) -> None:
        self._file, self._name, self.offset = file, name, offset
        self._begun_at = offset

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_RECORD_BYTES + 1)
        if not line:
            raise StopIteration
        first = self.offset == 0
        self.offset += len(line)
        if self.offset - self._begun_at > MAX_RECORD_BYTES:
            raise RecordError(
                f"{self._name}: the row at byte {self._begun_at} is longer than "
                f"{MAX_RECORD_BYTES >> 20} MiB; a quotation mark may lack its other half"
            )
        text = line.decode("utf-8", "replace")
        return text.removeprefix("\ufeff") if first else text

    def begin(self) -> int:
        """Marks the beginning of a row."""
        self._begun_at = self.offset
        return self.offset


def read_table(
    file: IO[bytes], name: str, delimiter: str, *, keep_going: bool = False
) -> Iterator[tuple[int, RawRecord]]:
    """(byte offset, row) of every row below the header, columns by their name."""
    lines = _Lines(file, name)
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise RecordError(f"{name}: its first line names no columns: {error}") from error
    number = 0
    while True:
        offset, number = lines.begin(), number + 1
        try:
            row = next(reader, None)
        except (csv.Error, RecordError) as error:
            if not keep_going:
                raise RecordError(f"{name}: row {number}, at byte {offset}: {error}") from error
            yield offset, RawRecord(b"", problem=f"row {number}, at byte {offset}: {error}")
            return
        if row is None:
            return
        if not any(row):
            continue
        if len(row) != len(header):
            what = f"row {number} has {len(row)} columns, the header names {len(header)}"
            yield offset, RawRecord(b"", problem=what)
            continue
        yield offset, RawRecord(b"", dict(zip(header, row, strict=True)))


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


def read_row_at(path: Path, offset: int) -> dict[str, str]:
    """The row of a table that begins at byte ``offset``."""
    delimiter = "," if path.suffix.lower() == ".csv" else "\t"
    with path.open("rb") as file:
        header = next(csv.reader(_Lines(file, path.name), delimiter=delimiter), [])
        file.seek(offset)
        row = next(csv.reader(_Lines(file, path.name, offset), delimiter=delimiter), [])
    return dict(zip(header, row, strict=False))
