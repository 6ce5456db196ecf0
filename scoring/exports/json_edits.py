"""Small cuts into the bytes of a JSON record: turns taken out, marks and keys put in.

The one decision behind it: a record is never printed anew. The places of its values are found in
the text, and only there is something taken out or put in, so that number forms, key order, escapes
and unknown keys stay as they came even in a record that is changed.
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

Span = tuple[int, int]


class EditError(Exception):
    """Why a record is left whole, in words."""


def one_line(original: bytes) -> bytes:
    """A JSON record without the line breaks between its tokens, nothing else touched."""
    if b"\n" not in original and b"\r" not in original:
        return original
    return _STRING_OR_BREAK.sub(lambda found: found[0] if found[0][:1] == b'"' else b"", original)


def add_key(record: bytes, key: str, value: str) -> bytes:
    """The record with one more key at its end. Raises CannotEdit where it has that key already."""
    text = _text(record)
    members, end = _object_spans(text, _skip(text, 0))
    if key in members:
        raise EditError(f"it has a key {key!r} of its own")
    last = text[:end].rstrip(" \t\r\n")
    comma = ", " if members else ""
    return _bytes(last + comma + json.dumps(key) + ": " + value + text[len(last) :])


def replace_paths(record: bytes, paths: Mapping[str, str]) -> bytes:
    """The record with other paths of these images, wherever it names them as values of their own.

    Raises CannotEdit where one of them is nowhere.
    """
    text = _text(record)
    found = [one for one in _image_strings(text, _skip(text, 0), "") if one[2] in paths]
    if lacking := paths.keys() - {path for *_, path in found}:
        raise EditError(f"{min(lacking)!r} is no value under a key of images")
    at, out = 0, []
    for start, end, path in sorted(found):
        out += [text[at:start], json.dumps(paths[path])]
        at = end
    return _bytes("".join([*out, text[at:]]))


def _image_strings(text: str, at: int, key: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, value) of every string under a key that names images, inside the value there."""
    if text[at] == "{":
        for name, (start, _) in _object_spans(text, at)[0].items():
            yield from _image_strings(text, start, name)
    elif text[at] == "[":
        for start, _ in _array_spans(text, at):
            yield from _image_strings(text, start, key)
    elif text[at] == '"' and _IMAGE_KEY.fullmatch(key):
        value, end = _decoder.raw_decode(text, at)
        yield at, end, value


