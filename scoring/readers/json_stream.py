"""Slices JSON files into records without losing a byte of them and without loading the file.

The standard library's decoder both parses a record and says where it ends, so the slice between
is the record exactly as it came: key order, number formats, escapes and unknown keys included.
Bytes that are not UTF-8 travel as surrogates and come out of the slice unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from scoring.errors import RecordError

CHUNK_BYTES = 1 << 20
MAX_RECORD_BYTES = 256 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_CUT_MARGIN = 16  # an error this close to the end of the buffer may be a token cut in two


def _parse_int(digits: str) -> int | str:
    """Integers beyond what Python converts cheaply stay text; only identifiers can hold such."""
    return int(digits) if len(digits) < 100 else digits


_DECODER = json.JSONDecoder(parse_int=_parse_int)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record: its exact bytes, and what it parsed to, or why it did not parse."""

    original: bytes
    value: object = None
    problem: str | None = None


def read_json_lines(file: IO[bytes], name: str) -> Iterator[RawRecord]:
    """Yields one record per non-blank line; a line that is no JSON keeps its place as a problem."""
    first = True
    while line := file.readline(MAX_RECORD_BYTES + 1):
        if len(line) > MAX_RECORD_BYTES:
            raise RecordError(f"{name}: a line is longer than {MAX_RECORD_BYTES >> 20} MiB")
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        original = line.strip(b" \t\r\n")
        if original:
            yield _parse_line(original)


def _parse_line(original: bytes) -> RawRecord:
    text = original.decode("utf-8", "surrogateescape")
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        return RawRecord(original, problem=f"the line is not valid JSON: {error}")
    if end != len(text):
        return RawRecord(original, problem=f"the line goes on after its JSON value, at {end + 1}")
    return RawRecord(original, value)


def read_json_array(file: IO[bytes], name: str) -> Iterator[RawRecord]:
    """Yields the elements of one JSON array.

    Memory stays within a few buffers, whatever the file's size. Raises RecordError with line and
    column where the file stops being JSON: what follows could not be cut into records.
    """
    buffer = _Buffer(file, name)
    buffer.expect("[")
    if buffer.peek() == "]":
        buffer.expect("]")
    else:
        while True:
            yield buffer.record()
            if buffer.peek() != ",":
                break
            buffer.expect(",")
        buffer.expect("]", otherwise="',' or ']'")
    if rest := buffer.peek():
        buffer.fail(f"{rest!r} after the end of the array")


class _Buffer:
    """A window of decoded text that slides over the file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name
        self._text, self._at, self._eof = "", 0, False
        # Bytes not decoded yet: a character that a read cut in two, at first what follows a BOM.
        self._tail = file.read(3).removeprefix(b"\xef\xbb\xbf")
        self._lines, self._column = 0, 0  # of the start of the window, 0-based
        self._fill()

    def _fill(self) -> None:
        """Drops what was used and reads on, at least as much as is left (amortised linear)."""
        used = self._text[: self._at]
        if newlines := used.count("\n"):
            self._lines += newlines
            self._column = len(used) - used.rfind("\n") - 1
        else:
            self._column += len(used)
        self._text, self._at = self._text[self._at :], 0
        data = self._tail + self._file.read(max(CHUNK_BYTES, len(self._text)))
        self._eof = len(data) == len(self._tail)
        cut = len(data) if self._eof else _complete_utf8(data)
        self._tail = data[cut:]
        self._text += data[:cut].decode("utf-8", "surrogateescape")

    def peek(self) -> str:
        """The next character that is no white space, or "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or self._eof:
                return self._text[self._at : self._at + 1]
            self._fill()

    def expect(self, character: str, otherwise: str | None = None) -> None:
        """Steps over ``character`` or fails with what stands there instead."""
        found = self.peek()
        if found != character:
            stands = f"found {found!r}" if found else "the file ends"
            self.fail(f"expected {otherwise or repr(character)}, {stands}")
        self._at += 1

    def record(self) -> RawRecord:
        """Parses the value at the current place, reading on while it may be cut off."""
        if not self.peek():
            self.fail("the file ends where a record should begin")
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._eof or not self._may_be_cut(error):
                    self.fail(error.msg, at=error.pos)
            except (ValueError, RecursionError) as error:
                self.fail(str(error))
            else:
                if end < len(self._text) or self._eof:
                    original = self._text[self._at : end].encode("utf-8", "surrogateescape")
                    self._at = end
                    return RawRecord(original, value)
            if len(self._text) - self._at > MAX_RECORD_BYTES:
                self.fail(f"the record is longer than {MAX_RECORD_BYTES >> 20} MiB")
            self._fill()

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        near_end = error.pos >= len(self._text) - _CUT_MARGIN
        return near_end or error.msg.startswith("Unterminated string")

    def fail(self, what: str, at: int | None = None) -> None:
        """Raises RecordError naming line and column."""
        used = self._text[: self._at if at is None else at]
        line = self._lines + used.count("\n") + 1
        column = len(used) - used.rfind("\n") if "\n" in used else self._column + len(used) + 1
        raise RecordError(f"{self._name}: line {line}, column {column}: {what}")


def _complete_utf8(data: bytes) -> int:
    """Length of ``data`` without a multi-byte character that its end may have cut in two."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if back >= needed else len(data) - back
    return len(data)
