"""Slices JSON files into records without losing a byte of them and without loading the file.

The standard library's decoder both parses a record and says where it ends, so the slice between
is the record exactly as it came: key order, number formats, escapes and unknown keys included.
A record with bytes that are not UTF-8 is a problem of its own, named with its place.
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
_KEPT_BYTES = 1 << 20  # of what could not be read
_BOUNDARY_MARGIN = 4096  # a boundary between records, with the next key, is shorter than this
_NEXT_ELEMENT = re.compile(r",\s*(?=\{)")
_NEXT_VALUE = re.compile(r"\n\s*(?=\{)")
_NEXT_MEMBER = re.compile(r',\s*(?="(?:[^"\\]|\\.){0,1000}"\s*:\s*\{)')
_KEY = re.compile(r'"(?:[^"\\]|\\.)*"\s*:\s*')
_CLOSING = {"{": "}", "[": "]"}
TURN_KEYS = (frozenset(("from", "value")), frozenset(("role", "content")))
_RECORD_KEYS = frozenset(("messages", "conversations", "conversation"))
_PART_KEYS = frozenset(("type", "bytes", "url"))  # of a typed part, or of one image
_CUT_MARGIN = 16  # an error this close to the end of the buffer may be a token cut in two


def _parse_int(digits: str) -> int | str:
    """Integers beyond what Python converts cheaply stay text; only identifiers can hold such."""
    return int(digits) if len(digits) < 100 else digits


_DECODER = json.JSONDecoder(parse_int=_parse_int)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record: its exact bytes, and what it parsed to, or why it did not parse.

    ``key`` names it where records are the members of an object, ``key_text`` is the key as it is
    written there. ``origin`` is the place of the record: the file and the row where it came as no
    JSON (``original`` is empty then), else its key if it has one.
    """

    original: bytes
    value: object = None
    problem: str | None = None
    key: str | None = None
    key_text: bytes = b""
    origin: str | None = None


