"""Edit the bytes of a JSON record: change or remove turns, add keys, replace image paths.

A record is never printed again. Its values are located in the text and only those spots change,
which preserves number forms, key order, escapes and unknown keys even in an edited record.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from scoring.exports.json_spans import (
    Change,
    Span,
    all_strings,
    array_spans,
    decode_record,
    decode_value,
    encode_record,
    find_member,
    member_spans,
    object_spans,
    remove_elements,
    replace_spans,
    skip_space,
)
from scoring.readers.conversation import PLACEHOLDER, PLACEHOLDERS, insert_placeholders
from scoring.readers.options import ReadOptions
from scoring.readers.turn_removal import EditError, pair_positions, plan_moves
from scoring.readers.values import IMAGE_KEYS
from scoring.samples import Role, Turn

_CONVERSATIONS = ("messages", "conversations", "conversation")
_IMAGE_KEY = re.compile(r"(?i).*(image|img).*|path|url|file_?name|<.*")
_DEFAULTS = ReadOptions()
_MAX_WAYS = 64  # to place edited texts in a record without a list of turns
_TEXTS = ("value", "response", "content", "text")
# A string with its escapes, or white space outside of strings that breaks the line.
_STRING_OR_BREAK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[ \t]*[\r\n][ \t\r\n]*', re.DOTALL)


def remove_line_breaks(record: bytes) -> bytes:
    """Return a JSON record without the line breaks between its tokens, otherwise unchanged."""
    if b"\n" not in record and b"\r" not in record:
        return record
    return _STRING_OR_BREAK.sub(
        lambda match: match[0] if match[0].startswith(b'"') else b"", record
    )


def add_key(record: bytes, key: str, value: str) -> bytes:
    """Add a key at the end of the record. Raise EditError where it has that key already."""
    text = decode_record(record)
    members, end = object_spans(text, skip_space(text, 0))
    if key in members:
        raise EditError(f"it has a key {key!r} of its own")
    head = text[:end].rstrip(" \t\r\n")
    comma = ", " if members else ""
    return encode_record(f"{head}{comma}{json.dumps(key)}: {value}{text[len(head) :]}")


def replace_paths(record: bytes, paths: Mapping[str, str]) -> bytes:
    """Replace the paths of images that the record names as separate values.

    Raise EditError where a path does not occur.
    """
    text = decode_record(record)
    strings = [
        string for string in _image_strings(text, skip_space(text, 0), "") if string[2] in paths
    ]
    if missing := paths.keys() - {path for *_, path in strings}:
        raise EditError(f"{min(missing)!r} is not the value of an image key")
    changes = [(start, end, json.dumps(paths[path])) for start, end, path in strings]
    return encode_record(replace_spans(text, 0, len(text), changes))


def _image_strings(text: str, offset: int, key: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, value) of every string inside a value that is under an image key."""
    if text[offset] == "{":
        for name, (start, _) in object_spans(text, offset)[0].items():
            yield from _image_strings(text, start, name)
    elif text[offset] == "[":
        for start, _ in array_spans(text, offset):
            yield from _image_strings(text, start, key)
    elif text[offset] == '"' and _IMAGE_KEY.fullmatch(key):
        value, end = decode_value(text, offset)
        yield offset, end, value


def remove_record_turns(record: bytes, turns: Sequence[Turn], answers: Collection[int]) -> bytes:
    """Apply ``remove_turns`` to the bytes of a JSON record. Raise EditError."""
    conversation = _Conversation.parse(decode_record(record), turns)
    removed = pair_positions(turns, answers)
    inserts: list[Change] = []
    for position, target, is_before in plan_moves(turns, removed):
        n = len(turns[position].image_offsets)
        token = conversation.find_placeholder(position, n)
        if token is None:  # no placeholder in the record: images precede the first question
            continue
        start, end = conversation.text_span(target)
        tokens = json.dumps(token * n)[1:-1]
        if is_before:  # moves run backwards, and inserts at one offset keep their order
            inserts.insert(0, (start + 1, start + 1, tokens + "\\n"))
        else:
            inserts.append((end - 1, end - 1, "\\n" + tokens))
    return encode_record(conversation.rebuild(removed, inserts))


