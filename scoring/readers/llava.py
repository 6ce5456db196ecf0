"""The LLaVA family: ``conversations`` with ``from``/``value``, and an ``image`` in its own key.

Variants differ in how they name the image (a path, a list, a dict by placeholder, inside the text)
and in role names. All of them are read here.
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
    """Return the turns and images of one record. Raises BadRecord."""
    images, named = collect_images(value)
    system = find_system_prompt(value)
    return assemble_turns(
        read_messages(value), images, named=named, roles=options.roles, system=system
    )


def parse_plain_record(value: Mapping[str, object]) -> ParsedRecord | None:
    """Parse the shape of nearly all records, several times faster than ``parse_record``.

    The shape: turns of exactly ``from`` and ``value``, alternating human and gpt, and either no
    image or one image whose ``<image>`` occurs once in the human turns.

    Returns:
        The same result as ``parse_record``, or None for a record of any other shape.
    """
    turns_value, image = value.get("conversations"), value.get("image")
    if type(turns_value) is not list or not value.keys().isdisjoint(_UNUSUAL_KEYS):
        return None
    turns: list[Turn] = []
    n_placeholders, answered, expected = 0, False, "human"
    for message in turns_value:
        if type(message) is not dict or len(message) != 2 or message.get("from") != expected:
            return None
        text = message.get("value")
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
            n_placeholders += 1 + after.count(PLACEHOLDER)
            turns.append(Turn(Role.HUMAN, before + after, (len(before),)))
        elif "<img>" in text:
            return None
        else:
            turns.append(Turn(Role.HUMAN, text))
    if not answered:
        return None
    if not image:
        return set_status(ParsedRecord(turns=tuple(turns)))
    if type(image) is not str or n_placeholders != 1 or image[0] == "[":
        return None
    return ParsedRecord((replace_surrogates(image),), tuple(turns))


def read_messages(value: Mapping[str, object]) -> list[Message]:
    """Return the conversation of a record, message by message. Raises BadRecord."""
    turns_value = next((value[key] for key in KEYS if key in value), None)
    conversation = as_list(turns_value)
    if not conversation:
        raise BadRecord(f"'conversations' must be a list of turns, not {quote_value(turns_value)}")
    return [_parse_message(position, turn) for position, turn in enumerate(conversation, start=1)]


def _parse_message(position: int, message: object) -> Message:
    if not isinstance(message, dict):
        raise BadRecord(f"turn {position} is {quote_value(message)}, not an object")
    role = message.get("from")
    if not isinstance(role, str):
        raise BadRecord(f"the role of turn {position} is {quote_value(role)}, not text")
    text = next((message[key] for key in TEXT_KEYS if key in message), None)
    if text is None and role.lower() == "system":
        text = ""  # no system prompt
    if not isinstance(text, str):
        raise BadRecord(f"the value of turn {position} is {quote_value(text)}, not text")
    return Message(role, (text,))
