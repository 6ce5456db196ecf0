"""Streaming JSON readers that keep the exact bytes of each record.

The standard library's decoder parses a record and returns its end, so the slice in between is the
record exactly as written: key order, number formats, escapes and unknown keys included. A record
with bytes that are not UTF-8 is reported with their position.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, NamedTuple

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
_KEY = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"\s*:\s*')
_CLOSING = {"{": "}", "[": "]"}
TURN_KEYS = (frozenset(("from", "value")), frozenset(("role", "content")))
_RECORD_KEYS = frozenset(("messages", "conversations", "conversation"))
_PART_KEYS = frozenset(("type", "bytes", "url"))  # of a typed part or of one image
_END_MARGIN = 16  # an error this close to the end of the buffer may be an incomplete token
_ORIGIN = re.compile(r'#(?:within=("(?:[^"\\]|\\.)*")&)?key=(".*")', re.DOTALL)
# Converting a very long integer is expensive. Only identifiers are that long; they stay text.
_DECODER = json.JSONDecoder(parse_int=lambda text: int(text) if len(text) < 100 else text)


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record: its exact bytes, and its parsed value or the reason why it could not be parsed.

    ``origin`` is the file and the row if the record is not JSON; for the member of an object its
    key as written in the file, which an export needs to write the object again.
    """

    original: bytes  # empty if the record is not JSON
    value: object = None
    problem: str | None = None
    key: str | None = None  # of the member of an object
    origin: str | None = None


class Member(NamedTuple):
    """Key of a record, and the key of the object that holds the records (``within``), if any.

    Both are quoted and escaped as in the file.
    """

    key: bytes
    within: bytes | None = None


def parse_member(origin: str | None) -> Member | None:
    """Return the member that an origin names; None for records that are not object members."""
    match = _ORIGIN.fullmatch(origin) if origin else None
    if match is None:
        return None
    return Member(match[2].encode(), match[1].encode() if match[1] else None)


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
    position = find_undecoded(text, 0, len(text))
    try:
        if position is not None:
            what = describe_bad_byte(text[position])
        else:
            value, position = _DECODER.raw_decode(text)
            if position == len(text):
                return RawRecord(original, value)
            what = f"unexpected text after the JSON value, {_context_at(text, position)}"
    except json.JSONDecodeError as error:
        position, what = error.pos, f"{error.msg}, {_context_at(text, error.pos)}"
    except (ValueError, RecursionError) as error:
        return RawRecord(original, problem=f"line {number}: {error}")
    return RawRecord(original, problem=f"line {number}, column {indent + position + 1}: {what}")


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
    if (rest := buffer.peek()) and not keep_going:
        buffer.fail(f"{rest!r} after the end of the array")


def read_json_values(file: IO[bytes], name: str, keep_going: bool = False) -> Iterator[RawRecord]:
    """Yield consecutive JSON values, each over any number of lines.

    Damage is handled as in ``read_json_array``.
    """
    yield from _read_members(_Buffer(file, name), "", keep_going)


def read_json_object(
    file: IO[bytes], name: str, keep_going: bool = False, within: str | None = None
) -> Iterator[RawRecord]:
    """Yield the members of one JSON object as records with a key and an origin.

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
                prefix = f"#within={json.dumps(within)}&"
                yield from _read_members(buffer, _CLOSING[opening], keep_going, prefix)
            else:
                buffer.read_value()
            if buffer.peek() != ",":
                break
            buffer.expect(",")
        buffer.expect("}", expected="',' or '}'")
    if (rest := buffer.peek()) and not keep_going:
        buffer.fail(f"{rest!r} after the end of the object")


def _check_problem(record: RawRecord, name: str, keep_going: bool) -> RawRecord:
    """Return the record. Raises RecordError if it has a problem, unless ``keep_going``."""
    if record.problem and not keep_going:
        raise RecordError(f"{name}: {record.problem}")
    return record


def _read_members(
    buffer: _Buffer, closing: str, keep_going: bool, prefix: str = "#"
) -> Iterator[RawRecord]:
    """Yield the members of an array or object, up to and including its closing bracket.

    Without one they are consecutive values. ``prefix`` starts the origin of members with a key.
    """
    usual_keys: frozenset[str] | None = None
    has_members = False
    while True:
        try:
            if buffer.peek() == closing and not (closing and has_members):
                break
            key = buffer.read_key() if closing == "}" else None
            record = _check_problem(buffer.read_value(), buffer.name, keep_going)
            has_members = True
            if isinstance(record.value, dict):
                usual_keys = usual_keys or frozenset(record.value)
            if key is not None:
                written = key.original.decode("utf-8", "backslashreplace")
                record = replace(record, key=str(key.value), origin=f"{prefix}key={written}")
            yield record
            if not closing:
                continue
            if buffer.peek() != ",":
                buffer.check(closing, f"',' or {closing!r}")
                break
            buffer.expect(",")
        except RecordError as error:
            if not keep_going:
                raise
            may_follow = closing and has_members and buffer.peek() in ("{", '"')
            if may_follow and buffer.move_to_record(0, closing, usual_keys):
                continue  # only a comma is missing
            yield buffer.skip_damage(str(error), closing, usual_keys)
            has_members = True
            if not buffer.peek():
                return
    if closing:
        buffer.expect(closing)


class _Buffer:
    """A sliding window of decoded text over a file."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self.name = file, name
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = self._decoder.decode(file.read(3).removeprefix(b"\xef\xbb\xbf"))
        self._at, self._eof = 0, False
        self._lines, self._column = 0, 0  # of the start of the window, 0-based
        self._grow()

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
        data = self._file.read(max(CHUNK_BYTES, len(self._text)))
        self._eof = not data
        text = self._decoder.decode(data, final=self._eof)
        self._text += text
        return bool(text)

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
            if self.move_to_record(ahead, closing, usual_keys):
                break
            search_from = self._at + 1
        original = "".join(skipped).encode("utf-8", "surrogateescape")
        return RawRecord(original, problem=problem.removeprefix(f"{self.name}: "))

    def move_to_record(self, ahead: int, closing: str, usual_keys: frozenset[str] | None) -> bool:
        """Move ``ahead`` characters if a similar record starts there; return whether it does.

        The window may grow but drops nothing, so positions in it stay valid.
        """
        start = begin = self._at + ahead
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
        else:  # a record, and not a turn, typed part or image of one
            inside = _PART_KEYS & value.keys() or any(keys <= value.keys() for keys in TURN_KEYS)
            is_similar = not _RECORD_KEYS.isdisjoint(value) or (len(value) >= 2 and not inside)
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
                if end < len(self._text) or self._eof:
                    break
            except json.JSONDecodeError as error:
                if self._eof or not self._may_be_incomplete(error):
                    self._fail_to_parse(error)
            except (ValueError, RecursionError) as error:
                self.fail(str(error))
            if len(self._text) - self._at > MAX_RECORD_BYTES:
                self.fail(f"the record is longer than {MAX_RECORD_BYTES >> 20} MiB")
            self._fill()
        text, start, self._at = self._text[self._at : end], self._at, end
        try:
            return RawRecord(text.encode("utf-8"), value)
        except UnicodeEncodeError as error:  # a surrogate: a byte that was not UTF-8
            where = self._line_and_column(start + error.start)
            problem = f"{where}: {describe_bad_byte(text[error.start])}"
            return RawRecord(text.encode("utf-8", "surrogateescape"), problem=problem)

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