def read_json_lines(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yields one record per non-blank line.

    Raises RecordError with line and column for a line that is no JSON; with ``keep_going`` it
    keeps its place as a record with its problem.
    """
    number = 0
    while line := file.readline(MAX_RECORD_BYTES + 1):
        number += 1
        if len(line) > MAX_RECORD_BYTES:
            what = f"line {number} is longer than {MAX_RECORD_BYTES >> 20} MiB"
            if not keep_going:
                raise RecordError(f"{name}: {what}")
            yield RawRecord(line[:_KEPT_BYTES], problem=what)
            while not line.endswith(b"\n") and (line := file.readline(CHUNK_BYTES)):
                pass
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        original = line.strip(b" \t\r\n")
        if original:
            indent = len(line) - len(line.lstrip(b" \t\r\n"))
            record = _parse_line(original, number, indent)
            if record.problem and not keep_going:
                raise RecordError(f"{name}: {record.problem}")
            yield record


def _parse_line(original: bytes, number: int, indent: int) -> RawRecord:
    """``indent``: characters of white space that stand before the record on its line."""
    text = original.decode("utf-8", "surrogateescape")
    if (odd := find_undecoded(text, 0, len(text))) is not None:
        place = f"line {number}, column {indent + odd + 1}"
        return RawRecord(original, problem=f"{place}: {describe_bad_byte(text[odd])}")
    try:
        value, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        what = f"{error.msg}, {_standing(text, error.pos)}"
        return RawRecord(
            original, problem=f"line {number}, column {indent + error.pos + 1}: {what}"
        )
    except (ValueError, RecursionError) as error:
        return RawRecord(original, problem=f"line {number}: {error}")
    if end != len(text):
        what = f"the line goes on after its JSON value, {_standing(text, end)}"
        return RawRecord(original, problem=f"line {number}, column {indent + end + 1}: {what}")
    return RawRecord(original, value)


def _standing(text: str, at: int) -> str:
    """What stands at a place, as an error names it."""
    found = text[at : at + 20]
    return f"found {found!r}" if found else "the file ends"


def read_json_array(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yields the elements of one JSON array.

    Memory stays within a few buffers, whatever the file's size. Raises RecordError with line and
    column where the file stops being JSON; with ``keep_going`` what lies between there and the
    next place where a record like the others begins becomes one record with its problem.
    """
    buffer = _Buffer(file, name)
    buffer.expect("[")
    yield from _read_members(buffer, "]", keep_going)
    _expect_end(buffer, "array", keep_going)


def read_json_values(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yields JSON values that stand one after the other, each over as many lines as it likes.

    Damage is treated as in ``read_json_array``.
    """
    buffer = _Buffer(file, name)
    like: frozenset[str] | None = None
    while buffer.peek():
        try:
            record = _wanted(buffer.record(), name, keep_going)
            if isinstance(record.value, dict):
                like = like or frozenset(record.value)
            yield record
        except RecordError as error:
            if not keep_going:
                raise
            yield buffer.skip(str(error), "", like)


def read_json_object(
    file: IO[bytes], name: str, keep_going: bool = False, within: str | None = None
) -> Iterator[RawRecord]:
    """Yields the members of one JSON object as records that know their key.

    ``within``: the records are the members of the object or array under this key, and what stands
    beside it is passed over. Damage is treated as in ``read_json_array``.
    """
    buffer = _Buffer(file, name)
    buffer.expect("{")
    if within is None:
        yield from _read_members(buffer, "}", keep_going)
    else:
        while buffer.peek() != "}":
            here = buffer.key().value == within
            if here and (opening := buffer.peek()) in _CLOSING:
                buffer.expect(opening)
                yield from _read_members(buffer, _CLOSING[opening], keep_going)
            else:
                buffer.record()
            if buffer.peek() != ",":
                break
            buffer.expect(",")
        buffer.expect("}", otherwise="',' or '}'")
    _expect_end(buffer, "object", keep_going)


def _wanted(record: RawRecord, name: str, keep_going: bool) -> RawRecord:
    """The record. Raises RecordError for one with a problem, unless ``keep_going``."""
    if record.problem and not keep_going:
        raise RecordError(f"{name}: {record.problem}")
    return record


def _read_members(buffer: _Buffer, closing: str, keep_going: bool) -> Iterator[RawRecord]:
    """The members of an array or object up to and including its closing bracket."""
    like: frozenset[str] | None = None
    begun = False
    while True:
        try:
            if buffer.peek() == closing and not begun:
                break
            key = buffer.key() if closing == "}" else None
            name = None if key is None else str(key.value)
            record = _wanted(buffer.record(), buffer.name, keep_going)
            begun = True
            if isinstance(record.value, dict):
                like = like or frozenset(record.value)
            yield record if key is None else replace(record, key=name, key_text=key.original)
            if buffer.peek() != ",":
                buffer.check(closing, f"',' or {closing!r}")
                break
            buffer.expect(",")
        except RecordError as error:
            if not keep_going:
                raise
            if begun and buffer.begins_here(closing, like):
                continue  # nothing is lost but a comma
            yield buffer.skip(str(error), closing, like)
            begun = True
            if not buffer.peek():
                return
    buffer.expect(closing)


def _expect_end(buffer: _Buffer, what: str, keep_going: bool) -> None:
    rest = buffer.peek()
    if rest and not keep_going:
        buffer.fail(f"{rest!r} after the end of the {what}")


class _Buffer:
    """A window of decoded text that slides over the file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self.name = file, name
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

    def check(self, character: str, otherwise: str) -> None:
        """Fails unless ``character`` stands here."""
        found = self.peek()
        if found != character:
            stands = f"found {found!r}" if found else "the file ends"
            self.fail(f"expected {otherwise}, {stands}")

    def key(self) -> RawRecord:
        """Steps over the key of a member and its colon."""
        self.check('"', "a key in double quotes")
        key = self.record()
        if key.problem:
            raise RecordError(f"{self.name}: {key.problem}")
        self.expect(":")
        return key

    def skip(self, problem: str, closing: str, like: frozenset[str] | None) -> RawRecord:
        """Moves to the next place where a record like the others begins, or to the end.

        What is passed over comes back as one record with its ``problem``, its bytes up to a limit.
        """
        boundary = {"}": _NEXT_MEMBER, "]": _NEXT_ELEMENT}.get(closing, _NEXT_VALUE)
        passed: list[str] = []
        n_kept = 0

        def pass_over(end: int) -> None:
            nonlocal n_kept
            text = self._text[self._at : end][: max(_KEPT_BYTES - n_kept, 0)]
            passed.append(text)
            n_kept += len(text)
            self._at = end

        search_from = self._at
        while True:
            match = boundary.search(self._text, search_from)
            if match is None:
                if self._eof:
                    pass_over(len(self._text))
                    break
                pass_over(max(self._at, len(self._text) - _BOUNDARY_MARGIN))
                self._fill()
                search_from = self._at
                continue
            ahead = match.end() - match.start()
            pass_over(match.start())
            if self._begins_record(ahead, closing, like):
                break
            search_from = self._at + 1
        original = "".join(passed).encode("utf-8", "surrogateescape")
        return RawRecord(original, problem=problem.removeprefix(f"{self.name}: "))

    def begins_here(self, closing: str, like: frozenset[str] | None) -> bool:
        """Whether a record like the others stands at the current place."""
        return self.peek() in ("{", '"') and self._begins_record(0, closing, like)

    def _begins_record(self, ahead: int, closing: str, like: frozenset[str] | None) -> bool:
        """Whether a record like the others stands ``ahead`` of here; if so, moves there.

        The window grows meanwhile but drops nothing, so that places in it stay as they are.
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
                if too_long or not self._may_be_cut(error) or not self._grow():
                    return False
            except (ValueError, RecursionError):
                return False
            else:
                break
        if not isinstance(value, dict):
            return False
        alike = len(like & value.keys()) * 2 >= len(like) if like else _seems_record(value)
        if alike:
            self._at = begin
        return alike

    def _grow(self) -> bool:
        """Reads on without dropping anything from the window; False at the end."""
        data = self._tail + self._file.read(max(CHUNK_BYTES, len(self._text)))
        self._eof = len(data) == len(self._tail)
        cut = len(data) if self._eof else _complete_utf8(data)
        self._tail = data[cut:]
        self._text += data[:cut].decode("utf-8", "surrogateescape")
        return bool(data[:cut])

    def record(self) -> RawRecord:
        """Parses the value at the current place, reading on while it may be cut off."""
        if not self.peek():
            self.fail("the file ends where a record should begin")
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._eof or not self._may_be_cut(error):
                    self._fail_to_parse(error)
            except (ValueError, RecursionError) as error:
                self.fail(str(error))
            else:
                if end < len(self._text) or self._eof:
                    return self._cut(end, value)
            if len(self._text) - self._at > MAX_RECORD_BYTES:
                self.fail(f"the record is longer than {MAX_RECORD_BYTES >> 20} MiB")
            self._fill()

    def _cut(self, end: int, value: object) -> RawRecord:
        """Steps over the value that ends there."""
        text = self._text[self._at : end]
        try:
            record = RawRecord(text.encode("utf-8"), value)
        except UnicodeEncodeError as error:  # a surrogate: a byte that was no UTF-8
            place = self._place(self._at + error.start)
            problem = f"{place}: {describe_bad_byte(text[error.start])}"
            record = RawRecord(text.encode("utf-8", "surrogateescape"), problem=problem)
        self._at = end
        return record

    def _fail_to_parse(self, error: json.JSONDecodeError) -> None:
        """Fails; a text in another encoding may hold what looks like escapes and quotes."""
        end = len(self._text) if error.msg.startswith("Unterminated") else error.pos + 1
        odd = find_undecoded(self._text, self._at, end)
        if odd is not None:
            self.fail(describe_bad_byte(self._text[odd]), at=odd)
        self.fail(f"{error.msg}, {_standing(self._text, error.pos)}", at=error.pos)

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        near_end = error.pos >= len(self._text) - _CUT_MARGIN
        return near_end or error.msg.startswith("Unterminated string")

    def fail(self, what: str, at: int | None = None) -> None:
        """Raises RecordError naming line and column."""
        place = self._place(self._at if at is None else at)
        raise RecordError(f"{self.name}: {place}: {what}")

    def _place(self, at: int) -> str:
        used = self._text[:at]
        line = self._lines + used.count("\n") + 1
        column = len(used) - used.rfind("\n") if "\n" in used else self._column + len(used) + 1
        return f"line {line}, column {column}"


def _seems_record(value: dict[str, object]) -> bool:
    """Whether an object is a record of its own, and no turn, typed part or image of one."""
    if not _RECORD_KEYS.isdisjoint(value):
        return True
    inside = _PART_KEYS & value.keys() or any(keys <= value.keys() for keys in TURN_KEYS)
    return len(value) >= 2 and not inside


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
