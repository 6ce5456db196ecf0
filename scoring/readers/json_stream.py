"""Streaming JSON readers that keep the exact bytes of each record.

The standard library's decoder parses a record and returns its end, so the slice in between is the
record exactly as written: key order, number formats, escapes and unknown keys included. A record
with bytes that are not UTF-8 is reported with their position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from scoring.errors import RecordError
from scoring.readers.encodings import describe_bad_byte, find_undecoded

CHUNK_BYTES = 1 << 20
MAX_RECORD_BYTES = 256 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_KEPT_BYTES = 1 << 20  # at most, of a record that could not be read
_BOUNDARY_MARGIN = 4096  # longer than any boundary between records, next key included
_NEXT_ELEMENT = re.compile(r",\s*(?=\{)")
_NEXT_VALUE = re.compile(r"\n\s*(?=\{)")
_NEXT_MEMBER = re.compile(r',\s*(?="(?:[^"\\]|\\.){0,1000}"\s*:\s*\{)')
_KEY = re.compile(r'"(?:[^"\\]|\\.)*"\s*:\s*')
_CLOSING = {"{": "}", "[": "]"}
TURN_KEYS = (frozenset(("from", "value")), frozenset(("role", "content")))
_RECORD_KEYS = frozenset(("messages", "conversations", "conversation"))
_PART_KEYS = frozenset(("type", "bytes", "url"))  # of a typed part or of one image
_END_MARGIN = 16  # an error this close to the end of the buffer may be an incomplete token


def _parse_int(digits: str) -> int | str:
    """Keep integers as text if converting them is expensive; only identifiers are that long."""
    return int(digits) if len(digits) < 100 else digits


_DECODER = json.JSONDecoder(parse_int=_parse_int)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record: its exact bytes, and its parsed value or the reason why it could not be parsed.

    Attributes:
        original: exact bytes of a JSON record, otherwise empty.
        key: the key of an object member; ``key_text`` is the key as written in the file.
        origin: the file and the row if the record is not JSON, otherwise its key if it has one.
    """

    original: bytes
    value: object = None
    problem: str | None = None
    key: str | None = None
    key_text: bytes = b""
    origin: str | None = None