def mask_record_turns(
    record: bytes, turns: Sequence[Turn], answers: Collection[int], key: str
) -> bytes:
    """Add ``"key": false`` at the end of each of these answers. Raise EditError."""
    conversation = _Conversation.parse(decode_record(record), turns)
    positions = [i for i, turn in enumerate(turns) if turn.role is Role.ASSISTANT]
    inserts: list[Change] = []
    for answer in sorted(answers):
        start, _ = conversation.message_span(positions[answer])
        members, close = object_spans(conversation.text, start)
        if key in members:
            raise EditError(f"a turn has a key {key!r} of its own")
        end = start + len(conversation.text[start:close].rstrip(" \t\r\n"))
        inserts.append((end, end, f", {json.dumps(key)}: false"))
    return encode_record(conversation.rebuild(set(), inserts))


def edit_record_turns(
    record: bytes,
    turns: Sequence[Turn],
    edited: Mapping[int, Turn],
    options: ReadOptions = _DEFAULTS,
) -> Iterator[bytes]:
    """Yield ways to give a record the turns ``edited`` (by position), which may lack some.

    Only texts that differ are written again; another answer's text is copied as it is written. A
    record without a list of turns may have several ways, of which the reader decides. ``options``
    are those of its import, which may name its fields. Raise EditError where there is none.
    """
    text = decode_record(record)
    try:
        conversation = _Conversation.parse(text, turns, options)
        changes = [
            (*conversation.edited_span(position), conversation.write_text(position, turn))
            for position, turn in edited.items()
            if turn != turns[position]
        ]
    except EditError as problem:
        yield from _replace_strings(text, turns, edited, problem)
    else:
        yield encode_record(conversation.rebuild(set(range(len(turns))) - edited.keys(), changes))


def _replace_strings(
    text: str, turns: Sequence[Turn], edited: Mapping[int, Turn], problem: EditError
) -> Iterator[bytes]:
    """Yield records with edited texts in place of strings that equal the texts before."""
    if len(edited) < len(turns):
        raise problem
    strings = list(all_strings(text, skip_space(text, 0)))
    ways: list[list[Change]] = []
    for position, turn in edited.items():
        before = turns[position]
        if turn == before:
            continue
        spellings = {
            insert_placeholders(before, token): json.dumps(
                insert_placeholders(turn, token), ensure_ascii=text.isascii()
            )
            for token in ("", *PLACEHOLDERS)
        }
        ways.append([(start, end, spellings[v]) for start, end, v in strings if v in spellings])
    if math.prod(map(len, ways)) not in range(1, _MAX_WAYS):
        raise problem
    for changes in product(*ways):
        yield encode_record(replace_spans(text, 0, len(text), changes))


def remove_listed_images(
    record: bytes, numbers: Collection[int], options: ReadOptions = _DEFAULTS
) -> bytes:
    """Remove images (numbered from 0) from the list or key of a record. Raise EditError."""
    text = decode_record(record)
    start = skip_space(text, 0)
    members, _ = object_spans(text, start)
    own = options.columns.get("image")
    keys = IMAGE_KEYS if own is None else (own,)
    key = next((key for key in keys if key in members and _has_value(text, members[key])), "")
    if not key:
        raise EditError("its images are not listed in a key of their own")
    first = members[key][0]
    if text[first] == "[":
        spans = array_spans(text, first)
    elif text[first] == '"' and set(numbers) == {0}:
        names = sorted(members, key=lambda name: members[name])
        spans, numbers = member_spans(text, start), {names.index(key)}
    else:
        raise EditError(f"its key {key!r} is not a list of images")
    if not set(numbers) <= set(range(len(spans))):
        raise EditError(f"its key {key!r} does not list the image")
    return encode_record(remove_elements(text, spans, numbers))


def _has_value(text: str, span: Span) -> bool:
    return text[slice(*span)] not in ("null", '""', "[]", "{}")


