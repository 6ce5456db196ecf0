"""The LLaVA family: ``conversations`` with ``from``/``value`` and an ``image`` beside them.

Its variants differ in how the image is named (a path, a list, a dict by placeholder, inside the
text) and in the names of roles; all of them are read here alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from scoring.readers.conversation import (
    PLACEHOLDER,
    BadRecord,
    Message,
    ParsedRecord,
    assemble_turns,
    quote_value,
    set_status,
)
from scoring.readers.options import ReadOptions
from scoring.readers.values import (
    IMAGE_KEYS,
    MEDIA_KEYS,
    MESSAGE_KEYS,
    SYSTEM_KEYS,
    as_list,
    collect_images,
    find_system_prompt,
)
from scoring.samples import Role, Turn
from scoring.unicode_text import replace_surrogates

KEYS = ("conversations", "conversation")
TEXT_KEYS = ("value", "response", "content", "text")
_FIRST_NUMBERED = ("image_0", "image_1", "image0", "image1", "image_00", "image_01", "img_1")
_UNUSUAL_KEYS = frozenset(
    (*IMAGE_KEYS, *MEDIA_KEYS, *MESSAGE_KEYS, *SYSTEM_KEYS, *_FIRST_NUMBERED, "image_bytes")
) - {"image", "conversations"}


def parse_record(value: Mapping[str, object], options: ReadOptions) -> ParsedRecord:
    """The turns and images of one record. Raises BadRecord."""
    images, named = collect_images(value)
    return assemble_turns(
        read_messages(value),
        images,
        named=named,
        roles=options.roles,
        system=find_system_prompt(value),
    )


def parse_plain_record(value: Mapping[str, object]) -> ParsedRecord | None:
    """What ``understand`` makes of the shape that nearly all records have, several times faster.

    That is: turns of exactly ``from`` and ``value``, human and gpt by turns, and no image or one
    whose ``<image>`` stands once in what a human says. None for any other record.
    """
    listed, image = value.get("conversations"), value.get("image")
    if type(listed) is not list or not value.keys().isdisjoint(_UNUSUAL_KEYS):
        return None
    turns: list[Turn] = []
    n_places, answered, expected = 0, False, "human"
    for one in listed:
        if type(one) is not dict or len(one) != 2 or one.get("from") != expected:
            return None
        text = one.get("value")
        if type(text) is not str:
            return None
        if not text.isascii():
            text = replace_surrogates(text)
        if expected == "gpt":
            turns.append(Turn(Role.ASSISTANT, text))
            answered, expected = answered or bool(text.strip()), "human"
            continue
        expected = "gpt"
        before, token, after = text.partition(PLACEHOLDER) if image else (text, "", "")
        if token:
            n_places += 1 + after.count(PLACEHOLDER)
            turns.append(Turn(Role.HUMAN, before + after, (len(before),)))
        elif "<img>" in text:
            return None
        else:
            turns.append(Turn(Role.HUMAN, text))
    if not answered:
        return None
    if not image:
        return set_status(ParsedRecord(turns=tuple(turns)))
    if type(image) is not str or n_places != 1 or image[0] == "[":
        return None
    return ParsedRecord((replace_surrogates(image),), tuple(turns))


def read_messages(value: Mapping[str, object]) -> list[Message]:
    """The conversation of a record, message by message."""
    conversation = as_list(next((value[key] for key in KEYS if key in value), None))
    if not conversation:
        found = next((value[key] for key in KEYS if key in value), None)
        raise BadRecord(f"'conversations' is a list of turns, this is {quote_value(found)}")
    return [_message(position, one) for position, one in enumerate(conversation, start=1)]


def _message(position: int, message: object) -> Message:
    if not isinstance(message, dict):
        raise BadRecord(f"turn {position} is {quote_value(message)}, not an object")
    role = message.get("from")
    if not isinstance(role, str):
        raise BadRecord(f"turn {position} is from {quote_value(role)}, not a role")
    text = next((message[key] for key in TEXT_KEYS if key in message), None)
    if text is None and role.lower() == "system":
        text = ""  # no system prompt
    if not isinstance(text, str):
        raise BadRecord(f"the value of turn {position} is {quote_value(text)}, not text")
    return Message(role, (text,))