def read_json_lines(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yield one record per non-blank line.

    Raises RecordError with line and column for a line that is not valid JSON; with ``keep_going``
    such a line becomes a record with a problem.
    """
    number = 0
    while line := file.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(line) > MAX_RECORD_BYTES:
            problem = f"line {number} is longer than {MAX_RECORD_BYTES >> 20} MiB"
            yield _check_problem(RawRecord(line[:_KEPT_BYTES], problem=problem), name, keep_going)
            while not line.endswith(b"\n") and (line := file.readline(CHUNK_BYTES)):
                pass
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        original = line.strip(b" \t\r\n")
        if original:
            indent = len(line) - len(line.lstrip(b" \t\r\n"))
            yield _check_problem(_parse_line(original, number, indent), name, keep_going)


def _parse_line(original: bytes, number: int, indent: int) -> RawRecord:
    """Parse one line; ``indent`` is the number of whitespace characters before the record."""
    text = original.decode("utf-8", "surrogateescape")
    if (position := find_undecoded(text, 0, len(text))) is not None:
        where = f"line {number}, column {indent + position + 1}"
        return RawRecord(original, problem=f"{where}: {describe_bad_byte(text[position])}")
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        what = f"{error.msg}, {_context_at(text, error.pos)}"
        return RawRecord(
            original, problem=f"line {number}, column {indent + error.pos + 1}: {what}"
        )
    except (ValueError, RecursionError) as error:
        return RawRecord(original, problem=f"line {number}: {error}")
    if end != len(text):
        what = f"unexpected text after the JSON value, {_context_at(text, end)}"
        return RawRecord(original, problem=f"line {number}, column {indent + end + 1}: {what}")
    return RawRecord(original, value)


def _context_at(text: str, position: int) -> str:
    """Describe the text at a position, for an error message."""
    context = text[position : position + 20]
    return f"found {context!r}" if context else "found the end of the file"


def read_json_array(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yield the elements of one JSON array, holding only a few buffers in memory.

    Raises RecordError with line and column where the file is not valid JSON. With ``keep_going``
    everything from there to the start of the next similar record becomes one record with a problem.
    """
    buffer = _Buffer(file, name)
    buffer.expect("[")
    yield from _read_members(buffer, "]", keep_going)
    _expect_end(buffer, "array", keep_going)


def read_json_values(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yield consecutive JSON values, each over any number of lines.

    Damage is handled as in ``read_json_array``.
    """
    buffer = _Buffer(file, name)
    usual_keys: frozenset[str] | None = None
    while buffer.peek():
        try:
            record = _check_problem(buffer.read_value(), name, keep_going)
            if isinstance(record.value, dict):
                usual_keys = usual_keys or frozenset(record.value)
            yield record
        except RecordError as error:
            if not keep_going:
                raise
            yield buffer.skip_damage(str(error), "", usual_keys)


def read_json_object(
    file: IO[bytes], name: str, keep_going: bool = False, within: str | None = None
) -> Iterator[RawRecord]:
    """Yield the members of one JSON object as records with a key.

    With ``within``, the records are the members of the object or array under that key, and all
    other keys are skipped. Damage is handled as in ``read_json_array``.
    """
    buffer = _Buffer(file, name)
    buffer.expect("{")
    if within is None:
        yield from _read_members(buffer, "}", keep_going)
    else:
        while buffer.peek() != "}":
            is_within = buffer.read_key().value == within
            if is_within and (opening := buffer.peek()) in _CLOSING:
                buffer.expect(opening)
                yield from _read_members(buffer, _CLOSING[opening], keep_going)
            else:
                buffer.read_value()
            if buffer.peek() != ",":
                break
            buffer.expect(",")
        buffer.expect("}", expected="',' or '}'")
    _expect_end(buffer, "object", keep_going)


def _check_problem(record: RawRecord, name: str, keep_going: bool) -> RawRecord:
    """Return the record. Raises RecordError if it has a problem, unless ``keep_going``."""
    if record.problem and not keep_going:
        raise RecordError(f"{name}: {record.problem}")
    return record


def _read_members(buffer: _Buffer, closing: str, keep_going: bool) -> Iterator[RawRecord]:
    """Yield the members of an array or object, up to and including its closing bracket."""
    usual_keys: frozenset[str] | None = None
    has_members = False
    while True:
        try:
            if buffer.peek() == closing and not has_members:
                break
            key = buffer.read_key() if closing == "}" else None
            name = None if key is None else str(key.value)
            record = _check_problem(buffer.read_value(), buffer.name, keep_going)
            has_members = True
            if isinstance(record.value, dict):
                usual_keys = usual_keys or frozenset(record.value)
            yield record if key is None else replace(record, key=name, key_text=key.original)
            if buffer.peek() != ",":
                buffer.check(closing, f"',' or {closing!r}")
                break
            buffer.expect(",")
        except RecordError as error:
            if not keep_going:
                raise
            if has_members and buffer.is_record_start(closing, usual_keys):
                continue  # only a comma is missing
            yield buffer.skip_damage(str(error), closing, usual_keys)
            has_members = True
            if not buffer.peek():
                return
    buffer.expect(closing)


def _expect_end(buffer: _Buffer, what: str, keep_going: bool) -> None:
    rest = buffer.peek()
    if rest and not keep_going:
        buffer.fail(f"{rest!r} after the end of the {what}")


class _Buffer:
    """A sliding window of decoded text over a file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self.name = file, name
        self._text, self._at, self._eof = "", 0, False
        # Bytes not decoded yet: an incomplete character; at first what follows the BOM.
        self._tail = file.read(3).removeprefix(b"\xef\xbb\xbf")
        self._lines, self._column = 0, 0  # of the start of the window, 0-based
        self._fill()

    def _fill(self) -> None:
        """Drop the consumed text and read at least as much as remains (amortised linear)."""
        used = self._text[: self._at]
        if newlines := used.count("\n"):
            self._lines += newlines
            self._column = len(used) - used.rfind("\n") - 1
        else:
            self._column += len(used)
        self._text, self._at = self._text[self._at :], 0
        self._grow()

    def _grow(self) -> bool:
        """Read on without dropping anything from the window; return False at the end."""
        data = self._tail + self._file.read(max(CHUNK_BYTES, len(self._text)))
        self._eof = len(data) == len(self._tail)
        end = len(data) if self._eof else _complete_utf8(data)
        self._tail = data[end:]
        self._text += data[:end].decode("utf-8", "surrogateescape")
        return end > 0

    def peek(self) -> str:
        """Return the next character that is not whitespace, or "" at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or self._eof:
                return self._text[self._at : self._at + 1]
            self._fill()

    def expect(self, character: str, expected: str | None = None) -> None:
        """Step over ``character``. Raises RecordError if it is not the next character."""
        self.check(character, expected or repr(character))
        self._at += 1

    def check(self, character: str, expected: str) -> None:
        """Raise RecordError unless ``character`` is the next character."""
        if self.peek() != character:
            context = self._text[self._at : self._at + 1]
            actual = repr(context) if context else "the end of the file"
            self.fail(f"expected {expected}, found {actual}")

    def read_key(self) -> RawRecord:
        """Read the key of a member and step over its colon."""
        self.check('"', "a key in double quotes")
        key = self.read_value()
        if key.problem:
            raise RecordError(f"{self.name}: {key.problem}")
        self.expect(":")
        return key

    def skip_damage(
        self, problem: str, closing: str, usual_keys: frozenset[str] | None
    ) -> RawRecord:
        """Skip to the start of the next similar record, or to the end.

        Returns the skipped text, up to a limit, as one record with its ``problem``.
        """
        boundary = {"}": _NEXT_MEMBER, "]": _NEXT_ELEMENT}.get(closing, _NEXT_VALUE)
        skipped: list[str] = []
        n_kept = 0

        def skip_to(end: int) -> None:
            nonlocal n_kept
            text = self._text[self._at : end][: max(_KEPT_BYTES - n_kept, 0)]
            skipped.append(text)
            n_kept += len(text)
            self._at = end

        search_from = self._at
        while True:
            match = boundary.search(self._text, search_from)
            if match is None:
                if self._eof:
                    skip_to(len(self._text))
                    break
                skip_to(max(self._at, len(self._text) - _BOUNDARY_MARGIN))
                self._fill()
                search_from = self._at
                continue
            ahead = match.end() - match.start()
            skip_to(match.start())
            if self._move_to_record(ahead, closing, usual_keys):
                break
            search_from = self._at + 1
        original = "".join(skipped).encode("utf-8", "surrogateescape")
        return RawRecord(original, problem=problem.removeprefix(f"{self.name}: "))

    def is_record_start(self, closing: str, usual_keys: frozenset[str] | None) -> bool:
        """Return whether a similar record starts at the current position."""
        return self.peek() in ("{", '"') and self._move_to_record(0, closing, usual_keys)

    def _move_to_record(self, ahead: int, closing: str, usual_keys: frozenset[str] | None) -> bool:
        """Move ``ahead`` characters if a similar record starts there; return whether it does.

        The window may grow but drops nothing, so positions in it stay valid.
        """
        begin = self._at + ahead
        start = begin
        if closing == "}":
            key = _KEY.match(self._text, begin)
            if key is None:
                return False
            start = key.end()
        while True:
            try:
                value, _ = _DECODER.raw_decode(self._text, start)
            except json.JSONDecodeError as error:
                too_long = len(self._text) - start > MAX_RECORD_BYTES
                if too_long or not self._may_be_incomplete(error) or not self._grow():
                    return False
            except (ValueError, RecursionError):
                return False
            else:
                break
        if not isinstance(value, dict):
            return False
        if usual_keys:
            is_similar = len(usual_keys & value.keys()) * 2 >= len(usual_keys)
        else:
            is_similar = _is_record_like(value)
        if is_similar:
            self._at = begin
        return is_similar

    def read_value(self) -> RawRecord:
        """Parse the value at the current position, reading on while it may be incomplete."""
        if not self.peek():
            self.fail("expected a record, found the end of the file")
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._eof or not self._may_be_incomplete(error):
                    self._fail_to_parse(error)
            except (ValueError, RecursionError) as error:
                self.fail(str(error))
            else:
                if end < len(self._text) or self._eof:
                    return self._take_value(end, value)
            if len(self._text) - self._at > MAX_RECORD_BYTES:
                self.fail(f"the record is longer than {MAX_RECORD_BYTES >> 20} MiB")
            self._fill()

    def _take_value(self, end: int, value: object) -> RawRecord:
        """Step over the value that ends at ``end``."""
        text = self._text[self._at : end]
        try:
            record = RawRecord(text.encode("utf-8"), value)
        except UnicodeEncodeError as error:  # a surrogate: a byte that was not UTF-8
            where = self._line_and_column(self._at + error.start)
            problem = f"{where}: {describe_bad_byte(text[error.start])}"
            record = RawRecord(text.encode("utf-8", "surrogateescape"), problem=problem)
        self._at = end
        return record

    def _fail_to_parse(self, error: json.JSONDecodeError) -> None:
        """Raise RecordError; in another encoding, bytes may look like escapes and quotes."""
        end = len(self._text) if error.msg.startswith("Unterminated") else error.pos + 1
        position = find_undecoded(self._text, self._at, end)
        if position is not None:
            self.fail(describe_bad_byte(self._text[position]), position)
        self.fail(f"{error.msg}, {_context_at(self._text, error.pos)}", error.pos)

    def _may_be_incomplete(self, error: json.JSONDecodeError) -> bool:
        near_end = error.pos >= len(self._text) - _END_MARGIN
        return near_end or error.msg.startswith("Unterminated string")

    def fail(self, what: str, position: int | None = None) -> None:
        """Raise RecordError with line and column."""
        where = self._line_and_column(self._at if position is None else position)
        raise RecordError(f"{self.name}: {where}: {what}")

    def _line_and_column(self, position: int) -> str:
        used = self._text[:position]
        line = self._lines + used.count("\n") + 1
        column = len(used) - used.rfind("\n") if "\n" in used else self._column + len(used) + 1
        return f"line {line}, column {column}"


def _is_record_like(value: dict[str, object]) -> bool:
    """Return whether an object is a record, and not a turn, typed part or image of one."""
    if not _RECORD_KEYS.isdisjoint(value):
        return True
    inside = _PART_KEYS & value.keys() or any(keys <= value.keys() for keys in TURN_KEYS)
    return len(value) >= 2 and not inside


def _complete_utf8(data: bytes) -> int:
    """Return the length of ``data`` without an incomplete multi-byte character at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if back >= needed else len(data) - back
    return len(data)