@dataclass(frozen=True, slots=True)
class _Conversation:
    """The messages of a record, located in its text; ``first`` is the turn of the first one."""

    text: str
    turns: Sequence[Turn]
    messages: Sequence[Span]
    first: int
    texts: tuple[str, ...] = _TEXTS

    @classmethod
    def parse(
        cls, text: str, turns: Sequence[Turn], options: ReadOptions = _DEFAULTS
    ) -> _Conversation:
        start = skip_space(text, 0)
        own = options.columns.get("conversations")
        if own is not None:
            span = find_member(text, own)
            if span is None or text[span[0]] != "[":
                raise EditError(f"its {own!r} is not a list of turns")
            spans = array_spans(text, span[0])
            first = 1 if "system" in options.columns and len(spans) + 1 == len(turns) else 0
        elif text[start : start + 1] == "[":  # a record that is its conversation
            spans, first = array_spans(text, start), 0
        else:
            members, _ = object_spans(text, start)
            keys = [
                key
                for key in _CONVERSATIONS
                if key in members and not text.startswith("null", members[key][0])
            ]
            if not keys or text[members[keys[0]][0]] != "[":
                raise EditError("it has no list of turns")
            if len(keys) > 1:  # which one was imported depends on their contents
                raise EditError(f"it has both {keys[0]!r} and {keys[1]!r}")
            spans = array_spans(text, members[keys[0]][0])
            first = 1 if "system" in members and len(spans) + 1 == len(turns) else 0
        if len(spans) + first != len(turns):
            raise EditError("its messages do not correspond to its turns")
        if any(text[start] != "{" for start, _ in spans):
            raise EditError("a message is not an object")
        texts = options.turn_keys[1:] if options.turn_keys else _TEXTS
        return cls(text, turns, spans, first, texts)

    def message_span(self, position: int) -> Span:
        """Return the span of the message of a turn."""
        return self.messages[position - self.first]

    def text_span(self, position: int) -> Span:
        """Return the span of the text of a turn, with its quotes."""
        members, _ = object_spans(self.text, self.message_span(position)[0])
        for key in self.texts:
            if key in members and self.text[members[key][0]] == '"':
                return members[key]
        raise EditError("a turn's content is not a plain text")

    def edited_span(self, position: int) -> Span:
        """Return the span of a turn's text, also of the only text among typed parts."""
        if position < self.first:
            raise EditError("its system prompt is not one of its messages")
        return self._find_typed_text(position) or self.text_span(position)

    def _find_typed_text(self, position: int) -> Span | None:
        """Return the span of the only text among typed parts; None for a plain text."""
        members, _ = object_spans(self.text, self.message_span(position)[0])
        start = members.get("content", (0, 0))[0]
        if "content" not in members or self.text[start] != "[":
            return None
        parts = [
            object_spans(self.text, part)[0]
            for part, _ in array_spans(self.text, start)
            if self.text[part] == "{"
        ]
        texts = [part["text"] for part in parts if "text" in part]
        if len(texts) != 1:
            raise EditError(f"a turn has {len(texts)} text parts")
        return texts[0]

    def write_text(self, position: int, turn: Turn) -> str:
        """Return the text of an edited turn as a JSON string."""
        if turn.role is Role.ASSISTANT:
            for other, before in enumerate(self.turns):
                if before == turn and other >= self.first:
                    return self.text[slice(*self.edited_span(other))]
        written = turn.text
        if turn.image_offsets and self._find_typed_text(position) is None:
            token = self._find_record_placeholder()
            if token is None and set(turn.image_offsets) == {0} and written.startswith("\n"):
                written = written[1:]  # images without a placeholder precede the first question
            else:
                written = insert_placeholders(turn, token or PLACEHOLDER)
        return json.dumps(written, ensure_ascii=self.text.isascii())

    def _find_record_placeholder(self) -> str | None:
        """Return the placeholder of the record's images; None if it has none."""
        places = [(i, len(turn.image_offsets)) for i, turn in enumerate(self.turns)]
        return next((self.find_placeholder(i, n) for i, n in places if n), None)

    def find_placeholder(self, position: int, n: int) -> str | None:
        """Return the placeholder of the ``n`` images in the question of a turn; None if none."""
        start, end = self.text_span(position)
        question = json.loads(self.text[start:end])
        for token in PLACEHOLDERS:
            if question.count(token) == n:
                return token
        has_token = any(token in self.text for token in (*PLACEHOLDERS, "<img>", "<image_"))
        has_key = any("image" in object_spans(self.text, start)[0] for start, _ in self.messages)
        if has_token or has_key:
            raise EditError("its image cannot be moved to another turn")
        return None

    def rebuild(self, removed: set[int], changes: Sequence[Change]) -> str:
        """Return the text with these changes, without the messages of the removed turns."""
        pieces = [self.text[: self.messages[0][0]]]
        for index, (start, end) in enumerate(self.messages):
            if index + self.first in removed:
                continue
            if len(pieces) > 1:
                pieces.append(self.text[self.messages[index - 1][1] : start])
            own = [change for change in changes if start <= change[0] <= end]
            pieces.append(replace_spans(self.text, start, end, own))
        return "".join([*pieces, self.text[self.messages[-1][1] :]])
