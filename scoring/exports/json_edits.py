"""Edit the bytes of a JSON record: remove turns, add keys, replace image paths.

A record is never printed again. Its values are located in the text and only those spots change,
which preserves number forms, key order, escapes and unknown keys even in an edited record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scoring.readers.conversation import PLACEHOLDERS
from scoring.samples import Role, Turn

_SPACE = re.compile(r"[ \t\r\n]*")
_decoder = json.JSONDecoder(strict=False)
_CONVERSATIONS = ("messages", "conversations", "conversation")
_IMAGE_KEY = re.compile(r"(?i).*(image|img).*|path|url|file_?name|<.*")
_TEXTS = ("value", "response", "content", "text")
# A string with its escapes, or white space outside of strings that breaks the line.
_STRING_OR_BREAK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[ \t]*[\r\n][ \t\r\n]*', re.DOTALL)

Span = tuple[int, int]  # start and end of a value in the text of a record
Insert = tuple[int, str]  # offset in the text of a record, and what is inserted there


class EditError(Exception):
    """Why a record cannot be edited, in words."""


def remove_line_breaks(record: bytes) -> bytes:
    """Return a JSON record without the line breaks between its tokens, otherwise unchanged."""
    if b"\n" not in record and b"\r" not in record:
        return record
    return _STRING_OR_BREAK.sub(
        lambda match: match[0] if match[0].startswith(b'"') else b"", record
    )


def add_key(record: bytes, key: str, value: str) -> bytes:
    """Add a key at the end of the record. Raise EditError where it has that key already."""
    text = _decode(record)
    members, end = _object_spans(text, _skip_space(text, 0))
    if key in members:
        raise EditError(f"it has a key {key!r} of its own")
    head = text[:end].rstrip(" \t\r\n")
    comma = ", " if members else ""
    return _encode(f"{head}{comma}{json.dumps(key)}: {value}{text[len(head) :]}")


def replace_paths(record: bytes, paths: Mapping[str, str]) -> bytes:
    """Replace the paths of images that the record names as separate values.

    Raise EditError where a path does not occur.
    """
    text = _decode(record)
    strings = [
        string for string in _image_strings(text, _skip_space(text, 0), "") if string[2] in paths
    ]
    if missing := paths.keys() - {path for *_, path in strings}:
        raise EditError(f"{min(missing)!r} is not the value of an image key")
    offset, pieces = 0, []
    for start, end, path in sorted(strings):
        pieces += [text[offset:start], json.dumps(paths[path])]
        offset = end
    return _encode("".join([*pieces, text[offset:]]))


def _image_strings(text: str, offset: int, key: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, value) of every string inside a value that is under an image key."""
    if text[offset] == "{":
        for name, (start, _) in _object_spans(text, offset)[0].items():
            yield from _image_strings(text, start, name)
    elif text[offset] == "[":
        for start, _ in _array_spans(text, offset):
            yield from _image_strings(text, start, key)
    elif text[offset] == '"' and _IMAGE_KEY.fullmatch(key):
        value, end = _decoder.raw_decode(text, offset)
        yield offset, end, value


