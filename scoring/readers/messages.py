"""The role/content family: ``messages`` whose content is a text or a list of typed parts.

Typed parts name their image in a dozen ways (``image_url`` as text or object, ``source``, ``url``,
``path``, ``value``, bytes, or nothing at all and a list beside the messages); a part that names
none takes the next image of that list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from scoring.readers.conversation import (
    PLACEHOLDERS,
    BadRecord,
    ImageSlot,
    Message,
    ParsedRecord,
    Piece,
    assemble_turns,
    quote_value,
)
from scoring.readers.options import ReadOptions
from scoring.readers.values import (
    BYTES_KEYS,
    OTHER_TYPES,
    as_list,
    collect_images,
    find_reference,
    find_system_prompt,
)

KEYS = ("messages", "conversations", "conversation", "prompt")
_TEXT_TYPES = ("text", "input_text", "output_text")
_IMAGE_TYPES = ("image", "image_url", "input_image", "img")
_NAMES = ("image_url", "image", "url", "path", "source", "value", *BYTES_KEYS)


def parse_record(value: Mapping[str, object], options: ReadOptions) -> ParsedRecord:
    """The turns and images of one record. Raises BadRecord."""
    found = read_messages(value)
    images, named = collect_images(value)
    system = find_system_prompt(value)
    return assemble_turns(found, images, named=named, roles=options.roles, system=system)


def read_messages(value: Mapping[str, object]) -> list[Message]:
    """The messages of a record; a ``completion`` follows its ``prompt``."""
    key = next((key for key in KEYS if as_list(value.get(key))), None)
    if key is None:
        present = next((value[name] for name in KEYS if name in value), None)
        raise BadRecord(f"'messages' is a list of messages, this is {quote_value(present)}")
    listed = list(as_list(value[key]) or ())
    if key == "prompt":
        listed += _completion(value)
    found = [_message(position, one) for position, one in enumerate(listed, start=1)]
    if found[0].role.lower() == "pretrain":
        found[:1] = _pretraining(found[0].parts)
    return found


def _pretraining(parts: tuple[Piece, ...]) -> list[Message]:
    """Images of a text to train on stand before it; so does what marks their place in the text."""
    images = tuple(part for part in parts if isinstance(part, ImageSlot))
    texts = [part for part in parts if isinstance(part, str)]
    for token in PLACEHOLDERS if images else ():
        if sum(text.count(token) for text in texts) == len(images):
            texts = [re.sub(rf"{re.escape(token)}\n?", "", text) for text in texts]
            break
    return [Message("user", images), Message("pretrain", tuple(texts))]


def _completion(value: Mapping[str, object]) -> list[object]:
    """The answer to a prompt: ``completion``, or the truth that a reward is given for."""
    completion = value.get("completion")
    if isinstance(completion, str):
        return [{"role": "assistant", "content": completion}]
    if listed := as_list(completion):
        return listed
    reward = value.get("reward_model")
    truth = reward.get("ground_truth") if isinstance(reward, dict) else None
    truth = value.get("answer") if truth is None else truth
    return [] if truth is None else [{"role": "assistant", "content": str(truth)}]


def _message(position: int, message: object) -> Message:
    if not isinstance(message, dict):
        raise BadRecord(f"turn {position} is {quote_value(message)}, not an object")
    role = message.get("role") or message.get("from")
    if not isinstance(role, str):
        raise BadRecord(f"turn {position} is from {quote_value(role)}, not a role")
    content = message.get("content", message.get("value"))
    listed = content if isinstance(content, list) else [content]
    parts = [_part(position, part) for part in listed if part is not None]
    if own := message.get("image"):
        references = [find_reference(one) for one in (own if isinstance(own, list) else [own])]
        parts = [*(ImageSlot(reference) for reference in references), *parts]
    if not parts:
        calls = message.get("tool_calls")
        if content is None and not calls and role.lower() != "system":
            raise BadRecord(f"the content of turn {position} is {quote_value(content)}, not text")
        parts = [str(calls)] if calls else [""]
    return Message(role, tuple(parts))


def _part(position: int, part: object) -> Piece:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise BadRecord(
            f"turn {position} holds {quote_value(part)}, neither a text nor a typed part"
        )
    kind = part.get("type") or next((key for key in ("text", "image", "video") if key in part), "")
    if kind in _TEXT_TYPES:
        text = next((part[key] for key in ("text", "value", "content") if part.get(key)), "")
        if not isinstance(text, str):
            raise BadRecord(f"a text part of turn {position} holds {quote_value(text)}")
        return text
    if kind in _IMAGE_TYPES:
        return _slot(part)
    if kind in OTHER_TYPES:
        return ""
    raise BadRecord(
        f"turn {position} holds a part of type {quote_value(kind)}; known are text, image"
    )


def _slot(part: Mapping[str, object]) -> ImageSlot:
    for name in _NAMES:
        if reference := find_reference(part.get(name)):
            return ImageSlot(reference)
    index = part.get("index")
    return ImageSlot(index=index if isinstance(index, int) else None)
