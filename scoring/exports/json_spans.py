"""Where values are in the text of a JSON record, and changes to these spots alone."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from scoring.readers.turn_removal import EditError

_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder(strict=False)

Span = tuple[int, int]  # start and end of a value in the text of a record
Change = tuple[int, int, str]  # start and end in the text of a record, and what is put there


def all_strings(text: str, offset: int) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, value) of every string that is a value."""
    if text[offset] == "{":
        for start, _ in object_spans(text, offset)[0].values():
            yield from all_strings(text, start)
    elif text[offset] == "[":
        for start, _ in array_spans(text, offset):
            yield from all_strings(text, start)
    elif text[offset] == '"':
        value, end = _decoder.raw_decode(text, offset)
        yield offset, end, value


def member_spans(text: str, start: int) -> list[Span]:
    """Return the spans of the members of an object, each from its key to the end of its value."""
    spans: list[Span] = []
    offset = skip_space(text, start + 1)
    while text[offset] != "}":
        _, end_of_key = _decoder.raw_decode(text, offset)
        value = skip_space(text, skip_space(text, end_of_key) + 1)
        end = _decoder.raw_decode(text, value)[1]
        spans.append((offset, end))
        offset = _skip_comma(text, end)
    return spans


def remove_elements(text: str, spans: Sequence[Span], numbers: Collection[int]) -> str:
    """Return the text without these elements of a list or object, and a comma for each."""
    left = [span for number, span in enumerate(spans) if number not in numbers]
    if not left:
        return text[: spans[0][0]] + text[spans[-1][1] :]
    pieces = [text[: spans[0][0]]]
    for number, (start, end) in enumerate(spans):
        if number in numbers:
            continue
        if len(pieces) > 1:
            pieces.append(text[spans[number - 1][1] : start])
        pieces.append(text[start:end])
    return "".join([*pieces, text[spans[-1][1] :]])


def replace_spans(text: str, start: int, end: int, changes: Sequence[Change]) -> str:
    """Return ``text[start:end]`` with these changes, which do not overlap."""
    offset, pieces = start, []
    for first, last, new in sorted(changes, key=lambda change: change[0]):
        pieces += [text[offset:first], new]
        offset = last
    return "".join([*pieces, text[offset:end]])


def object_spans(text: str, start: int) -> tuple[dict[str, Span], int]:
    """Return the spans of an object's values by key (the last of equal keys), and its end."""
    if text[start : start + 1] != "{":
        raise EditError("it is not an object")
    members: dict[str, Span] = {}
    offset = skip_space(text, start + 1)
    while text[offset] != "}":
        key, offset = _decoder.raw_decode(text, offset)
        offset = skip_space(text, skip_space(text, offset) + 1)  # the colon
        end = _decoder.raw_decode(text, offset)[1]
        members[str(key)] = (offset, end)
        offset = _skip_comma(text, end)
    return members, offset


def array_spans(text: str, start: int) -> list[Span]:
    """Return the spans of the elements of a list."""
    spans: list[Span] = []
    offset = skip_space(text, start + 1)
    while text[offset] != "]":
        end = _decoder.raw_decode(text, offset)[1]
        spans.append((offset, end))
        offset = _skip_comma(text, end)
    return spans


def _skip_comma(text: str, offset: int) -> int:
    offset = skip_space(text, offset)
    return skip_space(text, offset + 1) if text[offset] == "," else offset


def find_member(text: str, name: str) -> Span | None:
    """Return the span of a record's value by its key, or by the keys that dots separate."""
    start = skip_space(text, 0)
    members = object_spans(text, start)[0] if text[start : start + 1] == "{" else {}
    if name in members:
        return members[name]
    span: Span | None = (start, len(text))
    for step in name.split("."):
        if span is None or text[span[0] : span[0] + 1] != "{":
            return None
        span = object_spans(text, span[0])[0].get(step)
    return span


def skip_space(text: str, offset: int) -> int:
    """Return the first offset from here on that is not white space."""
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def decode_value(text: str, offset: int) -> tuple[Any, int]:
    """Return the value that starts at an offset, and its end."""
    return _decoder.raw_decode(text, offset)


def decode_record(record: bytes) -> str:
    """Return the text of a record; bytes that are not UTF-8 survive."""
    return record.decode("utf-8", "surrogateescape")


def encode_record(text: str) -> bytes:
    """Return the bytes of a record's text."""
    return text.encode("utf-8", "surrogateescape")