def pair_positions(turns: Sequence[Turn], answers: Collection[int]) -> set[int]:
    """Return the positions of these answers (0-based among the answers) and their questions."""
    positions = [i for i, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    removed = {positions[answer] for answer in answers}
    return removed | {i - 1 for i in removed if i and turns[i - 1].role is Role.HUMAN}


def remove_turns(turns: Sequence[Turn], answers: Collection[int]) -> list[Turn]:
    """Return the conversation without these answers and their questions.

    Images of a removed question move before the next remaining human turn, or after the previous
    one if there is no next. Raise EditError where no human turn remains.
    """
    removed = pair_positions(turns, answers)
    remaining = {i: turn for i, turn in enumerate(turns) if i not in removed}
    for position, target, is_before in _plan_moves(turns, removed):
        n = len(turns[position].image_offsets)
        turn = remaining[target]
        if is_before:
            offsets = (*(0,) * n, *(offset + 1 for offset in turn.image_offsets))
            remaining[target] = Turn(turn.role, "\n" + turn.text, offsets)
        else:
            text = turn.text + "\n"
            remaining[target] = Turn(turn.role, text, (*turn.image_offsets, *(len(text),) * n))
    return list(remaining.values())


def _plan_moves(turns: Sequence[Turn], removed: set[int]) -> list[tuple[int, int, bool]]:
    """Return (removed question, human turn that gets its images, whether before its text).

    Moves to a later turn run backwards through the conversation, which preserves the order of
    images put before one turn. Moves to an earlier turn come last, in their own order.
    """
    humans = [i for i, turn in enumerate(turns) if turn.role is Role.HUMAN and i not in removed]
    moved = [position for position in sorted(removed) if turns[position].image_offsets]
    if moved and not humans:
        raise EditError("no question would remain for its image")
    to_later = [
        (position, next(human for human in humans if human > position), True)
        for position in reversed(moved)
        if position < humans[-1]
    ]
    return to_later + [(position, humans[-1], False) for position in moved if position > humans[-1]]


def remove_record_turns(record: bytes, turns: Sequence[Turn], answers: Collection[int]) -> bytes:
    """Apply ``remove_turns`` to the bytes of a JSON record. Raise EditError."""
    conversation = _Conversation.parse(_decode(record), turns)
    removed = pair_positions(turns, answers)
    inserts: list[Insert] = []
    for position, target, is_before in _plan_moves(turns, removed):
        n = len(turns[position].image_offsets)
        token = conversation.find_placeholder(position, n)
        if token is None:  # no placeholder in the record: images precede the first question
            continue
        start, end = conversation.text_span(target)
        tokens = json.dumps(token * n)[1:-1]
        if is_before:  # moves run backwards, and inserts at one offset keep their order
            inserts.insert(0, (start + 1, tokens + "\\n"))
        else:
            inserts.append((end - 1, "\\n" + tokens))
    return _encode(conversation.rebuild(removed, inserts))


def mask_record_turns(
    record: bytes, turns: Sequence[Turn], answers: Collection[int], key: str
) -> bytes:
    """Add ``"key": false`` at the end of each of these answers. Raise EditError."""
    conversation = _Conversation.parse(_decode(record), turns)
    positions = [i for i, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    inserts: list[Insert] = []
    for answer in sorted(answers):
        start, _ = conversation.message_span(positions[answer])
        members, close = _object_spans(conversation.text, start)
        if key in members:
            raise EditError(f"a turn has a key {key!r} of its own")
        end = start + len(conversation.text[start:close].rstrip(" \t\r\n"))
        inserts.append((end, f", {json.dumps(key)}: false"))
    return _encode(conversation.rebuild(set(), inserts))


@dataclass(frozen=True, slots=True)
class _Conversation:
    """The messages of a record, located in its text; ``first`` is the turn of the first one."""

    text: str
    turns: Sequence[Turn]
    messages: Sequence[Span]
    first: int

    @classmethod
    def parse(cls, text: str, turns: Sequence[Turn]) -> _Conversation:
        start = _skip_space(text, 0)
        if text[start : start + 1] == "[":  # a record that is its conversation
            spans, first = _array_spans(text, start), 0
        else:
            members, _ = _object_spans(text, start)
            keys = [
                key
                for key in _CONVERSATIONS
                if key in members and not text.startswith("null", members[key][0])
            ]
            if not keys or text[members[keys[0]][0]] != "[":
                raise EditError("it has no list of turns")
            if len(keys) > 1:  # which one was imported depends on their contents
                raise EditError(f"it has both {keys[0]!r} and {keys[1]!r}")
            spans = _array_spans(text, members[keys[0]][0])
            first = 1 if "system" in members and len(spans) + 1 == len(turns) else 0
        if len(spans) + first != len(turns):
            raise EditError("its messages do not correspond to its turns")
        if any(text[start] != "{" for start, _ in spans):
            raise EditError("a message is not an object")
        return cls(text, turns, spans, first)

    def message_span(self, position: int) -> Span:
        """Return the span of the message of a turn."""
        return self.messages[position - self.first]

    def text_span(self, position: int) -> Span:
        """Return the span of the text of a turn, with its quotes."""
        members, _ = _object_spans(self.text, self.message_span(position)[0])
        for key in _TEXTS:
            if key in members and self.text[members[key][0]] == '"':
                return members[key]
        raise EditError("a turn's content is not a plain text")

    def find_placeholder(self, position: int, n: int) -> str | None:
        """Return the placeholder of the ``n`` images in the question of a turn; None if none."""
        start, end = self.text_span(position)
        question = json.loads(self.text[start:end])
        for token in PLACEHOLDERS:
            if question.count(token) == n:
                return token
        has_token = any(token in self.text for token in (*PLACEHOLDERS, "<img>", "<image_"))
        has_key = any("image" in _object_spans(self.text, start)[0] for start, _ in self.messages)
        if has_token or has_key:
            raise EditError("its image cannot be moved to another turn")
        return None

    def rebuild(self, removed: set[int], inserts: Sequence[Insert]) -> str:
        """Return the text with these inserts, without the messages of the removed turns."""
        pieces = [self.text[: self.messages[0][0]]]
        for index, (start, end) in enumerate(self.messages):
            if index + self.first in removed:
                continue
            if len(pieces) > 1:
                pieces.append(self.text[self.messages[index - 1][1] : start])
            own = [insert for insert in inserts if start <= insert[0] <= end]
            offset = start
            for position, inserted in sorted(own, key=lambda insert: insert[0]):
                pieces += [self.text[offset:position], inserted]
                offset = position
            pieces.append(self.text[offset:end])
        return "".join([*pieces, self.text[self.messages[-1][1] :]])


def _object_spans(text: str, start: int) -> tuple[dict[str, Span], int]:
    """Return the spans of an object's values by key (the last of equal keys), and its end."""
    if text[start : start + 1] != "{":
        raise EditError("it is not an object")
    members: dict[str, Span] = {}
    offset = _skip_space(text, start + 1)
    while text[offset] != "}":
        key, offset = _decoder.raw_decode(text, offset)
        offset = _skip_space(text, _skip_space(text, offset) + 1)  # the colon
        end = _decoder.raw_decode(text, offset)[1]
        members[str(key)] = (offset, end)
        offset = _skip_comma(text, end)
    return members, offset


def _array_spans(text: str, start: int) -> list[Span]:
    spans: list[Span] = []
    offset = _skip_space(text, start + 1)
    while text[offset] != "]":
        end = _decoder.raw_decode(text, offset)[1]
        spans.append((offset, end))
        offset = _skip_comma(text, end)
    return spans


def _skip_comma(text: str, offset: int) -> int:
    offset = _skip_space(text, offset)
    return _skip_space(text, offset + 1) if text[offset] == "," else offset


def _skip_space(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    return match.end() if match else offset


def _decode(record: bytes) -> str:
    return record.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