def dropped_pairs(turns: Sequence[Turn], answers: Collection[int]) -> set[int]:
    """Places in ``turns`` of these answers (0-based among the answers) and of their questions."""
    places = [place for place, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    gone: set[int] = set()
    for answer in answers:
        place = places[answer]
        gone.add(place)
        if place and turns[place - 1].role is Role.HUMAN:
            gone.add(place - 1)
    return gone


def without_turns(turns: Sequence[Turn], answers: Collection[int]) -> list[Turn]:
    """The conversation without these answers and their questions.

    Images of a question that goes move before the next human turn that stays; after the last one
    there is none, and they move behind the one before. Raises CannotEdit where no human turn stays.
    """
    gone = dropped_pairs(turns, answers)
    left = {place: turn for place, turn in enumerate(turns) if place not in gone}
    for place, target, ahead in _moves(turns, gone):
        n = len(turns[place].image_offsets)
        turn = left[target]
        if ahead:
            offsets = (*(0 for _ in range(n)), *(one + 1 for one in turn.image_offsets))
            left[target] = Turn(turn.role, "\n" + turn.text, offsets)
        else:
            text = turn.text + "\n"
            left[target] = Turn(turn.role, text, (*turn.image_offsets, *(len(text),) * n))
    return list(left.values())


def _moves(turns: Sequence[Turn], gone: set[int]) -> list[tuple[int, int, bool]]:
    """(question that goes, human turn that takes its images, whether it comes later).

    Backwards through the conversation, so that images put before one turn keep their order;
    those that go behind an earlier turn come last and in their own order.
    """
    humans = [
        place for place, turn in enumerate(turns) if turn.role is Role.HUMAN and place not in gone
    ]
    ahead: list[tuple[int, int, bool]] = []
    behind: list[tuple[int, int, bool]] = []
    for place in sorted(gone, reverse=True):
        if not turns[place].image_offsets:
            continue
        later = [one for one in humans if one > place]
        earlier = [one for one in humans if one < place]
        if later:
            ahead.append((place, later[0], True))
        elif earlier:
            behind.insert(0, (place, earlier[-1], False))
        else:
            raise EditError("no question would be left for its image to stand in")
    return ahead + behind


def cut_turns(record: bytes, turns: Sequence[Turn], answers: Collection[int]) -> bytes:
    """``without_turns`` in the bytes of a JSON record. Raises CannotEdit."""
    found = _Conversation.read(_text(record), turns)
    gone = dropped_pairs(turns, answers)
    inserts: list[tuple[int, str]] = []
    for place, target, ahead in _moves(turns, gone):
        token = found.placeholder(place, len(turns[place].image_offsets))
        if token is None:  # the record names no place: its images stand before the first question
            continue
        start, end = found.string(target)
        tokens = json.dumps(token * len(turns[place].image_offsets))[1:-1]
        if ahead:  # the moves come backwards, and what is put in at one place stays in order
            inserts.insert(0, (start + 1, tokens + "\\n"))
        else:
            inserts.append((end - 1, "\\n" + tokens))
    return _bytes(found.rebuilt(gone, inserts))


def mask_turns(record: bytes, turns: Sequence[Turn], answers: Collection[int], key: str) -> bytes:
    """The record with ``"key": false`` at the end of each of these answers. Raises CannotEdit."""
    found = _Conversation.read(_text(record), turns)
    places = [place for place, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    inserts: list[tuple[int, str]] = []
    for answer in sorted(answers):
        start = found.message(places[answer])[0]
        members, close = _object_spans(found.text, start)
        if key in members:
            raise EditError(f"a turn has a key {key!r} of its own")
        last = len(found.text[start:close].rstrip(" \t\r\n")) + start
        inserts.append((last, f", {json.dumps(key)}: false"))
    return _bytes(found.rebuilt(set(), inserts))


@dataclass(frozen=True, slots=True)
class _Conversation:
    """Where the messages of a record stand in its text; ``first`` is the turn of the first one."""

    text: str
    turns: Sequence[Turn]
    messages: Sequence[Span]
    first: int

    @classmethod
    def read(cls, text: str, turns: Sequence[Turn]) -> _Conversation:
        start = _skip(text, 0)
        if text[start : start + 1] == "[":  # a record that is its conversation
            spans, first = _array_spans(text, start), 0
        else:
            members, _ = _object_spans(text, start)
            there = {one for one, (at, _) in members.items() if not text.startswith("null", at)}
            keys = [one for one in _CONVERSATIONS if one in there]
            if not keys or text[members[keys[0]][0]] != "[":
                raise EditError("it has no list of turns")
            if len(keys) > 1:  # which of them was read depends on what stands in them
                raise EditError(f"it has both {keys[0]!r} and {keys[1]!r}")
            spans = _array_spans(text, members[keys[0]][0])
            first = 1 if "system" in members and len(spans) + 1 == len(turns) else 0
        if len(spans) + first != len(turns):
            raise EditError("its messages are not its turns one by one")
        if any(text[start] != "{" for start, _ in spans):
            raise EditError("a message is no object")
        return cls(text, turns, spans, first)

    def message(self, place: int) -> Span:
        """Where the message of a turn stands."""
        return self.messages[place - self.first]

    def string(self, place: int) -> Span:
        """Where the text of a turn stands, its quotes included."""
        members, _ = _object_spans(self.text, self.message(place)[0])
        for key in _TEXTS:
            if key in members and self.text[members[key][0]] == '"':
                return members[key]
        raise EditError("a turn's content is not a plain text")

    def placeholder(self, place: int, n: int) -> str | None:
        """What stands for the ``n`` images in the question of a turn; None if nothing does."""
        start, end = self.string(place)
        question = json.loads(self.text[start:end])
        for token in PLACEHOLDERS:
            if question.count(token) == n:
                return token
        named = any(token in self.text for token in (*PLACEHOLDERS, "<img>", "<image_"))
        own = any("image" in _object_spans(self.text, one)[0] for one, _ in self.messages)
        if named or own:
            raise EditError("its image cannot be moved to another turn")
        return None

    def rebuilt(self, gone: set[int], inserts: Sequence[tuple[int, str]]) -> str:
        """The text with these insertions, without the messages of the turns that go."""
        pieces = [self.text[: self.messages[0][0]]]
        for index, (start, end) in enumerate(self.messages):
            if index + self.first in gone:
                continue
            if len(pieces) > 1:
                pieces.append(self.text[self.messages[index - 1][1] : start])
            pieces.append(_with(self.text[start:end], start, inserts))
        return "".join([*pieces, self.text[self.messages[-1][1] :]])


def _with(text: str, start: int, inserts: Sequence[tuple[int, str]]) -> str:
    """``text``, which begins at ``start`` of the record, with what is inserted into it."""
    own = [one for one in inserts if start <= one[0] <= start + len(text)]
    at, out = 0, []
    for place, what in ((place - start, what) for place, what in sorted(own, key=_place)):
        out += [text[at:place], what]
        at = place
    return "".join([*out, text[at:]])


def _place(insert: tuple[int, str]) -> int:
    return insert[0]


def _object_spans(text: str, start: int) -> tuple[dict[str, Span], int]:
    """Where the values of an object stand by their keys, the last of equals; its closing brace."""
    if text[start : start + 1] != "{":
        raise EditError("it is no object")
    members: dict[str, Span] = {}
    at = _skip(text, start + 1)
    while text[at] != "}":
        key, at = _decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # the colon
        end = _decoder.raw_decode(text, at)[1]
        members[str(key)] = (at, end)
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return members, at


def _array_spans(text: str, start: int) -> list[Span]:
    spans: list[Span] = []
    at = _skip(text, start + 1)
    while text[at] != "]":
        end = _decoder.raw_decode(text, at)[1]
        spans.append((at, end))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return spans


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _text(record: bytes) -> str:
    return record.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
