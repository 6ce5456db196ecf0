"""The files of an export, piece by piece: what an export writes and what a check compares with.

The one decision behind it: a format is a generator of (row_idx, bytes) pieces over the dataset's
exact record bytes. Nothing is parsed and printed again, so unknown keys, key order, number forms
and escapes pass through, memory stays bounded, and a difference is found at its byte and row.

- ``llava``: ``samples.json``, a JSON array; each record byte for byte as it came.
- ``jsonl``: ``samples.jsonl``, a record a line. White space with a line break in it that stands
  between the tokens of a record is left out; everything else is byte for byte as it came.
- ``ids``: ``ids.txt`` and ``row_idx.txt``, a sample a line in the same order. ``row_idx`` is the
  identity; an id may repeat, a missing one is an empty line, and a line break in one is written
  as ``\\n`` or ``\\r``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scoring.dataset import read_columns, read_originals
from scoring.errors import InputError, RecordError, WorkspaceError
from scoring.workspace import Workspace

Piece = tuple[int | None, bytes]
"""The row whose record it is (None for what stands around records), and its bytes."""

# A string with its escapes, or white space outside of strings that breaks the line.
_STRING_OR_BREAK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[ \t]*[\r\n][ \t\r\n]*', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Records:
    """The samples to write: ``rows`` ascending, and those of them that are no clean records."""

    workspace: Workspace
    rows: NDArray[np.int64]
    bad_rows: Collection[int] = ()

    def originals(self) -> Iterator[tuple[int, bytes]]:
        """(row_idx, exact bytes) of every row. Raises WorkspaceError where the dataset lacks one.

        Raises RecordError for a bad record that is no JSON: it would spoil the whole file.
        """
        wanted = map(int, self.rows)
        for row_idx, original in read_originals(self.workspace, self.rows):
            _expect(next(wanted, None), row_idx)
            if original is None:  # a dataset whose records lie elsewhere
                raise WorkspaceError(
                    f"the dataset parts hold no record bytes of row {row_idx}; "
                    "export the subset as ids, or import the dataset from its JSON file"
                )
            if row_idx in self.bad_rows:
                _check_json(row_idx, original)
            yield row_idx, original
        _expect(next(wanted, None), None)

    def identifiers(self) -> Iterator[tuple[int, str]]:
        """(row_idx, id) of every row, the id empty where a record has none."""
        wanted = map(int, self.rows)
        for table in read_columns(self.workspace, ["row_idx", "id"]):
            found = table.column("row_idx").to_numpy()
            low, high = np.searchsorted(self.rows, [found[0], found[-1] + 1])
            table = table.filter(np.isin(found, self.rows[low:high]))
            ids = table.column("id").to_pylist()
            for row_idx, name in zip(table.column("row_idx").to_pylist(), ids, strict=True):
                _expect(next(wanted, None), row_idx)
                yield row_idx, name or ""
        _expect(next(wanted, None), None)


def read_pieces(records: Records, file_format: str) -> dict[str, Iterator[Piece]]:
    """File name -> its pieces. Raises InputError naming the formats there are."""
    if file_format not in FORMATS:
        raise InputError(f"no format {file_format!r}; there are: {', '.join(FORMATS)}")
    return {name: make(records) for name, make in FORMATS[file_format].items()}


def one_line(original: bytes) -> bytes:
    """A JSON record without the line breaks between its tokens, nothing else touched."""
    if b"\n" not in original and b"\r" not in original:
        return original
    return _STRING_OR_BREAK.sub(lambda found: found[0] if found[0][:1] == b'"' else b"", original)


def _array_pieces(records: Records) -> Iterator[Piece]:
    before = b"[\n"
    for row_idx, original in records.originals():
        yield None, before
        yield row_idx, original
        before = b",\n"
    yield None, b"[]\n" if before == b"[\n" else b"\n]\n"


def _line_pieces(records: Records) -> Iterator[Piece]:
    for row_idx, original in records.originals():
        line = one_line(original)
        if b"\n" in line or b"\r" in line:
            raise RecordError(
                f"row {row_idx} has a raw line break inside a string, which no line of JSON can "
                "hold; export it as llava"
            )
        yield row_idx, line
        yield None, b"\n"


def _id_pieces(records: Records) -> Iterator[Piece]:
    for row_idx, name in records.identifiers():
        text = "".join(_BREAKS.get(character, character) for character in name)
        yield row_idx, text.encode() + b"\n"


def _row_pieces(records: Records) -> Iterator[Piece]:
    for row_idx in map(int, records.rows):
        yield row_idx, b"%d\n" % row_idx


# Every character at which some reader of text files ends a line.
_BREAKS = {
    character: character.encode("unicode_escape").decode()
    for character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
}

FORMATS: Mapping[str, Mapping[str, Callable[[Records], Iterator[Piece]]]] = {
    "llava": {"samples.json": _array_pieces},
    "jsonl": {"samples.jsonl": _line_pieces},
    "ids": {"ids.txt": _id_pieces, "row_idx.txt": _row_pieces},
}
"""Format -> file name -> its pieces."""


def _expect(wanted: int | None, found: int | None) -> None:
    if wanted != found:
        missing = f"row {wanted}" if wanted is not None else f"a place for row {found}"
        raise WorkspaceError(
            f"the dataset parts lack {missing}; they do not hold what was imported: restore "
            "them, or import the dataset into a new workspace"
        )


def _check_json(row_idx: int, original: bytes) -> None:
    try:
        json.loads(original.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise RecordError(
            f"row {row_idx} was kept by a reviewer, but its record is no JSON ({error}) and "
            "would make the whole file unreadable; drop it, or export the subset as ids"
        ) from error
