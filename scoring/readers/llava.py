"""The LLaVA family: ``conversations`` with ``from``/``value`` and an ``image`` beside them.

Its variants differ in how the image is named (a path, a list, a dict by placeholder, inside the
text) and in the names of roles; all of them are read here alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from scoring.readers.conversation import BadRecord, Message, Understood, assemble, shown
from scoring.readers.options import ReadOptions
from scoring.readers.values import as_list, record_images

KEYS = ("conversations", "conversation")
TEXT_KEYS = ("value", "response", "content", "text")


def understand(value: Mapping[str, object], options: ReadOptions) -> Understood:
    """The turns and images of one record. Raises BadRecord."""
    images, named = record_images(value)
    return assemble(messages(value), images, named=named, roles=options.roles)


def messages(value: Mapping[str, object]) -> list[Message]:
    """The conversation of a record, message by message."""
    conversation = as_list(next((value[key] for key in KEYS if key in value), None))
    if not conversation:
        found = next((value[key] for key in KEYS if key in value), None)
        raise BadRecord(f"'conversations' is a list of turns, this is {shown(found)}")
    return [_message(position, one) for position, one in enumerate(conversation, start=1)]


def _message(position: int, message: object) -> Message:
    if not isinstance(message, dict):
        raise BadRecord(f"turn {position} is {shown(message)}, not an object")
    role = message.get("from")
    if not isinstance(role, str):
        raise BadRecord(f"turn {position} is from {shown(role)}, not a role")
    text = next((message[key] for key in TEXT_KEYS if key in message), None)
    if not isinstance(text, str):
        raise BadRecord(f"the value of turn {position} is {shown(text)}, not text")
    return Message(role, (text,))
